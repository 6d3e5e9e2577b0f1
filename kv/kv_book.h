/* A book from inside. kv_book.c makes, opens and reads it; kv_commit.c and kv_flight.c make it durable. */
#ifndef QUIRE_KV_BOOK_H
#define QUIRE_KV_BOOK_H

#include "kv/kv_layer.h"
#include "kv/kv_parents.h"
#include "kv/kv_side.h"
#include "kv/kv_store.h"

struct kv_book {
    struct kv_store *store;
    struct kv_manifest manifest; /* what is committed; generation 0: nothing on disk yet */
    struct kv_part own;          /* blocks from the base on */
    struct kv_parents parents;   /* those before */
    struct kv_layer *layers;     /* [n_layers] */
    struct kv_staging staging;
    int lock_fd, tokens_fd; /* -1: temporary, or only read */
    bool is_stored;         /* has a folder, a manifest, a writer's lock */
    bool is_read_only;
    bool is_broken;         /* a sync failed: what is on the disk is not known (KV-7) */
    bool is_at_flight;      /* the layers hold at least the manifest's flight, and its text is this book's */
    atomic_bool is_damaged; /* kv_book_check found a block that is not sound */
    size_t reserved_end;    /* blocks of the text before this one have their disk space; 0: none was reserved */
    float *logits;          /* after the frontier; NULL: not known */
    size_t n_logits;
    uint64_t n_written;
};

/* Where a new book starts. */
struct kv_origin {
    uint64_t parent_id; /* 0: no stored parent */
    uint32_t depth;
    size_t base_tokens;
    uint64_t base_hash;
    struct kv_parents parents;
};

/* A new book with room for n_tokens of text. Takes origin->parents over, also on failure. Errors: IO, NO_SPACE,
 * NO_MEMORY, USAGE (too large). */
quire_status kv_book_make(struct kv_book **out, struct kv_store *store, bool is_stored, size_t n_tokens,
                          struct kv_origin *origin, quire_error *err);

/* Opens the stored book of this manifest: to read it, or as its writer. Errors: BUSY (another writes), MISMATCH (it is
 * no longer at that manifest), FORMAT, IO, NO_MEMORY. */
quire_status kv_book_resume(struct kv_book **out, struct kv_store *store, const struct kv_manifest *manifest,
                            bool is_writer, quire_error *err);

/* Sets the layers to what a side file (the tail, or the flight) holds; all or nothing. Errors: FORMAT, IO, NO_MEMORY.
 */
quire_status kv_book_restore(struct kv_book *book, enum kv_side kind, quire_error *err);

/* What was reserved and is not written goes back to the file system. */
void kv_book_give_back(struct kv_book *book);

/* Replaces the manifest by one without its flight. Errors: as kv_book_commit. */
quire_status kv_book_drop_flight(struct kv_book *book, quire_error *err);

/* Tokens that the book's own files have room for, those before its base counted. */
static inline uint64_t kv_book_room(const struct kv_manifest *manifest)
{
    return manifest->base_tokens + manifest->capacity_blocks * KV_BLOCK_TOKENS;
}

#endif
