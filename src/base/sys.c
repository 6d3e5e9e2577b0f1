#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "map_guard.h"
#include "mem.h"

static int real_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

static int real_exchange(const char *a, const char *b)
{
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
}

static int real_rename_new(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
}

static int real_uring_open(struct io_uring *ring, unsigned n_entries)
{
    return io_uring_queue_init(n_entries, ring, 0);
}

/* The kernel (5.10 and later) refuses whatever is not on the ring's list. By the bare call: liburing declares functions
 * for it, and leaves them out of its shared library up to 2.3. */
static int real_uring_open_for_reads(struct io_uring *ring, unsigned n_entries)
{
    struct io_uring_restriction list[] = {
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READV},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ_FIXED},
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_BUFFERS},
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_UNREGISTER_BUFFERS},
    };
    int rc = io_uring_queue_init(n_entries, ring, IORING_SETUP_R_DISABLED);
    if (rc < 0)
        return rc;
    if (syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, list, sizeof list / sizeof *list) <
            0 ||
        syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0) {
        rc = -errno;
        io_uring_queue_exit(ring);
        return rc;
    }
    return 0;
}

/* An inline function in liburing's header, so it has no address of its own to rely on. */
static int real_uring_wait(struct io_uring *ring, struct io_uring_cqe **completion)
{
    return io_uring_wait_cqe(ring, completion);
}

#define REAL_CALLS                                                                                                     \
    {                                                                                                                  \
        .open = real_open, .close = close, .read = read, .pread = pread, .pwrite = pwrite, .fstat = fstat,             \
        .stat = stat, .lstat = lstat, .futimens = futimens, .ftruncate = ftruncate, .fallocate = fallocate,            \
        .fsync = fsync, .fdatasync = fdatasync, .flock = flock, .rename = rename, .exchange = real_exchange,           \
        .rename_new = real_rename_new, .unlink = unlink, .mkdir = mkdir, .rmdir = rmdir, .fdopendir = fdopendir,       \
        .readdir = readdir, .statvfs = statvfs, .mmap = mmap, .uring_open = real_uring_open,                           \
        .uring_open_for_reads = real_uring_open_for_reads, .uring_register = io_uring_register_buffers,                \
        .uring_submit = io_uring_submit, .uring_wait = real_uring_wait,                                                \
    }

const struct sys_calls sys_real = REAL_CALLS;
struct sys_calls sys = REAL_CALLS;

static const char *kind_of(mode_t mode)
{
    if (S_ISDIR(mode))
        return "a folder";
    if (S_ISFIFO(mode))
        return "a FIFO";
    return S_ISSOCK(mode) ? "a socket" : "a device";
}

/* What is no file is not even opened, which could act on a device, and would be felt by a FIFO's writer; and where it
 * takes the file's place after the look, O_NONBLOCK does not wait for it. */
quire_status sys_open_file(int *fd, struct stat *st, const char *path, quire_error *err)
{
    struct stat found;
    int opened = -1;
    bool is_file =
        sys.stat(path, &found) != 0 || S_ISREG(found.st_mode); /* opening says why there was nothing to see */
    if (is_file) {
        do
            opened = sys.open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
        while (opened < 0 && errno == EINTR);
        if (opened < 0)
            return quire_fail(err, QUIRE_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
        if (sys.fstat(opened, &found) != 0) {
            quire_fail(err, QUIRE_ERR_IO, "cannot stat '%s': %s", path, strerror(errno));
            sys.close(opened);
            return QUIRE_ERR_IO;
        }
        is_file = S_ISREG(found.st_mode);
    }
    if (!is_file) {
        if (opened >= 0)
            sys.close(opened);
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is %s, expected a regular file", path, kind_of(found.st_mode));
    }
    *fd = opened;
    *st = found;
    return QUIRE_OK;
}

/* A file of no bytes that has some: what the system makes up while it is read, as below /proc. */
static quire_status check_is_empty(int fd, const char *path, quire_error *err)
{
    char byte;
    ssize_t n = sys.pread(fd, &byte, 1, 0);
    if (n < 0)
        return quire_fail(err, QUIRE_ERR_IO, "cannot read '%s': %s", path, strerror(errno));
    return n == 0
               ? QUIRE_OK
               : quire_fail(err, QUIRE_ERR_FORMAT,
                            "'%s' does not say how many bytes it has, so that it cannot be mapped; copy it to a file "
                            "on a disk",
                            path);
}

quire_status sys_map_file(struct sys_map *out, const char *path, quire_error *err)
{
    struct stat st;
    int fd;
    quire_status status = sys_open_file(&fd, &st, path, err);
    if (status != QUIRE_OK)
        return status;
    if (st.st_size == 0)
        status = check_is_empty(fd, path, err);
    if (status == QUIRE_OK)
        status = sys_map_open_file(out, fd, (size_t)st.st_size, path, err);
    sys.close(fd);
    return status;
}

quire_status sys_map_open_file(struct sys_map *out, int fd, size_t n_bytes, const char *path, quire_error *err)
{
    struct sys_map map = {.n_bytes = n_bytes};
    if (n_bytes > 0) {
        void *p = sys.mmap(NULL, n_bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            return quire_fail(err, QUIRE_ERR_IO, "cannot map '%s' (%zu bytes): %s", path, n_bytes, strerror(errno));
        quire_status status = map_guard_open(&map.guard, p, n_bytes, err);
        if (status != QUIRE_OK) {
            munmap(p, n_bytes);
            return status;
        }
        map.data = p;
        /* A hint, heeded where the file system keeps large pages: what is read in from now on costs fewer look-ups. */
        madvise(p, map.n_bytes, MADV_HUGEPAGE);
    }
    *out = map;
    return QUIRE_OK;
}

void sys_let_go(const void *data, size_t n_bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)data / page * page, end = ((uintptr_t)data + n_bytes + page - 1) / page * page;
    madvise((void *)first, end - first, MADV_DONTNEED);
}

void sys_unmap(struct sys_map *map)
{
    map_guard_close(map->guard);
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->n_bytes);
    *map = (struct sys_map){0};
}

