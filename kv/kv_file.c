#include "kv/kv_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/sys.h"

void kv_path(char path[KV_PATH_SIZE], const char *folder, const char *name, ...)
{
    va_list args;
    va_start(args, name);
    int n = snprintf(path, KV_PATH_SIZE, "%s/", folder);
    vsnprintf(path + n, (size_t)(KV_PATH_SIZE - n), name, args);
    va_end(args);
}

static int open_patiently(const char *path, int flags)
{
    int fd;
    do
        fd = sys.open(path, flags | O_CLOEXEC, 0600);
    while (fd < 0 && errno == EINTR);
    return fd;
}

quire_status kv_file_open(int *fd, const char *path, int flags, bool *is_missing, quire_error *err)
{
    int opened = open_patiently(path, flags);
    if (is_missing)
        *is_missing = opened < 0 && errno == ENOENT;
    if (opened < 0)
        return sys_fail(err, flags & O_CREAT ? "make" : "open", path);
    *fd = opened;
    return QUIRE_OK;
}

quire_status kv_file_open_own(int *fd, const char *path, int flags, quire_error *err)
{
    bool is_missing;
    quire_error why = {0};
    quire_status status = kv_file_open(fd, path, flags, &is_missing, &why);
    return status == QUIRE_OK ? status : quire_fail(err, is_missing ? QUIRE_ERR_FORMAT : status, "%s", why.message);
}

quire_status kv_file_temporary(int *fd, const char *folder, quire_error *err)
{
    int opened = open_patiently(folder, O_TMPFILE | O_RDWR);
    /* Some file systems have no nameless files, and old kernels take the flag for O_DIRECTORY: make one with a name and
     * take the name away. */
    if (opened < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        uint64_t random = 0;
        char path[KV_PATH_SIZE];
        if (getrandom(&random, sizeof random, 0) != sizeof random)
            return sys_fail(err, "name a temporary file in", folder);
        kv_path(path, folder, "tmp.%016llx", (unsigned long long)random);
        opened = open_patiently(path, O_CREAT | O_EXCL | O_RDWR);
        if (opened >= 0 && sys.unlink(path) != 0 && errno != ENOENT) { /* another process may have swept it away */
            sys_fail(err, "unlink", path);
            kv_file_close(&opened);
            return QUIRE_ERR_IO;
        }
    }
    if (opened < 0)
        return sys_fail(err, "make a temporary file in", folder);
    *fd = opened;
    return QUIRE_OK;
}

bool kv_file_is_temporary(const char *name)
{
    return strncmp(name, "tmp.", 4) == 0 && strlen(name) == 20 && strspn(name + 4, "0123456789abcdef") == 16;
}

quire_status kv_file_size(int fd, uint64_t *n_bytes, const char *path, quire_error *err)
{
    struct stat st;
    if (sys.fstat(fd, &st) != 0)
        return sys_fail(err, "stat", path);
    *n_bytes = (uint64_t)st.st_size;
    return QUIRE_OK;
}

quire_status kv_file_resize(int fd, uint64_t n_bytes, const char *path, quire_error *err)
{
    int result;
    do
        result = sys.ftruncate(fd, (off_t)n_bytes);
    while (result != 0 && errno == EINTR);
    return result == 0 ? QUIRE_OK : sys_fail(err, "set the size of", path);
}

quire_status kv_file_reserve(int fd, uint64_t offset, uint64_t n_bytes, const char *path, bool *is_possible,
                             quire_error *err)
{
    int result;
    do
        result = sys.fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)n_bytes);
    while (result != 0 && errno == EINTR);
    if (result != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        *is_possible = false;
        return QUIRE_OK;
    }
    return result == 0 ? QUIRE_OK : sys_fail(err, "reserve space for", path);
}

void kv_file_punch(int fd, uint64_t offset, uint64_t n_bytes)
{
    sys.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)n_bytes);
}

quire_status kv_file_sync(int fd, const char *path, quire_error *err)
{
    int result;
    do
        result = sys.fdatasync(fd);
    while (result != 0 && errno == EINTR);
    return result == 0 ? QUIRE_OK : sys_fail(err, "sync", path);
}

