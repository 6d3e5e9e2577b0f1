#include "kv/kv_use.h"

#include <errno.h>
#include <fcntl.h>

#include "base/sys.h"

void kv_use_note(int fd)
{
    sys.futimens(fd, NULL); /* in a store that may only be read nobody asks how long ago that was */
}

/* For writing where that is allowed, though nothing is written: on NFS a lock for oneself is one on bytes, and wants
 * that. Sharing does not. */
static quire_status open_tokens(int *fd, const char *path, bool *is_missing, quire_error *err)
{
    if (kv_file_open(fd, path, O_RDWR, is_missing, NULL) == QUIRE_OK)
        return QUIRE_OK;
    return kv_file_open(fd, path, O_RDONLY, is_missing, err);
}

quire_status kv_use_share(int *fd, const char *folder, bool *is_missing, quire_error *err)
{
    char path[KV_PATH_SIZE];
    kv_path(path, folder, "tokens");
    quire_status status = open_tokens(fd, path, is_missing, err);
    if (status == QUIRE_OK)
        status = kv_file_share(*fd, path, err);
    if (status != QUIRE_OK)
        kv_file_close(fd);
    return status;
}

bool kv_use_is_shared(const char *folder)
{
    char path[KV_PATH_SIZE];
    int fd = -1;
    kv_path(path, folder, "tokens");
    if (open_tokens(&fd, path, NULL, NULL) != QUIRE_OK)
        return false;
    bool is_shared = kv_file_unshare(fd, path, NULL) == QUIRE_ERR_BUSY;
    kv_file_close(&fd);
    return is_shared;
}

/* The lock on the tokens file. A book that has lost it is nobody's to read: its writer's lock is enough. */
static quire_status exclude_readers(struct kv_exclusive *exclusive, const char *folder, quire_error *err)
{
    char path[KV_PATH_SIZE];
    bool is_missing = false;
    kv_path(path, folder, "tokens");
    quire_status status = QUIRE_OK;
    if (!exclusive->is_borrowed)
        status = open_tokens(&exclusive->use_fd, path, &is_missing, err);
    if (is_missing) {
        quire_error_clear(err);
        return QUIRE_OK;
    }
    return status == QUIRE_OK ? kv_file_unshare(exclusive->use_fd, path, err) : status;
}

quire_status kv_use_exclude(struct kv_exclusive *exclusive, const char *folder, int own_share, bool *is_gone,
                            quire_error *err)
{
    char path[KV_PATH_SIZE];
    *exclusive = (struct kv_exclusive){.lock_fd = -1, .use_fd = own_share, .is_borrowed = own_share >= 0};
    kv_path(path, folder, "lock");
    quire_status status = kv_file_lock(&exclusive->lock_fd, path, false, is_gone, err);
    if (status != QUIRE_OK) {
        exclusive->is_borrowed = false; /* the share was not touched */
        exclusive->use_fd = -1;
        return status;
    }
    status = exclude_readers(exclusive, folder, err);
    if (status != QUIRE_OK)
        kv_use_end(exclusive, folder);
    return status;
}

void kv_use_end(struct kv_exclusive *exclusive, const char *folder)
{
    /* Under the writer's lock, without which nobody takes the other one. */
    if (exclusive->is_borrowed)
        kv_file_share(exclusive->use_fd, folder, NULL);
    else
        kv_file_close(&exclusive->use_fd);
    kv_file_close(&exclusive->lock_fd);
}
