/* The store as include/quire/store.h shows it, from inside. */
#ifndef QUIRE_KV_OWNER_H
#define QUIRE_KV_OWNER_H

#include "kv/kv_scan.h"
#include "kv/kv_shelf.h"
#include "quire/store.h"

struct quire_store {
    struct kv_store *store;
};

/* Long work: what it has to look at and how far it is, for the caller's watch. */
struct owner_work {
    const quire_store_watch *watch; /* may be NULL */
    quire_store_progress progress;
};

/* A kv_watch's functions, for an owner_work as user. */
void owner_damage(void *user, const struct kv_damage *damage);
int owner_progress(void *user, uint64_t n_bytes);

/* Tells watch->done. */
void owner_done(const struct owner_work *work, uint64_t id, const char *what);
/* The same for a book that was removed; a kv_removed with an owner_work as user. */
void owner_removed(void *user, uint64_t id);

/* Looks a book of the shelf through as kv_scan does, without keeping anybody from it. *n_damaged: places, added to what
 * it is. Errors: those of kv_scan. */
quire_status owner_look(const struct kv_store *store, const struct kv_shelf_book *book, bool with_blocks,
                        const struct kv_watch *watch, size_t *n_damaged, quire_error *err);

/* Errors: MISMATCH, naming the book. */
quire_status owner_no_such_book(const struct quire_store *store, uint64_t id, quire_error *err);

#endif
