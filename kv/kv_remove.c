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
    struct condemned_book {
        uint64_t id;
        struct kv_exclusive lock;
    } * books;
    size_t n, capacity;
};

/* A book that another process has removed needs no lock. */
static quire_status lock_one(struct condemned *c, uint64_t id, quire_error *err)
{
    char folder[KV_PATH_SIZE];
    bool is_gone = false;
    quire_error why = {0};
    quire_status status = mem_reserve(&c->books, &c->capacity, c->n + 1, sizeof *c->books, "books", err);
    if (status != QUIRE_OK)
        return status;
    kv_store_book_folder(folder, c->store, id);
    status = kv_use_exclude(&c->books[c->n].lock, folder, -1, &is_gone, &why);
    if (is_gone)
        return QUIRE_OK;
    if (status == QUIRE_ERR_BUSY)
        return quire_fail(err, status,
                          "KV book %016" PRIx64 " is in use by a process that reads or writes it: it stays", id);
    if (status != QUIRE_OK)
        return quire_fail(err, status, "%s", why.message);
    c->books[c->n++].id = id;
    return QUIRE_OK;
}

static bool is_condemned(const struct condemned *c, uint64_t id)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->books[i].id == id)
            return true;
    return false;
}

/* Nobody can branch off from a book that is locked, or from what begins with it, so that the branches seen after that
 * are all. The shelf has parents before their branches. */
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
    quire_status status = lock_one(&c, id, err);
    if (status == QUIRE_OK && c.n > 0)
        status = lock_branches(&c, id, with_branches, err);
    for (size_t i = c.n; i-- > 0;) { /* branches before what they begin with */
        char folder[KV_PATH_SIZE];
        kv_store_book_folder(folder, store, c.books[i].id);
        if (status == QUIRE_OK)
            status = kv_remove_excluded(store, c.books[i].id, err);
        if (status == QUIRE_OK && removed)
            removed(user, c.books[i].id);
        kv_use_end(&c.books[i].lock, folder);
    }
    free(c.books);
    return status;
}

/* kv_evict for the store's shelf, which loses what is removed. */
static quire_status evict(const struct kv_store *store, struct kv_shelf *shelf, uint64_t limit_bytes,
                          kv_removed removed, void *user, quire_error *err)
{
    quire_status status = QUIRE_OK;
    while (status == QUIRE_OK && kv_shelf_bytes(shelf) > limit_bytes) {
        size_t i = kv_shelf_oldest(shelf);
        quire_error why = {0};
        if (i == SIZE_MAX)
            break;
        status = kv_remove(store, shelf->books[i].id, false, removed, user, &why);
        if (status == QUIRE_ERR_BUSY) { /* somebody has just begun to use it */
            shelf->books[i].is_in_use = true;
            status = QUIRE_OK;
        } else if (status == QUIRE_OK) {
            kv_shelf_drop(shelf, i);
        } else {
            quire_fail(err, status, "%s", why.message);
        }
    }
    return status;
}

quire_status kv_evict(const struct kv_store *store, uint64_t limit_bytes, kv_removed removed, void *user,
                      uint64_t *n_bytes, quire_error *err)
{
    struct kv_shelf shelf;
    quire_status status = kv_shelf_load(&shelf, store, err);
    if (status != QUIRE_OK)
        return status;
    status = evict(store, &shelf, limit_bytes, removed, user, err);
    *n_bytes = kv_shelf_bytes(&shelf);
    kv_shelf_release(&shelf);
    return status;
}

/* Whether the disk has room for n_bytes once the shelf takes `kept`: nothing goes for what will not fit. */
static quire_status check_disk(const struct kv_store *store, const struct kv_shelf *shelf, uint64_t kept,
                               uint64_t n_bytes, quire_error *err)
{
    uint64_t free_bytes, given_back = kv_shelf_bytes(shelf) - kept;
    quire_status status = kv_store_free_bytes(store, &free_bytes, err);
    if (status == QUIRE_OK && n_bytes > free_bytes && n_bytes - free_bytes > given_back)
        return quire_fail(err, QUIRE_ERR_NO_SPACE,
                          "%" PRIu64 " MiB are needed in '%s', and %" PRIu64 " MiB are free there, %" PRIu64
                          " MiB more if books go for the store's limit: free some, or choose another folder with "
                          "--store",
                          mib_up(n_bytes), store->path, free_bytes >> 20, given_back >> 20);
    return status;
}

quire_status kv_make_room(const struct kv_store *store, uint64_t limit_bytes, uint64_t n_bytes, kv_removed removed,
                          void *user, quire_error *err)
{
    struct kv_shelf shelf;
    uint64_t kept = 0;
    if (n_bytes > limit_bytes)
        return quire_fail(err, QUIRE_ERR_NO_SPACE,
                          "%" PRIu64 " MiB are needed in the store, more than its limit of %" PRIu64
                          " MiB: raise --store-limit",
                          mib_up(n_bytes), limit_bytes >> 20);
    quire_status status = kv_shelf_load(&shelf, store, err);
    if (status != QUIRE_OK)
        return status;
    status = kv_shelf_bytes_after(&kept, &shelf, limit_bytes - n_bytes, err);
    bool is_enough = kept <= limit_bytes - n_bytes;
    if (status == QUIRE_OK && is_enough)
        status = check_disk(store, &shelf, kept, n_bytes, err);
    if (status == QUIRE_OK && (is_enough || n_bytes == 0)) {
        status = evict(store, &shelf, limit_bytes - n_bytes, removed, user, err);
        kept = kv_shelf_bytes(&shelf);
    }
    kv_shelf_release(&shelf);
    if (status == QUIRE_OK && kept > limit_bytes - n_bytes)
        status = quire_fail(err, QUIRE_ERR_NO_SPACE,
                            "%" PRIu64 " MiB are needed in the store, its limit is %" PRIu64 " MiB, and %" PRIu64
                            " MiB are taken by books that stay, those in use and those that they begin with: raise "
                            "--store-limit",
                            mib_up(n_bytes), limit_bytes >> 20, mib_up(kept));
    return status;
}

quire_status kv_store_make_room(const struct kv_store *store, uint64_t limit_bytes, uint64_t n_bytes, quire_error *err)
{
    return kv_make_room(store, limit_bytes, n_bytes, NULL, NULL, err);
}
