/* Each allocation fails in turn, until all have been made: an error comes back, and nothing is left behind (which the
 * address sanitizer's leak check sees). */
#include "cases.h"
#include "train/optim.h"

static long n_allowed = -1; /* allocations that still succeed; -1: all */

static bool is_refused(void)
{
    if (n_allowed < 0)
        return false;
    if (n_allowed == 0)
        return true;
    n_allowed--;
    return false;
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    return is_refused() ? NULL : __real_calloc(n, size);
}

void *__real_aligned_alloc(size_t alignment, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n)
{
    return is_refused() ? NULL : __real_aligned_alloc(alignment, n);
}

static void opening(void)
{
    struct train_case c;
    train_case_at(3, &c);
    struct net_options options = {.n_sequences = 1, .seq_len = 70, .n_threads = 2};
    struct optim_options adamw = optim_defaults(OPTIM_ADAMW);
    for (long allowed = 0;; allowed++) {
        quire_error err = {0};
        struct net *net = NULL;
        struct optim *optim = NULL;
        n_allowed = allowed;
        quire_status status = net_open(&net, &c.config, &options, &err);
        if (status == QUIRE_OK)
            status = optim_open(&optim, net, &adamw, &err);
        n_allowed = -1;
        optim_close(optim);
        net_close(net);
        if (status == QUIRE_OK) {
            CHECK(allowed > 8);
            break;
        }
        CHECK_EQ_INT(status, QUIRE_ERR_NO_MEMORY);
        CHECK_MESSAGE(err, "out of memory for");
        CHECK(optim == NULL);
    }
}

static const struct test tests[] = {{"opening", opening}};

TEST_MAIN(tests)
