#include "kv/kv_remove.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"

quire_status kv_remove_excluded(const struct kv_store *store, uint64_t id, quire_error *err)
{
    char folder[KV_PATH_SIZE], path[KV_PATH_SIZE];
    kv_store_book_folder(folder, store, id);
    kv_path(path, folder, "manifest");
    if (sys.unlink(path) != 0 && errno != ENOENT)
        return quire_fail(err, QUIRE_ERR_IO, "cannot remove '%s': %s", path, strerror(errno));
    quire_status status = sys_sync_folder(folder, err);
    if (status == QUIRE_OK)
        kv_folder_remove(folder);
    return status == QUIRE_OK ? sys_sync_folder(store->books_path, err) : status;
}

/* A book and those that follow from it, each this process's alone. */
struct condemned {
    const struct kv_store *store;
    uint64_t *ids;
    struct kv_exclusive *locks;
    size_t n;
};

static quire_status lock_one(struct condemned *c, uint64_t id, quire_error *err)
{
    char folder[KV_PATH_SIZE];
    quire_error why = {0};
    kv_store_book_folder(folder, c->store, id);
    quire_status status = kv_use_exclude(&c->locks[c->n], folder, -1, &why);
    if (status == QUIRE_ERR_BUSY)
        return quire_fail(err, status,
                          "KV book %016" PRIx64 " is in use by a process that reads or writes it: it stays", id);
    if (status != QUIRE_OK)
        return quire_fail(err, status, "%s", why.message);
    c->ids[c->n++] = id;
    return QUIRE_OK;
}

static bool is_condemned(const struct condemned *c, uint64_t id)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->ids[i] == id)
            return true;
    return false;
}

/* Nobody can branch off from a book that is locked, so that the branches seen after that are all. The shelf has parents
 * before their branches. */
static quire_status lock_branches(struct condemned *c, uint64_t id, bool with_branches, quire_error *err)
{
    struct kv_shelf shelf;
    quire_status status = kv_shelf_load(&shelf, c->store, err);
    if (status != QUIRE_OK)
        return status;
    uint32_t n_branches = kv_shelf_n_branches(&shelf, id);
    if (n_branches > 0 && !with_branches)
        status =
            quire_fail(err, QUIRE_ERR_BUSY,
                       "KV book %016" PRIx64 " is what %u other%s begin%s with: remove those first, or all together "
                       "(--force)",
                       id, n_branches, n_branches == 1 ? "" : "s", n_branches == 1 ? "s" : "");
    if (status == QUIRE_OK && n_branches > 0) {
        uint64_t *ids = realloc(c->ids, (shelf.n + 1) * sizeof *ids);
        c->ids = ids ? ids : c->ids;
        struct kv_exclusive *locks = realloc(c->locks, (shelf.n + 1) * sizeof *locks);
        c->locks = locks ? locks : c->locks;
        if (!ids || !locks)
            status = quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a list of books");
    }
    for (size_t i = 0; i < shelf.n && n_branches > 0 && status == QUIRE_OK; i++) {
        const struct kv_shelf_book *book = &shelf.books[i];
        if (is_condemned(c, book->manifest.parent_id) && !is_condemned(c, book->id))
            status = lock_one(c, book->id, err);
    }
    kv_shelf_release(&shelf);
    return status;
}

quire_status kv_remove(const struct kv_store *store, uint64_t id, bool with_branches, kv_removed removed, void *user,
                       quire_error *err)
{
    struct condemned c = {.store = store};
    c.ids = mem_calloc(1, sizeof *c.ids, "a list of books", err);
    c.locks = mem_calloc(1, sizeof *c.locks, "a list of books", err);
    quire_status status = c.ids && c.locks ? lock_one(&c, id, err) : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK)
        status = lock_branches(&c, id, with_branches, err);
    for (size_t i = c.n; i-- > 0;) { /* branches before what they begin with */
        char folder[KV_PATH_SIZE];
        kv_store_book_folder(folder, store, c.ids[i]);
        if (status == QUIRE_OK)
            status = kv_remove_excluded(store, c.ids[i], err);
        if (status == QUIRE_OK && removed)
            removed(user, c.ids[i]);
        kv_use_end(&c.locks[i], folder);
    }
    free(c.ids);
    free(c.locks);
    return status;
}

quire_status kv_evict(const struct kv_store *store, uint64_t limit_bytes, kv_removed removed, void *user,
                      uint64_t *n_bytes, quire_error *err)
{
    struct kv_shelf shelf;
    quire_status status = kv_shelf_load(&shelf, store, err);
    if (status != QUIRE_OK)
        return status;
    while (status == QUIRE_OK && kv_shelf_bytes(&shelf) > limit_bytes) {
        size_t i = kv_shelf_oldest(&shelf);
        quire_error why = {0};
        if (i == SIZE_MAX)
            break;
        status = kv_remove(store, shelf.books[i].id, false, removed, user, &why);
        if (status == QUIRE_ERR_BUSY) { /* somebody has just begun to use it */
            shelf.books[i].is_in_use = true;
            status = QUIRE_OK;
        } else if (status == QUIRE_OK) {
            kv_shelf_drop(&shelf, i);
        } else {
            quire_fail(err, status, "%s", why.message);
        }
    }
    *n_bytes = kv_shelf_bytes(&shelf);
    kv_shelf_release(&shelf);
    return status;
}

quire_status kv_make_room(const struct kv_store *store, uint64_t limit_bytes, uint64_t n_bytes, kv_removed removed,
                          void *user, quire_error *err)
{
    uint64_t kept = 0;
    if (n_bytes > limit_bytes)
        return quire_fail(err, QUIRE_ERR_NO_SPACE,
                          "%" PRIu64 " MiB are needed in the store, more than its limit of %" PRIu64
                          " MiB: raise --store-limit",
                          n_bytes >> 20, limit_bytes >> 20);
    quire_status status = kv_evict(store, limit_bytes - n_bytes, removed, user, &kept, err);
    if (status == QUIRE_OK && kept > limit_bytes - n_bytes)
        status = quire_fail(err, QUIRE_ERR_NO_SPACE,
                            "%" PRIu64 " MiB are needed in the store, its limit is %" PRIu64 " MiB, and %" PRIu64
                            " MiB are taken by books in use, or that those begin with: raise --store-limit",
                            n_bytes >> 20, limit_bytes >> 20, kept >> 20);
    return status;
}

quire_status kv_store_make_room(const struct kv_store *store, uint64_t limit_bytes, uint64_t n_bytes, quire_error *err)
{
    return kv_make_room(store, limit_bytes, n_bytes, NULL, NULL, err);
}
