/* Random weights in any number format. */
#ifndef QUIRE_TESTS_KERNELS_STORED_H
#define QUIRE_TESTS_KERNELS_STORED_H

#include "base/block_layout.h"
#include "quire/dtype.h"
#include "test.h"

static inline size_t stored_bytes(quire_dtype type, size_t n)
{
    return n / quire_dtype_block_elements(type) * quire_dtype_block_bytes(type);
}

/* Bytes of n numbers of a type: all that the bits of a block can say, with scales and offsets in -3 .. 3. */
static inline void stored_random(unsigned char *dst, quire_dtype type, size_t n, uint64_t *seed)
{
#define STORED_ROW(TYPE, name, elements, bytes, group, has_offsets, scale_at)                                          \
    [QUIRE_DTYPE_##TYPE] = {scale_at, 1 + (has_offsets)},
    static const struct {
        size_t at, n;
    } halves[QUIRE_DTYPE_COUNT] = {[QUIRE_DTYPE_F16] = {0, 1}, BLOCK_TYPES(STORED_ROW)};
    size_t step = quire_dtype_block_elements(type), bytes = quire_dtype_block_bytes(type);
    for (size_t i = 0; i < n; i += step, dst += bytes) {
        float number = test_random_float(seed) * 3;
        uint16_t bf16 = f32_to_bf16(number);
        for (size_t b = 0; step > 1 && b < bytes; b++)
            dst[b] = (unsigned char)test_random(seed);
        if (type == QUIRE_DTYPE_F32)
            memcpy(dst, &number, sizeof number);
        else if (type == QUIRE_DTYPE_BF16)
            memcpy(dst, &bf16, sizeof bf16);
        for (size_t h = 0; h < halves[type].n; h++) {
            uint16_t half = f32_to_f16(h == 0 ? number : test_random_float(seed) * 3);
            memcpy(dst + halves[type].at + 2 * h, &half, sizeof half);
        }
    }
}

#endif
