/* The n-th system call fails, for n = 1, 2, 3, ... until all goes well: each time a named error, nothing leaked, and a
 * store that opens and holds what was committed. Also a disk that is really full. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/sys.h"
#include "kv/kv_book.h"
#include "kv_door.h"
#include "kv_life.h"
#include "kv_test.h"

struct fixture {
    char folder[KV_PATH_SIZE], seed[KV_PATH_SIZE];
    struct kv_geometry geometry;
    int32_t *text, *other;
};

static void set_up(struct fixture *f)
{
    f->geometry = kv_test_geometry(QUIRE_KV_F16);
    f->text = kv_test_text(LIFE_END, 41);
    f->other = kv_test_text(LIFE_END, 42);
    memcpy(f->other, f->text, LIFE_COMMON * sizeof *f->text);
}

static void tear_down(struct fixture *f)
{
    free(f->text);
    free(f->other);
}

static void begin_with_book(struct fixture *f)
{
    struct kv_book *book;
    quire_error err = {0};
    kv_test_begin(f->folder);
    struct kv_store *store = kv_test_store(f->folder, &f->geometry);
    REQUIRE_OK(kv_test_read(&book, store, &f->geometry, f->text, LIFE_FIRST, NULL, &err));
    kv_book_close(book);
    kv_store_close(store);
}

/* After a fault: the store opens, what it gives is right, at least LIFE_FIRST tokens are there (in one way or another),
 * and the same life goes well now. */
static void check_store(struct fixture *f, bool had_book)
{
    struct kv_book *book;
    quire_error err = {0};
    struct kv_store *store = kv_test_store(f->folder, &f->geometry);
    CHECK_OK(kv_book_open(&book, store, f->text, LIFE_END, false, &err));
    size_t frontier = kv_book_frontier(book);
    CHECK(!had_book || frontier >= LIFE_FIRST);
    CHECK(kv_test_holds(book, &f->geometry, f->text, frontier));
    CHECK_OK(kv_book_verify(book, &err));
    CHECK(kv_store_notice(store) == NULL);
    kv_book_close(book);
    kv_store_close(store);
    CHECK_OK(live(f->folder, &f->geometry, f->text, f->other, NULL, &err));
}

static void nth_call_fails(unsigned kinds, int code, enum door_fault fault)
{
    struct fixture f;
    set_up(&f);
    size_t n_fds = kv_test_count_fds();
    int n_before = test_n_failed_checks;
    for (int had_book = 0; had_book < 2; had_book++) {
        bool happened = true;
        for (long nth = 0; happened && test_n_failed_checks == n_before; nth++) {
            quire_error err = {0};
            if (had_book)
                begin_with_book(&f);
            else
                kv_test_begin(f.folder);
            door_close(kinds, nth, fault, code);
            quire_status status = live(f.folder, &f.geometry, f.text, f.other, NULL, &err);
            happened = door_open();
            CHECK(happened || (status == QUIRE_OK && nth > 2));
            if (status != QUIRE_OK)
                CHECK_MESSAGE(err, strerror(code));
            if (status != QUIRE_OK && code == ENOSPC)
                CHECK_EQ_INT(status, QUIRE_ERR_NO_SPACE);
            CHECK_EQ_INT(kv_test_count_fds(), n_fds);
            CHECK_EQ_INT(kv_test_count_maps(f.folder), 0);
            check_store(&f, had_book);
            CHECK_EQ_INT(kv_test_count_fds(), n_fds);
            if (test_n_failed_checks != n_before)
                fprintf(stderr, "call %ld of kinds %u failed with %s\n", nth, kinds, strerror(code));
            kv_test_end(f.folder);
        }
    }
    tear_down(&f);
}

static void nth_write_finds_the_disk_full(void)
{
    nth_call_fails(DOOR_WRITE, ENOSPC, DOOR_FAILS_ONCE);
}

static void disk_stays_full_from_the_nth_write(void)
{
    nth_call_fails(DOOR_WRITE, ENOSPC, DOOR_KEEPS_FAILING);
}

static void nth_write_has_an_io_error(void)
{
    nth_call_fails(DOOR_WRITE, EIO, DOOR_FAILS_ONCE);
}

static void nth_sync_fails(void)
{
    nth_call_fails(DOOR_SYNC, EIO, DOOR_FAILS_ONCE);
}

static void nth_call_of_any_kind_fails(void)
{
    nth_call_fails(DOOR_ALL, EIO, DOOR_FAILS_ONCE);
}

static void nth_open_finds_no_descriptor(void)
{
    nth_call_fails(DOOR_OPEN, EMFILE, DOOR_FAILS_ONCE);
}

