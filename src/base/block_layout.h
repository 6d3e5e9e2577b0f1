/* How weights lie in the block types of GGUF, stated once: each type's split() takes one block apart into small
 * integers, scales and offsets. base/blocks.c makes the plain conversions of it, and the kernels theirs: the loops
 * below are compiled for each instruction set with the file that includes them.
 *
 * Number i of a block is numbers[i] * scales[i / group] + offsets[i / group]. All products here are exact in float32,
 * so that it does not matter how they are ordered or fused: only the last addition rounds.
 *
 * Bytes are little-endian; a half is an IEEE half-precision number; the low nibble of a byte comes before the high one.
 */
#ifndef QUIRE_BASE_BLOCK_LAYOUT_H
#define QUIRE_BASE_BLOCK_LAYOUT_H

#if defined(__SSSE3__)
#include <immintrin.h>
#endif

#include <stdbool.h>

#include "bytes.h"

enum {
    BLOCK_MAX_ELEMENTS = 256,
    BLOCK_MAX_GROUPS = 16 /* of a block */
};

/* The types that are stored in blocks: name of the dtype, of the functions, numbers and bytes of a block, numbers of a
 * group, which share scale and offset, whether there are offsets, and where the half is that scales all (or all
 * scales); the half for the offsets is behind it. */
#define BLOCK_TYPES(X)                                                                                                 \
    X(Q4_0, q4_0, 32, 18, 32, false, 0)                                                                                \
    BLOCK_TYPES_BUT_Q4_0(X)
#define BLOCK_TYPES_BUT_Q4_0(X)                                                                                        \
    X(Q8_0, q8_0, 32, 34, 32, false, 0)                                                                                \
    X(Q4_1, q4_1, 32, 20, 32, true, 0)                                                                                 \
    X(Q5_0, q5_0, 32, 22, 32, false, 0)                                                                                \
    X(Q5_1, q5_1, 32, 24, 32, true, 0)                                                                                 \
    X(Q2_K, q2_k, 256, 84, 16, true, 80)                                                                               \
    X(Q3_K, q3_k, 256, 110, 16, false, 108)                                                                            \
    X(Q4_K, q4_k, 256, 144, 32, true, 0)                                                                               \
    X(Q5_K, q5_k, 256, 176, 32, true, 0)                                                                               \
    X(Q6_K, q6_k, 256, 210, 16, false, 208)                                                                            \
    X(IQ4_NL, iq4_nl, 32, 18, 32, false, 0)                                                                            \
    X(IQ4_XS, iq4_xs, 256, 136, 32, false, 0)

struct block_parts {
    int8_t numbers[BLOCK_MAX_ELEMENTS];
    float scales[BLOCK_MAX_GROUPS];
    float offsets[BLOCK_MAX_GROUPS]; /* written only by types that have some */
};

/* With the machine's own instruction where there is one. */
static inline float load_half(const void *p)
{
#if defined(__F16C__)
    return _cvtsh_ss(load_u16(p));
#else
    return f16_to_f32(load_u16(p));
#endif
}

/* --- pieces ------------------------------------------------------------------------------------------------------ */

/* Bytes side by side: the compilers leave loops over sixteen of them as they are. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint8_t bytes32 __attribute__((vector_size(32)));
typedef uint64_t words2 __attribute__((vector_size(16)));

/* How the other types store 32 numbers: 16 from the low nibbles of 16 bytes, then 16 from the high ones. Where there
 * are fifths, bit j of that word is the fifth bit of number j; `minus` is subtracted; with is_level a number names one
 * of the sixteen levels of the IQ4 types, which are closer together near zero. */
struct nibble_bits {
    const unsigned char *nibbles, *fifths;
    uint8_t minus;
    bool is_level;
};

static const int8_t iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* How the K types store 32 numbers: number j has low bits in byte j of `low` and, where high_mask is not 0, higher ones
 * in byte j of `high`; `minus` is subtracted. */
struct joined_bits {
    const unsigned char *low, *high;
    uint8_t low_shift, low_mask, high_shift, high_mask;
    uint8_t place; /* of the higher bits in the number */
    uint8_t minus;
};

