/* The result does not depend on how it was computed: chunk, span, threads, memory budget, reuse, interruption. */
#include "golden.h"
#include "test.h"

/* Under the sanitizers, which make all this ten times slower, one model, fewer tokens and stops walk the same code. */
#ifdef TEST_SANITIZED
enum { N_MODELS = 1, N_TOKENS = 1600, STOP_STEP = 2 };
#else
enum { N_MODELS = 3, N_TOKENS = 2500, STOP_STEP = 8 };
#endif

static const char *const models[3] = {"random-alibi-16-clip", "random-heads-6-grouped", "random-biases"};

static void compare(const struct reading *a, const struct reading *b, const quire_model *model, double tolerance)
{
    for (size_t i = 1; i < a->n; i++)
        if (!isnan(a->logprobs[i]) && !isnan(b->logprobs[i]))
            CHECK_NEAR((double)a->logprobs[i], (double)b->logprobs[i], tolerance);
    for (size_t i = 0; i < quire_model_config(model)->vocab_size; i++)
        CHECK_NEAR((double)a->logits[i], (double)b->logits[i], tolerance);
}

typedef void vary_fn(quire_engine_options *opts, size_t variation, const quire_model *model);

/* Reads the same text as it is, and with each of the variations. isa NULL: the best that runs here. */
static void with_variations_at(const char *isa, quire_kv_type kv_type, vary_fn *vary, size_t n_variations,
                               double tolerance)
{
    for (size_t m = 0; m < N_MODELS; m++) {
        quire_model *model = golden_model(models[m]);
        int32_t *ids = random_ids(N_TOKENS, quire_model_config(model)->vocab_size, 11 + m);
        quire_engine_options plain = quire_engine_defaults();
        plain.kv_type = kv_type;
        plain.isa = isa;
        struct reading want = read_ids(model, &plain, ids, N_TOKENS);
        for (size_t i = 1; i < N_TOKENS; i++)
            CHECK(want.logprobs[i] <= 0.0f);
        for (size_t v = 0; v < n_variations; v++) {
            quire_engine_options opts = plain;
            vary(&opts, v, model);
            struct reading got = read_ids(model, &opts, ids, N_TOKENS);
            compare(&got, &want, model, tolerance);
            reading_release(&got);
            if (test_n_failed_checks > 0) {
                fprintf(stderr, "%s, variation %zu\n", models[m], v);
                break;
            }
        }
        reading_release(&want);
        free(ids);
        quire_model_close(model);
    }
}

/* Rows are the same bit for bit where our own kernels set the order of sums. OpenBLAS's order moves with the number of
 * rows, so that log-probabilities may differ by float rounding; with bf16 KV such a difference can decide which way a
 * key is rounded, and one step of bf16 is 2^-8. */
static void with_variations(vary_fn *vary, size_t n_variations)
{
    static const quire_kv_type types[] = {QUIRE_KV_F32, QUIRE_KV_BF16};
    for (size_t t = 0; t < 2; t++) {
        with_variations_at(NULL, types[t], vary, n_variations, 0);
        with_variations_at(float32_isa(), types[t], vary, n_variations, 0);
    }
    with_variations_at("base", QUIRE_KV_F32, vary, n_variations, 1e-4); /* 2.6e-5 seen, with OpenBLAS for Zen 3 */
}

static void vary_chunk(quire_engine_options *opts, size_t variation, const quire_model *model)
{
    (void)model;
    static const uint32_t chunks[] = {1, 7, 64, 512, N_TOKENS};
    opts->chunk_tokens = chunks[variation];
}

static void chunk(void)
{
    with_variations(vary_chunk, 5);
}

static void vary_span(quire_engine_options *opts, size_t variation, const quire_model *model)
{
    (void)model;
    static const uint32_t spans[] = {64, 1000, N_TOKENS};
    opts->span_tokens = spans[variation];
}

static void span(void)
{
    with_variations(vary_span, 3);
}

static void vary_threads(quire_engine_options *opts, size_t variation, const quire_model *model)
{
    (void)model;
    static const uint32_t threads[] = {1, 2, 3};
    opts->n_threads = threads[variation];
}

/* The split is by position: bit for bit. */
static void threads(void)
{
    with_variations(vary_threads, 3);
}

static void ignore_logprobs(void *user, uint64_t first, const int32_t *ids, const float *logprobs, size_t n)
{
    (void)user;
    (void)first;
    (void)ids;
    (void)logprobs;
    (void)n;
}

static void vary_memory(quire_engine_options *opts, size_t variation, const quire_model *model)
{
    quire_plan plan;
    quire_engine *engine;
    quire_error err = {0};
    opts->logprobs = ignore_logprobs; /* they are wanted, and take memory */
    opts->memory_bytes = 1;           /* refused, but the plan tells the least that would do */
    REQUIRE_OK(quire_engine_open(&engine, model, opts, &err));
    CHECK_EQ_INT(quire_engine_plan(engine, N_TOKENS, 0, &plan, &err), QUIRE_ERR_NO_MEMORY);
    quire_engine_close(engine);
    opts->memory_bytes = plan.least_bytes + (variation << 19);
}

