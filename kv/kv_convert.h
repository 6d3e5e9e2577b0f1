/* Rows of float32 to the KV type and back. Loops that compilers turn into vector code. */
#ifndef QUIRE_KV_CONVERT_H
#define QUIRE_KV_CONVERT_H

#include "kv/kv.h"

/* out: [n_rows][head_dim] in the KV type, rounded to nearest even. in: row r at in + r * stride. */
void kv_convert_rows(void *out, const float *in, size_t n_rows, size_t head_dim, size_t stride, quire_dtype type);

/* The largest L2 norm of keys [n_rows][head_dim] in the KV type, rounded up: no row is longer. Infinity where a key has
 * a NaN. */
float kv_key_norm_max(const void *keys, size_t n_rows, size_t head_dim, quire_dtype type);

#endif
