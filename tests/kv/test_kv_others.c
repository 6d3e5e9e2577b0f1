/* What a store meets that is not its own doing: other people's files beside its own, file systems that lock and sync
 * differently. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "kv_owner_test.h"

static void make_file(const char *path)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    CHECK(fd >= 0 && write(fd, "mine", 4) == 4);
    close(fd);
}

static bool is_mine(const char *path)
{
    char text[8] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_mine = fd >= 0 && read(fd, text, sizeof text) == 4 && memcmp(text, "mine", 4) == 0;
    if (fd >= 0)
        close(fd);
    return is_mine;
}

static void files_of_others_in_the_store_stay(void)
{
    static const char *const names[] = {"tmp.notes", "tmp.0123456789abcdef.txt", "tmp.0123456789ABCDEF"};
    struct owner_fixture f;
    char path[KV_PATH_SIZE], left[KV_PATH_SIZE];
    owner_set_up(&f);
    for (size_t i = 0; i < 3; i++) {
        kv_path(path, f.folder, "books/%s", names[i]);
        make_file(path);
    }
    kv_path(left, f.folder, "books/tmp.0123456789abcdef");
    make_file(left);
    struct kv_store *again = kv_test_store(f.folder, &f.geometry);
    kv_store_close(again);
    for (size_t i = 0; i < 3; i++) {
        kv_path(path, f.folder, "books/%s", names[i]);
        CHECK(is_mine(path));
    }
    CHECK(access(left, F_OK) != 0);
    owner_tear_down(&f);
}

/* Makes a file of the export's name once the export has begun. */
static int appear(void *user, const quire_store_progress *progress)
{
    (void)progress;
    if (access(user, F_OK) != 0)
        make_file(user);
    return 0;
}

static int rename_without_flags(const char *from, const char *to)
{
    (void)from, (void)to;
    errno = EINVAL;
    return -1;
}

static void an_export_takes_no_name_that_is_taken(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    char files[KV_PATH_SIZE], path[KV_PATH_SIZE], beside[KV_PATH_SIZE];
    owner_set_up(&f);
    kv_test_begin(files);
    kv_path(path, files, "book.kv");
    kv_path(beside, files, "book.kv.tmp");
    make_file(beside);
    quire_store_watch watch = {.progress = appear, .user = path};
    for (int round = 0; round < 2; round++) {
        if (round == 1)
            sys.rename_new = rename_without_flags;
        CHECK_EQ_INT(quire_store_export(f.owner, f.ids[0], path, &watch, &err), QUIRE_ERR_IO);
        quire_error_clear(&err);
        CHECK(is_mine(path) && is_mine(beside));
        CHECK_EQ_INT(kv_test_count_files(files), 2);
        CHECK_EQ_INT(unlink(path), 0);
        CHECK_OK(quire_store_export(f.owner, f.ids[0], path, NULL, &err));
        CHECK(!is_mine(path) && is_mine(beside));
        CHECK_EQ_INT(unlink(path), 0);
    }
    sys = sys_real;
    kv_test_end(files);
    owner_tear_down(&f);
}

/* As NFS has it: a lock of bytes, which to hold alone takes a file that is open for writing. */
static int flock_as_nfs(int fd, int operation)
{
    if ((operation & LOCK_EX) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) {
        errno = EBADF;
        return -1;
    }
    return sys_real.flock(fd, operation);
}

static void books_can_be_removed_where_locks_are_of_bytes(void)
{
    struct owner_fixture f;
    struct kv_book *book;
    quire_error err = {0};
    uint64_t n_bytes;
    owner_set_up(&f);
    sys.flock = flock_as_nfs;
    REQUIRE_OK(kv_book_open(&book, f.store, f.texts[2], N, false, &err));
    CHECK_EQ_INT(quire_store_remove(f.owner, f.ids[2], false, NULL, &err), QUIRE_ERR_BUSY);
    quire_error_clear(&err);
    kv_book_close(book);
    CHECK_OK(quire_store_remove(f.owner, f.ids[2], false, NULL, &err));
    CHECK(!owner_is_there(&f, 2));
    CHECK_OK(quire_store_evict(f.owner, 1, NULL, &n_bytes, &err));
    CHECK(!owner_is_there(&f, 0));
    sys = sys_real;
    owner_tear_down(&f);
}

static int fail_for_folders(int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        errno = EIO;
        return -1;
    }
    return sys_real.fsync(fd);
}

/* The names of files may be missing on the disk then: no later commit may rely on them. */
static void a_folder_that_cannot_be_synced_ends_commits(void)
{
    struct owner_fixture f;
    struct kv_book *book;
    quire_error err = {0};
    owner_set_up(&f);
    int32_t *text = kv_test_text(N, 99);
    REQUIRE_OK(kv_book_open(&book, f.store, text, N, false, &err));
    REQUIRE_OK(kv_test_put(book, &f.geometry, text, 0, COMMON, &err));
    sys.fsync = fail_for_folders;
    CHECK_EQ_INT(kv_book_commit(book, text, COMMON, NULL, 0, &err), QUIRE_ERR_IO);
    quire_error_clear(&err);
    sys = sys_real;
    CHECK_EQ_INT(kv_test_put(book, &f.geometry, text, COMMON, N - COMMON, &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, "KV-7");
    quire_error_clear(&err);
    CHECK_EQ_INT(kv_book_commit(book, text, COMMON, NULL, 0, &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, "KV-7");
    quire_error_clear(&err);
    kv_book_close(book);
    REQUIRE_OK(kv_test_read(&book, f.store, &f.geometry, text, N, NULL, &err));
    CHECK(kv_test_holds(book, &f.geometry, text, N));
    kv_book_close(book);
    free(text);
    owner_tear_down(&f);
}

static const struct test tests[] = {
    {"files_of_others_in_the_store_stay", files_of_others_in_the_store_stay},
    {"an_export_takes_no_name_that_is_taken", an_export_takes_no_name_that_is_taken},
    {"books_can_be_removed_where_locks_are_of_bytes", books_can_be_removed_where_locks_are_of_bytes},
    {"a_folder_that_cannot_be_synced_ends_commits", a_folder_that_cannot_be_synced_ends_commits},
};

TEST_MAIN(tests)
