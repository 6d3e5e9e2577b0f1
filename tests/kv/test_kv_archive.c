/* Export and import: what comes out is what went in, one file alone, and nothing of a hostile file gets in. */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "kv/kv_archive.h"
#include "kv/kv_book.h"
#include "kv_test.h"
#include "quire/store.h"

enum { N = 300, COMMON = 200 };

/* A store with a book and a branch of it, an empty one, and a place for files. */
struct fixture {
    char folder[KV_PATH_SIZE], other[KV_PATH_SIZE], files[KV_PATH_SIZE], file[KV_PATH_SIZE];
    struct kv_geometry geometry;
    struct kv_store *store;
    quire_store *from, *to;
    int32_t *texts[2];
    uint64_t ids[2];
};

static void set_up(struct fixture *f, quire_kv_type type)
{
    quire_error err = {0};
    *f = (struct fixture){.geometry = kv_test_geometry(type)};
    kv_test_begin(f->folder);
    kv_test_begin(f->other);
    kv_test_begin(f->files);
    kv_path(f->file, f->files, "book.kv");
    f->store = kv_test_store(f->folder, &f->geometry);
    for (int i = 0; i < 2; i++) {
        struct kv_book *book;
        struct kv_about about = {.created = 0};
        f->texts[i] = kv_test_text(N, 31);
        f->texts[i][COMMON] += i;
        kv_about_set(about.label, sizeof about.label, "chapter one", 11);
        kv_store_describe(f->store, &about);
        REQUIRE_OK(kv_test_read(&book, f->store, &f->geometry, f->texts[i], N, NULL, &err));
        f->ids[i] = book->manifest.id;
        kv_book_close(book);
    }
    REQUIRE_OK(quire_store_open(&f->from, f->folder, false, &err));
    REQUIRE_OK(quire_store_open(&f->to, f->other, true, &err));
}

static void tear_down(struct fixture *f)
{
    quire_store_close(f->from);
    quire_store_close(f->to);
    kv_store_close(f->store);
    kv_test_end(f->folder);
    kv_test_end(f->other);
    kv_test_end(f->files);
    free(f->texts[0]);
    free(f->texts[1]);
}

static size_t file_size(const char *path)
{
    struct stat st = {0};
    CHECK_EQ_INT(stat(path, &st), 0);
    return (size_t)st.st_size;
}

/* The other store reads the text from its book, whole. */
static void check_arrived(struct fixture *f, int which)
{
    quire_error err = {0};
    struct kv_book *book;
    size_t n_damaged;
    CHECK_OK(quire_store_verify(f->to, 0, NULL, &n_damaged, &err));
    CHECK_EQ_INT(n_damaged, 0);
    struct kv_store *store = kv_test_store(f->other, &f->geometry);
    REQUIRE_OK(kv_book_open(&book, store, f->texts[which], N, false, &err));
    CHECK_EQ_INT(kv_book_frontier(book), N);
    CHECK_EQ_INT(book->parents.n, 0);
    CHECK(kv_test_holds(book, &f->geometry, f->texts[which], N));
    CHECK(kv_test_has_logits(book, f->texts[which], N));
    CHECK_OK(kv_book_verify(book, &err));
    kv_book_close(book);
    /* And goes on with it. */
    int32_t *longer = kv_test_text(N + 200, 31);
    memcpy(longer, f->texts[which], N * sizeof *longer);
    size_t first;
    REQUIRE_OK(kv_test_read(&book, store, &f->geometry, longer, N + 200, &first, &err));
    CHECK_EQ_INT(first, N);
    CHECK(kv_test_holds(book, &f->geometry, longer, N + 200));
    kv_book_close(book);
    kv_store_close(store);
    free(longer);
}

static void books_travel(void)
{
    static const quire_kv_type types[] = {QUIRE_KV_F32, QUIRE_KV_F16, QUIRE_KV_BF16};
    for (int i = 0; i < 3; i++)
        for (int which = 0; which < 2; which++) { /* the second one with its parent's blocks */
            struct fixture f;
            quire_error err = {0};
            quire_stored_book book;
            uint64_t id = 0;
            set_up(&f, types[i]);
            CHECK_OK(quire_store_export(f.from, f.ids[which], f.file, NULL, &err));
            struct stat st;
            CHECK_EQ_INT(stat(f.file, &st), 0);
            CHECK_EQ_INT(st.st_mode & 0777, 0600);
            CHECK_EQ_INT(kv_test_count_files(f.files), 1);
            CHECK_OK(quire_store_import(f.to, f.file, 0, NULL, &id, &err));
            CHECK_EQ_INT(id, f.ids[which]);
            CHECK_OK(quire_store_show(f.to, id, &book, &err));
            CHECK_EQ_STR(book.label, "chapter one");
            CHECK_EQ_INT(book.parent_id, 0);
            CHECK_EQ_INT(book.n_tokens, N);
            check_arrived(&f, which);
            tear_down(&f);
        }
}

