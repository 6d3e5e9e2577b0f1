/* Power cuts. A real reading is recorded, call by call: a book with spans in flight, a cancellation, another run that
 * goes on from it, a branch of the book that is interrupted, too, and its
 * flight dropped. After every beginning of it the disk is made as a
 * crash may leave it (kv_record.h), in each way: the store opens, holds at least what it had said to be durable, and
 * all that it serves is what the reading nobody disturbed has; and of some of these disks a whole reading to the end,
 * bit for bit. */
#include <unistd.h>

#include "golden.h"
#include "kv/kv_book.h"
#include "kv/kv_record.h"
#include "kv/kv_test.h"

/* Chunks of one block and spans of two: wherever a reading starts again, its chunks have the same edges, and so its
 * numbers the same bits. */
enum { CHUNK = 64, SPAN = 128, N_TEXTS = 2, N_READINGS = 80 };
#ifdef TEST_SANITIZED
enum { STEP = 5 }; /* of the crashes, one in so many, so that each way meets other calls */
#else
enum { STEP = 1 };
#endif
/* Each moment's disks: chance has several goes at those where it has a part. */
static const enum record_crash crashes[] = {RECORD_KEPT, RECORD_DROPPED, RECORD_TORN, RECORD_REORDERED,
                                            RECORD_REORDERED};
enum { N_CRASHES = sizeof crashes / sizeof *crashes };
enum { WHOLE, BRANCHED };
static const size_t lengths[N_TEXTS] = {300, 330}; /* both end inside a block */
enum { N_COMMON = 200, BASE = 192 };

struct fixture {
    quire_model *model;
    size_t vocab_size, d_model;
    int32_t *texts[N_TEXTS];
    char folder[KV_PATH_SIZE]; /* of the undisturbed readings */
    struct kv_store *store;
    struct kv_book *books[N_TEXTS]; /* theirs */
    float *logits[N_TEXTS];
};

static int count_down(void *user, const quire_progress *progress)
{
    int *n_left = user;
    (void)progress;
    return (*n_left)-- == 0;
}

struct run {
    int text;
    double commit_seconds;
    uint32_t span_tokens;
    int n_steps; /* the reading stops itself after so many; -1: it goes to the end */
};

/* logits (may be NULL): those at the text's end. */
static void read_text(const struct fixture *f, const char *store, struct run run, float *logits)
{
    int n_steps = run.n_steps;
    bool is_cut = n_steps >= 0;
    quire_error err = {0};
    quire_engine_options opts = quire_engine_defaults();
    opts.store_path = store;
    opts.chunk_tokens = CHUNK;
    opts.span_tokens = run.span_tokens;
    opts.n_threads = 1;
    opts.commit_seconds = run.commit_seconds;
    opts.progress = is_cut ? count_down : NULL;
    opts.user = &n_steps;
    quire_engine *engine;
    quire_book *book;
    REQUIRE_OK(quire_engine_open(&engine, f->model, &opts, &err));
    REQUIRE_OK(quire_book_open(&book, engine, &err));
    quire_status status = quire_book_read(book, f->texts[run.text], lengths[run.text], 1, &err);
    CHECK_EQ_INT(status, is_cut ? QUIRE_ERR_CANCELLED : QUIRE_OK);
    if (status != QUIRE_OK && !is_cut)
        fprintf(stderr, "text %d: %s\n", run.text, err.message);
    CHECK(quire_book_notice(book, 0) == NULL);
    if (status == QUIRE_OK && logits)
        memcpy(logits, quire_book_logits(book), f->vocab_size * sizeof *logits);
    quire_book_close(book);
    quire_engine_close(engine);
}

/* The life that is recorded: saved after every step, interrupted and gone on with; then a branch of it, interrupted,
 * and read by a run whose spans are too short for the one that is in flight: it is dropped. */
