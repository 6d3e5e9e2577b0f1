#include "new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"

static quire_status fail_errno(const char *what, const char *path, quire_error *err)
{
    bool is_full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return quire_fail(err, is_full ? QUIRE_ERR_NO_SPACE : QUIRE_ERR_IO, "cannot %s '%s': %s", what, path,
                      strerror(errno));
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
    d.fd = sys.open(d.temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (d.fd < 0) {
        quire_status status = fail_errno("make", d.temporary, err);
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
    return result == 0 || errno == EOPNOTSUPP ? QUIRE_OK : fail_errno("take the disk space of", draft->path, err);
}

static int sync_fd(int fd)
{
    int result;
    do
        result = sys.fsync(fd);
    while (result != 0 && errno == EINTR);
    return result;
}

/* Makes the new name durable. */
static quire_status sync_folder_of(const char *path, quire_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!folder)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a path");
    int fd = sys.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    quire_status status = fd < 0 || sync_fd(fd) != 0 ? fail_errno("sync", folder, err) : QUIRE_OK;
    if (fd >= 0)
        sys.close(fd);
    free(folder);
    return status;
}

quire_status new_file_commit(struct new_file *draft, quire_error *err)
{
    quire_status status = QUIRE_OK;
    if (sync_fd(draft->fd) != 0)
        status = fail_errno("sync", draft->temporary, err);
    int result = sys.close(draft->fd);
    draft->fd = -1;
    if (status == QUIRE_OK && result != 0)
        status = fail_errno("close", draft->temporary, err);
    if (status == QUIRE_OK && sys.rename(draft->temporary, draft->path) != 0)
        status = fail_errno("rename to", draft->path, err);
    if (status == QUIRE_OK) {
        free(draft->temporary);
        draft->temporary = NULL;
        status = sync_folder_of(draft->path, err);
    }
    new_file_drop(draft);
    return status;
}

void new_file_drop(struct new_file *draft)
{
    if (draft->temporary) {
        if (draft->fd >= 0)
            sys.close(draft->fd);
        sys.unlink(draft->temporary);
    }
    free(draft->temporary);
    free(draft->path);
    *draft = (struct new_file){.fd = -1};
}
