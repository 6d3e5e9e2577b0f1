/* Taking books out of a store. */
#ifndef QUIRE_KV_REMOVE_H
#define QUIRE_KV_REMOVE_H

#include "kv/kv_shelf.h"
#include "kv/kv_use.h"

/* Removes a book that is this process's alone (kv_use_exclude): first its manifest, durably, so that what an
 * interruption leaves is swept away as a book that never was. Errors: IO. */
quire_status kv_remove_excluded(const struct kv_store *store, uint64_t id, quire_error *err);

/* Removes a book, with all that branches off from it where with_branches is set: all or none. removed (may be NULL) is
 * called for each. One that another process has removed before is no error, and not told. Errors: BUSY (in use, or
 * branched from), IO, NO_MEMORY. */
typedef void (*kv_removed)(void *user, uint64_t id);
quire_status kv_remove(const struct kv_store *store, uint64_t id, bool with_branches, kv_removed removed, void *user,
                       quire_error *err);

/* Removes the books used least recently until all take at most limit_bytes, as kv_shelf_oldest picks them, or as far
 * as that goes. *n_bytes: what they take then. Errors: IO, NO_MEMORY. */
quire_status kv_evict(const struct kv_store *store, uint64_t limit_bytes, kv_removed removed, void *user,
                      uint64_t *n_bytes, quire_error *err);

/* kv_store_make_room that tells what it removes. */
quire_status kv_make_room(const struct kv_store *store, uint64_t limit_bytes, uint64_t n_bytes, kv_removed removed,
                          void *user, quire_error *err);

#endif
