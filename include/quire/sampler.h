/* The sampler: logits to a token id.
 *
 * Order of steps, as HuggingFace has it: repetition penalty, temperature, top-k, top-p, min-p, draw. Equal logits are
 * ordered by id. The same seed gives the same choices on the same logits. */
#ifndef QUIRE_SAMPLER_H
#define QUIRE_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quire_sampler quire_sampler;

typedef struct quire_sampler_options {
    float temperature;        /* 0: greedy, the most likely token */
    uint32_t top_k;           /* keep the k most likely; 0: all */
    float top_p;              /* keep the smallest set with this probability; 1: all */
    float min_p;              /* keep tokens with at least min_p times the best token's probability; 0: all */
    float repetition_penalty; /* of every token in the text so far: logit > 0 divided by it, else multiplied; 1: none */
    uint64_t seed;
} quire_sampler_options;

/* Temperature 0.8, top_k 0, top_p 0.95, min_p 0, repetition_penalty 1, seed 0. */
QUIRE_API quire_sampler_options quire_sampler_defaults(void);

/* n_vocab: logits given to quire_sampler_pick. n_usable: ids from n_usable on are padding rows and are never picked.
 * Errors: USAGE, naming the option out of range and the range. */
QUIRE_API quire_status quire_sampler_open(quire_sampler **out, const quire_sampler_options *opts, uint32_t n_vocab,
                                          uint32_t n_usable, quire_error *err);
QUIRE_API void quire_sampler_close(quire_sampler *sampler);

/* Tells the sampler a token of the text (for the repetition penalty). Tokens picked are seen by themselves. */
QUIRE_API void quire_sampler_see(quire_sampler *sampler, int32_t id);

/* Never pick this id (a special token that would make no sense in the output). */
QUIRE_API void quire_sampler_ban(quire_sampler *sampler, int32_t id);

/* logits: [n_vocab], unchanged. Errors: NUMERIC (a NaN or +infinity among them, rows of padding too, or nothing left to
 * choose from). */
QUIRE_API quire_status quire_sampler_pick(quire_sampler *sampler, const float *logits, int32_t *id, quire_error *err);

#ifdef __cplusplus
}
#endif
#endif
