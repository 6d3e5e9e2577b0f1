/* The one door to system calls that can fail on files: every module opens, reads, writes, syncs, maps and renames
 * through this table, so that a test can make any of them fail. The functions behave as their namesakes (errno on
 * failure). */
#ifndef QUIRE_BASE_SYS_H
#define QUIRE_BASE_SYS_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "quire/error.h"

struct io_uring;
struct io_uring_cqe;
struct map_guard;

struct sys_calls {
    int (*open)(const char *path, int flags, mode_t mode);
    int (*close)(int fd);
    ssize_t (*read)(int fd, void *buffer, size_t n);
    ssize_t (*pread)(int fd, void *buffer, size_t n, off_t offset);
    ssize_t (*pwrite)(int fd, const void *buffer, size_t n, off_t offset);
    int (*fstat)(int fd, struct stat *st);
    int (*stat)(const char *path, struct stat *st);
    int (*lstat)(const char *path, struct stat *st);
    int (*futimens)(int fd, const struct timespec times[2]);
    int (*ftruncate)(int fd, off_t size);
    int (*fallocate)(int fd, int mode, off_t offset, off_t n);
    int (*fsync)(int fd);
    int (*fdatasync)(int fd);
    int (*flock)(int fd, int operation);
    int (*rename)(const char *from, const char *to);
    int (*exchange)(const char *a, const char *b);       /* renameat2 with RENAME_EXCHANGE */
    int (*rename_new)(const char *from, const char *to); /* renameat2 with RENAME_NOREPLACE */
    int (*unlink)(const char *path);
    int (*mkdir)(const char *path, mode_t mode);
    int (*rmdir)(const char *path);
    DIR *(*fdopendir)(int fd);
    struct dirent *(*readdir)(DIR *list);
    int (*statvfs)(const char *path, struct statvfs *st);
    void *(*mmap)(void *address, size_t n, int protection, int flags, int fd, off_t offset);

    /* liburing's queue_init (without flags), register_buffers, submit and wait_cqe: they return -errno on failure. */
    int (*uring_open)(struct io_uring *ring, unsigned n_entries);
    int (*uring_open_for_reads)(struct io_uring *ring, unsigned n_entries); /* and for nothing else, from then on */
    int (*uring_register)(struct io_uring *ring, const struct iovec *buffers, unsigned n_buffers);
    int (*uring_submit)(struct io_uring *ring);
    int (*uring_wait)(struct io_uring *ring, struct io_uring_cqe **completion);
};

extern struct sys_calls sys;            /* what is called */
extern const struct sys_calls sys_real; /* what the operating system offers; a test puts it back */

/* A mapped file, read-only, or the first n_bytes of one. data is NULL where that is nothing. A page that cannot be read
 * gives zeros (base/map_guard.h), so that whoever has used the data asks sys_map_check before he believes it. */
struct sys_map {
    const unsigned char *data;
    size_t n_bytes;
    struct map_guard *guard;
};

/* Opens a regular file to read; links are followed. A FIFO, a device, a socket or a folder is refused at once, never
 * waited for. Errors: IO; FORMAT, by what it is; naming path. */
quire_status sys_open_file(int *fd, struct stat *st, const char *path, quire_error *err);

/* A file as long as it is now. Errors: those of sys_open_file; FORMAT where the file has bytes and says that it has
 * none (below /proc); NO_MEMORY. */
quire_status sys_map_file(struct sys_map *out, const char *path, quire_error *err);

/* The first n_bytes of an open file, which the caller has seen to be that long; path is for messages. Errors: IO,
 * NO_MEMORY. */
quire_status sys_map_open_file(struct sys_map *out, int fd, size_t n_bytes, const char *path, quire_error *err);
void sys_unmap(struct sys_map *map);

/* The pages that data[0..n_bytes) of a mapped file touches leave this process's memory; they come back when they are
 * touched. Never for other memory, which would be lost. */
void sys_let_go(const void *data, size_t n_bytes);

/* Errors: IO, naming path and offset, where a page of the mapping could not be read at any time. */
quire_status sys_map_check(const struct sys_map *map, const char *path, quire_error *err);

/* Writes all n bytes at offset, through short writes and EINTR. Errors: NO_SPACE on a full disk or quota, IO; naming
 * `path`. */
quire_status sys_write_all(int fd, const void *buffer, size_t n, off_t offset, const char *path, quire_error *err);

/* Reads exactly n bytes at offset. Errors: FORMAT where the file ends before, IO; naming `path`. */
quire_status sys_read_all(int fd, void *buffer, size_t n, off_t offset, const char *path, quire_error *err);

/* "cannot WHAT 'path': ..." for what errno says: NO_SPACE where it is a full disk, a quota or a limit of size, else IO.
 */
quire_status sys_fail(quire_error *err, const char *what, const char *path);

/* Make a file's contents, or the names in a folder, durable. Errors: NO_SPACE, IO. */
quire_status sys_sync(int fd, const char *path, quire_error *err);
quire_status sys_sync_folder(const char *folder, quire_error *err);
quire_status sys_sync_folder_of(const char *path, quire_error *err); /* the folder that path lies in */

/* The folder that a path lies in, "." where it names none; malloc'ed. NULL: no memory. */
char *sys_folder_of(const char *path, quire_error *err);

/* Makes path's folder and those above it, mode 0700, their names durable. Errors: IO, NO_SPACE. */
quire_status sys_make_folders(const char *path, quire_error *err);

/* Reads a small file to its end, whatever size it says; *text is NUL-terminated and malloc'ed. Errors: those of
 * sys_open_file; FORMAT when it is larger than max_bytes; IO, also where it becomes shorter meanwhile; NO_MEMORY. */
quire_status sys_read_file(char **text, size_t *n_bytes, const char *path, size_t max_bytes, quire_error *err);

bool sys_exists(const char *path);
bool sys_is_folder(const char *path);

/* Seconds on a clock that only goes forward. */
double sys_now(void);

/* Peak resident memory of this process in bytes (VmHWM), and what may be used: physical memory that is available, or
 * the limit of the control group where that is less. */
uint64_t sys_peak_resident_bytes(void);
uint64_t sys_available_memory_bytes(void);

#endif
