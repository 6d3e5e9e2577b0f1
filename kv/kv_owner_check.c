/* Looking for damage, and what follows from it: verify, repair, gc, rm, evict. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "kv/kv_mend.h"
#include "kv/kv_owner.h"
#include "kv/kv_parents.h"
#include "kv/kv_remove.h"

/* The books that work on `id` is about, those above it first: it and its parents, or with 0 all. The rest leaves the
 * shelf. Errors: MISMATCH. */
static quire_status pick(struct kv_shelf *shelf, const quire_store *store, uint64_t id, quire_error *err)
{
    if (id == 0)
        return QUIRE_OK;
    if (!kv_shelf_find(shelf, id))
        return owner_no_such_book(store, id, err);
    size_t n = shelf->n;
    struct kv_shelf_book *kept = mem_calloc(n, sizeof *kept, "a list of books", err);
    if (!kept)
        return QUIRE_ERR_NO_MEMORY;
    /* From the book upwards; the depth bounds a chain that goes in a circle. */
    size_t n_kept = 0;
    for (const struct kv_shelf_book *book = kv_shelf_find(shelf, id); book && n_kept < n;
         book = book->manifest.parent_id ? kv_shelf_find(shelf, book->manifest.parent_id) : NULL)
        kept[n - ++n_kept] = *book;
    memmove(kept, kept + n - n_kept, n_kept * sizeof *kept);
    free(shelf->books);
    shelf->books = kept;
    shelf->n = n_kept;
    return QUIRE_OK;
}

static quire_status load(struct kv_shelf *shelf, struct owner_work *work, const quire_store *store, uint64_t id,
                         const quire_store_watch *watch, quire_error *err)
{
    *work = (struct owner_work){.watch = watch};
    quire_status status = kv_shelf_load(shelf, store->store, err);
    if (status == QUIRE_OK) {
        status = pick(shelf, store, id, err);
        if (status != QUIRE_OK)
            kv_shelf_release(shelf);
    }
    for (size_t i = 0; status == QUIRE_OK && i < shelf->n; i++)
        if (shelf->books[i].status == QUIRE_OK)
            work->progress.n_bytes_total += kv_scan_bytes(&shelf->books[i].manifest);
    return status;
}

/* --- verify ------------------------------------------------------------------------------------------------------ */

/* One look at a book. A writer that goes on meanwhile replaces files under a reader's eyes: what is found is told only
 * where the manifest is still the one that was looked at. */
struct look {
    const struct kv_watch *watch;
    const struct kv_store *store;
    const struct kv_manifest *manifest;
    bool is_outdated;
    size_t n_damaged;
};

static void look_damage(void *user, const struct kv_damage *damage)
{
    struct look *look = user;
    struct kv_manifest now;
    bool is_missing;
    quire_status status = kv_store_any_manifest(&now, look->store, damage->book_id, &is_missing, NULL);
    if (is_missing || (status == QUIRE_OK && now.generation != look->manifest->generation))
        look->is_outdated = true;
    if (look->is_outdated)
        return;
    look->n_damaged++;
    look->watch->damage(look->watch->user, damage);
}

static int look_progress(void *user, uint64_t n_bytes)
{
    const struct look *look = user;
    return look->watch->progress ? look->watch->progress(look->watch->user, n_bytes) : 0;
}

quire_status owner_look(const struct kv_store *store, const struct kv_shelf_book *book, bool with_blocks,
                        const struct kv_watch *watch, size_t *n_damaged, quire_error *err)
{
    struct kv_manifest manifest = book->manifest;
    char folder[KV_PATH_SIZE];
    int use_fd = -1;
    bool is_missing = false;
    quire_status status = QUIRE_OK;
    if (book->status != QUIRE_OK) {
        watch->damage(watch->user, &(struct kv_damage){book->id, -1, -1, -1, book->problem});
        ++*n_damaged;
        return QUIRE_OK;
    }
    kv_store_book_folder(folder, store, book->id);
    kv_use_share(&use_fd, folder, NULL, NULL); /* so that it stays; where that fails, what follows says why */
    for (int round = 0; round < 100; round++) {
        struct kv_store view = kv_store_view(store, &manifest);
        struct kv_soundness soundness;
        struct look look = {.watch = watch, .store = store, .manifest = &manifest};
        const struct kv_watch looking = {look_damage, look_progress, &look};
        status = kv_scan(&soundness, &view, &manifest, with_blocks, &looking, err);
        *n_damaged += look.n_damaged;
        if (status != QUIRE_OK || !look.is_outdated)
            break;
        if (kv_store_any_manifest(&manifest, store, book->id, &is_missing, NULL) != QUIRE_OK)
            break; /* it was removed meanwhile */
    }
    kv_file_close(&use_fd);
    return status;
}