quire_status sys_map_check(const struct sys_map *map, const char *path, quire_error *err)
{
    size_t offset;
    if (!map_guard_is_broken(map->guard, &offset))
        return QUIRE_OK;
    return quire_fail(err, QUIRE_ERR_IO,
                      "cannot read '%s' at byte %zu: its disk failed, or the file was cut short while it was in use",
                      path, offset);
}

quire_status sys_fail(quire_error *err, const char *what, const char *path)
{
    bool is_full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return quire_fail(err, is_full ? QUIRE_ERR_NO_SPACE : QUIRE_ERR_IO, "cannot %s '%s': %s", what, path,
                      strerror(errno));
}

quire_status sys_sync(int fd, const char *path, quire_error *err)
{
    int result;
    do
        result = sys.fsync(fd);
    while (result != 0 && errno == EINTR);
    return result == 0 ? QUIRE_OK : sys_fail(err, "sync", path);
}

static int open_folder(const char *folder)
{
    int fd;
    do
        fd = sys.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    while (fd < 0 && errno == EINTR);
    return fd;
}

quire_status sys_sync_folder(const char *folder, quire_error *err)
{
    int fd = open_folder(folder);
    if (fd < 0)
        return sys_fail(err, "open", folder);
    quire_status status = sys_sync(fd, folder, err);
    sys.close(fd);
    return status;
}

char *sys_folder_of(const char *path, quire_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!folder)
        quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a path");
    return folder;
}

quire_status sys_sync_folder_of(const char *path, quire_error *err)
{
    char *folder = sys_folder_of(path, err);
    quire_status status = folder ? sys_sync_folder(folder, err) : QUIRE_ERR_NO_MEMORY;
    free(folder);
    return status;
}

quire_status sys_write_all(int fd, const void *buffer, size_t n, off_t offset, const char *path, quire_error *err)
{
    const unsigned char *p = buffer;
    while (n > 0) {
        ssize_t written = sys.pwrite(fd, p, n, offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            char what[48];
            errno = written == 0 ? ENOSPC : errno;
            snprintf(what, sizeof what, "write %zu bytes to", n);
            return sys_fail(err, what, path);
        }
        p += written;
        n -= (size_t)written;
        offset += written;
    }
    return QUIRE_OK;
}

quire_status sys_read_all(int fd, void *buffer, size_t n, off_t offset, const char *path, quire_error *err)
{
    unsigned char *p = buffer;
    while (n > 0) {
        ssize_t got = sys.pread(fd, p, n, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return quire_fail(err, QUIRE_ERR_IO, "cannot read '%s': %s", path, strerror(errno));
        if (got == 0)
            return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is cut short: it ends at byte %lld, %zu more expected", path,
                              (long long)offset, n);
        p += got;
        n -= (size_t)got;
        offset += got;
    }
    return QUIRE_OK;
}

/* Makes a new folder's name durable. One whose parent may not be read is left to the system's own time. */
static quire_status sync_parent(char *path, quire_error *err)
{
    char *slash = strrchr(path, '/');
    const char *parent = !slash ? "." : slash == path ? "/" : path;
    if (slash)
        *slash = '\0';
    quire_status status = QUIRE_OK;
    int fd = open_folder(parent);
    if (fd >= 0) {
        status = sys_sync(fd, parent, err);
        sys.close(fd);
    } else if (errno != EACCES) {
        status = sys_fail(err, "sync", parent);
    }
    if (slash)
        *slash = '/';
    return status;
}

