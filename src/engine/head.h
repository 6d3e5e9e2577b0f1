/* From token ids into the stack, and from its end to logits and log-probabilities. */
#ifndef QUIRE_ENGINE_HEAD_H
#define QUIRE_ENGINE_HEAD_H

#include "engine.h"

/* x[n][d_model] = embeddings of ids[0..n), plus learned positions first, first + 1, ... where the model has them. */
void head_embed(const struct quire_engine *engine, float *x, const int32_t *ids, size_t first, size_t n);

/* logits[n][vocab_size] of n <= DECODE_TOKENS rows of the residual stream. normed: [n][d_model] scratch. */
void head_logits(struct quire_engine *engine, float *logits, const float *x, float *normed, size_t n);

/* Buffers of head_logprobs. */
struct head_buffers {
    float *normed;   /* [PLAN_LOGIT_ROWS][d_model] */
    float *logits;   /* [PLAN_LOGIT_ROWS][vocab_size] */
    float *logprobs; /* [PLAN_LOGIT_ROWS] */
    float *strips;   /* the rows, packed */
    float *parts;    /* [threads][gemm_part_bytes], as floats */
    float *sums;     /* [threads][gemm_sums_floats] */
};

/* Floats that they take, and where each of them is in so much memory. */
size_t head_buffers_floats(const quire_config *config, const struct kernels *kernels, size_t n_threads);
void head_buffers_cut(struct head_buffers *out, float *memory, const quire_config *config,
                      const struct kernels *kernels, size_t n_threads);

/* buffers->logprobs[i] = ln P(targets[i]) after row i of x, for n <= PLAN_LOGIT_ROWS rows. In float32 throughout. */
void head_logprobs(struct quire_engine *engine, const struct head_buffers *buffers, const float *x,
                   const int32_t *targets, size_t n);

#endif
