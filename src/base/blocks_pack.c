#include <math.h>

#include "block_fit.h"
#include "block_layout.h"
#include "blocks.h"

static bool pack_f32(unsigned char *out, const float *in, size_t n)
{
    memcpy(out, in, n * sizeof *in);
    return true;
}

static bool pack_f16(unsigned char *out, const float *in, size_t n)
{
    bool fits = true;
    for (size_t i = 0; i < n; i++) {
        uint16_t half = f32_to_f16(in[i]);
        fits = fits && ((half & 0x7FFF) != 0x7C00 || isinf(in[i]));
        memcpy(out + 2 * i, &half, sizeof half);
    }
    return fits;
}

static bool pack_bf16(unsigned char *out, const float *in, size_t n)
{
    bool fits = true;
    for (size_t i = 0; i < n; i++) {
        uint16_t half = f32_to_bf16(in[i]);
        fits = fits && ((half & 0x7FFF) != 0x7F80 || isinf(in[i]));
        memcpy(out + 2 * i, &half, sizeof half);
    }
    return fits;
}

/* The scale of a block as a half, and whether it is a number. Among the subnormal halves, which are far apart, it is
 * rounded away from zero: integers can be smaller than a fitted scale wants them, but not larger. */
static bool store_scale(unsigned char *out, float value)
{
    uint16_t half = f32_to_f16(value);
    if ((half & 0x7C00) == 0 && fabsf(f16_to_f32(half)) < fabsf(value))
        half++;
    memcpy(out, &half, sizeof half);
    return (half & 0x7C00) != 0x7C00;
}

/* As split_nibbles takes them apart: the low four bits of 2 n numbers with `plus` added. */
static void join_nibbles(unsigned char *out, const int8_t *numbers, int n, int plus)
{
    for (int j = 0; j < n; j++)
        out[j] = (unsigned char)(((numbers[j] + plus) & 15) | ((numbers[n + j] + plus) & 15) << 4);
}

/* As scales_q4_k takes them apart. */
static void join_six_bits(unsigned char out[12], const uint8_t scales[8], const uint8_t minimums[8])
{
    for (int j = 0; j < 4; j++) {
        out[j] = (unsigned char)(scales[j] | scales[4 + j] >> 4 << 6);
        out[4 + j] = (unsigned char)(minimums[j] | minimums[4 + j] >> 4 << 6);
        out[8 + j] = (unsigned char)((scales[4 + j] & 15) | (minimums[4 + j] & 15) << 4);
    }
}

static bool pack_q8_0(unsigned char *out, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i += 32, in += 32, out += 34) {
        float largest = 0;
        for (int j = 0; j < 32; j++) {
            largest = fmaxf(largest, fabsf(in[j]));
            if (!isfinite(in[j]))
                return false;
        }
        if (!store_scale(out, largest / 127))
            return false;
        block_round((int8_t *)out + 2, in, 32, load_half(out), 0, -127, 127);
    }
    return true;
}

static bool pack_q4_0(unsigned char *out, const float *in, size_t n)
{
    int8_t numbers[32];
    for (size_t i = 0; i < n; i += 32, in += 32, out += 18) {
        if (!store_scale(out, block_fit_scale(in, 32, 8)))
            return false;
        block_round(numbers, in, 32, load_half(out), 0, -8, 7);
        join_nibbles(out + 2, numbers, 16, 8);
    }
    return true;
}

/* The integer of 0 .. 63 that is nearest to value / unit, and its neighbours: [first, last]. */
struct six_bit_range {
    int first, last;
};

static struct six_bit_range near_six_bits(float value, float unit)
{
    int8_t middle;
    block_round(&middle, &value, 1, unit, 0, 0, 63);
    return (struct six_bit_range){middle > 0 ? middle - 1 : 0, middle < 63 ? middle + 1 : 63};
}

