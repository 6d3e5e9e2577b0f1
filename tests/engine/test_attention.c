/* Attention against the same in float64, over all keys: the certified stop keeps its bound, leaves out what it can, and
 * never depends on how the work is cut. */
#include "base/kv_rows.h"
#include "base/mem.h"
#include "engine/attention.h"
#include "golden.h"
#include "kernels/attention_stop.h"
#include "test.h"

enum { HEADS = 4, DIM = 16, WIDTH = HEADS * DIM, MOST_QUERIES = 200 };

/* Under the sanitizers fewer positions walk the same code. */
#ifdef TEST_SANITIZED
enum { LONG = 12000 };
#else
enum { LONG = 84000 };
#endif

/* Keys, values and queries of a text, [n][WIDTH] each; queries are of its last n_queries tokens. */
struct text {
    size_t n, n_queries;
    float *k, *v, *q;
    float slopes[HEADS];
};

/* What makes a text: fills k, v and q, which are random in -1..1. */
typedef void make_fn(struct text *text, uint64_t *seed);

static struct text make_text(size_t n, size_t n_queries, make_fn *make, uint64_t seed)
{
    struct text text = {n, n_queries, NULL, NULL, NULL, {0.84089642f, 0x1p-4f, 0x1p-10f, 0x1p-16f}};
    text.k = malloc(n * WIDTH * sizeof(float));
    text.v = malloc(n * WIDTH * sizeof(float));
    text.q = malloc(n_queries * WIDTH * sizeof(float));
    for (size_t i = 0; i < n * WIDTH; i++) {
        text.k[i] = test_random_float(&seed);
        text.v[i] = test_random_float(&seed);
    }
    for (size_t i = 0; i < n_queries * WIDTH; i++)
        text.q[i] = test_random_float(&seed);
    make(&text, &seed);
    return text;
}

static void free_text(struct text *text)
{
    free(text->k);
    free(text->v);
    free(text->q);
}

static void leave_random(struct text *text, uint64_t *seed)
{
    (void)text;
    (void)seed;
}

/* Keys that all score the same. */
static void make_equal(struct text *text, uint64_t *seed)
{
    (void)seed;
    for (size_t i = 0; i < text->n * WIDTH; i++)
        text->k[i] = 0.25f;
}

/* Every score is far below zero, ever more so for newer keys. */
static void make_negative(struct text *text, uint64_t *seed)
{
    (void)seed;
    for (size_t i = 0; i < text->n_queries * WIDTH; i++)
        text->q[i] = 1;
    for (size_t i = 0; i < text->n * WIDTH; i++)
        text->k[i] = -2 - 30 * (float)(i / WIDTH) / (float)text->n;
}

/* The oldest keys are the longest, and point away from the queries. */
static void make_long_and_away(struct text *text, uint64_t *seed)
{
    (void)seed;
    for (size_t i = 0; i < text->n_queries * WIDTH; i++)
        text->q[i] = fabsf(text->q[i]);
    for (size_t i = 0; i < WIDTH * text->n / 3; i++)
        text->k[i] = -fabsf(text->k[i]) * 1000;
}

/* One key near the beginning wins against all others, in every head: q . k is above the bias by 30. Queries have a
 * common part that only the needle points along. */
enum { NEEDLE = 777 };
static void make_needle(struct text *text, uint64_t *seed)
{
    (void)seed;
    for (size_t i = 0; i < text->n_queries; i++)
        for (int h = 0; h < HEADS; h++)
            text->q[i * WIDTH + (size_t)h * DIM] = 4;
    for (int h = 0; h < HEADS; h++) {
        for (size_t j = 0; j < text->n; j++)
            text->k[j * WIDTH + (size_t)h * DIM] = 0;
        for (int c = 0; c < DIM; c++) {
            text->k[NEEDLE * WIDTH + h * DIM + c] = c ? 0 : ((float)text->n * text->slopes[h] + 30);
            text->v[NEEDLE * WIDTH + h * DIM + c] = 1 + (float)c;
        }
    }
}

/* An engine of attention alone, over a book of one layer. The scale of scores is 1/4. */
struct fixture {
    struct quire_model model;
    struct quire_engine engine;
    struct kv_book *book;
    struct attention_scratch scratch;
};

