/* Opening a store as its owner, and what it holds. */
#include "kv/kv_owner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "kv/kv_about.h"
#include "kv/kv_parents.h"

const char *quire_book_state_name(quire_book_state state)
{
    static const char *const names[] = {[QUIRE_BOOK_COMPLETE] = "complete",
                                        [QUIRE_BOOK_PARTIAL] = "partly read",
                                        [QUIRE_BOOK_IN_USE] = "in use",
                                        [QUIRE_BOOK_DAMAGED] = "damaged"};
    return names[state];
}

/* --- what long work tells ---------------------------------------------------------------------------------------- */

void owner_damage(void *user, const struct kv_damage *damage)
{
    const struct owner_work *work = user;
    quire_store_damage told = {damage->book_id, damage->layer, damage->head, damage->block, damage->message};
    if (work->watch && work->watch->damage)
        work->watch->damage(work->watch->user, &told);
}

int owner_progress(void *user, uint64_t n_bytes)
{
    struct owner_work *work = user;
    work->progress.n_bytes += n_bytes;
    return work->watch && work->watch->progress ? work->watch->progress(work->watch->user, &work->progress) : 0;
}

void owner_done(const struct owner_work *work, uint64_t id, const char *what)
{
    if (work->watch && work->watch->done)
        work->watch->done(work->watch->user, id, what);
}

void owner_removed(void *user, uint64_t id)
{
    owner_done(user, id, "removed");
}

quire_status owner_no_such_book(const struct quire_store *store, uint64_t id, quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_MISMATCH, "KV store '%s' has no book %016" PRIx64, store->store->path, id);
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

/* An empty store, as a reading makes it; the geometry that this takes is not kept. */
static quire_status make_store(const char *path, quire_error *err)
{
    struct kv_store *store = NULL;
    struct kv_store_options options = {.path = path, .geometry = {1, 1, 1, QUIRE_KV_F32}, .identity = ""};
    quire_status status = kv_store_open(&store, &options, err);
    kv_store_close(store);
    return status;
}

quire_status quire_store_open(quire_store **out, const char *path, bool makes, quire_error *err)
{
    char file[KV_PATH_SIZE];
    if (!path || *path == '\0' || strlen(path) > KV_FOLDER_MAX)
        return quire_fail(err, QUIRE_ERR_USAGE, "a KV store needs a path of 1 to %d bytes", KV_FOLDER_MAX);
    kv_path(file, path, "store");
    if (!makes && !sys_exists(file))
        return quire_fail(err, QUIRE_ERR_IO, "there is no KV store in '%s': %s", path, strerror(errno));
    quire_status status = makes ? make_store(path, err) : QUIRE_OK;
    if (status != QUIRE_OK)
        return status;
    quire_store *store = mem_calloc(1, sizeof *store, "a KV store", err);
    if (!store)
        return QUIRE_ERR_NO_MEMORY;
    status = kv_store_open_folder(&store->store, path, err);
    if (status != QUIRE_OK) {
        quire_store_close(store);
        return status;
    }
    *out = store;
    return QUIRE_OK;
}

void quire_store_close(quire_store *store)
{
    if (!store)
        return;
    kv_store_close(store->store);
    free(store);
}

/* --- what it holds ----------------------------------------------------------------------------------------------- */

static void set_state(quire_stored_book *out, const struct kv_shelf_book *book, const quire_error *why)
{
    const struct kv_manifest *m = &book->manifest;
    if (why->status != QUIRE_OK) {
        out->state = QUIRE_BOOK_DAMAGED;
        snprintf(out->problem, sizeof out->problem, "%.511s", why->message);
    } else if (book->is_in_use) {
        out->state = QUIRE_BOOK_IN_USE;
    } else if ((m->flags & KV_HAS_FLIGHT) || m->sides[KV_SIDE_LOGITS].generation == 0) {
        out->state = QUIRE_BOOK_PARTIAL;
    }
}

