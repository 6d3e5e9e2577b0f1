/* A book looked through: everything that has a checksum, in its own files. */
#ifndef QUIRE_KV_SCAN_H
#define QUIRE_KV_SCAN_H

#include "kv/kv_store.h"

/* Where a book is damaged. */
struct kv_damage {
    uint64_t book_id;
    int64_t layer, head, block; /* of the text; -1: a file as a whole */
    const char *message;
};

/* Who is told. All may be NULL. */
struct kv_watch {
    void (*damage)(void *user, const struct kv_damage *damage);
    int (*progress)(void *user, uint64_t n_bytes); /* looked at since the last call; nonzero: stop */
    void *user;
};

struct kv_soundness {
    size_t n_damaged;                /* places */
    bool is_orphan;                  /* a parent is gone, or no longer holds what this book begins with */
    uint64_t n_tokens;               /* the frontier, or whole blocks before the first damage, not before the base */
    bool is_side_bad[KV_SIDE_COUNT]; /* FLIGHT: also where only blocks of the flight are damaged */
    bool is_about_bad;
};

/* store: the view of the manifest (kv_store_view). with_blocks: blocks are read, too, which takes as long as reading
 * the book's files. Damage is told and is no error. Errors: CANCELLED, NO_MEMORY, IO (other than of blocks, which count
 * as damaged where they cannot be read). */
quire_status kv_scan(struct kv_soundness *out, const struct kv_store *store, const struct kv_manifest *manifest,
                     bool with_blocks, const struct kv_watch *watch, quire_error *err);

/* Bytes that a scan with blocks looks at. */
uint64_t kv_scan_bytes(const struct kv_manifest *manifest);

#endif
