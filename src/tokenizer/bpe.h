/* Byte-pair encoding of one word: starting from its bytes, the adjacent pair whose merge has the lowest rank is joined,
 * the leftmost among equals, until no pair has a merge. */
#ifndef QUIRE_TOKENIZER_BPE_H
#define QUIRE_TOKENIZER_BPE_H

#include "vocab.h"

struct bpe_symbol;
struct bpe_cached;

struct bpe {
    const struct vocab *vocab;
    struct bpe_symbol *symbols; /* the bytes that are being joined */
    uint64_t *queue;            /* a heap of rank << 32 | position of a pair's left symbol */
    size_t symbols_capacity, queue_capacity, n_queue;
    struct bpe_cached *cache;
};

/* Errors: NO_MEMORY. */
quire_status bpe_init(struct bpe *bpe, const struct vocab *vocab, quire_error *err);
void bpe_release(struct bpe *bpe);

/* Appends the ids of a word of n >= 1 bytes of valid UTF-8. O(n log n). Errors: NO_MEMORY. */
quire_status bpe_encode(struct bpe *bpe, const uint8_t *word, size_t n, struct id_list *out, quire_error *err);

#endif
