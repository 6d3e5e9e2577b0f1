/* Rows of numbers in the formats of dtype.h, in plain C: what every other conversion is compared with. */
#ifndef QUIRE_BASE_BLOCKS_H
#define QUIRE_BASE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>

#include "quire/dtype.h"

/* out[0..n) = the numbers stored at blocks, exactly as llama.cpp computes them. n is a multiple of the type's block. */
void blocks_unpack(quire_dtype type, float *out, const void *blocks, size_t n);

/* Whether this build writes the type: f32, f16, bf16, q8_0, q4_0, q4_k, q6_k. */
bool blocks_can_pack(quire_dtype type);

/* Stores in[0..n), n a multiple of the type's block. Floating-point types round to nearest, ties to even. In the
 * others, scales are searched for so that the sum of the squared errors is small: the same numbers give the same bytes
 * on every machine.
 *
 * False, with `out` undefined, where a number has no place in the type: a finite one that is too large for it, and in
 * block types also a NaN or an infinity. */
bool blocks_pack(quire_dtype type, void *out, const float *in, size_t n);

#endif