static void describe(quire_stored_book *out, const struct kv_store *store, const struct kv_shelf *shelf,
                     const struct kv_shelf_book *book)
{
    const struct kv_manifest *m = &book->manifest;
    struct kv_about about = {0};
    char folder[KV_PATH_SIZE];
    quire_error why = {0};
    *out = (quire_stored_book){.id = book->id,
                               .n_branches = kv_shelf_n_branches(shelf, book->id),
                               .disk_bytes = book->disk_bytes,
                               .last_used = book->last_used / 1000000000};
    kv_store_book_folder(folder, store, book->id);
    kv_about_read(&about, folder, NULL);
    memcpy(out->label, about.label, sizeof out->label);
    memcpy(out->words, about.words, sizeof out->words);
    memcpy(out->model, about.model, sizeof out->model);
    memcpy(out->tokenizer, about.tokenizer, sizeof out->tokenizer);
    out->created = about.created;
    if (book->status != QUIRE_OK) {
        quire_fail(&why, book->status, "%s", book->problem);
        set_state(out, book, &why);
        return;
    }
    memcpy(out->identity, m->identity, sizeof out->identity);
    out->kv_type = (quire_kv_type)m->type;
    out->n_layers = m->n_layers;
    out->n_kv_heads = m->n_heads;
    out->head_dim = m->head_dim;
    out->n_tokens = m->frontier;
    out->n_in_flight = m->n_ids - m->frontier;
    out->n_shared = m->base_tokens;
    out->parent_id = m->parent_id;
    struct kv_store view = kv_store_view(store, m);
    kv_parents_check(&view, m, &why);
    set_state(out, book, &why);
}
_Static_assert(sizeof((quire_stored_book *)0)->label == sizeof((struct kv_about *)0)->label &&
                   sizeof((quire_stored_book *)0)->words == sizeof((struct kv_about *)0)->words &&
                   sizeof((quire_stored_book *)0)->model == sizeof((struct kv_about *)0)->model &&
                   sizeof((quire_stored_book *)0)->tokenizer == sizeof((struct kv_about *)0)->tokenizer &&
                   sizeof((quire_stored_book *)0)->identity == KV_IDENTITY_SIZE,
               "a stored book has room for what the files hold");

static int compare_uses(const void *a, const void *b)
{
    const struct kv_shelf_book *x = a, *y = b;
    if (x->last_used != y->last_used)
        return x->last_used > y->last_used ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

quire_status quire_store_list(quire_store *store, quire_stored_book **books, size_t *n, quire_error *err)
{
    struct kv_shelf shelf;
    quire_status status = kv_shelf_load(&shelf, store->store, err);
    if (status != QUIRE_OK)
        return status;
    quire_stored_book *list = mem_calloc(shelf.n, sizeof *list, "a list of books", err);
    if (list) {
        qsort(shelf.books, shelf.n, sizeof *shelf.books, compare_uses);
        for (size_t i = 0; i < shelf.n; i++)
            describe(&list[i], store->store, &shelf, &shelf.books[i]);
        *books = list;
        *n = shelf.n;
    }
    kv_shelf_release(&shelf);
    return list ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
}

quire_status quire_store_find(quire_store *store, const char *prefix, uint64_t *id, quire_error *err)
{
    size_t n_prefix = strlen(prefix), n_ids = 0, n_found = 0;
    uint64_t *ids = NULL;
    char names[200] = "";
    if (n_prefix < 4 || n_prefix > 16 || strspn(prefix, "0123456789abcdef") != n_prefix)
        return quire_fail(err, QUIRE_ERR_USAGE, "'%.40s' is no book: expected 4 to 16 hexadecimal digits, as in a list",
                          prefix);
    quire_status status = kv_store_list(&ids, &n_ids, store->store, err);
    for (size_t i = 0; status == QUIRE_OK && i < n_ids; i++) {
        char name[17];
        snprintf(name, sizeof name, "%016" PRIx64, ids[i]);
        if (strncmp(name, prefix, n_prefix) != 0)
            continue;
        *id = n_found++ == 0 ? ids[i] : *id;
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, " %s", name);
    }
    free(ids);
    if (status == QUIRE_OK && n_found == 0)
        status = quire_fail(err, QUIRE_ERR_MISMATCH, "KV store '%s' has no book that begins with %s",
                            store->store->path, prefix);
    if (status == QUIRE_OK && n_found > 1)
        status = quire_fail(err, QUIRE_ERR_USAGE, "%zu books begin with %s: give more digits of one of%s", n_found,
                            prefix, names);
    return status;
}

/* Keeps the first thing that was found. */
static void keep_first(void *user, const struct kv_damage *damage)
{
    quire_fail(user, QUIRE_ERR_FORMAT, "%s", damage->message);
}

quire_status quire_store_show(quire_store *store, uint64_t id, quire_stored_book *out, quire_error *err)
{
    struct kv_shelf shelf;
    quire_status status = kv_shelf_load(&shelf, store->store, err);
    if (status != QUIRE_OK)
        return status;
    const struct kv_shelf_book *book = kv_shelf_find(&shelf, id);
    quire_error why = {0};
    size_t n_damaged = 0;
    if (!book)
        status = owner_no_such_book(store, id, err);
    else if (book->status == QUIRE_OK)
        status = owner_look(store->store, book, false, &(struct kv_watch){keep_first, NULL, &why}, &n_damaged, err);
    if (status == QUIRE_OK) {
        describe(out, store->store, &shelf, book);
        if (why.status != QUIRE_OK)
            set_state(out, book, &why);
    }
    kv_shelf_release(&shelf);
    return status;
}
