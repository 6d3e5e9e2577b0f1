#include "kv_door.h"

#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <sys/mman.h>

#include "base/sys.h"

static struct {
    unsigned kinds;
    long countdown; /* -1: no fault is coming */
    enum door_fault fault;
    int code;
    bool has_happened;
} door = {.countdown = -1};

bool door_fails(enum door_call call)
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
    if (door_fails(DOOR_OPEN))
        return -1;
    return sys_real.open(path, flags, mode);
}

static ssize_t door_read(int fd, void *buffer, size_t n)
{
    return door_fails(DOOR_READ) ? -1 : sys_real.read(fd, buffer, n);
}

static ssize_t door_pread(int fd, void *buffer, size_t n, off_t offset)
{
    return door_fails(DOOR_READ) ? -1 : sys_real.pread(fd, buffer, n, offset);
}

static ssize_t door_pwrite(int fd, const void *buffer, size_t n, off_t offset)
{
    if (door.fault == DOOR_KILLS && door.countdown == 0)
        sys_real.pwrite(fd, buffer, n / 2, offset);
    return door_fails(DOOR_WRITE) ? -1 : sys_real.pwrite(fd, buffer, n > 3000 ? n / 2 : n, offset);
}

static int door_fstat(int fd, struct stat *st)
{
    return door_fails(DOOR_STAT) ? -1 : sys_real.fstat(fd, st);
}

static int door_ftruncate(int fd, off_t size)
{
    return door_fails(DOOR_SIZE) ? -1 : sys_real.ftruncate(fd, size);
}

static int door_fallocate(int fd, int mode, off_t offset, off_t n)
{
    return door_fails(DOOR_SIZE) ? -1 : sys_real.fallocate(fd, mode, offset, n);
}

static int door_fsync(int fd)
{
    return door_fails(DOOR_SYNC) ? -1 : sys_real.fsync(fd);
}

static int door_fdatasync(int fd)
{
    return door_fails(DOOR_SYNC) ? -1 : sys_real.fdatasync(fd);
}

static int door_rename(const char *from, const char *to)
{
    return door_fails(DOOR_NAME) ? -1 : sys_real.rename(from, to);
}

static int door_exchange(const char *a, const char *b)
{
    return door_fails(DOOR_NAME) ? -1 : sys_real.exchange(a, b);
}

static int door_rename_new(const char *from, const char *to)
{
    return door_fails(DOOR_NAME) ? -1 : sys_real.rename_new(from, to);
}

static int door_unlink(const char *path)
{
    return door_fails(DOOR_NAME) ? -1 : sys_real.unlink(path);
}

static int door_mkdir(const char *path, mode_t mode)
{
    return door_fails(DOOR_NAME) ? -1 : sys_real.mkdir(path, mode);
}

static int door_rmdir(const char *path)
{
    return door_fails(DOOR_NAME) ? -1 : sys_real.rmdir(path);
}

static int door_statvfs(const char *path, struct statvfs *st)
{
    return door_fails(DOOR_STAT) ? -1 : sys_real.statvfs(path, st);
}

static DIR *door_fdopendir(int fd)
{
    return door_fails(DOOR_LIST) ? NULL : sys_real.fdopendir(fd);
}

static struct dirent *door_readdir(DIR *list)
{
    return door_fails(DOOR_LIST) ? NULL : sys_real.readdir(list);
}

static int door_uring_open(struct io_uring *ring, unsigned n_entries)
{
    return door_fails(DOOR_RING) ? -errno : sys_real.uring_open(ring, n_entries);
}

static int door_uring_register(struct io_uring *ring, const struct iovec *buffers, unsigned n_buffers)
{
    return door_fails(DOOR_RING) ? -errno : sys_real.uring_register(ring, buffers, n_buffers);
}

static int door_uring_submit(struct io_uring *ring)
{
    return door_fails(DOOR_RING) ? -errno : sys_real.uring_submit(ring);
}

static int door_uring_wait(struct io_uring *ring, struct io_uring_cqe **completion)
{
    int result = door_fails(DOOR_RING) ? -errno : sys_real.uring_wait(ring, completion);
    if (result == 0 && door_fails(DOOR_RESULT))
        (*completion)->res = -errno;
    return result;
}

static void *door_mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset)
{
    return door_fails(DOOR_MAP) ? MAP_FAILED : sys_real.mmap(address, n, protection, flags, fd, offset);
}

static int door_flock(int fd, int operation)
{
    return door_fails(DOOR_LOCK) ? -1 : sys_real.flock(fd, operation);
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
    sys.fallocate = door_fallocate;
    sys.fsync = door_fsync;
    sys.fdatasync = door_fdatasync;
    sys.flock = door_flock;
    sys.rename = door_rename;
    sys.exchange = door_exchange;
    sys.rename_new = door_rename_new;
    sys.unlink = door_unlink;
    sys.mkdir = door_mkdir;
    sys.rmdir = door_rmdir;
    sys.mmap = door_mmap;
    sys.statvfs = door_statvfs;
    sys.fdopendir = door_fdopendir;
    sys.readdir = door_readdir;
    sys.uring_open = door_uring_open;
    sys.uring_register = door_uring_register;
    sys.uring_submit = door_uring_submit;
    sys.uring_wait = door_uring_wait;
}

bool door_open(void)
{
    door.countdown = -1;
    sys = sys_real;
    return door.has_happened;
}
