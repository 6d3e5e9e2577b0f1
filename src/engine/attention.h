/* Attention over the keys and values of a book. */
#ifndef QUIRE_ENGINE_ATTENTION_H
#define QUIRE_ENGINE_ATTENTION_H

#include "engine.h"

/* Both ways of attention check the blocks that an earlier run stored, when they are first used; leave out what the
 * certified stop (attention_stop.h) proves to be nothing, block by block, without touching it; and count in the engine
 * what they met. Errors: FORMAT (damaged: named; kv_book_condemn), IO, CANCELLED; `out` is then undefined. */

/* Scratch memory of the threads. */
struct attention_scratch {
    float *memory;
    size_t worker_floats;
};

/* Queries of tokens [first, first + n) of one layer, whose keys and values up to there are in the book.
 * q: row r of token first + r starts at q + r * q_stride, heads side by side; scaled here by softmax_scale.
 * out: [n][d_model]. releases_heads: each head's blocks are let go once they were used. asks_ahead (attention_tokens):
 * whoever starts a head asks for the one that comes after it by as many as there are threads. */
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

/* Floats that one thread needs for attention_chunk. */
size_t attention_scratch_floats(const quire_config *config);
quire_status attention_chunk(struct quire_engine *engine, const struct attention *attention, quire_error *err);

/* The same for the last tokens of the book, at most DECODE_TOKENS, all of one block: blocks are used as they are
 * stored, each for all tokens that need it before the next one. Each head's older part is cut into segments at absolute
 * positions, which any thread may take, and put together in their order. scratch: memory of attention_token_floats for
 * each token, for texts of up to n_tokens. */
size_t attention_token_floats(const quire_config *config, uint64_t n_tokens);
quire_status attention_tokens(struct quire_engine *engine, const struct attention *attention, quire_error *err);

/* The beginning of that: asks for the blocks of a layer's first heads, one for each thread, for a token at `position`.
 */
void attention_ask_ahead(const struct quire_engine *engine, const struct kv_book *kv, uint32_t layer, size_t position);

/* --- for both ----------------------------------------------------------------------------------------------- */

/* What the layer held when the book was opened is sound. */
quire_status attention_check_blocks(struct quire_engine *engine, const struct attention *attention, quire_error *err);

/* Floats from one row of a tile to the next. */
static inline size_t attention_row_floats(const quire_config *config)
{
    return (config->head_dim + LANES - 1) / LANES * LANES;
}

static inline uint32_t attention_kv_head(const quire_config *config, uint32_t head)
{
    return head / (config->n_heads / config->kv_n_heads);
}

#endif
