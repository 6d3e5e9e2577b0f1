/* One transformer block, for a chunk of tokens. The residual stream x is [n][d_model], updated in place. */
#ifndef QUIRE_ENGINE_LAYER_H
#define QUIRE_ENGINE_LAYER_H

#include "attention.h"
#include "engine.h"
#include "linear.h"

/* A layer is computed in two phases, each over all chunks of a span before the next one starts, so that only the
 * phase's own weights are unpacked at a time. */
enum layer_phase {
    PHASE_ATTENTION,   /* x += out_proj(attention(norm_1(x))) */
    PHASE_FEEDFORWARD, /* x += down_proj(gelu(up_proj(norm_2(x)))) */
    N_PHASES
};

/* Buffers for one chunk, and the packed weights of one phase. */
struct layer_buffers {
    float *normed; /* [chunk][d_model]; then the attention's output */
    float *wide;   /* [chunk][max(qkv width, d_ff)] */
    struct linear_scratch linear;
    struct attention_scratch scratch;
    unsigned char *packed;      /* both matrices of a phase, or the parts of linear_scratch: */
    const void *first, *second; /* NULL: not packed */
};

/* Whether a phase's weights are packed ahead for so many tokens. Those that are one chunk, and one block of the
 * products', use every weight once: parts are packed on the way. */
bool layer_packs_ahead(const struct gemm *gemm, size_t n_tokens, size_t chunk_tokens);

/* Bytes of layer_buffers.packed, for texts of up to so many tokens. */
size_t layer_packed_bytes(const struct quire_model *model, const struct gemm *gemm, size_t n_threads, size_t n_tokens,
                          size_t chunk_tokens);

/* Bytes of the strips of a chunk. */
size_t layer_strips_bytes(const quire_config *config, const struct gemm *gemm, size_t chunk);

/* Width of layer_buffers.wide. */
size_t layer_wide_floats(const quire_config *config);

/* Makes first and second ready for a phase of so many tokens. */
void layer_pack(struct quire_engine *engine, struct layer_buffers *buffers, uint32_t layer, enum layer_phase phase,
                size_t n_tokens, size_t chunk_tokens);

/* Phase 1 of a chunk: tokens [first, first + n). Keys and values of tokens from *kv_next on are put into the book, and
 * *kv_next moves with them. Errors: of kv_book_put and attention_chunk, with x unchanged. */
quire_status layer_attention(struct quire_engine *engine, struct layer_buffers *buffers, struct kv_book *kv,
                             uint32_t layer, size_t first, size_t n, size_t *kv_next, bool releases_heads, float *x,
                             quire_error *err);

/* Phase 2 of a chunk. Errors: CANCELLED, with x unchanged; NUMERIC, naming layer and position. */
quire_status layer_feedforward(struct quire_engine *engine, struct layer_buffers *buffers, uint32_t layer, size_t first,
                               size_t n, float *x, quire_error *err);

/* rows of x through a norm of the model's type, split over the threads. */
void layer_norm_rows(struct quire_engine *engine, float *y, const float *x, size_t n, const float *weight,
                     const float *bias);

/* qk_ln, where the model has it, on rows of Wqkv's output. */
void layer_norm_qk(const struct quire_engine *engine, uint32_t layer, float *qkv, size_t n);

/* The first of n rows of x that holds a number that is not finite, or n. */
size_t layer_find_bad_row(const float *x, size_t n, size_t d_model);

#endif
