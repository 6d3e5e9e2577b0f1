/* Tokens that are computed ahead change nothing: logits are the same bit for bit with any draft, and so is what is
 * written, greedily or by chance. */
#include "engine/engine.h"
#include "golden.h"
#include "test.h"

enum { N_READ = 45, N_NEW = 150 }; /* over three block edges */

static const char *const models[] = {"random-alibi-16-clip", "random-qk-ln-grouped-biases", "random-learned-positions",
                                     "gguf-everything-q4_0", "gguf-storywriter-q8_0",       "gguf-everything-bf16"};
enum { N_MODELS = sizeof models / sizeof *models };

/* A text read, with room for what follows. */
struct run {
    quire_engine *engine;
    quire_book *book;
    const int32_t *ids;
};

static struct run open_run(const quire_model *model, const quire_engine_options *opts, const int32_t *ids, size_t n)
{
    struct run run = {.ids = ids};
    quire_error err = {0};
    REQUIRE_OK(quire_engine_open(&run.engine, model, opts, &err));
    REQUIRE_OK(quire_book_open(&run.book, run.engine, &err));
    REQUIRE_OK(quire_book_read(run.book, ids, n, N_NEW, &err));
    return run;
}

static void close_run(struct run *run)
{
    quire_book_close(run->book);
    quire_engine_close(run->engine);
}

/* [N_NEW][vocab] after each token that is appended by itself. */
static float *plain_logits(const quire_model *model, const quire_engine_options *opts, const int32_t *ids)
{
    size_t vocab_size = quire_model_config(model)->vocab_size;
    float *logits = malloc(N_NEW * vocab_size * sizeof *logits);
    quire_error err = {0};
    struct run run = open_run(model, opts, ids, N_READ);
    for (size_t i = 0; i < N_NEW; i++) {
        REQUIRE_OK(quire_book_append(run.book, ids[N_READ + i], &err));
        memcpy(logits + i * vocab_size, quire_book_logits(run.book), vocab_size * sizeof *logits);
    }
    close_run(&run);
    return logits;
}

/* Drafts that are true for a while, of any length, also where there is no room for them. */
static void check_drafts(const quire_model *model, const quire_engine_options *opts, const int32_t *ids,
                         const float *want, uint64_t *seed)
{
    uint32_t vocab_size = quire_model_config(model)->vocab_size;
    quire_error err = {0};
    struct run run = open_run(model, opts, ids, N_READ);
    for (size_t i = 0; i < N_NEW; i++) {
        int32_t draft[QUIRE_DRAFT_MOST];
        size_t n = test_random(seed) % (QUIRE_DRAFT_MOST + 1), n_true = test_random(seed) % (QUIRE_DRAFT_MOST + 4);
        for (size_t j = 0; j < n; j++)
            draft[j] =
                j < n_true && i + 1 + j < N_NEW ? ids[N_READ + i + 1 + j] : (int32_t)(test_random(seed) % vocab_size);
        CHECK_OK(quire_book_append_draft(run.book, ids[N_READ + i], draft, n, &err));
        CHECK_EQ_INT(quire_book_n_tokens(run.book), N_READ + i + 1);
        CHECK_EQ_INT(memcmp(quire_book_logits(run.book), want + i * vocab_size, vocab_size * sizeof *want), 0);
    }
    uint64_t n_drafted = quire_book_n_drafted(run.book), n_accepted = quire_book_n_accepted(run.book);
    CHECK(opts->draft_tokens == 0 ? n_drafted == 0 : n_accepted > 0 && n_drafted >= n_accepted);
    CHECK_EQ_INT(quire_book_append(run.book, 0, NULL), QUIRE_ERR_USAGE); /* no more than was planned */
    close_run(&run);
}

static void any_draft(void)
{
    uint64_t seed = 7;
    for (size_t m = 0; m < N_MODELS; m++) {
        quire_model *model = golden_model(models[m]);
        int32_t *ids = random_ids(N_READ + N_NEW, quire_model_config(model)->vocab_size, 71 + m);
        for (int type = 0; type < QUIRE_KV_TYPE_COUNT; type++) {
            quire_engine_options opts = quire_engine_defaults();
            opts.kv_type = (quire_kv_type)type;
            opts.n_threads = 1;
            float *want = plain_logits(model, &opts, ids);
            static const uint32_t most[] = {0, 1, 4, QUIRE_DRAFT_MOST};
            for (size_t i = 0; i < 4; i++) {
                opts.draft_tokens = most[i];
                opts.n_threads = 1 + (uint32_t)i % 3;
                check_drafts(model, &opts, ids, want, &seed);
            }
            if (test_n_failed_checks > 0)
                fprintf(stderr, "%s, %s\n", models[m], quire_kv_type_name(opts.kv_type));
            free(want);
        }
        free(ids);
        quire_model_close(model);
    }
}

