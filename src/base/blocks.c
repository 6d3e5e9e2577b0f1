#include "blocks.h"

#include "block_layout.h"

static void unpack_f32(float *out, const unsigned char *p, size_t n)
{
    memcpy(out, p, n * sizeof *out);
}

static void unpack_f16(float *out, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = f16_to_f32(load_u16(p + 2 * i));
}

static void unpack_bf16(float *out, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = bf16_to_f32(load_u16(p + 2 * i));
}

#define DEFINE_UNPACK(TYPE, name, elements, bytes, group, has_offsets, ...)                                            \
    static void unpack_##name(float *out, const unsigned char *p, size_t n)                                            \
    {                                                                                                                  \
        struct block_parts parts;                                                                                      \
        for (size_t i = 0; i < n; i += (elements), p += (bytes)) {                                                     \
            split_##name(&parts, p);                                                                                   \
            for (size_t j = 0; j < (elements); j++) {                                                                  \
                float number = (float)parts.numbers[j] * parts.scales[j / (group)];                                    \
                out[i + j] = (has_offsets) ? number + parts.offsets[j / (group)] : number;                             \
            }                                                                                                          \
        }                                                                                                              \
    }
BLOCK_TYPES(DEFINE_UNPACK)

void blocks_unpack(quire_dtype type, float *out, const void *blocks, size_t n)
{
#define UNPACK_ROW(TYPE, name, ...) [QUIRE_DTYPE_##TYPE] = unpack_##name,
    static void (*const unpack[QUIRE_DTYPE_COUNT])(float *, const unsigned char *,
                                                   size_t) = {[QUIRE_DTYPE_F32] = unpack_f32,
                                                              [QUIRE_DTYPE_F16] = unpack_f16,
                                                              [QUIRE_DTYPE_BF16] = unpack_bf16,
                                                              BLOCK_TYPES(UNPACK_ROW)};
    unpack[type](out, blocks, n);
}
