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

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "bytes.h"

enum {
    BLOCK_MAX_ELEMENTS = 256,
    BLOCK_MAX_GROUPS = 16 /* of a block */
};

/* The types that are stored in blocks: name of the dtype, of the functions, numbers and bytes of a block, numbers of a
 * group, which share scale and offset, and whether there are offsets. */
#define BLOCK_TYPES(X)                                                                                                 \
    X(Q8_0, q8_0, 32, 34, 32, false)                                                                                   \
    X(Q4_0, q4_0, 32, 18, 32, false)                                                                                   \
    X(Q4_1, q4_1, 32, 20, 32, true)                                                                                    \
    X(Q5_0, q5_0, 32, 22, 32, false)                                                                                   \
    X(Q5_1, q5_1, 32, 24, 32, true)                                                                                    \
    X(Q2_K, q2_k, 256, 84, 16, true)                                                                                   \
    X(Q3_K, q3_k, 256, 110, 16, false)                                                                                 \
    X(Q4_K, q4_k, 256, 144, 32, true)                                                                                  \
    X(Q5_K, q5_k, 256, 176, 32, true)                                                                                  \
    X(Q6_K, q6_k, 256, 210, 16, false)                                                                                 \
    X(IQ4_NL, iq4_nl, 32, 18, 32, false)                                                                               \
    X(IQ4_XS, iq4_xs, 256, 136, 32, false)

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

/* n bytes as n numbers from the low nibbles, then n from the high ones; `minus` is subtracted from each. */
static inline void split_nibbles(int8_t *numbers, const unsigned char *p, int n, int minus)
{
    for (int j = 0; j < n; j++)
        numbers[j] = (int8_t)((p[j] & 15) - minus);
    for (int j = 0; j < n; j++)
        numbers[n + j] = (int8_t)((p[j] >> 4) - minus);
}

/* The fifth bits of 32 numbers, bit j of the word that of number j. */
static inline void add_fifth_bits(int8_t *numbers, const unsigned char *p)
{
    uint32_t bits = load_u32(p);
    for (int j = 0; j < 32; j++)
        numbers[j] = (int8_t)(numbers[j] + (int)(bits >> j & 1) * 16);
}

/* The sixteen levels of the IQ4 types, closer together near zero. */
static inline int8_t iq4_level(int nibble)
{
    static const int8_t levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return levels[nibble];
}

/* 16 bytes: levels of the low nibbles, then those of the high ones. */
static inline void split_iq4(int8_t *numbers, const unsigned char *p)
{
    for (int j = 0; j < 16; j++) {
        numbers[j] = iq4_level(p[j] & 15);
        numbers[16 + j] = iq4_level(p[j] >> 4);
    }
}

/* Q4_K and Q5_K: eight scales and eight minimums of six bits in twelve bytes. The first four of each fill the low six
 * bits of bytes 0..3 and 4..7; the others have their low four bits in bytes 8..11, and their high two above the first.
 */
static inline void split_six_bits(uint8_t scales[8], uint8_t minimums[8], const unsigned char *p)
{
    for (int j = 0; j < 4; j++) {
        scales[j] = p[j] & 63;
        minimums[j] = p[4 + j] & 63;
        scales[4 + j] = (uint8_t)((p[8 + j] & 15) | p[j] >> 6 << 4);
        minimums[4 + j] = (uint8_t)(p[8 + j] >> 4 | p[4 + j] >> 6 << 4);
    }
}

/* Q4_K and Q5_K begin alike: the half that scales the scales, the half that scales the minimums, and both. */
static inline void split_k_scales(struct block_parts *out, const unsigned char *block)
{
    uint8_t scales[8], minimums[8];
    float scale = load_half(block), minimum = load_half(block + 2);
    split_six_bits(scales, minimums, block + 4);
    for (int g = 0; g < 8; g++) {
        out->scales[g] = scale * (float)scales[g];
        out->offsets[g] = -(minimum * (float)minimums[g]);
    }
}

/* --- blocks of 32 ------------------------------------------------------------------------------------------------ */

/* scale: half; 32 int8. */
static inline void split_q8_0(struct block_parts *out, const unsigned char *block)
{
    out->scales[0] = load_half(block);
    memcpy(out->numbers, block + 2, 32);
}

/* scale: half; 16 bytes of nibbles, 8 added to each: numbers 0..15 are the low ones. */
static inline void split_q4_0(struct block_parts *out, const unsigned char *block)
{
    out->scales[0] = load_half(block);
    split_nibbles(out->numbers, block + 2, 16, 8);
}

/* scale, offset: half; 16 bytes of nibbles. */
static inline void split_q4_1(struct block_parts *out, const unsigned char *block)
{
    out->scales[0] = load_half(block);
    out->offsets[0] = load_half(block + 2);
    split_nibbles(out->numbers, block + 4, 16, 0);
}

/* scale: half; fifth bits; 16 bytes of nibbles; 16 added to each number. */
static inline void split_q5_0(struct block_parts *out, const unsigned char *block)
{
    out->scales[0] = load_half(block);
    split_nibbles(out->numbers, block + 6, 16, 16);
    add_fifth_bits(out->numbers, block + 2);
}

