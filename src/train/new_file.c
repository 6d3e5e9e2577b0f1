#include "new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/sys.h"

/* Opens the draft and locks it, so that two processes never write to the same one; what is in it goes. The lock may
 * come with a draft that has just been given its name, or was removed: then there is another one to be opened. */
static quire_status open_locked(struct new_file *draft, quire_error *err)
{
    for (;;) {
        struct stat opened, named;
        draft->fd = sys.open(draft->temporary, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (draft->fd < 0)
            return sys_fail(err, "make", draft->temporary);
        if (sys.flock(draft->fd, LOCK_EX | LOCK_NB) != 0)
            return errno == EWOULDBLOCK
                       ? quire_fail(err, QUIRE_ERR_BUSY, "another process is making '%s'; start again when it is done",
                                    draft->path)
                       : sys_fail(err, "lock", draft->temporary);
        if (sys.fstat(draft->fd, &opened) != 0)
            return sys_fail(err, "stat", draft->temporary);
        if (sys.lstat(draft->temporary, &named) == 0 && named.st_ino == opened.st_ino && named.st_dev == opened.st_dev)
            break;
        sys.close(draft->fd);
    }
    return sys.ftruncate(draft->fd, 0) == 0 ? QUIRE_OK : sys_fail(err, "empty", draft->temporary);
}

quire_status new_file_open(struct new_file *draft, const char *path, quire_error *err)
{
    struct new_file d = {.fd = -1, .path = mem_strdup(path, err)};
    size_t n = strlen(path) + sizeof NEW_FILE_SUFFIX;
    d.temporary = d.path ? mem_calloc(n, 1, "a path", err) : NULL;
    if (!d.temporary) {
        free(d.path);
        return QUIRE_ERR_NO_MEMORY;
    }
    snprintf(d.temporary, n, "%s" NEW_FILE_SUFFIX, path);
    quire_status status = open_locked(&d, err);
    if (status != QUIRE_OK) { /* the draft, if there is one, may be another's */
        if (d.fd >= 0)
            sys.close(d.fd);
        free(d.path);
        free(d.temporary);
        return status;
    }
    *draft = d;
    return QUIRE_OK;
}

quire_status new_file_write(struct new_file *draft, const void *data, size_t n, quire_error *err)
{
    quire_status status = sys_write_all(draft->fd, data, n, (off_t)draft->n_bytes, draft->path, err);
    if (status == QUIRE_OK)
        draft->n_bytes += n;
    return status;
}

quire_status new_file_write_at(struct new_file *draft, const void *data, size_t n, uint64_t offset, quire_error *err)
{
    quire_status status = sys_write_all(draft->fd, data, n, (off_t)offset, draft->path, err);
    if (status == QUIRE_OK && offset + n > draft->n_bytes)
        draft->n_bytes = offset + n;
    return status;
}

quire_status new_file_reserve(struct new_file *draft, uint64_t n_bytes, quire_error *err)
{
    int result;
    do
        result = sys.fallocate(draft->fd, 0, 0, (off_t)n_bytes);
    while (result != 0 && errno == EINTR);
    return result == 0 || errno == EOPNOTSUPP ? QUIRE_OK : sys_fail(err, "take the disk space of", draft->path);
}

quire_status new_file_commit(struct new_file *draft, quire_error *err)
{
    quire_status status = sys_sync(draft->fd, draft->temporary, err);
    if (status == QUIRE_OK && sys.rename(draft->temporary, draft->path) != 0)
        status = sys_fail(err, "rename to", draft->path);
    if (status == QUIRE_OK) {
        free(draft->temporary);
        draft->temporary = NULL;
        status = sys_sync_folder_of(draft->path, err); /* the new name is to last, too */
    }
    new_file_drop(draft);
    return status;
}

void new_file_drop(struct new_file *draft)
{
    if (draft->temporary)
        sys.unlink(draft->temporary);
    if (draft->path && draft->fd >= 0) /* and with it the lock, when the draft has no longer its name */
        sys.close(draft->fd);
    free(draft->temporary);
    free(draft->path);
    *draft = (struct new_file){.fd = -1};
}
