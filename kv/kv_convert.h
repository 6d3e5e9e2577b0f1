/* Rows of float32 to the KV type, and the norms of keys. Loops that compilers turn into vector code. */
#ifndef QUIRE_KV_CONVERT_H
#define QUIRE_KV_CONVERT_H

#include "kv/kv.h"

/* Rows [first_row, first_row + n_rows) of one side of a block (base/kv_rows.h), rounded to nearest, ties to even. in:
 * row r of them at in + r * stride. */
void kv_convert_rows(void *side, size_t first_row, const float *in, size_t n_rows, size_t head_dim, size_t stride,
                     quire_kv_type type);

/* The largest L2 norm of the first n_rows keys, as stored, rounded up: no row is longer. Infinity where a key has a
 * NaN. */
float kv_key_norm_max(const void *keys, size_t n_rows, size_t head_dim, quire_kv_type type);

#endif
