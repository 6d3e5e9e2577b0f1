/* Work that is asked to stop, stops wherever it is; and what a plan says that is needed is enough. */
#include "golden.h"
#include "test.h"

enum { N = 900, N_NEW = 3 };

struct fixture {
    quire_model *model;
    quire_engine_options opts;
    int32_t *ids;
    quire_engine *engine;
    quire_book *book;
    size_t n_scored;
    double work_done, work_before_scores;
    bool stops; /* by the answer of progress, and by a request besides */
};

static void set_up(struct fixture *f)
{
    *f = (struct fixture){.model = golden_model("random-alibi-16-clip"), .opts = quire_engine_defaults()};
    f->ids = random_ids(N + N_NEW, quire_model_config(f->model)->vocab_size, 7);
    f->opts.n_threads = 1;
    f->opts.user = f;
}

static void open_book(struct fixture *f)
{
    quire_error err = {0};
    REQUIRE_OK(quire_engine_open(&f->engine, f->model, &f->opts, &err));
    REQUIRE_OK(quire_book_open(&f->book, f->engine, &err));
}

static void tear_down(struct fixture *f)
{
    quire_book_close(f->book);
    quire_engine_close(f->engine);
    free(f->ids);
    quire_model_close(f->model);
}

static int on_progress(void *user, const quire_progress *progress)
{
    struct fixture *f = user;
    CHECK(progress->work_done >= f->work_done || progress->is_decode);
    CHECK(progress->work_done <= 1);
    f->work_done = progress->work_done;
    if (f->stops)
        quire_engine_cancel(f->engine);
    return f->stops;
}

static void stop_at_once(void *user, uint64_t first, const int32_t *ids, const float *logprobs, size_t n)
{
    struct fixture *f = user;
    (void)first, (void)ids, (void)logprobs;
    if (f->n_scored == 0)
        f->work_before_scores = f->work_done;
    f->n_scored += n;
    quire_engine_cancel(f->engine);
}

/* They come behind all layers, and take their time with a large vocabulary. */
static void log_probabilities_stop(void)
{
    struct fixture f;
    quire_error err = {0};
    set_up(&f);
    f.opts.logprobs = stop_at_once;
    f.opts.progress = on_progress;
    open_book(&f);
    CHECK_EQ_INT(quire_book_read(f.book, f.ids, N, 0, &err), QUIRE_ERR_CANCELLED);
    CHECK(f.n_scored > 0 && f.n_scored < N - 1);
    CHECK(f.work_before_scores > 0 && f.work_before_scores < 1); /* they are a part of the work */
    tear_down(&f);
}

/* What was read by then is kept where there is a store. */
static void what_was_read_before_them_is_kept(void)
{
    struct fixture f;
    char folder[64];
    quire_error err = {0};
    set_up(&f);
    size_t n_bytes = quire_model_config(f.model)->vocab_size * sizeof(float);
    struct reading whole = read_ids(f.model, &f.opts, f.ids, N);
    make_folder(folder);
    f.opts.store_path = folder;
    f.opts.logprobs = stop_at_once;
    open_book(&f);
    CHECK_EQ_INT(quire_book_read(f.book, f.ids, N, 0, &err), QUIRE_ERR_CANCELLED);
    quire_error_clear(&err);
    quire_book_close(f.book);
    quire_engine_close(f.engine);
    f.opts.logprobs = NULL;
    open_book(&f);
    CHECK_OK(quire_book_read(f.book, f.ids, N, 0, &err));
    CHECK(quire_book_n_reused(f.book) >= N - 64);
    CHECK(quire_book_logits(f.book) && memcmp(quire_book_logits(f.book), whole.logits, n_bytes) == 0);
    tear_down(&f);
    reading_release(&whole);
    remove_folder(folder);
}

/* A request is answered once: the token that was complete by then stays, and the next one goes on. */
static void a_request_is_answered_once(void)
{
    struct fixture f;
    quire_error err = {0};
    set_up(&f);
    f.opts.progress = on_progress;
    open_book(&f);
    REQUIRE_OK(quire_book_read(f.book, f.ids, N, N_NEW, &err));
    f.stops = true;
    CHECK_EQ_INT(quire_book_append(f.book, f.ids[N], &err), QUIRE_ERR_CANCELLED);
    quire_error_clear(&err);
    CHECK_EQ_INT(quire_book_n_tokens(f.book), N + 1);
    f.stops = false;
    CHECK_OK(quire_book_append(f.book, f.ids[N + 1], &err));
    CHECK(quire_book_logits(f.book) != NULL);
    tear_down(&f);
}

/* The smallest budget covers what is appended, with what is drafted ahead of it. */
static void the_least_budget_is_enough(void)
{
    static const uint64_t texts[][2] = {{1, 84000}, {1, 100}, {900, 3}, {84000, 1000}, {5000, 0}};
    struct fixture f;
    quire_error err = {0};
    set_up(&f);
    f.opts.draft_tokens = 15;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        quire_plan plan = {0};
        f.opts.memory_bytes = 1;
        REQUIRE_OK(quire_engine_open(&f.engine, f.model, &f.opts, &err));
        CHECK_EQ_INT(quire_engine_plan(f.engine, texts[i][0], texts[i][1], &plan, &err), QUIRE_ERR_NO_MEMORY);
        quire_error_clear(&err);
        quire_engine_close(f.engine);
        f.opts.memory_bytes = plan.least_bytes;
        REQUIRE_OK(quire_engine_open(&f.engine, f.model, &f.opts, &err));
        CHECK_OK(quire_engine_plan(f.engine, texts[i][0], texts[i][1], &plan, &err));
        CHECK(plan.memory_bytes <= f.opts.memory_bytes);
        quire_engine_close(f.engine);
    }
    f.engine = NULL;
    tear_down(&f);
}

static const struct test tests[] = {
    {"log_probabilities_stop", log_probabilities_stop},
    {"what_was_read_before_them_is_kept", what_was_read_before_them_is_kept},
    {"a_request_is_answered_once", a_request_is_answered_once},
    {"the_least_budget_is_enough", the_least_budget_is_enough},
};

TEST_MAIN(tests)