/* What a sampler writes with drafts looked up in the text. */
static void write_text(int32_t out[N_NEW], const quire_model *model, const quire_engine_options *opts,
                       const int32_t *ids, float temperature, uint64_t seed, uint64_t *n_accepted)
{
    uint32_t vocab_size = quire_model_config(model)->vocab_size;
    quire_sampler_options sampling = quire_sampler_defaults();
    quire_sampler *sampler;
    quire_draft *draft;
    quire_error err = {0};
    sampling.temperature = temperature;
    sampling.repetition_penalty = 1.02f;
    sampling.seed = seed;
    REQUIRE_OK(quire_sampler_open(&sampler, &sampling, vocab_size, vocab_size, &err));
    REQUIRE_OK(quire_draft_open(&draft, N_READ + N_NEW, opts->draft_tokens, &err));
    struct run run = open_run(model, opts, ids, N_READ);
    for (size_t i = 0; i < N_READ; i++) {
        quire_sampler_see(sampler, ids[i]);
        quire_draft_see(draft, ids[i]);
    }
    for (size_t i = 0; i < N_NEW; i++) {
        int32_t ahead[QUIRE_DRAFT_MOST];
        REQUIRE_OK(quire_sampler_pick(sampler, quire_book_logits(run.book), &out[i], &err));
        quire_draft_see(draft, out[i]);
        REQUIRE_OK(quire_book_append_draft(run.book, out[i], ahead, quire_draft_next(draft, ahead), &err));
    }
    *n_accepted += quire_book_n_accepted(run.book);
    close_run(&run);
    quire_draft_close(draft);
    quire_sampler_close(sampler);
}

static void the_same_text(void)
{
    uint64_t n_accepted = 0, n_none = 0;
    for (size_t m = 0; m < N_MODELS; m += 2) {
        quire_model *model = golden_model(models[m]);
        uint32_t vocab_size = quire_model_config(model)->vocab_size;
        int32_t ids[N_READ], want[N_NEW], got[N_NEW];
        for (size_t i = 0; i < N_READ; i++) /* a text that repeats itself */
            ids[i] = (int32_t)(i % 23 * 31 % vocab_size);
        for (uint64_t seed = 0; seed < 4; seed++) {
            quire_engine_options opts = quire_engine_defaults();
            opts.n_threads = 1 + (uint32_t)seed % 3;
            float temperature = seed == 0 ? 0 : 0.05f * (float)seed;
            write_text(want, model, &opts, ids, temperature, seed, &n_none);
            for (opts.draft_tokens = 3; opts.draft_tokens <= QUIRE_DRAFT_MOST; opts.draft_tokens += 12) {
                write_text(got, model, &opts, ids, temperature, seed, &n_accepted);
                CHECK_EQ_INT(memcmp(got, want, sizeof got), 0);
            }
        }
        quire_model_close(model);
    }
    CHECK_EQ_INT(n_none, 0);
    CHECK(n_accepted > 0);
}

/* A drafted token that gives no numbers is no error until it is appended. */
static void numbers_that_nobody_asked_for(void)
{
    enum { BAD = 5 };
    quire_error err = {0};
    quire_model *model = golden_model(models[0]);
    struct matrix *wte = &model->wte;
    const void *stored = wte->data;
    unsigned char *poisoned = malloc(wte->rows * wte->row_bytes);
    memcpy(poisoned, stored, wte->rows * wte->row_bytes);
    memset(poisoned + BAD * wte->row_bytes, 0xFF, wte->row_bytes); /* NaN in all float types */
    wte->data = poisoned;
    int32_t *ids = random_ids(N_READ + N_NEW, quire_model_config(model)->vocab_size, 81);
    for (size_t i = 0; i < N_READ + N_NEW; i++)
        ids[i] += ids[i] == BAD;
    quire_engine_options opts = quire_engine_defaults();
    float *want = plain_logits(model, &opts, ids);
    opts.draft_tokens = 4;
    size_t row = quire_model_config(model)->vocab_size;
    struct run run = open_run(model, &opts, ids, N_READ);
    for (size_t i = 0; i + 2 < N_NEW; i++) {
        int32_t draft[4] = {ids[N_READ + i + 1], BAD, ids[0], ids[1]};
        CHECK_OK(quire_book_append_draft(run.book, ids[N_READ + i], draft, 4, &err));
        CHECK_EQ_INT(memcmp(quire_book_logits(run.book), want + i * row, row * sizeof *want), 0);
    }
    CHECK_EQ_INT(quire_book_append(run.book, BAD, &err), QUIRE_ERR_NUMERIC);
    close_run(&run);
    free(want);
    free(ids);
    wte->data = stored;
    free(poisoned);
    quire_model_close(model);
}

static void bad_requests(void)
{
    quire_error err = {0};
    quire_model *model = golden_model(models[0]);
    int32_t *ids = random_ids(N_READ, quire_model_config(model)->vocab_size, 91), bad = -1;
    quire_engine_options opts = quire_engine_defaults();
    quire_engine *engine = NULL;
    opts.draft_tokens = QUIRE_DRAFT_MOST + 1;
    CHECK_EQ_INT(quire_engine_open(&engine, model, &opts, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "16 drafted tokens");
    quire_error_clear(&err);
    opts.draft_tokens = QUIRE_DRAFT_MOST;
    struct run run = open_run(model, &opts, ids, N_READ);
    CHECK_EQ_INT(quire_book_append_draft(run.book, ids[0], &bad, 1, &err), QUIRE_ERR_USAGE);
    quire_error_clear(&err);
    CHECK_OK(quire_book_append_draft(run.book, ids[0], ids, 3, &err)); /* nothing happened to the book */
    CHECK_EQ_INT(quire_book_n_tokens(run.book), N_READ + 1);
    close_run(&run);
    free(ids);
    quire_model_close(model);
}

static const struct test tests[] = {
    {"any_draft", any_draft},
    {"the_same_text", the_same_text},
    {"numbers_that_nobody_asked_for", numbers_that_nobody_asked_for},
    {"bad_requests", bad_requests},
};

TEST_MAIN(tests)
