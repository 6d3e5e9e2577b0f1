/* 84,000 tokens through a small model: the positions where half-precision masks overflow, and the last ones, are right.
 */
#include "golden.h"
#include "test.h"

enum { N_TOKENS = 84000, N_BEGINNING = 20000, SEED = 20230505 };

/* The rule of make_golden.py: splitmix64; the beginning uses half of the vocabulary, so that an engine that loses sight
 * of it gives other answers at the end. */
static int32_t token_at(size_t position, uint32_t vocab_size)
{
    uint64_t state = SEED + (uint64_t)position * 0x9E3779B97F4A7C15u; /* test_random takes its step first */
    return (int32_t)(test_random(&state) % (position < N_BEGINNING ? vocab_size / 2 : vocab_size));
}

static void to_84000(void)
{
    quire_model *model = golden_model("long");
    uint32_t vocab_size = quire_model_config(model)->vocab_size;
    int32_t *ids = malloc(N_TOKENS * sizeof *ids);
    for (size_t i = 0; i < N_TOKENS; i++)
        ids[i] = token_at(i, vocab_size);
    size_t n, n_logits;
    double *want = golden_numbers("long", "logprobs-at.txt", &n); /* position, id, log-probability */
    double *logits = golden_numbers("long", "logits.txt", &n_logits);
    quire_engine_options opts = quire_engine_defaults();
    opts.kv_type = QUIRE_KV_F32;
    opts.isa = float32_isa();
    struct reading got = read_ids(model, &opts, ids, N_TOKENS);
    bool has_65519 = false, has_65520 = false, has_83999 = false;
    for (size_t i = 0; i + 3 <= n; i += 3) {
        size_t position = (size_t)want[i];
        has_65519 = has_65519 || position == 65519;
        has_65520 = has_65520 || position == 65520;
        has_83999 = has_83999 || position == 83999;
        CHECK_EQ_INT(ids[position], (int32_t)want[i + 1]);
        CHECK_NEAR((double)got.logprobs[position], want[i + 2], 1e-4);
    }
    CHECK(has_65519 && has_65520 && has_83999);
    for (size_t i = 0; i < n_logits; i++)
        CHECK_NEAR((double)got.logits[i], logits[i], 1e-4);
    reading_release(&got);
    free(ids);
    free(want);
    free(logits);
    quire_model_close(model);
}

static const struct test tests[] = {{"to_84000", to_84000}};

TEST_MAIN(tests)
