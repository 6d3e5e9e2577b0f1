/* Attention over the keys and values of a book. */
#ifndef QUIRE_ENGINE_ATTENTION_H
#define QUIRE_ENGINE_ATTENTION_H

#include "engine.h"

/* Both ways of attention check the blocks that an earlier run stored, when they are first used. Errors: FORMAT
 * (damaged: named; kv_book_condemn), IO, CANCELLED; `out` is then undefined. */

/* Scratch memory of the threads, for both uses below. */
struct attention_scratch {
    float *memory;
    size_t worker_floats;
};

/* Floats that one thread needs. */
size_t attention_scratch_floats(const quire_config *config);

/* Queries of tokens [first, first + n) of one layer, whose keys and values up to there are in the book.
 * q: row r of token first + r starts at q + r * q_stride, heads side by side; scaled here by softmax_scale.
 * out: [n][d_model]. releases_heads: each head's blocks are let go once they were used. asks_ahead (one token): whoever
 * starts a head asks for the one that comes after it by as many as there are threads. */
struct attention {
    struct kv_book *kv;
    uint32_t layer;
    size_t first, n;
    const float *q;
    size_t q_stride;
    float *out;
    const struct attention_scratch *scratch;
    bool releases_heads;
    bool asks_ahead;
};
quire_status attention_chunk(struct quire_engine *engine, const struct attention *attention, quire_error *err);

/* The same for one token (n == 1), the last in the book: blocks are used as they are stored. */
quire_status attention_token(struct quire_engine *engine, const struct attention *attention, quire_error *err);

/* The beginning of that: asks for the blocks of a layer's first heads, one for each thread, for a token at `position`.
 */
void attention_ask_ahead(const struct quire_engine *engine, const struct kv_book *kv, uint32_t layer, size_t position);

#endif
