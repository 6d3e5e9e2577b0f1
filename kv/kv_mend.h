/* Putting a damaged book back to what of it is sound (KV-12). */
#ifndef QUIRE_KV_MEND_H
#define QUIRE_KV_MEND_H

#include "kv/kv_scan.h"
#include "kv/kv_use.h"

struct kv_mend_options {
    int own_share;        /* the caller's share of the book (kv_use_share), or -1 */
    bool with_blocks;     /* blocks are compared with their checksums, too */
    uint64_t n_sound;     /* tokens whose blocks were found to be sound; UINT64_MAX: no damage was found */
    uint64_t generation;  /* of the manifest by which that was found: for a later one it means nothing */
    bool spares_branches; /* leave a book alone rather than put it back behind where a branch begins */
};

enum kv_mended {
    KV_MENDED_NOTHING,  /* it is sound, or another process has removed it */
    KV_MENDED_TOKENS,   /* its tokens file was damaged, and one of its branches has the same text */
    KV_MENDED_PUT_BACK, /* by a new manifest */
    KV_MENDED_REMOVED,
    KV_MENDED_LEFT /* it is damaged, and spares_branches kept it */
};

struct kv_mending {
    enum kv_mended what;
    uint64_t n_before, n_after; /* tokens at the frontier */
    bool had_flight, has_flight, is_orphan;
};

/* Errors: BUSY (somebody else uses the damaged book), MISMATCH (of another format version), CANCELLED, IO, NO_SPACE,
 * NO_MEMORY. */
quire_status kv_mend(struct kv_mending *out, const struct kv_store *store, uint64_t id,
                     const struct kv_mend_options *options, const struct kv_watch *watch, quire_error *err);

/* A sentence on it, such as "put back to its first 256 tokens"; "" for NOTHING and LEFT. */
void kv_mending_text(char *text, size_t size, const struct kv_mending *mending);

#endif