static void nth_mapping_finds_no_memory(void)
{
    nth_call_fails(DOOR_MAP, ENOMEM, DOOR_FAILS_ONCE);
}

static void interrupted_calls_are_tried_again(void)
{
    struct fixture f;
    quire_error err = {0};
    set_up(&f);
    for (long nth = 0; nth < 500; nth += 7) {
        begin_with_book(&f);
        door_close(DOOR_OPEN | DOOR_READ | DOOR_WRITE | DOOR_SYNC | DOOR_SIZE | DOOR_LOCK, nth, DOOR_FAILS_ONCE, EINTR);
        CHECK_OK(live(f.folder, &f.geometry, f.text, f.other, NULL, &err));
        door_open();
        kv_test_end(f.folder);
    }
    tear_down(&f);
}

/* Another writer that comes between looking and locking, or between looking and reading. */
static struct fixture *race_fixture;
static size_t race_end;

static void go_on_behind_the_back(void)
{
    struct kv_book *book;
    quire_error err = {0};
    sys = sys_real;
    struct kv_store *store = kv_test_store(race_fixture->folder, &race_fixture->geometry);
    REQUIRE_OK(kv_test_read(&book, store, &race_fixture->geometry, race_fixture->text, race_end, NULL, &err));
    kv_book_close(book);
    kv_store_close(store);
}

static int racing_flock(int fd, int operation)
{
    go_on_behind_the_back();
    return sys_real.flock(fd, operation);
}

static int racing_open(const char *path, int flags, mode_t mode)
{
    if (strstr(path, "/tail."))
        go_on_behind_the_back();
    return sys_real.open(path, flags, mode);
}

static void a_writer_slips_in(void) /* KV-4 */
{
    struct fixture f;
    struct kv_book *book;
    quire_error err = {0};
    set_up(&f);
    race_fixture = &f;
    race_end = 300;
    /* It goes on from the new frontier; the text that was there exactly is now the beginning of a longer one; and one
     * of less than a block is of no use any more. */
    static const struct {
        size_t first, n, frontier;
    } rounds[] = {{128, LIFE_END, 300}, {LIFE_FIRST, LIFE_FIRST, 128}, {50, 50, 0}};
    for (int round = 0; round < 3; round++) {
        size_t first = rounds[round].first, n = rounds[round].n;
        float logits[KV_TEST_LOGITS];
        kv_test_begin(f.folder);
        struct kv_store *store = kv_test_store(f.folder, &f.geometry);
        REQUIRE_OK(kv_book_open(&book, store, f.text, first, false, &err));
        REQUIRE_OK(kv_test_put(book, &f.geometry, f.text, 0, first, &err));
        kv_test_logits(logits, f.text, first);
        REQUIRE_OK(kv_book_commit(book, f.text, first, round == 0 ? NULL : logits, KV_TEST_LOGITS, &err));
        kv_book_close(book);
        if (round == 0)
            sys.flock = racing_flock;
        else
            sys.open = racing_open;
        REQUIRE_OK(kv_book_open(&book, store, f.text, n, false, &err));
        sys = sys_real;
        CHECK_EQ_INT(kv_book_frontier(book), rounds[round].frontier);
        CHECK(kv_store_notice(store) == NULL);
        CHECK(kv_test_holds(book, &f.geometry, f.text, kv_book_frontier(book)));
        kv_book_close(book);
        kv_store_close(store);
        check_store(&f, round > 0);
        kv_test_end(f.folder);
    }
    tear_down(&f);
}