static inline void join_bits(int8_t numbers[32], struct joined_bits from)
{
    bytes32 low, high;
    memcpy(&low, from.low, sizeof low);
    memcpy(&high, from.high, sizeof high);
    low = (low >> from.low_shift & from.low_mask) + ((high >> from.high_shift & from.high_mask) << from.place);
    low -= from.minus;
    memcpy(numbers, &low, sizeof low);
}

/* Eight bits as eight bytes, 16 for a one. */
static inline uint64_t spread_bits(uint8_t bits)
{
    uint64_t one_in_each = bits * 0x0101010101010101u & 0x8040201008040201u;
    return (one_in_each + 0x7F7F7F7F7F7F7F7Fu) >> 3 & 0x1010101010101010u;
}

static inline void split_nibbles(int8_t numbers[32], struct nibble_bits from)
{
    words2 first = {0}, second = {0};
    bytes16 bytes, low, high;
    memcpy(&bytes, from.nibbles, sizeof bytes);
    if (from.fifths) {
        first = (words2){spread_bits(from.fifths[0]), spread_bits(from.fifths[1])};
        second = (words2){spread_bits(from.fifths[2]), spread_bits(from.fifths[3])};
    }
    low = ((bytes & 15) | (bytes16)first) - from.minus;
    high = (bytes >> 4 | (bytes16)second) - from.minus;
    memcpy(numbers, &low, sizeof low);
    memcpy(numbers + 16, &high, sizeof high);
    if (!from.is_level)
        return;
#if defined(__SSSE3__)
    __m128i table = _mm_loadu_si128((const __m128i *)(const void *)iq4_levels);
    for (int j = 0; j < 32; j += 16) {
        __m128i *here = (__m128i *)(void *)(numbers + j);
        _mm_storeu_si128(here, _mm_shuffle_epi8(table, _mm_loadu_si128(here)));
    }
#else
    for (int j = 0; j < 32; j++)
        numbers[j] = iq4_levels[numbers[j]];
#endif
}

/* Eight int8 in a word, each times `scale`. */
static inline void scale_eight(float out[8], float scale, uint64_t eight)
{
#if defined(__AVX2__)
    __m256i wide = _mm256_cvtepi8_epi32(_mm_cvtsi64_si128((long long)eight));
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(wide), _mm256_set1_ps(scale)));
#else
    for (int j = 0; j < 8; j++)
        out[j] = scale * (float)(int8_t)(eight >> 8 * j);
#endif
}

/* --- blocks of 32 ------------------------------------------------------------------------------------------------ */

/* scales_TYPE has the scales and offsets, and bits_TYPE says where the 32 numbers of a part are. */

/* scale: half; 32 int8. */
static inline void scales_q8_0(struct block_parts *out, const unsigned char *block)
{
    out->scales[0] = load_half(block);
}

static inline const unsigned char *bits_q8_0(const unsigned char *block, int part)
{
    (void)part;
    return block + 2;
}

static inline void copy_numbers(int8_t numbers[32], const unsigned char *from)
{
    memcpy(numbers, from, 32);
}

/* scale: half; 16 bytes of nibbles, 8 added to each: numbers 0..15 are the low ones. */
static inline void scales_q4_0(struct block_parts *out, const unsigned char *block)
{
    out->scales[0] = load_half(block);
}

static inline struct nibble_bits bits_q4_0(const unsigned char *block, int part)
{
    (void)part;
    return (struct nibble_bits){.nibbles = block + 2, .minus = 8};
}

/* scale, offset: half; 16 bytes of nibbles. */
static inline void scales_q4_1(struct block_parts *out, const unsigned char *block)
{
    out->scales[0] = load_half(block);
    out->offsets[0] = load_half(block + 2);
}

static inline struct nibble_bits bits_q4_1(const unsigned char *block, int part)
{
    (void)part;
    return (struct nibble_bits){.nibbles = block + 4};
}

