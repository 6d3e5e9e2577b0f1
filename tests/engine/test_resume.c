/* An interrupted reading is hours of work: it is gone on with under a limit of the store, on a full disk, and by a run
 * whose spans are shorter; where that cannot be, it is kept. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "engine/engine.h"
#include "golden.h"
#include "kv/kv_test.h"
#include "quire/store.h"

enum { N = 3000, SPAN = 2000, CHUNK = 64, N_STEPS = 40 /* within the first span */ };

struct fixture {
    quire_model *model;
    char folder[KV_PATH_SIZE];
    int32_t *ids;
    quire_engine_options opts;
    quire_engine *engine;
    quire_book *book;
    struct reading whole; /* what the text's reading must end with */
    size_t n_steps;       /* until the reading is interrupted */
    bool kills;           /* and not by being asked to stop */
};

static int count_down(void *user, const quire_progress *progress)
{
    struct fixture *f = user;
    (void)progress;
    if (f->n_steps == 0 || --f->n_steps > 0)
        return 0;
    if (f->kills)
        raise(SIGKILL);
    return 1;
}

static void set_up(struct fixture *f)
{
    *f = (struct fixture){.model = golden_model("random-heads-6-grouped"), .opts = quire_engine_defaults()};
    kv_test_begin(f->folder);
    f->ids = random_ids(N, quire_model_config(f->model)->vocab_size, 43);
    f->opts.chunk_tokens = CHUNK;
    f->opts.n_threads = 1;
    f->whole = read_ids(f->model, &f->opts, f->ids, N);
    f->opts.store_path = f->folder;
    f->opts.span_tokens = SPAN;
    f->opts.progress = count_down;
    f->opts.user = f;
}

static void tear_down(struct fixture *f)
{
    free(f->ids);
    reading_release(&f->whole);
    kv_test_end(f->folder);
    quire_model_close(f->model);
}

static void open_engine(struct fixture *f)
{
    quire_error err = {0};
    REQUIRE_OK(quire_engine_open(&f->engine, f->model, &f->opts, &err));
    REQUIRE_OK(quire_book_open(&f->book, f->engine, &err));
}

static void close_engine(struct fixture *f)
{
    quire_book_close(f->book);
    quire_engine_close(f->engine);
}

static void interrupt_after(struct fixture *f, size_t n_steps)
{
    quire_error err = {0};
    f->n_steps = n_steps;
    open_engine(f);
    CHECK_EQ_INT(quire_book_read(f->book, f->ids, N, 0, &err), QUIRE_ERR_CANCELLED);
    close_engine(f);
}

