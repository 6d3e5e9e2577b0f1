#include "kv/kv_shelf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "kv/kv_use.h"

struct usage {
    const char *folder;
    struct kv_shelf_book *book;
};

static void visit_file(void *context, const char *name)
{
    struct usage *usage = context;
    char path[KV_PATH_SIZE];
    struct stat st;
    kv_path(path, usage->folder, "%s", name);
    if (sys.lstat(path, &st) != 0)
        return; /* its writer has replaced it */
    usage->book->disk_bytes += (uint64_t)st.st_blocks * 512;
    /* Each use leaves its time in the tokens file, each commit in the manifest. */
    int64_t changed = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if ((strcmp(name, "tokens") == 0 || strcmp(name, "manifest") == 0) && changed > usage->book->last_used)
        usage->book->last_used = changed;
}

quire_status kv_shelf_measure(struct kv_shelf_book *book, const char *folder, quire_error *err)
{
    return kv_folder_list(folder, visit_file, &(struct usage){folder, book}, err);
}

/* *is_there: it has a manifest, sound or not. */
static quire_status look_at(struct kv_shelf_book *book, bool *is_there, const struct kv_store *store, uint64_t id,
                            quire_error *err)
{
    char folder[KV_PATH_SIZE];
    bool is_unborn = false;
    quire_error why = {0};
    kv_store_book_folder(folder, store, id);
    *book = (struct kv_shelf_book){.id = id};
    book->status = kv_store_any_manifest(&book->manifest, store, id, &is_unborn, &why);
    *is_there = !is_unborn;
    snprintf(book->problem, sizeof book->problem, "%.511s", why.message);
    if (kv_shelf_measure(book, folder, &why) != QUIRE_OK)
        return sys_exists(folder) ? quire_fail(err, QUIRE_ERR_IO, "%s", why.message) : QUIRE_OK;
    book->is_in_use = kv_use_is_shared(folder);
    return QUIRE_OK;
}

/* Parents have a smaller depth; those whose manifest cannot be read count as having none. */
static int compare_depths(const void *a, const void *b)
{
    const struct kv_shelf_book *x = a, *y = b;
    if (x->manifest.depth != y->manifest.depth)
        return x->manifest.depth < y->manifest.depth ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

quire_status kv_shelf_load(struct kv_shelf *out, const struct kv_store *store, quire_error *err)
{
    uint64_t *ids = NULL;
    size_t n_ids = 0;
    struct kv_shelf shelf = {0};
    quire_status status = kv_store_list(&ids, &n_ids, store, err);
    if (status == QUIRE_OK) {
        shelf.books = mem_calloc(n_ids, sizeof *shelf.books, "a list of books", err);
        status = shelf.books ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < n_ids && status == QUIRE_OK; i++) {
        bool is_there = false;
        status = look_at(&shelf.books[shelf.n], &is_there, store, ids[i], err);
        shelf.other_bytes += is_there ? 0 : shelf.books[shelf.n].disk_bytes;
        shelf.n += is_there;
    }
    free(ids);
    if (status != QUIRE_OK) {
        kv_shelf_release(&shelf);
        return status;
    }
    qsort(shelf.books, shelf.n, sizeof *shelf.books, compare_depths);
    *out = shelf;
    return QUIRE_OK;
}

void kv_shelf_release(struct kv_shelf *shelf)
{
    free(shelf->books);
    *shelf = (struct kv_shelf){0};
}

struct kv_shelf_book *kv_shelf_find(const struct kv_shelf *shelf, uint64_t id)
{
    for (size_t i = 0; i < shelf->n; i++)
        if (shelf->books[i].id == id)
            return &shelf->books[i];
    return NULL;
}

uint32_t kv_shelf_n_branches(const struct kv_shelf *shelf, uint64_t id)
{
    uint32_t n = 0;
    for (size_t i = 0; i < shelf->n; i++)
        n += shelf->books[i].manifest.parent_id == id;
    return n;
}

uint64_t kv_shelf_bytes(const struct kv_shelf *shelf)
{
    uint64_t n_bytes = shelf->other_bytes;
    for (size_t i = 0; i < shelf->n; i++)
        n_bytes += shelf->books[i].disk_bytes;
    return n_bytes;
}

static bool may_go(const struct kv_shelf *shelf, const struct kv_shelf_book *book)
{
    bool is_known = book->status == QUIRE_OK || book->status == QUIRE_ERR_FORMAT;
    return is_known && !book->is_in_use && kv_shelf_n_branches(shelf, book->id) == 0;
}

size_t kv_shelf_oldest(const struct kv_shelf *shelf)
{
    size_t oldest = SIZE_MAX;
    for (size_t i = 0; i < shelf->n; i++) {
        const struct kv_shelf_book *book = &shelf->books[i];
        if (may_go(shelf, book) && (oldest == SIZE_MAX || book->last_used < shelf->books[oldest].last_used))
            oldest = i;
    }
    return oldest;
}

quire_status kv_shelf_bytes_after(uint64_t *out, const struct kv_shelf *shelf, uint64_t limit_bytes, quire_error *err)
{
    struct kv_shelf rest = *shelf;
    rest.books = mem_calloc(shelf->n, sizeof *rest.books, "a list of books", err);
    if (!rest.books)
        return QUIRE_ERR_NO_MEMORY;
    memcpy(rest.books, shelf->books, shelf->n * sizeof *rest.books);
    for (size_t i; kv_shelf_bytes(&rest) > limit_bytes && (i = kv_shelf_oldest(&rest)) != SIZE_MAX;)
        kv_shelf_drop(&rest, i);
    *out = kv_shelf_bytes(&rest);
    kv_shelf_release(&rest);
    return QUIRE_OK;
}

void kv_shelf_drop(struct kv_shelf *shelf, size_t index)
{
    memmove(&shelf->books[index], &shelf->books[index + 1], (shelf->n - index - 1) * sizeof *shelf->books);
    shelf->n--;
}
