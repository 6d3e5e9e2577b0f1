#include "kv_door.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

#include "base/sys.h"
#include "kv_test.h"

static struct {
    unsigned kinds;
    long countdown; /* -1: no fault is coming */
    enum door_fault fault;
    int code;
    bool has_happened;
} door = {.countdown = -1};

static bool fails(enum door_call call)
{
    if (!(door.kinds & call) || door.countdown < 0)
        return false;
    if (door.countdown > 0) {
        door.countdown--;
        return false;
    }
    if (door.fault == DOOR_KILLS)
        raise(SIGKILL);
    if (door.fault == DOOR_FAILS_ONCE)
        door.countdown = -1;
    door.has_happened = true;
    errno = door.code;
    return true;
}

static int door_open_file(const char *path, int flags, mode_t mode)
{
    if (fails(DOOR_OPEN))
        return -1;
    return sys_real.open(path, flags, mode);
}

static ssize_t door_read(int fd, void *buffer, size_t n)
{
    return fails(DOOR_READ) ? -1 : sys_real.read(fd, buffer, n);
}

static ssize_t door_pread(int fd, void *buffer, size_t n, off_t offset)
{
    return fails(DOOR_READ) ? -1 : sys_real.pread(fd, buffer, n, offset);
}

static ssize_t door_pwrite(int fd, const void *buffer, size_t n, off_t offset)
{
    if (door.fault == DOOR_KILLS && door.countdown == 0)
        sys_real.pwrite(fd, buffer, n / 2, offset);
    return fails(DOOR_WRITE) ? -1 : sys_real.pwrite(fd, buffer, n > 3000 ? n / 2 : n, offset);
}

static int door_fstat(int fd, struct stat *st)
{
    return fails(DOOR_STAT) ? -1 : sys_real.fstat(fd, st);
}

static int door_ftruncate(int fd, off_t size)
{
    return fails(DOOR_SIZE) ? -1 : sys_real.ftruncate(fd, size);
}

static int door_fsync(int fd)
{
    return fails(DOOR_SYNC) ? -1 : sys_real.fsync(fd);
}

static int door_fdatasync(int fd)
{
    return fails(DOOR_SYNC) ? -1 : sys_real.fdatasync(fd);
}

static int door_rename(const char *from, const char *to)
{
    return fails(DOOR_NAME) ? -1 : sys_real.rename(from, to);
}

static int door_unlink(const char *path)
{
    return fails(DOOR_NAME) ? -1 : sys_real.unlink(path);
}

static int door_mkdir(const char *path, mode_t mode)
{
    return fails(DOOR_NAME) ? -1 : sys_real.mkdir(path, mode);
}

static int door_rmdir(const char *path)
{
    return fails(DOOR_NAME) ? -1 : sys_real.rmdir(path);
}

static void *door_mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset)
{
    return fails(DOOR_MAP) ? MAP_FAILED : sys_real.mmap(address, n, protection, flags, fd, offset);
}

static int door_flock(int fd, int operation)
{
    return fails(DOOR_LOCK) ? -1 : sys_real.flock(fd, operation);
}

void door_close(unsigned kinds, long nth, enum door_fault fault, int code)
{
    door.kinds = kinds;
    door.countdown = nth;
    door.fault = fault;
    door.code = code;
    door.has_happened = false;
    sys = sys_real;
    sys.open = door_open_file;
    sys.read = door_read;
    sys.pread = door_pread;
    sys.pwrite = door_pwrite;
    sys.fstat = door_fstat;
    sys.ftruncate = door_ftruncate;
    sys.fsync = door_fsync;
    sys.fdatasync = door_fdatasync;
    sys.flock = door_flock;
    sys.rename = door_rename;
    sys.unlink = door_unlink;
    sys.mkdir = door_mkdir;
    sys.rmdir = door_rmdir;
    sys.mmap = door_mmap;
}

bool door_open(void)
{
    door.countdown = -1;
    sys = sys_real;
    return door.has_happened;
}

/* From the book's frontier to the end of the text. */
static quire_status read_text(struct kv_book *book, const struct kv_geometry *geometry, const int32_t *text,
                              void (*committed)(size_t frontier), quire_error *err)
{
    size_t frontier = kv_book_frontier(book);
    float logits[KV_TEST_LOGITS], residual[50] = {0};
    quire_status status = QUIRE_OK;
    if (frontier < LIFE_MIDDLE) {
        status = kv_test_put(book, geometry, text, frontier, LIFE_MIDDLE - frontier, err);
        if (status == QUIRE_OK)
            status = kv_book_commit(book, text, LIFE_MIDDLE, NULL, 0, err);
        if (status == QUIRE_OK && committed)
            committed(LIFE_MIDDLE);
        frontier = LIFE_MIDDLE;
    }
    if (status != QUIRE_OK || frontier == LIFE_END)
        return status;
    struct kv_flight flight = {.span_first = frontier, .span_end = LIFE_END, .layer = 1, .kv_token = frontier};
    struct kv_flight found;
    bool is_found;
    status = kv_book_flight(book, &found, &is_found);
    if (status == QUIRE_OK && is_found)
        status = kv_book_load_residual(book, residual, sizeof residual, err);
    if (status == QUIRE_OK && !is_found)
        status = kv_test_put_layer(book, geometry, 0, text, frontier, LIFE_END - frontier, err);
    if (status == QUIRE_OK && !is_found)
        status = kv_book_save_flight(book, text, LIFE_END, &flight, residual, sizeof residual, err);
    if (status == QUIRE_OK)
        status = kv_test_put_layer(book, geometry, 1, text, frontier, LIFE_END - frontier, err);
    kv_test_logits(logits, text, LIFE_END);
    if (status == QUIRE_OK)
        status = kv_book_commit(book, text, LIFE_END, logits, KV_TEST_LOGITS, err);
    if (status == QUIRE_OK && committed)
        committed(LIFE_END);
    return status;
}

quire_status live(const char *folder, const struct kv_geometry *geometry, const int32_t *text, const int32_t *other,
                  void (*committed)(size_t frontier), quire_error *err)
{
    struct kv_store *store = NULL;
    struct kv_book *book = NULL, *branch = NULL;
    struct kv_store_options options = {
        .path = folder, .spill_path = "/tmp", .geometry = *geometry, .identity = KV_TEST_IDENTITY};
    quire_status status = kv_store_open(&store, &options, err);
    if (status == QUIRE_OK)
        status = kv_book_open(&book, store, text, LIFE_END, false, err);
    if (status == QUIRE_OK) {
        status = read_text(book, geometry, text, committed, err);
        if (status == QUIRE_OK)
            status = kv_book_branch(&branch, book, 100, err);
        if (status == QUIRE_OK && !kv_test_holds(branch, geometry, text, LIFE_END))
            status = quire_fail(err, QUIRE_ERR_NUMERIC, "the branch holds something else");
        kv_book_close(branch);
        kv_book_close(book);
    }
    if (status == QUIRE_OK) {
        status = kv_test_read(&book, store, geometry, other, LIFE_END, NULL, err);
        if (status == QUIRE_OK)
            kv_book_close(book);
    }
    kv_store_close(store);
    return status;
}
