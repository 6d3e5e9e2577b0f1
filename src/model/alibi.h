/* ALiBi: attention with linear biases (Press, Smith and Lewis 2021), as MosaicML's MPT has it. */
#ifndef QUIRE_MODEL_ALIBI_H
#define QUIRE_MODEL_ALIBI_H

#include <stdint.h>

/* The slope of each head: what is subtracted from a score per token of distance.
 * slopes: [n_heads], out. bias_max: alibi_bias_max of the configuration (8; 16 for StoryWriter).
 * With P the power of two at or above n_heads and t(k) = 2^(-k * bias_max / P), k = 1..P: the slopes are t(1), t(2),
 * ... where n_heads is P; otherwise t(2), t(4), ..., then t(1), t(3), ..., of which the first n_heads are taken. */
void alibi_slopes(float *slopes, uint32_t n_heads, float bias_max);

#endif
