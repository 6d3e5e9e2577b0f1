/* Little-endian numbers at any alignment, and the 16-bit floating-point formats. */
#ifndef QUIRE_BASE_BYTES_H
#define QUIRE_BASE_BYTES_H

#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Quire maps files whose numbers are little-endian and runs on little-endian machines only"
#endif

static inline uint16_t load_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t load_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* A number that a mapped file gave, from now on the same: somebody may change the file meanwhile, and what was checked
 * must be what is used. Without this the compiler may read it again. */
static inline uint64_t taken(uint64_t number)
{
    __asm__ volatile("" : "+r"(number));
    return number;
}

static inline float f32_from_bits(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline uint32_t f32_bits(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline float bf16_to_f32(uint16_t h)
{
    return f32_from_bits((uint32_t)h << 16);
}

/* Round to nearest, ties to even; a NaN stays a (quiet) NaN. */
static inline uint16_t f32_to_bf16(float v)
{
    uint32_t bits = f32_bits(v);
    uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1)) >> 16;
    uint32_t quiet_nan = (bits >> 16) | 0x40;
    return (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet_nan : rounded);
}

/* Exact for every half-precision value: the exponent is moved by a multiplication, which also handles subnormals. */
static inline float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t magnitude = (uint32_t)(h & 0x7FFFu) << 13;
    float scaled = f32_from_bits(magnitude) * 0x1p112f;
    uint32_t inf_nan = magnitude | 0x7F800000u;
    return f32_from_bits(sign | ((h & 0x7C00u) == 0x7C00u ? inf_nan : f32_bits(scaled)));
}

/* Round to nearest, ties to even; too large becomes infinity, a NaN stays a (quiet) NaN. */
static inline uint16_t f32_to_f16(float v)
{
    uint32_t bits = f32_bits(v);
    uint32_t sign = (bits >> 16) & 0x8000u;
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    /* Normal result: re-bias the exponent by -112 and round at bit 13. */
    uint32_t normal = (magnitude - 0x38000000u + 0xFFFu + ((magnitude >> 13) & 1)) >> 13;
    /* Subnormal result: adding 0.5 puts the unit of the last place of a half subnormal at bit 0. */
    uint32_t subnormal = f32_bits(f32_from_bits(magnitude) + 0.5f) - 0x3F000000u;
    uint32_t result = magnitude < 0x38800000u ? subnormal : normal;
    if (magnitude >= 0x477FF000u)
        result = magnitude > 0x7F800000u ? 0x7E00u : 0x7C00u;
    return (uint16_t)(sign | result);
}

#endif
