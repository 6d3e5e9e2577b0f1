/* --memory is kept: peak resident memory of a process that reads and writes under a budget stays below it.
 *
 * The model (150 MB of float32 weights) is made by bench/make_model, whose path is in MAKE_MODEL. */
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "golden.h"
#include "test.h"

enum { N_TOKENS = 3000, N_NEW = 3 };

static char folder[64], model_path[128];

static void make_model(void)
{
    make_folder(folder);
    snprintf(model_path, sizeof model_path, "%s/model.gguf", folder);
    pid_t child = fork();
    if (child == 0) {
        execl(MAKE_MODEL, "make_model", model_path, "--d-model", "512", "--n-heads", "8", "--n-layers", "12", "--vocab",
              "2048", "--type", "f32", (char *)NULL);
        _exit(127);
    }
    int status = -1;
    waitpid(child, &status, 0);
    if (status != 0)
        exit(1);
}

struct result {
    quire_plan plan;
    uint64_t peak_bytes;
    float logits[2048];
};

/* In a process of its own, so that the peak is this reading's. */
static struct result run(uint64_t memory_bytes)
{
    struct result result;
    int ends[2];
    if (pipe(ends) != 0)
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        quire_error err = {0};
        quire_model *model;
        quire_engine *engine;
        quire_book *book;
        quire_engine_options opts = quire_engine_defaults();
        opts.memory_bytes = memory_bytes;
        opts.spill_path = folder;
        int32_t *ids = random_ids(N_TOKENS + N_NEW, 2048, 61);
        REQUIRE_OK(quire_model_open(&model, model_path, &err));
        REQUIRE_OK(quire_engine_open(&engine, model, &opts, &err));
        REQUIRE_OK(quire_engine_plan(engine, N_TOKENS, N_NEW, &result.plan, &err));
        REQUIRE_OK(quire_book_open(&book, engine, &err));
        REQUIRE_OK(quire_book_read(book, ids, N_TOKENS, N_NEW, &err));
        for (int i = 0; i < N_NEW; i++)
            REQUIRE_OK(quire_book_append(book, ids[N_TOKENS + i], &err));
        memcpy(result.logits, quire_book_logits(book), sizeof result.logits);
        result.peak_bytes = sys_peak_resident_bytes();
        _exit(write(ends[1], &result, sizeof result) != sizeof result);
    }
    close(ends[1]);
    bool is_whole = read(ends[0], &result, sizeof result) == sizeof result;
    close(ends[0]);
    waitpid(child, NULL, 0);
    if (!is_whole)
        exit(1);
    return result;
}

static void peak_stays_under_the_budget(void)
{
    make_model();
    struct result large = run(2ull << 30);
    CHECK_EQ_INT(large.plan.span_tokens, N_TOKENS);
    CHECK(large.peak_bytes > (200 << 20)); /* the model and its KV do not fit the small budgets whole */
    uint64_t budgets[] = {large.plan.least_bytes, 75 << 20, 120 << 20, 200 << 20};
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        struct result small = run(budgets[i]);
        printf("     budget %llu MiB: planned %llu, peak %llu, spans of %u\n", (unsigned long long)budgets[i] >> 20,
               (unsigned long long)small.plan.memory_bytes >> 20, (unsigned long long)small.peak_bytes >> 20,
               small.plan.span_tokens);
        CHECK(small.plan.memory_bytes <= budgets[i]);
        CHECK(small.peak_bytes <= budgets[i]);
        for (int j = 0; j < 2048; j++)
            CHECK_NEAR((double)small.logits[j], (double)large.logits[j], 2e-2); /* bf16 keys may round the other way */
    }
    remove_folder(folder);
}

static const struct test tests[] = {{"peak_stays_under_the_budget", peak_stays_under_the_budget}};

TEST_MAIN(tests)
