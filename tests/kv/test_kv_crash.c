/* kill -9 in the midst of every system call that a life of a store makes: the store opens, stands where the last commit
 * left it or beyond, and the next run goes on from there as if nothing had been. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "kv/kv_book.h"
#include "kv_door.h"
#include "kv_life.h"
#include "kv_record.h"
#include "kv_test.h"

static int report_fd;

static void report(size_t frontier)
{
    if (write(report_fd, &frontier, sizeof frontier) != sizeof frontier)
        _exit(9);
}

struct fixture {
    char folder[KV_PATH_SIZE];
    struct kv_geometry geometry;
    int32_t *text, *other;
};

/* Lives in a child that dies at the nth call. True where it died; *committed: the last frontier that it reported. */
static bool live_and_die(struct fixture *f, long nth, size_t *committed)
{
    int ends[2], status = 0;
    size_t frontier;
    if (pipe(ends) != 0)
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        quire_error err = {0};
        report_fd = ends[1];
        door_close(DOOR_ALL, nth, DOOR_KILLS, 0);
        _exit(live(f->folder, &f->geometry, f->text, f->other, report, &err) == QUIRE_OK ? 0 : 1);
    }
    close(ends[1]);
    *committed = 0;
    while (read(ends[0], &frontier, sizeof frontier) == sizeof frontier)
        *committed = frontier;
    close(ends[0]);
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void check_folder(void *context, const char *name)
{
    const char *books = context;
    char path[KV_PATH_SIZE];
    kv_path(path, books, "%s/manifest", name);
    CHECK(access(path, F_OK) == 0);
}

static void killed_at_every_call(void) /* KV-5 */
{
    struct fixture f = {.geometry = kv_test_geometry(QUIRE_KV_BF16)};
    bool died = true;
    long nth;
    f.text = kv_test_text(LIFE_END, 51);
    f.other = kv_test_text(LIFE_END, 52);
    memcpy(f.other, f.text, LIFE_COMMON * sizeof *f.text);
    for (nth = 0; died && test_n_failed_checks == 0; nth++) {
        char books[KV_PATH_SIZE];
        size_t committed, frontier;
        struct kv_book *book;
        quire_error err = {0};
        kv_test_begin(f.folder);
        died = live_and_die(&f, nth, &committed);
        struct kv_store *store = kv_test_store(f.folder, &f.geometry);
        kv_path(books, f.folder, "books");
        CHECK_OK(kv_folder_list(books, check_folder, books, &err)); /* what came to nothing is swept away */
        REQUIRE_OK(kv_book_open(&book, store, f.text, LIFE_END, false, &err));
        frontier = kv_book_frontier(book);
        CHECK(kv_store_notice(store) == NULL);
        CHECK(frontier >= committed);
        CHECK(frontier == 0 || frontier == LIFE_MIDDLE || frontier == LIFE_END);
        CHECK(kv_test_holds(book, &f.geometry, f.text, frontier));
        CHECK_OK(kv_book_verify(book, &err));
        kv_book_close(book);
        CHECK_OK(live(f.folder, &f.geometry, f.text, f.other, NULL, &err));
        REQUIRE_OK(kv_book_open(&book, store, f.text, LIFE_END, false, &err));
        CHECK_EQ_INT(kv_book_frontier(book), LIFE_END);
        CHECK(kv_test_holds(book, &f.geometry, f.text, LIFE_END));
        CHECK(kv_test_has_logits(book, f.text, LIFE_END));
        CHECK_OK(kv_book_verify(book, &err));
        kv_book_close(book);
        REQUIRE_OK(kv_book_open(&book, store, f.other, LIFE_END, false, &err));
        CHECK_EQ_INT(kv_book_frontier(book), LIFE_END);
        CHECK(kv_test_holds(book, &f.geometry, f.other, LIFE_END));
        kv_book_close(book);
        kv_store_close(store);
        /* Two books, and nothing that a manifest does not name: store, lock, books; per book manifest, tokens, about,
         * lock, two files a layer, tail, logits. */
        CHECK_EQ_INT(kv_test_count_files(f.folder), 3 + 2 * (1 + 4 + 2 * f.geometry.n_layers + 2));
        if (test_n_failed_checks)
            fprintf(stderr, "killed at call %ld\n", nth);
        kv_test_end(f.folder);
    }
    CHECK(nth > 150);
    free(f.text);
    free(f.other);
}

