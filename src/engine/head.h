/* From token ids into the stack, and from its end to logits and log-probabilities. */
#ifndef QUIRE_ENGINE_HEAD_H
#define QUIRE_ENGINE_HEAD_H

#include "engine.h"

/* x[n][d_model] = embeddings of ids[0..n), plus learned positions first, first + 1, ... where the model has them. */
void head_embed(const struct quire_engine *engine, float *x, const int32_t *ids, size_t first, size_t n);

/* logits[vocab_size] of one row of the residual stream. normed: [d_model] scratch. */
void head_logits(struct quire_engine *engine, float *logits, const float *x, float *normed);

/* Buffers of head_logprobs. */
struct head_buffers {
    float *normed;   /* [PLAN_LOGIT_ROWS][d_model] */
    float *logits;   /* [PLAN_LOGIT_ROWS][vocab_size] */
    float *unpacked; /* [threads][PLAN_LOGIT_COLUMNS][d_model] */
};

/* logprobs[i] = ln P(targets[i]) after row i of x, for n <= PLAN_LOGIT_ROWS rows. */
void head_logprobs(struct quire_engine *engine, const struct head_buffers *buffers, float *logprobs, const float *x,
                   const int32_t *targets, size_t n);

#endif