static void nothing_is_overwritten(void)
{
    struct fixture f;
    quire_error err = {0};
    uint64_t id;
    set_up(&f, QUIRE_KV_BF16);
    CHECK_OK(quire_store_export(f.from, f.ids[0], f.file, NULL, &err));
    size_t size = file_size(f.file);
    CHECK_EQ_INT(quire_store_export(f.from, f.ids[1], f.file, NULL, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "exists");
    CHECK_EQ_INT(file_size(f.file), size);
    quire_error_clear(&err);
    CHECK_EQ_INT(quire_store_import(f.from, f.file, 0, NULL, &id, &err), QUIRE_ERR_BUSY);
    CHECK_MESSAGE(err, "already");
    quire_error_clear(&err);
    CHECK_EQ_INT(quire_store_export(f.from, 1, f.file, NULL, &err), QUIRE_ERR_USAGE);
    quire_error_clear(&err);
    CHECK_EQ_INT(unlink(f.file), 0);
    CHECK_EQ_INT(symlink("nowhere", f.file), 0); /* refused before the book is looked for */
    CHECK_EQ_INT(quire_store_export(f.from, 1, f.file, NULL, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "exists");
    quire_error_clear(&err);
    CHECK_EQ_INT(unlink(f.file), 0);
    CHECK_EQ_INT(quire_store_export(f.from, 1, f.file, NULL, &err), QUIRE_ERR_MISMATCH);
    quire_error_clear(&err);
    CHECK_EQ_INT(quire_store_import(f.to, f.file, 0, NULL, &id, &err), QUIRE_ERR_IO);
    tear_down(&f);
}

static void a_limit_makes_room(void)
{
    struct fixture f;
    quire_error err = {0};
    uint64_t id = 0, other;
    quire_stored_book book;
    set_up(&f, QUIRE_KV_BF16);
    CHECK_OK(quire_store_export(f.from, f.ids[1], f.file, NULL, &err));
    CHECK_OK(quire_store_import(f.to, f.file, 0, NULL, &id, &err));
    CHECK_OK(quire_store_show(f.to, id, &book, &err));
    CHECK_EQ_INT(unlink(f.file), 0);
    CHECK_OK(quire_store_export(f.from, f.ids[0], f.file, NULL, &err));
    uint64_t n_bytes = file_size(f.file);
    CHECK_EQ_INT(quire_store_import(f.to, f.file, n_bytes - 1, NULL, &other, &err), QUIRE_ERR_NO_SPACE);
    CHECK_MESSAGE(err, "--store-limit");
    quire_error_clear(&err);
    CHECK_OK(quire_store_show(f.to, id, &book, &err));
    CHECK_OK(quire_store_import(f.to, f.file, book.disk_bytes + n_bytes, NULL, &other, &err)); /* room for both */
    CHECK_OK(quire_store_show(f.to, id, &book, &err));
    CHECK_OK(quire_store_remove(f.to, other, false, NULL, &err));
    CHECK_OK(quire_store_import(f.to, f.file, book.disk_bytes + n_bytes - 1, NULL, &other, &err));
    CHECK_EQ_INT(quire_store_show(f.to, id, &book, &err), QUIRE_ERR_MISMATCH);
    tear_down(&f);
}

/* A book that the store has already is refused before others make way for it. */
static void a_book_that_is_there_costs_no_other(void)
{
    struct fixture f;
    quire_error err = {0};
    uint64_t id = 0;
    quire_stored_book *books;
    size_t n = 0;
    set_up(&f, QUIRE_KV_BF16);
    for (int i = 1; i >= 0; i--) {
        unlink(f.file);
        CHECK_OK(quire_store_export(f.from, f.ids[i], f.file, NULL, &err));
        CHECK_OK(quire_store_import(f.to, f.file, 0, NULL, &id, &err));
    }
    CHECK_EQ_INT(quire_store_import(f.to, f.file, file_size(f.file), NULL, &id, &err), QUIRE_ERR_BUSY);
    CHECK_MESSAGE(err, "already");
    quire_error_clear(&err);
    CHECK_OK(quire_store_list(f.to, &books, &n, &err));
    CHECK_EQ_INT(n, 2);
    free(books);
    tear_down(&f);
}

static void damage_does_not_travel(void)
{
    static const char *const files[] = {"layer.001", "tokens", "tail.1", "logits.1", "about"};
    struct fixture f;
    char book[KV_PATH_SIZE];
    set_up(&f, QUIRE_KV_BF16);
    kv_path(book, f.folder, "books/%016" PRIx64, f.ids[0]);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        quire_error err = {0};
        kv_test_flip(book, files[i], 40);
        CHECK_EQ_INT(quire_store_export(f.from, f.ids[0], f.file, NULL, &err), QUIRE_ERR_FORMAT);
        CHECK_EQ_INT(kv_test_count_files(f.files), 0);
        kv_test_flip(book, files[i], 40);
    }
    tear_down(&f);
}

static int stop_after(void *user, const quire_store_progress *progress)
{
    uint64_t *limit = user;
    CHECK(progress->n_bytes <= progress->n_bytes_total || progress->n_bytes_total == 0);
    return progress->n_bytes > *limit;
}

static void both_can_be_stopped(void)
{
    struct fixture f;
    quire_error err = {0};
    uint64_t id, limits[] = {0, 2000, 20000};
    set_up(&f, QUIRE_KV_BF16);
    for (int i = 0; i < 3; i++) {
        quire_store_watch w = {.progress = stop_after, .user = &limits[i]};
        CHECK_EQ_INT(quire_store_export(f.from, f.ids[0], f.file, &w, &err), QUIRE_ERR_CANCELLED);
        CHECK_EQ_INT(kv_test_count_files(f.files), 0);
        quire_error_clear(&err);
    }
    CHECK_OK(quire_store_export(f.from, f.ids[0], f.file, NULL, &err));
    size_t n_before = kv_test_count_files(f.other);
    for (int i = 0; i < 3; i++) {
        quire_store_watch w = {.progress = stop_after, .user = &limits[i]};
        CHECK_EQ_INT(quire_store_import(f.to, f.file, 0, &w, &id, &err), QUIRE_ERR_CANCELLED);
        CHECK_EQ_INT(kv_test_count_files(f.other), n_before);
        quire_error_clear(&err);
    }
    CHECK_OK(quire_store_import(f.to, f.file, 0, NULL, &id, &err));
    check_arrived(&f, 0);
    tear_down(&f);
}

/* Nothing that is not as it was written gets in, and nothing stays of the attempt. */
static void check_refused(struct fixture *f, const char *what, size_t where)
{
    quire_error err = {0};
    uint64_t id = 7;
    size_t n_before = kv_test_count_files(f->other), n_fds = kv_test_count_fds();
    quire_status status = quire_store_import(f->to, f->file, 0, NULL, &id, &err);
    CHECK(status == QUIRE_ERR_FORMAT || status == QUIRE_ERR_MISMATCH);
    if (status != QUIRE_ERR_FORMAT && status != QUIRE_ERR_MISMATCH)
        fprintf(stderr, "%s at %zu: %s (%s)\n", what, where, err.message, quire_status_name(status));
    CHECK_EQ_INT(id, 7);
    CHECK_EQ_INT(kv_test_count_files(f->other), n_before);
    CHECK_EQ_INT(kv_test_count_fds(), n_fds);
}

static void flips_and_cuts_are_refused(void)
{
    struct fixture f;
    quire_error err = {0};
    uint64_t seed = 17;
    set_up(&f, QUIRE_KV_F16);
    CHECK_OK(quire_store_export(f.from, f.ids[1], f.file, NULL, &err));
    size_t size = file_size(f.file), head = sizeof(struct kv_archive_header) + sizeof(struct kv_manifest);
    for (size_t i = 0; i < 400 && test_n_failed_checks == 0; i++) {
        /* A third in the two structures that decide sizes. */
        size_t offset = (size_t)(test_random(&seed) % (i % 3 == 0 ? head : size));
        /* The rows of the tail behind the frontier, and the ids behind it, mean nothing but are hashed all the same. */
        kv_test_flip(f.files, "book.kv", offset);
        check_refused(&f, "flip", offset);
        kv_test_flip(f.files, "book.kv", offset);
    }
    for (size_t i = 0; i < 40; i++) {
        size_t cut = size - 1 - (size_t)(test_random(&seed) % size);
        CHECK_EQ_INT(unlink(f.file), 0);
        CHECK_OK(quire_store_export(f.from, f.ids[1], f.file, NULL, &err));
        CHECK_EQ_INT(truncate(f.file, (off_t)cut), 0);
        check_refused(&f, "cut", cut);
    }
    CHECK_EQ_INT(truncate(f.file, (off_t)size + 10), 0);
    check_refused(&f, "longer", size + 10);
    tear_down(&f);
}

/* Files whose checksums are right, since their maker wanted it so. */
static void hostile_manifests_are_refused(void)
{
    struct fixture f;
    quire_error err = {0};
    struct {
        struct kv_archive_header header;
        struct kv_manifest manifest;
    } sound, bad;
    set_up(&f, QUIRE_KV_BF16);
    CHECK_OK(quire_store_export(f.from, f.ids[0], f.file, NULL, &err));
    int fd = open(f.file, O_RDWR);
    CHECK_EQ_INT(pread(fd, &sound, sizeof sound, 0), (ssize_t)sizeof sound);
#define CHECK_HOSTILE(change)                                                                                          \
    do {                                                                                                               \
        bad = sound;                                                                                                   \
        bad.change;                                                                                                    \
        kv_manifest_seal(&bad.manifest);                                                                               \
        kv_archive_seal(&bad.header);                                                                                  \
        CHECK_EQ_INT(pwrite(fd, &bad, sizeof bad, 0), (ssize_t)sizeof bad);                                            \
        check_refused(&f, #change, 0);                                                                                 \
    } while (0)
    CHECK_HOSTILE(manifest.id = 0);
    CHECK_HOSTILE(manifest.frontier = (bad.manifest.n_ids = 1 << 29));
    CHECK_HOSTILE(manifest.frontier = (bad.manifest.n_ids = 64));
    CHECK_HOSTILE(manifest.n_layers = 4000);
    CHECK_HOSTILE(manifest.n_heads = 4000);
    CHECK_HOSTILE(manifest.head_dim = 8000);
    CHECK_HOSTILE(manifest.type = QUIRE_KV_F32);
    CHECK_HOSTILE(manifest.type = 77);
    CHECK_HOSTILE(manifest.parent_id = 5);
    CHECK_HOSTILE(manifest.depth = 1);
    CHECK_HOSTILE(manifest.generation = 3);
    CHECK_HOSTILE(manifest.flags = KV_HAS_FLIGHT);
    CHECK_HOSTILE(manifest.first_hash++);
    CHECK_HOSTILE(manifest.base_hash++);
    CHECK_HOSTILE(manifest.frontier_hash++);
    CHECK_HOSTILE(manifest.sides[KV_SIDE_LOGITS].n_bytes = UINT64_MAX / 4 * 4);
    CHECK_HOSTILE(manifest.sides[KV_SIDE_LOGITS].hash++);
    CHECK_HOSTILE(manifest.sides[KV_SIDE_TAIL].hash++);
    CHECK_HOSTILE(manifest.sides[KV_SIDE_RESIDUAL].n_bytes = 4);
    CHECK_HOSTILE(manifest.identity[3] = '\x1B');
    CHECK_HOSTILE(header.n_about = 3);
    CHECK_HOSTILE(header.n_about = UINT32_MAX);
    CHECK_HOSTILE(header.n_bytes++);
#undef CHECK_HOSTILE
    CHECK_EQ_INT(pwrite(fd, &sound, sizeof sound, 0), (ssize_t)sizeof sound);
    close(fd);
    uint64_t id;
    CHECK_OK(quire_store_import(f.to, f.file, 0, NULL, &id, &err));
    check_arrived(&f, 0);
    tear_down(&f);
}

static const struct test tests[] = {
    {"books_travel", books_travel},
    {"nothing_is_overwritten", nothing_is_overwritten},
    {"a_limit_makes_room", a_limit_makes_room},
    {"a_book_that_is_there_costs_no_other", a_book_that_is_there_costs_no_other},
    {"damage_does_not_travel", damage_does_not_travel},
    {"both_can_be_stopped", both_can_be_stopped},
    {"flips_and_cuts_are_refused", flips_and_cuts_are_refused},
    {"hostile_manifests_are_refused", hostile_manifests_are_refused},
};

TEST_MAIN(tests)