static void kill_after(struct fixture *f, size_t n_steps)
{
    quire_error err = {0};
    pid_t child = fork();
    if (child == 0) {
        f->opts.commit_seconds = 0;
        f->n_steps = n_steps;
        f->kills = true;
        open_engine(f);
        quire_book_read(f->book, f->ids, N, 0, &err);
        _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The open book is read to its end, by what was interrupted and the rest. */
static void go_on(struct fixture *f)
{
    quire_error err = {0};
    size_t n_bytes = quire_model_config(f->model)->vocab_size * sizeof(float);
    CHECK_OK(quire_book_read(f->book, f->ids, N, 0, &err));
    CHECK(quire_book_n_resumed(f->book) > 0);
    CHECK(err.status == QUIRE_OK && memcmp(quire_book_logits(f->book), f->whole.logits, n_bytes) == 0);
}

static quire_plan plan_with(struct fixture *f, uint64_t memory_bytes, uint32_t span_tokens)
{
    quire_plan plan = {0};
    quire_engine *engine;
    quire_error err = {0};
    quire_engine_options opts = f->opts;
    opts.memory_bytes = memory_bytes;
    opts.span_tokens = span_tokens;
    REQUIRE_OK(quire_engine_open(&engine, f->model, &opts, &err));
    quire_status status = quire_engine_plan(engine, N, 0, &plan, &err);
    CHECK(status == QUIRE_OK || status == QUIRE_ERR_NO_MEMORY);
    quire_engine_close(engine);
    return plan;
}

/* The smallest budget for a text of N tokens; span_tokens 0: as short as they come. */
static uint64_t least_bytes(struct fixture *f, uint32_t span_tokens)
{
    return plan_with(f, 1, span_tokens).least_bytes;
}

static size_t n_books(const struct fixture *f, uint64_t *n_bytes)
{
    quire_error err = {0};
    quire_store *store;
    quire_stored_book *books;
    size_t n = 0;
    REQUIRE_OK(quire_store_open(&store, f->folder, false, &err));
    REQUIRE_OK(quire_store_list(store, &books, &n, &err));
    *n_bytes = 0;
    for (size_t i = 0; i < n; i++)
        *n_bytes += books[i].disk_bytes;
    free(books);
    quire_store_close(store);
    return n;
}

/* What the interrupted run left on the disk is part of what the reading takes, not next to it: an older book stays. */
static void a_limit_counts_no_work_twice(bool by_kill)
{
    struct fixture f;
    quire_error err = {0};
    uint64_t n_bytes;
    set_up(&f);
    f.ids[0]++;
    open_engine(&f);
    CHECK_OK(quire_book_read(f.book, f.ids, N, 0, &err));
    close_engine(&f);
    f.ids[0]--;
    CHECK_EQ_INT(n_books(&f, &n_bytes), 1);
    quire_plan plan = plan_with(&f, 0, SPAN);
    f.opts.store_limit_bytes = n_bytes + plan.disk_bytes + plan.flight_bytes + plan.disk_bytes / 16;
    if (by_kill)
        kill_after(&f, N_STEPS);
    else
        interrupt_after(&f, N_STEPS);
    open_engine(&f);
    go_on(&f);
    close_engine(&f);
    CHECK_EQ_INT(n_books(&f, &n_bytes), 2);
    CHECK(n_bytes <= f.opts.store_limit_bytes);
    tear_down(&f);
}

static void a_stopped_reading_fits_its_limit(void)
{
    a_limit_counts_no_work_twice(false);
}

static void a_killed_reading_fits_its_limit(void)
{
    a_limit_counts_no_work_twice(true);
}

static uint64_t free_bytes;

static int small_statvfs(const char *path, struct statvfs *st)
{
    int result = sys_real.statvfs(path, st);
    st->f_bavail = free_bytes / st->f_frsize;
    return result;
}

/* Of the two residual streams that a commit has for a moment one is there already. */
static void a_stopped_reading_fits_its_disk(void)
{
    struct fixture f;
    set_up(&f);
    interrupt_after(&f, N_STEPS);
    open_engine(&f);
    struct kv_geometry geometry = engine_kv_geometry(&f.model->config, f.opts.kv_type);
    free_bytes = kv_disk_bytes(&geometry, KV_BLOCK_TOKENS) + plan_with(&f, 0, SPAN).flight_bytes / 2 + 4096;
    sys.statvfs = small_statvfs;
    go_on(&f);
    sys = sys_real;
    close_engine(&f);
    tear_down(&f);
}

static void shorter_spans_go_on_with_a_longer_one(void)
{
    struct fixture f;
    set_up(&f);
    interrupt_after(&f, N_STEPS);
    f.opts.span_tokens = 300;
    open_engine(&f);
    go_on(&f);
    close_engine(&f);
    tear_down(&f);
}

/* Whatever the chunk, which the budget decides too: with the least that does, the plan keeps to it. */
static void a_smaller_budget_goes_on(void)
{
    struct fixture f;
    set_up(&f);
    f.opts.span_tokens = 0;
    interrupt_after(&f, N_STEPS);
    f.opts.chunk_tokens = 0;
    f.opts.memory_bytes = least_bytes(&f, N);
    CHECK(plan_with(&f, f.opts.memory_bytes, 0).span_tokens < N);
    open_engine(&f);
    go_on(&f);
    CHECK_EQ_INT(f.book->plan.figures.span_tokens, N);
    CHECK(f.book->plan.figures.memory_bytes <= f.opts.memory_bytes);
    CHECK(quire_book_notice(f.book, 0) == NULL);
    close_engine(&f);
    tear_down(&f);
}

static void a_flight_too_long_for_the_budget_is_kept(void)
{
    struct fixture f;
    quire_error err = {0};
    set_up(&f);
    interrupt_after(&f, N_STEPS);
    f.opts.span_tokens = 0;
    f.opts.memory_bytes = least_bytes(&f, 0);
    CHECK(f.opts.memory_bytes < least_bytes(&f, SPAN));
    for (int i = 0; i < 2; i++) { /* nothing is thrown away by trying */
        open_engine(&f);
        CHECK_EQ_INT(quire_book_read(f.book, f.ids, N, 0, &err), QUIRE_ERR_NO_MEMORY);
        CHECK_MESSAGE(err, "2000 tokens in flight");
        CHECK_MESSAGE(err, "--memory");
        quire_error_clear(&err);
        close_engine(&f);
    }
    f.opts.memory_bytes = least_bytes(&f, SPAN);
    open_engine(&f);
    go_on(&f);
    close_engine(&f);
    tear_down(&f);
}

/* A budget that nobody asked for is not a reason to stop. */
static void the_own_budget_gives_way(void)
{
    struct fixture f;
    set_up(&f);
    interrupt_after(&f, N_STEPS);
    f.opts.span_tokens = 0;
    uint64_t least = least_bytes(&f, 0);
    open_engine(&f);
    f.engine->opts.memory_bytes = least; /* as if that were three quarters of what is free */
    go_on(&f);
    const char *notice = quire_book_notice(f.book, 0);
    CHECK(notice && strstr(notice, "2000 tokens that were in flight"));
    close_engine(&f);
    tear_down(&f);
}

/* Where the first chunk was not computed there is nothing to be kept. */
static void a_flight_without_work_stops_nobody(void)
{
    struct fixture f;
    quire_error err = {0};
    uint64_t n_bytes;
    set_up(&f);
    interrupt_after(&f, 1);
    n_books(&f, &n_bytes);
    CHECK(n_bytes < SPAN * quire_model_config(f.model)->d_model * sizeof(float)); /* a residual stream of a span */
    f.opts.span_tokens = 0;
    f.opts.memory_bytes = least_bytes(&f, 0);
    open_engine(&f);
    CHECK_OK(quire_book_read(f.book, f.ids, N, 0, &err));
    CHECK_EQ_INT(quire_book_n_resumed(f.book), 0);
    close_engine(&f);
    tear_down(&f);
}

static const struct test tests[] = {
    {"a_stopped_reading_fits_its_limit", a_stopped_reading_fits_its_limit},
    {"a_killed_reading_fits_its_limit", a_killed_reading_fits_its_limit},
    {"a_stopped_reading_fits_its_disk", a_stopped_reading_fits_its_disk},
    {"shorter_spans_go_on_with_a_longer_one", shorter_spans_go_on_with_a_longer_one},
    {"a_smaller_budget_goes_on", a_smaller_budget_goes_on},
    {"a_flight_too_long_for_the_budget_is_kept", a_flight_too_long_for_the_budget_is_kept},
    {"the_own_budget_gives_way", the_own_budget_gives_way},
    {"a_flight_without_work_stops_nobody", a_flight_without_work_stops_nobody},
};

TEST_MAIN(tests)