static void open_fixture(struct fixture *f, const struct text *text, quire_kv_type type, float eps, const char *isa,
                         uint32_t n_threads)
{
    quire_error err = {0};
    int32_t *ids = random_ids(text->n, 100, 1);
    *f = (struct fixture){0};
    f->model.config = (quire_config){.d_model = WIDTH,
                                     .n_heads = HEADS,
                                     .kv_n_heads = HEADS,
                                     .head_dim = DIM,
                                     .n_layers = 1,
                                     .alibi = true,
                                     .softmax_scale = 0.25f};
    f->engine.model = &f->model;
    f->engine.opts = (quire_engine_options){.kv_type = type, .attn_eps = eps};
    f->engine.slopes = (float *)(uintptr_t)text->slopes;
    struct kv_store_options store = {.geometry = engine_kv_geometry(&f->model.config, type), .identity = "attention"};
    REQUIRE_OK(kernels_choose(&f->engine.kernels, isa, &err));
    REQUIRE_OK(threads_open(&f->engine.threads, n_threads, &err));
    REQUIRE_OK(kv_store_open(&f->engine.store, &store, &err));
    REQUIRE_OK(kv_book_open(&f->book, f->engine.store, ids, text->n, false, &err));
    REQUIRE_OK(kv_book_put(f->book, 0, 0, text->n, text->k, text->v, WIDTH, &err));
    f->scratch.worker_floats = attention_scratch_floats(&f->model.config);
    size_t n_floats = n_threads * f->scratch.worker_floats + attention_token_floats(&f->model.config, text->n);
    f->scratch.memory = mem_aligned(n_floats, sizeof(float), "scratch", &err);
    free(ids);
}

static void close_fixture(struct fixture *f)
{
    free(f->scratch.memory);
    kv_book_close(f->book);
    kv_store_close(f->engine.store);
    threads_close(f->engine.threads);
}

/* The text's queries in chunks of at most `chunk`; 1: as single tokens, of which only the last one is asked for. */
static void run(struct fixture *f, const struct text *text, size_t chunk, float *out)
{
    quire_error err = {0};
    size_t start = text->n - text->n_queries;
    for (size_t at = chunk == 1 ? text->n - 1 : start, n; at < text->n; at += n) {
        n = size_min(chunk, text->n - at);
        struct attention a = {.kv = f->book,
                              .first = at,
                              .n = n,
                              .q = text->q + (at - start) * WIDTH,
                              .q_stride = WIDTH,
                              .out = out + (at - start) * WIDTH,
                              .scratch = &f->scratch};
        CHECK_OK(chunk == 1 ? attention_tokens(&f->engine, &a, &err) : attention_chunk(&f->engine, &a, &err));
    }
}

/* One query's output over all keys of a head, in float64. */
static void full_attention(const struct text *text, size_t query, int head, double out[DIM])
{
    const float *q = text->q + query * WIDTH + head * DIM;
    size_t n = text->n - text->n_queries + query + 1;
    double *scores = malloc(n * sizeof *scores), max = -INFINITY, sum = 0;
    for (size_t j = 0; j < n; j++) {
        const float *k = text->k + j * WIDTH + head * DIM;
        scores[j] = (double)text->slopes[head] * ((double)j - (double)(n - 1));
        for (int c = 0; c < DIM; c++)
            scores[j] += 0.25 * (double)q[c] * (double)k[c];
        max = fmax(max, scores[j]);
    }
    memset(out, 0, DIM * sizeof *out);
    for (size_t j = 0; j < n; j++) {
        double p = exp(scores[j] - max);
        sum += p;
        for (int c = 0; c < DIM; c++)
            out[c] += p * (double)text->v[j * WIDTH + (size_t)(head * DIM + c)];
    }
    for (int c = 0; c < DIM; c++)
        out[c] /= sum;
    free(scores);
}

/* Scores as large as `score` are rounded in float32; so the output is wrong by that much besides the bound. */
static void check_bound(const struct text *text, const float *out, size_t first, size_t step, double eps, double score,
                        double largest_value)
{
    double worst = 0;
    for (size_t query = first; query < text->n_queries; query += step)
        for (int head = 0; head < HEADS; head++) {
            double want[DIM];
            full_attention(text, query, head, want);
            for (int c = 0; c < DIM; c++)
                worst = fmax(worst, fabs(want[c] - (double)out[query * WIDTH + (size_t)(head * DIM + c)]));
        }
    CHECK(worst <= (2 * eps + 4e-6 + score * 0x1p-21) * largest_value);
    if (test_n_failed_checks > 0)
        fprintf(stderr, "error %g with eps %g\n", worst, eps);
}

