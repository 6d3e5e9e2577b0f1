/* The books above a book: read-only, each with the blocks that belong to it. */
#ifndef QUIRE_KV_PARENTS_H
#define QUIRE_KV_PARENTS_H

#include "kv/kv_part.h"
#include "kv/kv_store.h"

struct kv_parents {
    struct kv_part *parts; /* [n] the nearest first: each one's blocks come before those of the part before it */
    size_t n;
};

/* Opens the book `id`, whose chain after base_tokens must be base_hash, and those above it, for the blocks before
 * base_tokens. id 0: none. Errors: FORMAT (a parent is missing or damaged: named), IO, NO_MEMORY. */
quire_status kv_parents_open(struct kv_parents *parents, const struct kv_store *store, uint64_t id,
                             uint64_t base_tokens, uint64_t base_hash, quire_error *err);

/* Whether all books above the one of this manifest are there and serve it; opens no blocks. Errors: FORMAT, IO. */
quire_status kv_parents_check(const struct kv_store *store, const struct kv_manifest *manifest, quire_error *err);

/* What a branch of an open book reads: `own`, that book's part, up to block `end`, and its parents. All is borrowed. */
quire_status kv_parents_borrow(struct kv_parents *parents, const struct kv_part *own, const struct kv_parents *above,
                               size_t end, quire_error *err);

void kv_parents_release(struct kv_parents *parents);

/* The part that has the block, which is before the base. */
static inline const struct kv_part *kv_parents_part(const struct kv_parents *parents, size_t block)
{
    const struct kv_part *part = parents->parts;
    while (block < part->first_block)
        part++;
    return part;
}

#endif