/* scale, offset: half; fifth bits; 16 bytes of nibbles. */
static inline void split_q5_1(struct block_parts *out, const unsigned char *block)
{
    out->scales[0] = load_half(block);
    out->offsets[0] = load_half(block + 2);
    split_nibbles(out->numbers, block + 8, 16, 0);
    add_fifth_bits(out->numbers, block + 4);
}

/* scale: half; 16 bytes of nibbles, each of which names a level. */
static inline void split_iq4_nl(struct block_parts *out, const unsigned char *block)
{
    out->scales[0] = load_half(block);
    split_iq4(out->numbers, block + 2);
}

/* --- blocks of 256 ----------------------------------------------------------------------------------------------- */

/* 16 bytes, scale in the low nibble and minimum in the high one; 64 bytes of bit pairs; the scale of the scales, that
 * of the minimums: half. Each half of the block has 32 bytes: numbers 0..31 of it are their lowest pairs, and so on up.
 */
static inline void split_q2_k(struct block_parts *out, const unsigned char *block)
{
    const unsigned char *pairs = block + 16;
    float scale = load_half(block + 80), minimum = load_half(block + 82);
    for (int g = 0; g < 16; g++) {
        out->scales[g] = scale * (float)(block[g] & 15);
        out->offsets[g] = -(minimum * (float)(block[g] >> 4));
    }
    for (int part = 0; part < 8; part++)
        for (int j = 0; j < 32; j++)
            out->numbers[32 * part + j] = (int8_t)(pairs[part / 4 * 32 + j] >> part % 4 * 2 & 3);
}

/* 32 bytes of third bits: bit p of byte j is that of number 32 p + j; 64 bytes of bit pairs as in Q2_K; sixteen scales
 * of six bits, 32 added to each: low four bits in the nibbles of 8 bytes, high two in 4 more; their scale: half. A
 * number has 4 added to it. */
static inline void split_q3_k(struct block_parts *out, const unsigned char *block)
{
    const unsigned char *pairs = block + 32, *low = block + 96, *high = block + 104;
    float scale = load_half(block + 108);
    for (int g = 0; g < 16; g++) {
        int bits = (g < 8 ? low[g] & 15 : low[g - 8] >> 4) | (high[g % 4] >> g / 4 * 2 & 3) << 4;
        out->scales[g] = scale * (float)(bits - 32);
    }
    for (int part = 0; part < 8; part++)
        for (int j = 0; j < 32; j++) {
            int number = (pairs[part / 4 * 32 + j] >> part % 4 * 2 & 3) | (block[j] >> part & 1) << 2;
            out->numbers[32 * part + j] = (int8_t)(number - 4);
        }
}

/* Scales as split_k_scales has them; 128 bytes of nibbles: 32 bytes hold 32 numbers and then the next 32. */
static inline void split_q4_k(struct block_parts *out, const unsigned char *block)
{
    split_k_scales(out, block);
    for (int part = 0; part < 4; part++)
        split_nibbles(out->numbers + 64 * part, block + 16 + 32 * part, 32, 0);
}

/* The same with 32 bytes of fifth bits before the nibbles: bit p of byte j is that of number 32 p + j. */
static inline void split_q5_k(struct block_parts *out, const unsigned char *block)
{
    split_k_scales(out, block);
    for (int part = 0; part < 4; part++)
        split_nibbles(out->numbers + 64 * part, block + 48 + 32 * part, 32, 0);
    for (int part = 0; part < 8; part++)
        for (int j = 0; j < 32; j++)
            out->numbers[32 * part + j] = (int8_t)(out->numbers[32 * part + j] | (block[16 + j] >> part & 1) << 4);
}

/* 128 bytes of nibbles, 64 of bit pairs above them, 16 int8 scales, their scale: half. Each half of the block has 64
 * and 32 bytes: low nibbles first; byte j of the pairs has those of numbers j, 32 + j, 64 + j and 96 + j. A number has
 * 32 added to it. */
static inline void split_q6_k(struct block_parts *out, const unsigned char *block)
{
    float scale = load_half(block + 208);
    for (int g = 0; g < 16; g++)
        out->scales[g] = scale * (float)(int8_t)block[192 + g];
    for (int half = 0; half < 2; half++)
        split_nibbles(out->numbers + 128 * half, block + 64 * half, 64, 32);
    for (int part = 0; part < 8; part++)
        for (int j = 0; j < 32; j++) {
            int pair = block[128 + part / 4 * 32 + j] >> part % 4 * 2 & 3;
            out->numbers[32 * part + j] = (int8_t)(out->numbers[32 * part + j] + pair * 16);
        }
}

/* scale: half; the high two bits of eight scales in 16 bits, the low four in 4 bytes, 32 added to each; 128 bytes of
 * nibbles, 16 bytes as in IQ4_NL for each group. */
static inline void split_iq4_xs(struct block_parts *out, const unsigned char *block)
{
    float scale = load_half(block);
    uint32_t high = load_u16(block + 2);
    for (int g = 0; g < 8; g++) {
        int bits = (block[4 + g / 2] >> g % 2 * 4 & 15) | (int)(high >> 2 * g & 3) << 4;
        out->scales[g] = scale * (float)(bits - 32);
        split_iq4(out->numbers + 32 * g, block + 8 + 16 * g);
    }
}

#endif