/* The pair of six-bit integers near the fitted line that store x with the least error. */
static void choose_six_bits(uint8_t *scale, uint8_t *minimum, const float *x, struct block_line line, float scale_unit,
                            float minimum_unit)
{
    struct six_bit_range scales = near_six_bits(line.scale, scale_unit);
    struct six_bit_range minimums = near_six_bits(line.minimum, minimum_unit);
    float least = INFINITY;
    for (int s = scales.first; s <= scales.last; s++)
        for (int m = minimums.first; m <= minimums.last; m++) {
            float error = block_error(x, 32, scale_unit * (float)s, -(minimum_unit * (float)m), 0, 15);
            if (error < least) {
                least = error;
                *scale = (uint8_t)s;
                *minimum = (uint8_t)m;
            }
        }
}

static bool pack_q4_k_block(unsigned char *out, const float *x)
{
    struct block_line lines[8];
    float scale = 0, minimum = 0;
    uint8_t scales[8] = {0}, minimums[8] = {0};
    for (int g = 0; g < 8; g++) {
        lines[g] = block_fit_line(x + 32 * g, 32, 15);
        if (isnan(lines[g].scale))
            return false;
        scale = fmaxf(scale, lines[g].scale);
        minimum = fmaxf(minimum, lines[g].minimum);
    }
    if (!store_scale(out, scale / 63) || !store_scale(out + 2, minimum / 63))
        return false;
    scale = load_half(out);
    minimum = load_half(out + 2);
    for (int g = 0; g < 8; g++)
        choose_six_bits(&scales[g], &minimums[g], x + 32 * g, lines[g], scale, minimum);
    join_six_bits(out + 4, scales, minimums);
    for (int g = 0; g < 8; g += 2) {
        int8_t numbers[64];
        for (int i = 0; i < 2; i++)
            block_round(numbers + 32 * i, x + 32 * (g + i), 32, scale * (float)scales[g + i],
                        -(minimum * (float)minimums[g + i]), 0, 15);
        join_nibbles(out + 16 + 16 * g, numbers, 32, 0);
    }
    return true;
}

static bool pack_q4_k(unsigned char *out, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i += 256, out += 144)
        if (!pack_q4_k_block(out, in + i))
            return false;
    return true;
}

static bool pack_q6_k_block(unsigned char *out, const float *x)
{
    float scales[16], extreme = 0;
    int8_t numbers[256];
    for (int g = 0; g < 16; g++) {
        scales[g] = block_fit_scale(x + 16 * g, 16, 32);
        if (isnan(scales[g]))
            return false;
        extreme = fabsf(scales[g]) > fabsf(extreme) ? scales[g] : extreme;
    }
    if (!store_scale(out + 208, extreme / -128))
        return false;
    float unit = load_half(out + 208);
    block_round((int8_t *)out + 192, scales, 16, unit, 0, -128, 127);
    for (int g = 0; g < 16; g++)
        block_round(numbers + 16 * g, x + 16 * g, 16, unit * (float)(int8_t)out[192 + g], 0, -32, 31);
    memset(out + 128, 0, 64);
    for (int half = 0; half < 2; half++)
        join_nibbles(out + 64 * half, numbers + 128 * half, 64, 32);
    for (int part = 0; part < 8; part++)
        for (int j = 0; j < 32; j++)
            out[128 + part / 4 * 32 + j] |= (unsigned char)((numbers[32 * part + j] + 32) >> 4 << part % 4 * 2);
    return true;
}

static bool pack_q6_k(unsigned char *out, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i += 256, out += 210)
        if (!pack_q6_k_block(out, in + i))
            return false;
    return true;
}

static bool (*const pack[QUIRE_DTYPE_COUNT])(unsigned char *, const float *, size_t) = {
    [QUIRE_DTYPE_F32] = pack_f32,   [QUIRE_DTYPE_F16] = pack_f16,   [QUIRE_DTYPE_BF16] = pack_bf16,
    [QUIRE_DTYPE_Q8_0] = pack_q8_0, [QUIRE_DTYPE_Q4_0] = pack_q4_0, [QUIRE_DTYPE_Q4_K] = pack_q4_k,
    [QUIRE_DTYPE_Q6_K] = pack_q6_k,
};

bool blocks_can_pack(quire_dtype type)
{
    return pack[type] != NULL;
}

bool blocks_pack(quire_dtype type, void *out, const float *in, size_t n)
{
    return pack[type](out, in, n);
}