static void live(const struct fixture *f, const char *store)
{
    static const struct run runs[] = {
        {WHOLE, 0, SPAN, 15}, {WHOLE, 0, SPAN, -1}, {BRANCHED, 3600, SPAN, 3}, {BRANCHED, 0, SPAN / 2, -1}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        read_text(f, store, runs[i], NULL);
}

struct listing {
    char names[8][17];
    size_t n;
};

static void note_book(void *context, const char *name)
{
    struct listing *books = context;
    if (books->n < 8)
        snprintf(books->names[books->n++], sizeof books->names[0], "%.16s", name);
}

static struct listing list_books(const char *store)
{
    struct listing books = {0};
    char path[KV_PATH_SIZE];
    quire_error err = {0};
    kv_path(path, store, "books");
    CHECK_OK(kv_folder_list(path, note_book, &books, &err));
    return books;
}

static bool read_manifest(struct kv_manifest *out, const char *store, const char *book)
{
    char path[KV_PATH_SIZE];
    quire_error err = {0};
    kv_path(path, store, "books/%s/manifest", book);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t n = fread(out, 1, sizeof *out, file);
    fclose(file);
    CHECK_OK(kv_manifest_check(out, n, path, &err));
    return true;
}

static struct kv_store *open_store(const char *folder)
{
    struct listing books = list_books(folder);
    struct kv_manifest manifest = {0};
    quire_error err = {0};
    struct kv_store *store;
    CHECK(books.n > 0 && read_manifest(&manifest, folder, books.names[0]));
    struct kv_store_options opts = {
        .path = folder,
        .geometry = {manifest.n_layers, manifest.n_heads, manifest.head_dim, (quire_kv_type)manifest.type},
        .identity = manifest.identity,
    };
    REQUIRE_OK(kv_store_open(&store, &opts, &err));
    return store;
}

static void set_up(struct fixture *f)
{
    quire_error err = {0};
    *f = (struct fixture){.model = golden_model("random-heads-6-grouped")};
    const quire_config *config = quire_model_config(f->model);
    f->vocab_size = config->vocab_size;
    f->d_model = config->d_model;
    kv_test_begin(f->folder);
    for (int i = 0; i < N_TEXTS; i++) {
        f->texts[i] = random_ids(lengths[i], config->vocab_size, 101 + i);
        if (i != WHOLE)
            memcpy(f->texts[i], f->texts[WHOLE], N_COMMON * sizeof(int32_t));
        f->logits[i] = malloc(f->vocab_size * sizeof(float));
        read_text(f, f->folder, (struct run){i, 3600, SPAN, -1}, f->logits[i]);
    }
    f->store = open_store(f->folder);
    for (int i = 0; i < N_TEXTS; i++)
        REQUIRE_OK(kv_book_open(&f->books[i], f->store, f->texts[i], lengths[i], false, &err));
}

static void tear_down(struct fixture *f)
{
    for (int i = 0; i < N_TEXTS; i++) {
        kv_book_close(f->books[i]);
        free(f->texts[i]);
        free(f->logits[i]);
    }
    kv_store_close(f->store);
    kv_test_end(f->folder);
    quire_model_close(f->model);
}

/* --- what a disk holds ------------------------------------------------------------------------------------------- */

/* The generations that were acknowledged: the manifest's name was synced after it had been renamed into its place. */
struct acknowledged {
    char book[RECORD_NAME_SIZE];
    uint64_t generation;
};

static size_t acknowledge(struct acknowledged *books, const struct record *record, size_t n_events)
{
    size_t n = 0;
    for (size_t i = 0; i < n_events; i++) {
        const struct record_event *renamed = &record->events[i], *sync = renamed + 1, *written = renamed;
        if (renamed->kind != RECORD_RENAME || strcmp(renamed->name, "manifest") != 0 || i + 1 == n_events)
            continue;
        CHECK(sync->kind == RECORD_SYNC && sync->node == renamed->folder);
        while (written->kind != RECORD_WRITE || written->node != renamed->node)
            written--;
        size_t b = 0;
        const char *name = record->nodes[renamed->folder].name;
        while (b < n && strcmp(books[b].book, name) != 0)
            b++;
        n += b == n;
        snprintf(books[b].book, sizeof books[b].book, "%s", name);
        memcpy(&books[b].generation, written->data + offsetof(struct kv_manifest, generation), sizeof(uint64_t));
    }
    return n;
}

/* Whether the book has the same numbers as the undisturbed one, in each block before the position that its layer has.
 */
static bool is_same(const struct kv_book *book, const struct kv_book *want)
{
    const struct kv_geometry *geometry = &book->own.geometry;
    size_t row_bytes = kv_row_bytes(geometry);
    for (uint32_t i = 0; i < geometry->n_layers; i++)
        for (uint32_t h = 0; h < geometry->n_heads; h++)
            for (size_t first = 0; first < book->layers[i].n_tokens; first += KV_BLOCK_TOKENS) {
                struct kv_block a = kv_book_block(book, i, h, first / KV_BLOCK_TOKENS);
                struct kv_block b = kv_book_block(want, i, h, first / KV_BLOCK_TOKENS);
                if (b.n_tokens < a.n_tokens || memcmp(a.k, b.k, a.n_tokens * row_bytes) != 0 ||
                    memcmp(a.v, b.v, a.n_tokens * row_bytes) != 0)
                    return false;
            }
    return true;
}

static void check_text(const struct fixture *f, struct kv_store *store, int text)
{
    struct kv_book *book;
    struct kv_flight flight;
    bool has_flight;
    quire_error err = {0};
    REQUIRE_OK(kv_book_open(&book, store, f->texts[text], lengths[text], false, &err));
    CHECK_EQ_STR(kv_store_notice(store) ? kv_store_notice(store) : "", ""); /* a crash is not damage */
    CHECK_OK(kv_book_flight(book, &flight, &has_flight));
    if (has_flight) {
        size_t n_bytes = (flight.span_end - flight.span_first) * f->d_model * sizeof(float);
        float *residual = malloc(n_bytes);
        CHECK_OK(kv_book_load_residual(book, residual, n_bytes, &err));
        free(residual);
    }
    for (uint32_t i = 0; i < store->geometry.n_layers; i++)
        for (uint32_t h = 0; h < store->geometry.n_heads; h++)
            CHECK_OK(kv_book_check(book, i, h, &err)); /* KV-6 */
    CHECK_OK(kv_book_verify(book, &err));
    CHECK(is_same(book, f->books[text])); /* KV-1, KV-2, KV-3 */
    kv_book_close(book);
}

static void check_disk(const struct fixture *f, const struct record *record, size_t n_events, const char *folder)
{
    struct acknowledged acknowledged[8];
    size_t n_acknowledged = acknowledge(acknowledged, record, n_events);
    struct kv_store_options opts = {.path = folder, .geometry = f->store->geometry, .identity = f->store->identity};
    struct kv_store *store;
    quire_error err = {0};
    CHECK_OK(kv_store_open(&store, &opts, &err));
    if (test_n_failed_checks > 0)
        return;
    struct listing books = list_books(folder);
    for (size_t i = 0; i < books.n; i++) { /* KV-5: no leftovers; each book whole, and not behind what was said */
        struct kv_manifest manifest = {0};
        char path[KV_PATH_SIZE];
        kv_path(path, folder, "books/%s", books.names[i]);
        CHECK(read_manifest(&manifest, folder, books.names[i]));
        CHECK(!kv_side_has_leftovers(path, &manifest));
        for (size_t a = 0; a < n_acknowledged; a++)
            if (strcmp(acknowledged[a].book, books.names[i]) == 0) {
                CHECK(manifest.generation >= acknowledged[a].generation);
                acknowledged[a].generation = 0;
            }
    }
    for (size_t a = 0; a < n_acknowledged; a++)
        CHECK_EQ_INT(acknowledged[a].generation, 0); /* no book is lost */
    for (int i = 0; i < N_TEXTS; i++)
        check_text(f, store, i);
    kv_store_close(store);
}

static void read_to_the_end(const struct fixture *f, const char *folder)
{
    quire_error err = {0};
    size_t n_bytes = f->vocab_size * sizeof(float);
    float *logits = malloc(n_bytes);
    for (int i = 0; i < N_TEXTS; i++) {
        memset(logits, 0xFF, n_bytes);
        read_text(f, folder, (struct run){i, 3600, SPAN, -1}, logits);
        CHECK(memcmp(logits, f->logits[i], n_bytes) == 0);
    }
    struct kv_store *store = open_store(folder);
    for (int i = 0; i < N_TEXTS; i++) {
        struct kv_book *book;
        REQUIRE_OK(kv_book_open(&book, store, f->texts[i], lengths[i], false, &err));
        CHECK_EQ_INT(kv_book_frontier(book), lengths[i]);
        CHECK(is_same(book, f->books[i]));
        kv_book_close(book);
    }
    kv_store_close(store);
    free(logits);
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void every_crash_leaves_a_sound_store(void) /* KV-1 to KV-6 */
{
    struct fixture f;
    struct record record;
    char folder[KV_PATH_SIZE], store[KV_PATH_SIZE];
    size_t n_disks = 0, n_readings = 0;
    set_up(&f);
    kv_test_begin(folder);
    kv_path(store, folder, "a/store"); /* two folders to be made */
    record_begin(&record, folder);
    live(&f, store);
    record_end();
    struct kv_manifest manifest = {0};
    CHECK_EQ_INT(list_books(store).n, N_TEXTS);
    CHECK(read_manifest(&manifest, store, list_books(store).names[0]));
    read_to_the_end(&f, store);
    kv_test_end(folder);
    for (size_t n = 0; n <= record.n_events; n++)
        for (size_t c = 0; c < N_CRASHES && test_n_failed_checks == 0; c++) {
            size_t index = n * N_CRASHES + c;
            if (index % STEP != 0)
                continue;
            kv_test_begin(folder);
            kv_path(store, folder, "a/store");
            record_replay(&record, n, crashes[c], index, folder);
            check_disk(&f, &record, n, store);
            n_disks++;
            if (n_disks % (record.n_events * N_CRASHES / STEP / N_READINGS) == 0 && test_n_failed_checks == 0) {
                read_to_the_end(&f, store);
                n_readings++;
            }
            if (test_n_failed_checks > 0)
                fprintf(stderr, "a crash after call %zu of %zu, %s\n", n, record.n_events,
                        record_crash_names[crashes[c]]);
            kv_test_end(folder);
        }
    printf("     %zu calls, %zu disks, %zu of them read to the end\n", record.n_events, n_disks, n_readings);
    CHECK(n_readings >= 60);
    CHECK(record.n_events > 400);
    record_release(&record);
    tear_down(&f);
}

static const struct test tests[] = {
    {"every_crash_leaves_a_sound_store", every_crash_leaves_a_sound_store},
};
TEST_MAIN(tests)