/* scale: half; fifth bits; 16 bytes of nibbles; 16 added to each number. */
static inline void scales_q5_0(struct block_parts *out, const unsigned char *block)
{
    out->scales[0] = load_half(block);
}

static inline struct nibble_bits bits_q5_0(const unsigned char *block, int part)
{
    (void)part;
    return (struct nibble_bits){.nibbles = block + 6, .fifths = block + 2, .minus = 16};
}

/* scale, offset: half; fifth bits; 16 bytes of nibbles. */
static inline void scales_q5_1(struct block_parts *out, const unsigned char *block)
{
    scales_q4_1(out, block);
}

static inline struct nibble_bits bits_q5_1(const unsigned char *block, int part)
{
    (void)part;
    return (struct nibble_bits){.nibbles = block + 8, .fifths = block + 4};
}

/* scale: half; 16 bytes of nibbles, each of which names a level. */
static inline void scales_iq4_nl(struct block_parts *out, const unsigned char *block)
{
    out->scales[0] = load_half(block);
}

static inline struct nibble_bits bits_iq4_nl(const unsigned char *block, int part)
{
    (void)part;
    return (struct nibble_bits){.nibbles = block + 2, .is_level = true};
}

/* --- blocks of 256 ----------------------------------------------------------------------------------------------- */

/* 16 bytes, scale in the low nibble and minimum in the high one; 64 bytes of bit pairs; the scale of the scales, that
 * of the minimums: half. Each half of the block has 32 bytes: numbers 0..31 of it are their lowest pairs, and so on up.
 */
static inline void scales_q2_k(struct block_parts *out, const unsigned char *block)
{
    const uint64_t nibble = 0x0F0F0F0F0F0F0F0Fu;
    float scale = load_half(block + 80), minimum = load_half(block + 82);
    for (int g = 0; g < 16; g += 8) {
        scale_eight(out->scales + g, scale, load_u64(block + g) & nibble);
        scale_eight(out->offsets + g, -minimum, load_u64(block + g) >> 4 & nibble);
    }
}

static inline struct joined_bits bits_q2_k(const unsigned char *block, int part)
{
    return (struct joined_bits){
        .low = block + 16 + part / 4 * 32, .low_shift = (uint8_t)(part % 4 * 2), .low_mask = 3, .high = block};
}

/* 32 bytes of third bits: bit p of byte j is that of number 32 p + j; 64 bytes of bit pairs as in Q2_K; sixteen scales
 * of six bits, 32 added to each: low four bits in the nibbles of 8 bytes, high two in 4 more; their scale: half. A
 * number has 4 added to it. */
static inline void scales_q3_k(struct block_parts *out, const unsigned char *block)
{
    const uint64_t nibble = 0x0F0F0F0F0F0F0F0Fu, pair = 0x0303030303030303u, top = 0x8080808080808080u;
    uint64_t low = load_u64(block + 96), high = load_u32(block + 104);
    float scale = load_half(block + 108);
    for (int g = 0; g < 16; g += 8, low >>= 4, high >>= 4) {
        uint64_t bits = (low & nibble) | ((high | high << 30) & pair) << 4;
        scale_eight(out->scales + g, scale, ((bits | top) - 0x2020202020202020u) ^ top); /* minus 32, byte by byte */
    }
}

static inline struct joined_bits bits_q3_k(const unsigned char *block, int part)
{
    return (struct joined_bits){.low = block + 32 + part / 4 * 32,
                                .low_shift = (uint8_t)(part % 4 * 2),
                                .low_mask = 3,
                                .high = block,
                                .high_shift = (uint8_t)part,
                                .high_mask = 1,
                                .place = 2,
                                .minus = 4};
}

/* The half that scales the scales, the half that scales the minimums; eight of each, of six bits, in twelve bytes: the
 * first four fill the low six bits of bytes 0..3 and 4..7, the others have their low four bits in bytes 8..11 and their
 * high two above the first; 128 bytes of nibbles: 32 bytes hold 32 numbers and then the next 32. */