quire_status kv_file_replace(const char *folder, const char *name, const void *data, size_t n_bytes, bool *is_unsure,
                             quire_error *err)
{
    char path[KV_PATH_SIZE], temporary[KV_PATH_SIZE];
    int fd = -1;
    bool is_renamed = false;
    kv_path(path, folder, "%s", name);
    kv_path(temporary, folder, "%s" KV_TEMPORARY_SUFFIX, name);
    quire_status status = kv_file_open(&fd, temporary, O_CREAT | O_TRUNC | O_WRONLY, NULL, err);
    if (status == QUIRE_OK)
        status = sys_write_all(fd, data, n_bytes, 0, temporary, err);
    if (status == QUIRE_OK)
        status = kv_file_sync(fd, temporary, err);
    kv_file_close(&fd);
    if (status == QUIRE_OK) {
        is_renamed = sys.rename(temporary, path) == 0;
        status = is_renamed ? sys_sync_folder(folder, err) : sys_fail(err, "replace", path);
    }
    if (status != QUIRE_OK && !is_renamed)
        sys.unlink(temporary);
    if (is_unsure)
        *is_unsure = status != QUIRE_OK && is_renamed;
    return status;
}

/* A lock counts while its file has its name: one that was removed is locked against nobody. */
static quire_status check_name(int fd, const char *path, bool *is_missing, quire_error *err)
{
    struct stat st, named;
    if (sys.fstat(fd, &st) != 0)
        return sys_fail(err, "stat", path);
    bool is_there = sys.lstat(path, &named) == 0;
    if (!is_there && errno != ENOENT)
        return sys_fail(err, "stat", path);
    if (is_there && named.st_ino == st.st_ino && named.st_dev == st.st_dev)
        return QUIRE_OK;
    if (is_missing)
        *is_missing = true;
    return quire_fail(err, QUIRE_ERR_IO, "'%s' was removed by another process", path);
}

quire_status kv_file_lock(int *fd, const char *path, bool is_patient, bool *is_missing, quire_error *err)
{
    int opened = -1, result;
    quire_status status = kv_file_open(&opened, path, O_CREAT | O_RDWR, is_missing, err);
    if (status != QUIRE_OK)
        return status;
    do
        result = sys.flock(opened, LOCK_EX | (is_patient ? 0 : LOCK_NB));
    while (result != 0 && errno == EINTR);
    if (result != 0 && errno == EWOULDBLOCK)
        status = quire_fail(err, QUIRE_ERR_BUSY, "'%s' is locked: another process writes this book", path);
    else if (result != 0)
        status = sys_fail(err, "lock", path);
    else
        status = check_name(opened, path, is_missing, err);
    if (status == QUIRE_OK)
        *fd = opened;
    else
        kv_file_close(&opened);
    return status;
}

quire_status kv_file_share(int fd, const char *path, quire_error *err)
{
    int result;
    do
        result = sys.flock(fd, LOCK_SH);
    while (result != 0 && errno == EINTR);
    return result == 0 ? QUIRE_OK : sys_fail(err, "lock", path);
}

quire_status kv_file_unshare(int fd, const char *path, quire_error *err)
{
    int result;
    do
        result = sys.flock(fd, LOCK_EX | LOCK_NB);
    while (result != 0 && errno == EINTR);
    if (result != 0 && errno == EWOULDBLOCK)
        return quire_fail(err, QUIRE_ERR_BUSY, "'%s' is in use", path);
    return result == 0 ? QUIRE_OK : sys_fail(err, "lock", path);
}

void kv_file_close(int *fd)
{
    if (*fd >= 0)
        sys.close(*fd);
    *fd = -1;
}

quire_status kv_folder_list(const char *folder, kv_folder_visit visit, void *context, quire_error *err)
{
    int fd = open_patiently(folder, O_RDONLY | O_DIRECTORY);
    DIR *list = fd >= 0 ? sys.fdopendir(fd) : NULL;
    if (!list) {
        sys_fail(err, "list", folder);
        kv_file_close(&fd);
        return QUIRE_ERR_IO;
    }
    errno = 0;
    for (struct dirent *entry; (entry = sys.readdir(list)) != NULL; errno = 0)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            visit(context, entry->d_name);
    quire_status status = errno == 0 ? QUIRE_OK : sys_fail(err, "list", folder);
    closedir(list);
    return status;
}

static void remove_file(void *context, const char *name)
{
    char path[KV_PATH_SIZE];
    kv_path(path, context, "%s", name);
    sys.unlink(path);
}

void kv_folder_remove(const char *folder)
{
    char copy[KV_PATH_SIZE];
    snprintf(copy, sizeof copy, "%s", folder);
    kv_folder_list(folder, remove_file, copy, NULL);
    sys.rmdir(folder);
}
