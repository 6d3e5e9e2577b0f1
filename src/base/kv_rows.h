/* How keys (or values) lie in memory and on disk: the format that the KV store writes and the kernels read.
 *
 * One side of a KV block, its keys or its values, is KV_ROWS rows of numbers, one for each token, and behind them, in
 * the integer types, their scales:
 *
 *     numbers [KV_ROWS][row bytes]    scales bf16 [KV_ROWS][scales of a row]
 *
 * f32, f16, bf16: the numbers as they are. int8: two's complement, one scale for the row. int4: groups of 32 channels,
 * the last one filled up with zeros, of 16 bytes with one scale each; byte j of a group holds number j in its low and
 * number j + 16 in its high nibble, each with 8 added. A number is integer times scale, which float32 holds exactly. */
#ifndef QUIRE_BASE_KV_ROWS_H
#define QUIRE_BASE_KV_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "quire/kv_type.h"

enum { KV_ROWS = 64, KV_GROUP = 32 };

static inline size_t kv_rows_n_groups(size_t head_dim)
{
    return (head_dim + KV_GROUP - 1) / KV_GROUP;
}

/* Bytes of the numbers of one row. */
static inline size_t kv_rows_number_bytes(quire_kv_type type, size_t head_dim)
{
    switch (type) {
    case QUIRE_KV_F32: return 4 * head_dim;
    case QUIRE_KV_INT8: return head_dim;
    case QUIRE_KV_INT4: return kv_rows_n_groups(head_dim) * (KV_GROUP / 2);
    default: return 2 * head_dim;
    }
}

/* Scales of one row; 0 in the floating-point types. */
static inline size_t kv_rows_n_scales(quire_kv_type type, size_t head_dim)
{
    return type == QUIRE_KV_INT8 ? 1 : type == QUIRE_KV_INT4 ? kv_rows_n_groups(head_dim) : 0;
}

/* Bytes of one side of a block: a multiple of 64. */
static inline size_t kv_rows_bytes(quire_kv_type type, size_t head_dim)
{
    return KV_ROWS * (kv_rows_number_bytes(type, head_dim) + sizeof(uint16_t) * kv_rows_n_scales(type, head_dim));
}

/* The scales of a row, behind the numbers of all rows. */
static inline const uint16_t *kv_rows_scales(const void *side, quire_kv_type type, size_t head_dim, size_t row)
{
    const unsigned char *numbers = (const unsigned char *)side;
    return (const uint16_t *)(const void *)(numbers + KV_ROWS * kv_rows_number_bytes(type, head_dim)) +
           row * kv_rows_n_scales(type, head_dim);
}

/* out[0..n) = channels [first, first + n) of a row. first is a multiple of KV_GROUP. */
void kv_rows_unpack(float *out, const void *side, quire_kv_type type, size_t head_dim, size_t row, size_t first,
                    size_t n);

#endif