static void memory(void)
{
    with_variations(vary_memory, 4);
}

/* The tables add up in different orders. */
static void vary_isa(quire_engine_options *opts, size_t variation, const quire_model *model)
{
    (void)model;
    static const char *const isas[] = {"ref", "base"};
    opts->isa = isas[variation];
}

static void isa(void)
{
    with_variations_at(float32_isa(), QUIRE_KV_F32, vary_isa, 2, 1e-4);
    with_variations_at(float32_isa(), QUIRE_KV_BF16, vary_isa, 2, 5e-3);
}

/* --- the store ------------------------------------------------------------------------------------------------- */

static void reuse(void)
{
    for (int type = QUIRE_KV_F32; type <= QUIRE_KV_BF16; type++) {
        char folder[64];
        make_folder(folder);
        quire_model *model = golden_model(models[1]);
        int32_t *ids = random_ids(N_TOKENS, quire_model_config(model)->vocab_size, 21);
        quire_engine_options opts = quire_engine_defaults();
        opts.kv_type = (quire_kv_type)type;
        struct reading want = read_ids(model, &opts, ids, N_TOKENS);
        opts.store_path = folder;
        struct reading first = read_ids(model, &opts, ids, 1000);
        CHECK_EQ_INT(first.n_reused, 0);
        struct reading longer = read_ids(model, &opts, ids, N_TOKENS);
        CHECK(longer.n_reused >= 960 && longer.n_reused <= 1000);
        CHECK(isnan(longer.logprobs[500]) && !isnan(longer.logprobs[1200]));
        compare(&longer, &want, model, 0);
        struct reading again = read_ids(model, &opts, ids, N_TOKENS);
        CHECK_EQ_INT(again.n_reused, N_TOKENS);
        compare(&again, &longer, model, 0); /* bit for bit: it is the same book */

        /* Edited in the middle: what stands before the edit is reused, what stands behind is not. */
        int32_t saved = ids[1500];
        ids[1500] = (saved + 1) % (int32_t)quire_model_config(model)->vocab_size;
        struct reading edited = read_ids(model, &opts, ids, N_TOKENS);
        CHECK(edited.n_reused >= 1472 && edited.n_reused <= 1500);
        opts.store_path = NULL;
        struct reading edited_want = read_ids(model, &opts, ids, N_TOKENS);
        compare(&edited, &edited_want, model, 0);
        opts.store_path = folder;
        ids[1500] = saved;
        struct reading original = read_ids(model, &opts, ids, N_TOKENS);
        CHECK_EQ_INT(original.n_reused, N_TOKENS);
        compare(&original, &longer, model, 0);

        /* Another model of the same shape, or another KV type, sees nothing of it. */
        opts.kv_type = type == QUIRE_KV_F32 ? QUIRE_KV_F16 : QUIRE_KV_F32;
        struct reading other = read_ids(model, &opts, ids, N_TOKENS);
        CHECK_EQ_INT(other.n_reused, 0);
        reading_release(&want);
        reading_release(&first);
        reading_release(&longer);
        reading_release(&again);
        reading_release(&edited);
        reading_release(&edited_want);
        reading_release(&original);
        reading_release(&other);
        free(ids);
        quire_model_close(model);
        remove_folder(folder);
    }
}

/* --- interruption ---------------------------------------------------------------------------------------------- */

struct countdown {
    int n_left;
};

static int count_down(void *user, const quire_progress *progress)
{
    struct countdown *countdown = user;
    (void)progress;
    return countdown->n_left-- == 0;
}