/* A writer that is killed leaves a lock that is none. */
static void a_dead_writers_lock_is_free(void) /* KV-4 */
{
    struct fixture f = {.geometry = kv_test_geometry(QUIRE_KV_BF16)};
    int ends[2];
    char byte = 0;
    struct kv_book *book;
    quire_error err = {0};
    kv_test_begin(f.folder);
    f.text = kv_test_text(LIFE_END, 53);
    if (pipe(ends) != 0)
        exit(1);
    pid_t child = fork();
    struct kv_store *store = kv_test_store(f.folder, &f.geometry);
    if (child == 0) {
        if (kv_book_open(&book, store, f.text, LIFE_END, false, &err) != QUIRE_OK ||
            kv_test_put(book, &f.geometry, f.text, 0, 130, &err) != QUIRE_OK ||
            kv_book_commit(book, f.text, 130, NULL, 0, &err) != QUIRE_OK || write(ends[1], &byte, 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    CHECK_EQ_INT(read(ends[0], &byte, 1), 1);
    REQUIRE_OK(kv_book_open(&book, store, f.text, LIFE_END, false, &err));
    CHECK_EQ_INT(kv_book_frontier(book), 128); /* branched off: the other writes */
    kv_book_close(book);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    REQUIRE_OK(kv_book_open(&book, store, f.text, LIFE_END, false, &err));
    CHECK_EQ_INT(kv_book_frontier(book), 130);
    CHECK_OK(kv_test_put(book, &f.geometry, f.text, 130, 200, &err));
    CHECK(kv_test_holds(book, &f.geometry, f.text, LIFE_END));
    kv_book_close(book);
    close(ends[0]);
    close(ends[1]);
    kv_store_close(store);
    kv_test_end(f.folder);
    free(f.text);
}

/* --- what is not sure yet ---------------------------------------------------------------------------------------- */

static int (*recorded_fsync)(int fd);
static int n_syncs;

/* Of a commit's two syncs of the folder the second one is that of the manifest's new name. */
static int fail_second_sync(int fd)
{
    return ++n_syncs == 2 ? (errno = EIO, -1) : recorded_fsync(fd);
}

/* Leaves what a writer leaves that is killed between the rename of its manifest and the sync that makes it sure. */
static void commit_unsurely(struct fixture *f, struct kv_store *store)
{
    struct kv_book *book;
    quire_error err = {0};
    REQUIRE_OK(kv_test_read(&book, store, &f->geometry, f->text, LIFE_MIDDLE, NULL, &err));
    REQUIRE_OK(kv_test_put(book, &f->geometry, f->text, LIFE_MIDDLE, LIFE_END - LIFE_MIDDLE, &err));
    recorded_fsync = sys.fsync;
    n_syncs = 0;
    sys.fsync = fail_second_sync;
    CHECK_EQ_INT(kv_book_commit(book, f->text, LIFE_END, NULL, 0, &err), QUIRE_ERR_IO);
    sys.fsync = recorded_fsync;
    kv_book_close(book);
}

static void check_text(struct fixture *f, struct kv_store *store, const int32_t *text, size_t least)
{
    struct kv_book *book;
    quire_error err = {0};
    CHECK_OK(kv_book_open(&book, store, text, LIFE_END, false, &err));
    CHECK_EQ_STR(kv_store_notice(store) ? kv_store_notice(store) : "", "");
    CHECK(kv_book_frontier(book) >= least);
    CHECK(kv_test_holds(book, &f->geometry, text, kv_book_frontier(book)));
    kv_book_close(book);
}

/* Whoever comes next sees that manifest. It sweeps the files of the one before, and branches off a book that goes as
 * far as the new one says; a power cut takes neither back. */
static void what_is_not_sure_is_made_sure_first(void) /* KV-3, KV-5 */
{
    struct fixture f = {.geometry = kv_test_geometry(QUIRE_KV_BF16)};
    struct record record;
    struct kv_book *book;
    quire_error err = {0};
    f.text = kv_test_text(LIFE_END, 54);
    f.other = kv_test_text(LIFE_END, 55);
    memcpy(f.other, f.text, 257 * sizeof *f.text); /* a block more than LIFE_MIDDLE has */
    for (int has_branch = 0; has_branch < 2; has_branch++) {
        kv_test_begin(f.folder);
        record_begin(&record, f.folder);
        struct kv_store *store = kv_test_store(f.folder, &f.geometry);
        commit_unsurely(&f, store);
        if (has_branch) {
            size_t base;
            REQUIRE_OK(kv_test_read(&book, store, &f.geometry, f.other, LIFE_END, &base, &err));
            CHECK_EQ_INT(base, 256);
            kv_book_close(book);
        }
        size_t n_sure = record.n_events;
        kv_store_close(store);
        kv_store_close(kv_test_store(f.folder, &f.geometry)); /* which sweeps */
        record_end();
        kv_test_end(f.folder);
        CHECK(record.n_events > n_sure);
        for (size_t n = n_sure; n <= record.n_events; n++)
            for (uint64_t seed = 0; seed < 40 && test_n_failed_checks == 0; seed++) {
                kv_test_begin(f.folder);
                record_replay(&record, n, seed == 0 ? RECORD_DROPPED : RECORD_REORDERED, seed, f.folder);
                store = kv_test_store(f.folder, &f.geometry);
                check_text(&f, store, f.text, LIFE_MIDDLE);
                check_text(&f, store, f.other, has_branch ? LIFE_END : 0);
                kv_store_close(store);
                kv_test_end(f.folder);
            }
        record_release(&record);
    }
    free(f.text);
    free(f.other);
}

static const struct test tests[] = {
    {"killed_at_every_call", killed_at_every_call},
    {"a_dead_writers_lock_is_free", a_dead_writers_lock_is_free},
    {"what_is_not_sure_is_made_sure_first", what_is_not_sure_is_made_sure_first},
};
TEST_MAIN(tests)