quire_status sys_make_folders(const char *path, quire_error *err)
{
    char *partial = mem_strdup(path, err);
    if (!partial)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = QUIRE_OK;
    for (char *p = partial + 1; status == QUIRE_OK; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char saved = *p;
        *p = '\0';
        if (sys.mkdir(partial, 0700) == 0)
            status = sync_parent(partial, err);
        else if (errno != EEXIST)
            status = sys_fail(err, "make folder", partial);
        *p = saved;
        if (saved == '\0')
            break;
    }
    free(partial);
    return status;
}

struct whole {
    char *bytes; /* and one more, for a NUL */
    size_t n, capacity;
};

/* Up to where the file ends, whatever it said of its size: it may be written to meanwhile, or have no size at all. */
static quire_status read_to_end(struct whole *whole, int fd, size_t n_claimed, const char *path, size_t max_bytes,
                                quire_error *err)
{
    size_t need = size_min(n_claimed, max_bytes) + 2; /* the end shows without another reservation */
    for (;;) {
        quire_status status = mem_reserve(&whole->bytes, &whole->capacity, need, 1, "a file", err);
        if (status != QUIRE_OK)
            return status;
        ssize_t got = sys.pread(fd, whole->bytes + whole->n, whole->capacity - whole->n - 1, (off_t)whole->n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return quire_fail(err, QUIRE_ERR_IO, "cannot read '%s': %s", path, strerror(errno));
        if (got == 0)
            break;
        whole->n += (size_t)got;
        if (whole->n > max_bytes)
            return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has %zu bytes or more, expected at most %zu", path, whole->n,
                              max_bytes);
        need = whole->n + 2;
    }
    if (whole->n < n_claimed)
        return quire_fail(err, QUIRE_ERR_IO,
                          "'%s' became shorter while it was read: it ends at byte %zu, and had %zu bytes when opened",
                          path, whole->n, n_claimed);
    whole->bytes[whole->n] = '\0';
    return QUIRE_OK;
}

quire_status sys_read_file(char **text, size_t *n_bytes, const char *path, size_t max_bytes, quire_error *err)
{
    struct whole whole = {0};
    struct stat st;
    int fd;
    quire_status status = sys_open_file(&fd, &st, path, err);
    if (status != QUIRE_OK)
        return status;
    if ((uintmax_t)st.st_size > max_bytes)
        status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has %jd bytes, expected at most %zu", path,
                            (intmax_t)st.st_size, max_bytes);
    else
        status = read_to_end(&whole, fd, (size_t)st.st_size, path, max_bytes, err);
    sys.close(fd);
    if (status != QUIRE_OK) {
        free(whole.bytes);
        return status;
    }
    *text = whole.bytes;
    *n_bytes = whole.n;
    return QUIRE_OK;
}

bool sys_is_folder(const char *path)
{
    struct stat st;
    return sys.stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool sys_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

double sys_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The number in kB after `field` in a /proc file, in bytes; 0 where it is not there. */
static uint64_t proc_field_bytes(const char *path, const char *field)
{
    FILE *f = fopen(path, "re");
    char line[256];
    unsigned long long kib = 0;
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0 && sscanf(line + strlen(field), "%llu", &kib) == 1)
            break;
    fclose(f);
    return (uint64_t)kib * 1024;
}

uint64_t sys_peak_resident_bytes(void)
{
    return proc_field_bytes("/proc/self/status", "VmHWM:");
}

/* The number in a control group's file, or `otherwise` where there is none ("max"). */
static uint64_t group_limit(const char *group, uint64_t otherwise)
{
    char path[4200];
    unsigned long long limit = otherwise;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
    FILE *f = fopen(path, "re");
    if (!f)
        return otherwise;
    if (fscanf(f, "%llu", &limit) != 1)
        limit = otherwise;
    fclose(f);
    return limit;
}

uint64_t sys_available_memory_bytes(void)
{
    uint64_t available = proc_field_bytes("/proc/meminfo", "MemAvailable:");
    char group[4096] = "";
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (f) {
        if (fscanf(f, "0::%4095s", group) != 1)
            group[0] = '\0';
        fclose(f);
    }
    /* This group's limit and those of the groups above it. */
    for (;;) {
        uint64_t limit = group_limit(group, available);
        available = limit < available ? limit : available;
        char *slash = strrchr(group, '/');
        if (!slash)
            return available;
        *slash = '\0';
    }
}