/* Stopped after the n-th chunk of a layer's phase, for many n, and gone on with: the same logits. */
static void interruption(void)
{
    char folder[64];
    make_folder(folder);
    quire_error err = {0};
    quire_model *model = golden_model(models[0]);
    size_t vocab_size = quire_model_config(model)->vocab_size;
    int32_t *ids = random_ids(N_TOKENS, (uint32_t)vocab_size, 31);
    quire_engine_options opts = quire_engine_defaults();
    opts.chunk_tokens = 100;
    opts.span_tokens = 900;
    int n_runs = 0;
    bool is_past_the_end = false;
    for (int n = 0; !is_past_the_end; n += 1 + n / STOP_STEP, n_runs++) {
        struct countdown countdown = {n};
        opts.store_path = folder;
        opts.progress = count_down;
        opts.user = &countdown;
        ids[0] = n % (int)vocab_size; /* another text each time, so that every stop starts afresh */
        quire_engine *engine;
        quire_book *book;
        quire_status status = QUIRE_ERR_CANCELLED;
        int n_stops = 0;
        while (status == QUIRE_ERR_CANCELLED) {
            quire_error_clear(&err);
            REQUIRE_OK(quire_engine_open(&engine, model, &opts, &err));
            REQUIRE_OK(quire_book_open(&book, engine, &err));
            status = quire_book_read(book, ids, N_TOKENS, 0, &err);
            if (status == QUIRE_ERR_CANCELLED) {
                n_stops++;
                countdown.n_left = n + 5; /* the next run gets further */
                quire_book_close(book);
                quire_engine_close(engine);
            }
        }
        REQUIRE_OK(status);
        is_past_the_end = n_stops == 0;
        CHECK(n_stops < 200);
        quire_engine_options plain = opts;
        plain.store_path = NULL;
        plain.progress = NULL;
        struct reading whole = read_ids(model, &plain, ids, N_TOKENS);
        for (size_t i = 0; i < vocab_size; i++)
            CHECK(quire_book_logits(book)[i] == whole.logits[i]);
        reading_release(&whole);
        quire_book_close(book);
        quire_engine_close(engine);
        if (test_n_failed_checks > 0) {
            fprintf(stderr, "stopped after %d\n", n);
            break;
        }
    }
    CHECK(n_runs > 6);
    free(ids);
    quire_model_close(model);
    remove_folder(folder);
}

/* Decode agrees with prefill, and appending leaves the stored text alone. */
static void append(void)
{
    char folder[64];
    make_folder(folder);
    quire_error err = {0};
    quire_model *model = golden_model(models[0]);
    size_t vocab_size = quire_model_config(model)->vocab_size;
    int32_t *ids = random_ids(N_TOKENS, (uint32_t)vocab_size, 41);
    quire_engine_options opts = quire_engine_defaults();
    opts.kv_type = QUIRE_KV_F32;
    opts.isa = float32_isa();
    opts.store_path = folder;
    for (size_t n_read = 190; n_read <= 194; n_read++) {
        quire_engine *engine;
        quire_book *book;
        size_t n_new = 200;
        REQUIRE_OK(quire_engine_open(&engine, model, &opts, &err));
        REQUIRE_OK(quire_book_open(&book, engine, &err));
        REQUIRE_OK(quire_book_read(book, ids, n_read, n_new, &err));
        for (size_t i = 0; i < n_new; i++)
            REQUIRE_OK(quire_book_append(book, ids[n_read + i], &err));
        quire_engine_options plain = opts;
        plain.store_path = NULL;
        struct reading want = read_ids(model, &plain, ids, n_read + n_new);
        for (size_t i = 0; i < vocab_size; i++)
            CHECK_NEAR((double)quire_book_logits(book)[i], (double)want.logits[i], 1e-4);
        quire_book_close(book);
        quire_engine_close(engine);
        struct reading again = read_ids(model, &opts, ids, n_read);
        CHECK_EQ_INT(again.n_reused, n_read);
        reading_release(&again);
        reading_release(&want);
    }
    free(ids);
    quire_model_close(model);
    remove_folder(folder);
}

static void bad_requests(void)
{
    quire_error err = {0};
    quire_model *model = golden_model("random-learned-positions");
    quire_engine_options opts = quire_engine_defaults();
    quire_engine *engine;
    quire_book *book, *second;
    int32_t id = 1 << 20;
    REQUIRE_OK(quire_engine_open(&engine, model, &opts, &err));
    REQUIRE_OK(quire_book_open(&book, engine, &err));
    CHECK_EQ_INT(quire_book_open(&second, engine, &err), QUIRE_ERR_USAGE);
    quire_error_clear(&err);
    CHECK_EQ_INT(quire_book_append(book, 0, &err), QUIRE_ERR_USAGE);
    quire_error_clear(&err);
    CHECK_EQ_INT(quire_book_read(book, &id, 0, 0, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "no tokens");
    quire_error_clear(&err);
    CHECK_EQ_INT(quire_book_read(book, &id, 1, 0, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "1048576");
    quire_error_clear(&err);
    int32_t *ids = random_ids(5000, 8, 51);
    CHECK_EQ_INT(quire_book_read(book, ids, 5000, 0, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "learned positions");
    quire_error_clear(&err);
    CHECK(quire_book_logits(book) == NULL);
    quire_book_close(book);
    quire_engine_close(engine);
    opts.kv_type = QUIRE_KV_TYPE_COUNT;
    CHECK_EQ_INT(quire_engine_open(&engine, model, &opts, &err), QUIRE_ERR_USAGE);
    free(ids);
    quire_model_close(model);
}

static const struct test tests[] = {
    {"chunk", chunk},
    {"span", span},
    {"threads", threads},
    {"memory", memory},
    {"isa", isa},
    {"reuse", reuse},
    {"append", append},
    {"interruption", interruption},
    {"bad_requests", bad_requests},
};

TEST_MAIN(tests)