static quire_status verify_book(struct owner_work *work, const struct kv_store *store, const struct kv_shelf_book *book,
                                size_t *n_damaged, quire_error *err)
{
    return owner_look(store, book, true, &(struct kv_watch){owner_damage, owner_progress, work}, n_damaged, err);
}

quire_status quire_store_verify(quire_store *store, uint64_t id, const quire_store_watch *watch, size_t *n_damaged,
                                quire_error *err)
{
    struct owner_work work;
    struct kv_shelf shelf;
    size_t n = 0;
    quire_status status = load(&shelf, &work, store, id, watch, err);
    if (status != QUIRE_OK)
        return status;
    for (size_t i = 0; i < shelf.n && status == QUIRE_OK; i++)
        status = verify_book(&work, store->store, &shelf.books[i], &n, err);
    kv_shelf_release(&shelf);
    *n_damaged = n;
    return status;
}

/* --- repair ------------------------------------------------------------------------------------------------------ */

/* Looked at before, so that it counts nothing any more. */
static int mend_progress(void *user, uint64_t n_bytes)
{
    (void)n_bytes;
    return owner_progress(user, 0);
}

/* It is looked at without its locks: a sound one is to keep nobody waiting, and one that is in use is refused only
 * where it is damaged. */
static quire_status repair_book(struct owner_work *work, const struct kv_store *store, const struct kv_shelf_book *book,
                                size_t *n_repaired, quire_error *busy, quire_error *err)
{
    struct kv_mend_options options = {.own_share = -1, .with_blocks = true, .n_sound = UINT64_MAX};
    struct kv_watch watch = {NULL, mend_progress, work}; /* damage is told by then */
    struct kv_mending mending = {0};
    quire_error why = {0};
    char text[128];
    size_t n_damaged = 0;
    quire_status status = verify_book(work, store, book, &n_damaged, err);
    if (status != QUIRE_OK || n_damaged == 0)
        return status;
    status = kv_mend(&mending, store, book->id, &options, &watch, &why);
    if (status == QUIRE_ERR_BUSY) {
        quire_fail(busy, QUIRE_ERR_BUSY, "%s", why.message);
        return QUIRE_OK;
    }
    if (status != QUIRE_OK)
        return quire_fail(err, status, "%s", why.message);
    kv_mending_text(text, sizeof text, &mending);
    if (text[0]) {
        owner_done(work, book->id, text);
        ++*n_repaired;
    }
    return QUIRE_OK;
}

quire_status quire_store_repair(quire_store *store, uint64_t id, const quire_store_watch *watch, size_t *n_repaired,
                                quire_error *err)
{
    struct owner_work work;
    struct kv_shelf shelf;
    quire_error busy = {0};
    size_t n = 0;
    quire_status status = load(&shelf, &work, store, id, watch, err);
    if (status != QUIRE_OK)
        return status;
    for (size_t i = 0; i < shelf.n && status == QUIRE_OK; i++) /* a parent comes before what begins with it */
        status = repair_book(&work, store->store, &shelf.books[i], &n, &busy, err);
    kv_shelf_release(&shelf);
    *n_repaired = n;
    if (status == QUIRE_OK && busy.status != QUIRE_OK)
        status = quire_fail(err, busy.status, "%s", busy.message);
    return status;
}

/* --- rm, gc, evict ----------------------------------------------------------------------------------------------- */

quire_status quire_store_remove(quire_store *store, uint64_t id, bool with_branches, const quire_store_watch *watch,
                                quire_error *err)
{
    struct owner_work work = {.watch = watch};
    char folder[KV_PATH_SIZE];
    kv_store_book_folder(folder, store->store, id);
    if (!sys_exists(folder))
        return owner_no_such_book(store, id, err);
    return kv_remove(store->store, id, with_branches, owner_removed, &work, err);
}