static const struct {
    const char *name;
    make_fn *make;
    double score, largest_value;
} kinds[] = {
    {"random", leave_random, 4, 1},      {"equal", make_equal, 2, 1},
    {"negative", make_negative, 130, 1}, {"long and away", make_long_and_away, 4000, 1},
    {"needle", make_needle, 70630, DIM},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static const float epsilons[] = {0, 0x1p-24f, 1e-4f, 1e-2f};

static void the_error_is_bounded(void)
{
    static float out[MOST_QUERIES * WIDTH];
    for (int kind = 0; kind < N_KINDS && test_n_failed_checks == 0; kind++) {
        struct text text = make_text(LONG, 130, kinds[kind].make, 31 + (uint64_t)kind);
        for (size_t e = 0; e < sizeof epsilons / sizeof *epsilons; e++) {
            struct fixture f;
            open_fixture(&f, &text, QUIRE_KV_F32, epsilons[e], NULL, 2);
            run(&f, &text, 512, out);
            check_bound(&text, out, 0, 43, (double)epsilons[e], kinds[kind].score, kinds[kind].largest_value);
            uint64_t n_met = f.engine.n_blocks_met, n_due = f.engine.n_blocks_due;
            CHECK(epsilons[e] > 0 || n_met == n_due);
            CHECK(n_met >= (uint64_t)text.n_queries * HEADS);
            run(&f, &text, 1, out);
            check_bound(&text, out, text.n_queries - 1, 1, (double)epsilons[e], kinds[kind].score,
                        kinds[kind].largest_value);
            if (kinds[kind].make == leave_random && epsilons[e] > 0) /* the two steep heads read next to nothing */
                CHECK(n_met < n_due * 6 / 10);
            if (kinds[kind].make == make_needle)
                for (int i = 0; i < WIDTH; i++)
                    CHECK_NEAR((double)out[(text.n_queries - 1) * WIDTH + (size_t)i], 1.0 + i % DIM, 1e-3);
            close_fixture(&f);
        }
        if (test_n_failed_checks > 0)
            fprintf(stderr, "%s\n", kinds[kind].name);
        free_text(&text);
    }
}

/* Every table, and every KV type; short texts. Integers are compared with attention over the numbers that they stand
 * for. */
static void every_table_and_type(void)
{
    static float out[MOST_QUERIES * WIDTH];
    const struct kernels *table;
    int runs;
    for (size_t t = 0; (table = kernels_at(t, &runs)) != NULL; t++)
        for (int type = 0; runs && type < QUIRE_KV_TYPE_COUNT; type++)
            for (int kind = 0; kind < N_KINDS && test_n_failed_checks == 0; kind++) {
                struct text text = make_text(1700, 130, kinds[kind].make, 41 + (uint64_t)kind);
                struct fixture f;
                open_fixture(&f, &text, (quire_kv_type)type, 1e-6f, table->name, 1);
                for (size_t j = 0; j < text.n; j++) /* from here on the text is what the book holds */
                    for (uint32_t h = 0; h < HEADS; h++) {
                        struct kv_block block = kv_book_block(f.book, 0, h, j / 64);
                        float *k = text.k + j * WIDTH + h * DIM, *v = text.v + j * WIDTH + h * DIM;
                        kv_rows_unpack(k, block.k, (quire_kv_type)type, DIM, j % 64, 0, DIM);
                        kv_rows_unpack(v, block.v, (quire_kv_type)type, DIM, j % 64, 0, DIM);
                    }
                run(&f, &text, 512, out);
                check_bound(&text, out, 0, 7, 1e-6, kinds[kind].score, kinds[kind].largest_value);
                run(&f, &text, 1, out);
                /* Decode rounds queries and weights to 16 bits where keys and values are integers. */
                check_bound(&text, out, text.n_queries - 1, 1, type == QUIRE_KV_INT8 ? 4e-5 : 1e-6, kinds[kind].score,
                            kinds[kind].largest_value);
                close_fixture(&f);
                free_text(&text);
                if (test_n_failed_checks > 0)
                    fprintf(stderr, "table %s, type %s, %s\n", table->name, quire_kv_type_name((quire_kv_type)type),
                            kinds[kind].name);
            }
}

/* Chunks and threads change no bit, nor what is counted. */
static void cuts_change_nothing(void)
{
    static float want[MOST_QUERIES * WIDTH], got[MOST_QUERIES * WIDTH];
    static const size_t chunks[] = {7, 64, 100};
    struct text text = make_text(14000, MOST_QUERIES, leave_random, 51);
    struct fixture whole;
    open_fixture(&whole, &text, QUIRE_KV_INT8, 1e-5f, NULL, 1);
    run(&whole, &text, 512, want);
    uint64_t n_met = whole.engine.n_blocks_met;
    run(&whole, &text, 1, want);
    for (size_t c = 0; c < 3; c++)
        for (uint32_t n_threads = 1; n_threads <= 3; n_threads += 2) {
            struct fixture f;
            open_fixture(&f, &text, QUIRE_KV_INT8, 1e-5f, NULL, n_threads);
            memset(got, 0, sizeof got);
            run(&f, &text, chunks[c], got);
            CHECK_EQ_INT(f.engine.n_blocks_met, n_met);
            run(&f, &text, 1, got);
            CHECK_EQ_INT(memcmp(got, want, sizeof got), 0);
            CHECK_EQ_INT(f.engine.n_blocks_met, whole.engine.n_blocks_met);
            close_fixture(&f);
        }
    close_fixture(&whole);
    free_text(&text);
}

/* Tokens of one block that are met together: the bits of each by itself. */
static void few_together_change_nothing(void)
{
    static float want[DECODE_TOKENS * WIDTH], got[DECODE_TOKENS * WIDTH];
    static const size_t lengths[] = {40, 640, 4150, 8250, 14000};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
        for (int type = 0; type < QUIRE_KV_TYPE_COUNT; type++) {
            struct text text =
                make_text(lengths[l], DECODE_TOKENS, type % 2 ? make_long_and_away : leave_random, 61 + l);
            size_t start = text.n - DECODE_TOKENS;
            struct fixture f;
            quire_error err = {0};
            open_fixture(&f, &text, (quire_kv_type)type, 1e-5f, NULL, 1 + (uint32_t)type % 3);
            free(f.scratch.memory);
            f.scratch.memory = mem_aligned(DECODE_TOKENS * attention_token_floats(&f.model.config, text.n),
                                           sizeof(float), "scratch", &err);
            struct attention a = {.kv = f.book, .q_stride = WIDTH, .scratch = &f.scratch};
            for (size_t i = 0; i < DECODE_TOKENS; i++) {
                a.first = start + i;
                a.n = 1;
                a.q = text.q + i * WIDTH;
                a.out = want + i * WIDTH;
                CHECK_OK(attention_tokens(&f.engine, &a, &err));
            }
            uint64_t n_met = f.engine.n_blocks_met, n_due = f.engine.n_blocks_due;
            for (size_t i = 0, n; i < DECODE_TOKENS; i += n) {
                n = size_min(DECODE_TOKENS - i, KV_BLOCK_TOKENS - (start + i) % KV_BLOCK_TOKENS);
                a.first = start + i;
                a.n = n;
                a.q = text.q + i * WIDTH;
                a.out = got + i * WIDTH;
                CHECK_OK(attention_tokens(&f.engine, &a, &err));
            }
            CHECK_EQ_INT(memcmp(got, want, sizeof got), 0);
            CHECK_EQ_INT(f.engine.n_blocks_met, 2 * n_met);
            CHECK_EQ_INT(f.engine.n_blocks_due, 2 * n_due);
            close_fixture(&f);
            free_text(&text);
        }
}

/* The bound itself, where every older key is as long as the longest and points along the query: never yes when the rest
 * is more than eps, and yes when it is well below. */
static void the_bound_is_a_bound_and_a_near_one(void)
{
    uint64_t seed = 61;
    size_t n_yes = 0;
    for (int round = 0; round < 20000; round++) {
        float slope = exp2f(-(float)(test_random(&seed) % 65) / 4);
        float eps = exp2f(-1 - (float)(test_random(&seed) % 30));
        float norm = 10 * fabsf(test_random_float(&seed)), length = fabsf(test_random_float(&seed));
        float max = 8 * test_random_float(&seed), sum = 1 + 100 * fabsf(test_random_float(&seed));
        int64_t n = 1 + (int64_t)(test_random(&seed) % 3000), query = n + (int64_t)(test_random(&seed) % 100000);
        struct attention_stop stop = attention_stop_make(slope, eps, DIM);
        bool may = attention_may_stop(&stop, length, norm, query, n - 1, max, sum);
        double distance = (double)(query - n + 1);
        double steps = -expm1(-(double)slope * (double)n) / -expm1(-(double)slope);
        double rest = exp((double)length * (double)norm - (double)slope * distance - (double)max) * steps;
        CHECK(!may || rest <= (double)eps * (double)sum);
        CHECK(may || rest * 3 >= (double)eps * (double)sum * (1 - 1e-4));
        n_yes += may;
    }
    CHECK(n_yes > 1000 && n_yes < 19000);
    struct attention_stop never = attention_stop_make(1, 0, DIM), stop = attention_stop_make(1, 0.5f, DIM);
    CHECK(!attention_may_stop(&never, 0, 0, 1000000, 0, 100, 1e30f));
    CHECK(attention_may_stop(&stop, 1, 1, 1000, 0, 0, 1));
    CHECK(!attention_may_stop(&stop, 1, INFINITY, 1000, 0, 0, 1)); /* a key that is no number */
    CHECK(!attention_may_stop(&stop, NAN, 1, 1000, 0, 0, 1));
    CHECK(!attention_may_stop(&stop, 1, 1, 1000, 0, NAN, 1));
}

static const struct test tests[] = {
    {"the_bound_is_a_bound_and_a_near_one", the_bound_is_a_bound_and_a_near_one},
    {"the_error_is_bounded", the_error_is_bounded},
    {"every_table_and_type", every_table_and_type},
    {"cuts_change_nothing", cuts_change_nothing},
    {"few_together_change_nothing", few_together_change_nothing},
};

TEST_MAIN(tests)
