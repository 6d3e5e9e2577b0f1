#include "attention_stop.h"

#include <math.h>

#include "base/bytes.h"

struct attention_stop attention_stop_make(float slope, float eps, uint32_t head_dim)
{
    return (struct attention_stop){
        .slope = (double)slope * (1 - 0x1p-22),
        .log_eps = log((double)eps),
        .log_decay = slope > 0 ? -log(-expm1(-(double)slope)) : INFINITY,
        .norm_slack = ((double)head_dim + 4) * 0x1p-23,
    };
}

float attention_query_norm(const float *q, uint32_t head_dim)
{
    double sum = 0;
    for (uint32_t c = 0; c < head_dim; c++)
        sum += (double)q[c] * (double)q[c];
    return nextafterf((float)sqrt(sum), INFINITY);
}

/* At most log(x), for x >= 2^-126: log2 is concave, and above the straight line between two powers of two. */
static double log_below(float x)
{
    return ((double)f32_bits(x) * 0x1p-23 - 127) * M_LN2;
}

/* At least log(n). */
static double log_above(uint64_t n)
{
    return (64 - __builtin_clzll(n)) * M_LN2;
}

bool attention_may_stop(const struct attention_stop *stop, float query_norm, float key_norm, int64_t query,
                        int64_t last_key, float max, float sum)
{
    double score = (double)query_norm * (double)key_norm * (1 + stop->norm_slack);
    double log_keys = log_above((uint64_t)last_key + 1);
    double log_sum = stop->log_decay < log_keys ? stop->log_decay : log_keys;
    double oldest = score - stop->slope * (double)(query - last_key) - (double)max + log_sum;
    /* Both sides are finite wherever the answer is yes; a NaN on either side makes it no. */
    return oldest <= stop->log_eps + log_below(sum);
}