/* A sync that failed is not made good by one that succeeds: the pages may be gone. */
static void after_a_failed_sync_nothing_is_committed(void) /* KV-7 */
{
    struct fixture f;
    struct kv_book *book;
    quire_error err = {0};
    set_up(&f);
    begin_with_book(&f);
    struct kv_store *store = kv_test_store(f.folder, &f.geometry);
    REQUIRE_OK(kv_book_open(&book, store, f.text, LIFE_END, false, &err));
    REQUIRE_OK(kv_test_put(book, &f.geometry, f.text, LIFE_FIRST, LIFE_END - LIFE_FIRST, &err));
    door_close(DOOR_SYNC, 0, DOOR_FAILS_ONCE, EIO);
    CHECK_EQ_INT(kv_book_commit(book, f.text, LIFE_END, NULL, 0, &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, "layer.000");
    CHECK(door_open());
    quire_error_clear(&err);
    CHECK_EQ_INT(kv_book_commit(book, f.text, LIFE_END, NULL, 0, &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, "KV-7");
    CHECK_EQ_INT(kv_book_frontier(book), LIFE_FIRST);
    kv_book_close(book);
    kv_store_close(store);
    check_store(&f, true);
    kv_test_end(f.folder);
    tear_down(&f);
}

/* A failed put can be tried again, and leaves no trace in memory. */
static void a_failed_put_changes_nothing(void)
{
    struct fixture f;
    struct kv_book *book;
    set_up(&f);
    for (long nth = 0; nth < 12; nth++) {
        quire_error err = {0};
        kv_test_begin(f.folder);
        struct kv_store *store = kv_test_store(f.folder, &f.geometry);
        REQUIRE_OK(kv_book_open(&book, store, f.text, LIFE_END, false, &err));
        REQUIRE_OK(kv_test_put(book, &f.geometry, f.text, 0, 100, &err));
        door_close(DOOR_WRITE, nth, DOOR_FAILS_ONCE, ENOSPC);
        quire_status status = kv_test_put_layer(book, &f.geometry, 0, f.text, 100, 230, &err);
        CHECK_EQ_INT(status, door_open() ? QUIRE_ERR_NO_SPACE : QUIRE_OK);
        CHECK(kv_test_holds(book, &f.geometry, f.text, 100));
        quire_error_clear(&err);
        if (status != QUIRE_OK)
            CHECK_OK(kv_test_put_layer(book, &f.geometry, 0, f.text, 100, 230, &err));
        CHECK_OK(kv_test_put_layer(book, &f.geometry, 1, f.text, 100, 230, &err));
        CHECK(kv_test_holds(book, &f.geometry, f.text, LIFE_END));
        CHECK_OK(kv_book_commit(book, f.text, LIFE_END, NULL, 0, &err));
        CHECK_OK(kv_book_verify(book, &err));
        kv_book_close(book);
        kv_store_close(store);
        kv_test_end(f.folder);
    }
    tear_down(&f);
}

/* File systems without nameless files. */
static int open_without_tmpfile(const char *path, int flags, mode_t mode)
{
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return sys_real.open(path, flags, mode);
}

static void temporary_files_work_without_o_tmpfile(void) /* KV-9 */
{
    struct fixture f;
    struct kv_book *book, *branch;
    quire_error err = {0};
    set_up(&f);
    begin_with_book(&f);
    struct kv_store *store = kv_test_store(f.folder, &f.geometry);
    REQUIRE_OK(kv_book_open(&book, store, f.text, LIFE_FIRST, false, &err));
    size_t n_files = kv_test_count_files(f.folder);
    sys.open = open_without_tmpfile;
    REQUIRE_OK(kv_book_branch(&branch, book, LIFE_END - LIFE_FIRST, &err));
    sys = sys_real;
    CHECK_EQ_INT(kv_test_count_files(f.folder), n_files);
    CHECK_OK(kv_test_put(branch, &f.geometry, f.text, LIFE_FIRST, LIFE_END - LIFE_FIRST, &err));
    CHECK(kv_test_holds(branch, &f.geometry, f.text, LIFE_END));
    kv_book_close(branch);
    kv_book_close(book);
    kv_store_close(store);
    kv_test_end(f.folder);
    tear_down(&f);
}

static void on_a_full_file_system(void *context)
{
    (void)context;
    struct fixture f;
    struct kv_book *book;
    quire_error err = {0};
    uint64_t free_bytes = 0;
    set_up(&f);
    kv_test_begin(f.folder);
    CHECK_EQ_INT(mount("none", f.folder, "tmpfs", 0, "size=3m"), 0);
    struct kv_geometry geometry = {4, 4, 64, QUIRE_KV_F32};
    size_t n = 1000, at;
    int32_t *text = kv_test_text(n, 43);
    struct kv_store *store = kv_test_store(f.folder, &geometry);
    CHECK_OK(kv_store_free_bytes(store, &free_bytes, &err));
    CHECK(free_bytes > 2u << 20 && free_bytes <= 3u << 20);
    CHECK(kv_disk_bytes(&geometry, n) > free_bytes);
    REQUIRE_OK(kv_book_open(&book, store, text, n, false, &err));
    quire_status status = QUIRE_OK;
    for (at = 0; at < n && status == QUIRE_OK; at += status == QUIRE_OK ? 50 : 0) {
        status = kv_test_put(book, &geometry, text, at, 50, &err);
        if (status == QUIRE_OK)
            status = kv_book_commit(book, text, at + 50, NULL, 0, &err);
    }
    CHECK_EQ_INT(status, QUIRE_ERR_NO_SPACE);
    CHECK_MESSAGE(err, "No space left");
    quire_error_clear(&err);
    kv_book_close(book);
    kv_store_close(store);
    CHECK_EQ_INT(mount("none", f.folder, "tmpfs", MS_REMOUNT, "size=20m"), 0);
    store = kv_test_store(f.folder, &geometry);
    REQUIRE_OK(kv_book_open(&book, store, text, n, false, &err));
    size_t frontier = kv_book_frontier(book);
    CHECK_EQ_INT(frontier, at);
    CHECK(kv_test_holds(book, &geometry, text, frontier));
    CHECK_OK(kv_test_put(book, &geometry, text, frontier, n - frontier, &err));
    CHECK_OK(kv_book_commit(book, text, n, NULL, 0, &err));
    CHECK(kv_test_holds(book, &geometry, text, n));
    CHECK_OK(kv_book_verify(book, &err));
    kv_book_close(book);
    kv_store_close(store);
    CHECK_EQ_INT(umount(f.folder), 0);
    kv_test_end(f.folder);
    free(text);
    tear_down(&f);
}

static void on_a_read_only_file_system(void *context)
{
    (void)context;
    struct fixture f;
    struct kv_book *book, *branch;
    quire_error err = {0};
    set_up(&f);
    kv_test_begin(f.folder);
    CHECK_EQ_INT(mount("none", f.folder, "tmpfs", 0, "size=3m"), 0);
    CHECK_OK(live(f.folder, &f.geometry, f.text, f.other, NULL, &err));
    CHECK_EQ_INT(mount("none", f.folder, "tmpfs", MS_REMOUNT | MS_RDONLY, ""), 0);
    struct kv_store *store = kv_test_store(f.folder, &f.geometry);
    REQUIRE_OK(kv_book_open(&book, store, f.text, LIFE_END, false, &err));
    CHECK_EQ_INT(kv_book_frontier(book), LIFE_END);
    CHECK(kv_test_holds(book, &f.geometry, f.text, LIFE_END));
    REQUIRE_OK(kv_book_branch(&branch, book, 10, &err)); /* its files go to the spill folder */
    kv_book_close(branch);
    CHECK_OK(
        kv_book_reserve(book, LIFE_END, 4 << 20, &err)); /* more than the store's file system has; not the spill's */
    CHECK_EQ_INT(kv_book_reserve(book, LIFE_END, (uint64_t)1 << 60, &err), QUIRE_ERR_NO_SPACE);
    CHECK_MESSAGE(err, "'/tmp'");
    quire_error_clear(&err);
    kv_book_close(book);
    CHECK_EQ_INT(kv_book_open(&book, store, f.text, 100, false, &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, "Read-only file system");
    kv_store_close(store);
    CHECK_EQ_INT(umount(f.folder), 0);
    kv_test_end(f.folder);
    tear_down(&f);
}

static void a_full_file_system_is_an_error_not_a_signal(void) /* KV-8 */
{
    if (!kv_test_with_mounts(on_a_full_file_system, NULL))
        SKIP("mounting a small tmpfs is not allowed here");
}

static void a_read_only_file_system_serves_what_it_holds(void)
{
    if (!kv_test_with_mounts(on_a_read_only_file_system, NULL))
        SKIP("mounting a small tmpfs is not allowed here");
}

static const struct test tests[] = {
    {"nth_write_finds_the_disk_full", nth_write_finds_the_disk_full},
    {"disk_stays_full_from_the_nth_write", disk_stays_full_from_the_nth_write},
    {"nth_write_has_an_io_error", nth_write_has_an_io_error},
    {"nth_sync_fails", nth_sync_fails},
    {"nth_call_of_any_kind_fails", nth_call_of_any_kind_fails},
    {"nth_open_finds_no_descriptor", nth_open_finds_no_descriptor},
    {"nth_mapping_finds_no_memory", nth_mapping_finds_no_memory},
    {"interrupted_calls_are_tried_again", interrupted_calls_are_tried_again},
    {"a_writer_slips_in", a_writer_slips_in},
    {"after_a_failed_sync_nothing_is_committed", after_a_failed_sync_nothing_is_committed},
    {"a_failed_put_changes_nothing", a_failed_put_changes_nothing},
    {"temporary_files_work_without_o_tmpfile", temporary_files_work_without_o_tmpfile},
    {"a_full_file_system_is_an_error_not_a_signal", a_full_file_system_is_an_error_not_a_signal},
    {"a_read_only_file_system_serves_what_it_holds", a_read_only_file_system_serves_what_it_holds},
};
TEST_MAIN(tests)