static inline void scales_q4_k(struct block_parts *out, const unsigned char *block)
{
    const uint32_t low = 0x0F0F0F0Fu, high = 0x30303030u, six = 0x3F3F3F3Fu;
    uint32_t a = load_u32(block + 4), b = load_u32(block + 8), c = load_u32(block + 12);
    uint64_t scales = (uint64_t)((c & low) | (a >> 2 & high)) << 32 | (a & six);
    uint64_t minimums = (uint64_t)((c >> 4 & low) | (b >> 2 & high)) << 32 | (b & six);
    scale_eight(out->scales, load_half(block), scales);
    scale_eight(out->offsets, -load_half(block + 2), minimums);
}

static inline struct joined_bits bits_q4_k(const unsigned char *block, int part)
{
    return (struct joined_bits){
        .low = block + 16 + part / 2 * 32, .low_shift = (uint8_t)(part % 2 * 4), .low_mask = 15, .high = block};
}

/* The same with 32 bytes of fifth bits before the nibbles: bit p of byte j is that of number 32 p + j. */
static inline void scales_q5_k(struct block_parts *out, const unsigned char *block)
{
    scales_q4_k(out, block);
}

static inline struct joined_bits bits_q5_k(const unsigned char *block, int part)
{
    return (struct joined_bits){.low = block + 48 + part / 2 * 32,
                                .low_shift = (uint8_t)(part % 2 * 4),
                                .low_mask = 15,
                                .high = block + 16,
                                .high_shift = (uint8_t)part,
                                .high_mask = 1,
                                .place = 4};
}

/* 128 bytes of nibbles, 64 of bit pairs above them, 16 int8 scales, their scale: half. Each half of the block has 64
 * and 32 bytes: low nibbles first; byte j of the pairs has those of numbers j, 32 + j, 64 + j and 96 + j. A number has
 * 32 added to it. */
static inline void scales_q6_k(struct block_parts *out, const unsigned char *block)
{
    for (int g = 0; g < 16; g += 8)
        scale_eight(out->scales + g, load_half(block + 208), load_u64(block + 192 + g));
}

static inline struct joined_bits bits_q6_k(const unsigned char *block, int part)
{
    return (struct joined_bits){.low = block + part / 4 * 64 + part % 2 * 32,
                                .low_shift = (uint8_t)(part % 4 / 2 * 4),
                                .low_mask = 15,
                                .high = block + 128 + part / 4 * 32,
                                .high_shift = (uint8_t)(part % 4 * 2),
                                .high_mask = 3,
                                .place = 4,
                                .minus = 32};
}

/* scale: half; the high two bits of eight scales in 16 bits, the low four in 4 bytes, 32 added to each; 128 bytes of
 * nibbles, 16 bytes as in IQ4_NL for each group. */
static inline void scales_iq4_xs(struct block_parts *out, const unsigned char *block)
{
    float scale = load_half(block);
    uint32_t high = load_u16(block + 2);
    for (int g = 0; g < 8; g++) {
        int bits = (block[4 + g / 2] >> g % 2 * 4 & 15) | (int)(high >> 2 * g & 3) << 4;
        out->scales[g] = scale * (float)(bits - 32);
    }
}

static inline struct nibble_bits bits_iq4_xs(const unsigned char *block, int part)
{
    return (struct nibble_bits){.nibbles = block + 8 + 16 * part, .is_level = true};
}

/* --- whole blocks ------------------------------------------------------------------------------------------------- */

#define TAKE_OUT(numbers, bits)                                                                                        \
    _Generic((bits), const unsigned char *: copy_numbers, struct nibble_bits: split_nibbles,                           \
             struct joined_bits: join_bits)(numbers, bits)

#define DEFINE_SPLIT(TYPE, name, elements, ...)                                                                        \
    static inline void split_##name(struct block_parts *out, const unsigned char *block)                               \
    {                                                                                                                  \
        scales_##name(out, block);                                                                                     \
        for (int part = 0; part < (elements) / 32; part++)                                                             \
            TAKE_OUT(out->numbers + 32 * part, bits_##name(block, part));                                              \
    }
BLOCK_TYPES(DEFINE_SPLIT)

#endif
