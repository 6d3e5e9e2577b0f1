/* The certified stop: when what is older may be left out of a query's attention.
 *
 * Keys are met from the newest to the oldest. M is the largest score so far and L the sum of exp(score - M). No key up
 * to position t is longer than R, so that all of them together add at most
 *
 *     exp(|q| R - slope (query - t) - M) * sum over d = 0..t of exp(-slope d)
 *
 * to L. Once that is at most eps L, they are left out. Softmax weights that are left out then sum to at most eps, and
 * each channel of the output is wrong by at most 2 eps times the largest value in that channel. The bound allows for
 * the rounding of scores in float32. It depends on the query, its position and the keys alone. */
#ifndef QUIRE_KERNELS_ATTENTION_STOP_H
#define QUIRE_KERNELS_ATTENTION_STOP_H

#include <stdbool.h>
#include <stdint.h>

struct attention_stop {
    double slope;      /* of the head, less its rounding */
    double log_eps;    /* -INFINITY: never stop */
    double log_decay;  /* of 1 / (1 - exp(-slope)): the sum above, however many keys there are */
    double norm_slack; /* |q| R (1 + this) is above every score as it is computed */
};

/* slope: 0 without ALiBi. eps: 0 never stops. */
struct attention_stop attention_stop_make(float slope, float eps, uint32_t head_dim);

/* The norm of a query (scaled as the scores are), rounded up. */
float attention_query_norm(const float *q, uint32_t head_dim);

/* Whether keys [0, last_key], none longer than key_norm, may be left out. max: M; sum: L. */
bool attention_may_stop(const struct attention_stop *stop, float query_norm, float key_norm, int64_t query,
                        int64_t last_key, float max, float sum);

#endif