/* Whether a book that begins with this one is read through it, whatever else of it is damaged. */
static bool serves_branch(const struct kv_store *store, uint64_t id)
{
    struct kv_shelf shelf;
    bool is_served = false;
    if (kv_shelf_load(&shelf, store, NULL) != QUIRE_OK)
        return true; /* that is not known */
    for (size_t i = 0; i < shelf.n && !is_served; i++) {
        const struct kv_manifest *branch = &shelf.books[i].manifest;
        struct kv_store view = kv_store_view(store, branch);
        is_served = branch->parent_id == id && kv_parents_check(&view, branch, NULL) == QUIRE_OK;
    }
    kv_shelf_release(&shelf);
    return is_served;
}

/* Whether nobody can use the book, by what its folder holds now; `what` says why. */
static bool is_of_no_use(const struct kv_store *store, uint64_t id, const char **what)
{
    struct kv_manifest m;
    struct kv_soundness soundness;
    *what = "removed: its manifest is damaged";
    quire_status status = kv_store_any_manifest(&m, store, id, NULL, NULL);
    if (status != QUIRE_OK)
        return status == QUIRE_ERR_FORMAT; /* a newer version's is not for this one to judge */
    struct kv_store view = kv_store_view(store, &m);
    *what = "removed: the book that it begins with is gone";
    if (kv_scan(&soundness, &view, &m, false, NULL, NULL) != QUIRE_OK)
        return false;
    if (soundness.is_orphan)
        return true;
    *what = "removed: nothing of it is sound";
    bool has_flight = (m.flags & KV_HAS_FLIGHT) && !soundness.is_side_bad[KV_SIDE_FLIGHT];
    return soundness.n_tokens == m.base_tokens && !has_flight && !serves_branch(store, id);
}

/* Removes the book if nobody can use it. It is looked at without its locks, so that a sound one does not seem busy to
 * others, and judged under them: somebody may have gone on with it in between. */
static quire_status collect_book(const struct owner_work *work, const struct kv_store *store, uint64_t id,
                                 quire_error *err)
{
    struct kv_exclusive exclusive;
    char folder[KV_PATH_SIZE];
    const char *what;
    kv_store_book_folder(folder, store, id);
    if (!is_of_no_use(store, id, &what) || kv_use_exclude(&exclusive, folder, -1, NULL, NULL) != QUIRE_OK)
        return QUIRE_OK;
    bool is_removed = is_of_no_use(store, id, &what);
    quire_status status = is_removed ? kv_remove_excluded(store, id, err) : QUIRE_OK;
    kv_use_end(&exclusive, folder);
    if (status == QUIRE_OK && is_removed)
        owner_done(work, id, what);
    return status;
}

quire_status quire_store_collect(quire_store *store, const quire_store_watch *watch, uint64_t *n_bytes,
                                 quire_error *err)
{
    struct owner_work work;
    struct kv_shelf before = {0}, after = {0};
    quire_status status = load(&before, &work, store, 0, watch, err);
    if (status != QUIRE_OK)
        return status;
    kv_store_sweep(store->store);
    /* Parents come first, so that what goes takes its branches along. */
    for (size_t i = 0; i < before.n && status == QUIRE_OK; i++)
        if (!before.books[i].is_in_use)
            status = collect_book(&work, store->store, before.books[i].id, err);
    if (status == QUIRE_OK)
        status = kv_shelf_load(&after, store->store, err);
    if (status == QUIRE_OK) {
        uint64_t had = kv_shelf_bytes(&before), has = kv_shelf_bytes(&after);
        *n_bytes = had > has ? had - has : 0;
    }
    kv_shelf_release(&before);
    kv_shelf_release(&after);
    return status;
}

quire_status quire_store_evict(quire_store *store, uint64_t limit_bytes, const quire_store_watch *watch,
                               uint64_t *n_bytes, quire_error *err)
{
    struct owner_work work = {.watch = watch};
    return kv_evict(store->store, limit_bytes, owner_removed, &work, n_bytes, err);
}
