#include "kv/kv_convert.h"

#include <math.h>

#include "base/bytes.h"
#include "base/kv_rows.h"
#include "base/mem.h"

/* Below this an integer row is zero: its scale and the scale's inverse stay normal numbers. */
static const float LEAST = 0x1p-100f;

/* The scale of integers up to `limit` for x[0..n): the largest magnitude becomes limit exactly, since rounding the
 * scale to bf16 moves it by 2^-8 of itself at most, and limit by less than a half. So rounding what was rounded finds
 * the same scale and the same integers (KV-2). A number that is not finite makes the scale, and so the row, NaN. */
static uint16_t find_scale(const float *x, size_t n, float limit)
{
    float largest = 0;
    bool is_finite = true;
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        largest = magnitude > largest ? magnitude : largest;
        is_finite = is_finite && magnitude <= 0x1.fffffep127f;
    }
    if (!is_finite)
        return f32_to_bf16(NAN);
    return largest < LEAST ? 0 : f32_to_bf16(largest / limit);
}

/* The nearest integer (ties to even) to each x / scale, which are within +-127; 0 where the scale is 0 or NaN. */
static void round_to_integers(int8_t *out, const float *x, size_t n, uint16_t scale)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    float s = bf16_to_f32(scale), inverse = s > 0 ? 1.0f / s : 0.0f;
    for (size_t i = 0; i < n; i++)
        out[i] = inverse > 0 ? (int8_t)(f32_bits(x[i] * inverse + round) & 0xFF) : (int8_t)0;
}

static void pack_int8(unsigned char *numbers, uint16_t *scales, const float *row, size_t head_dim)
{
    scales[0] = find_scale(row, head_dim, 127);
    round_to_integers((int8_t *)numbers, row, head_dim, scales[0]);
}

static void pack_int4(unsigned char *numbers, uint16_t *scales, const float *row, size_t head_dim)
{
    for (size_t first = 0; first < head_dim; first += KV_GROUP, numbers += KV_GROUP / 2, scales++) {
        size_t n = size_min(head_dim - first, KV_GROUP);
        int8_t integers[KV_GROUP] = {0};
        *scales = find_scale(row + first, n, 7);
        round_to_integers(integers, row + first, n, *scales);
        for (size_t j = 0; j < KV_GROUP / 2; j++)
            numbers[j] = (unsigned char)((integers[j] + 8) | (integers[j + KV_GROUP / 2] + 8) << 4);
    }
}

void kv_convert_rows(void *side, size_t first_row, const float *in, size_t n_rows, size_t head_dim, size_t stride,
                     quire_kv_type type)
{
    size_t number_bytes = kv_rows_number_bytes(type, head_dim);
    for (size_t r = 0; r < n_rows; r++) {
        const float *row = in + r * stride;
        unsigned char *numbers = (unsigned char *)side + (first_row + r) * number_bytes;
        uint16_t *halves = (uint16_t *)(void *)numbers;
        uint16_t *scales = (uint16_t *)(uintptr_t)kv_rows_scales(side, type, head_dim, first_row + r);
        switch (type) {
        case QUIRE_KV_BF16:
            for (size_t i = 0; i < head_dim; i++)
                halves[i] = f32_to_bf16(row[i]);
            break;
        case QUIRE_KV_F16:
            for (size_t i = 0; i < head_dim; i++)
                halves[i] = f32_to_f16(row[i]);
            break;
        case QUIRE_KV_INT8: pack_int8(numbers, scales, row, head_dim); break;
        case QUIRE_KV_INT4: pack_int4(numbers, scales, row, head_dim); break;
        default: memcpy(numbers, row, head_dim * sizeof *row);
        }
    }
}

enum { LANES = 8, SLICE = 64 };

/* Adds the squares of row[0..n) to sums[i % LANES]. Separate sums let the compiler use vectors without reordering any.
 */
static void add_squares(double sums[LANES], const float *row, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++)
            sums[lane] += (double)row[i + lane] * row[i + lane];
    for (; i < n; i++)
        sums[0] += (double)row[i] * row[i];
}

float kv_key_norm_max(const void *keys, size_t n_rows, size_t head_dim, quire_kv_type type)
{
    double max = 0;
    for (size_t r = 0; r < n_rows; r++) {
        double sums[LANES] = {0};
        for (size_t first = 0; first < head_dim; first += SLICE) {
            size_t n = size_min(head_dim - first, SLICE);
            float slice[SLICE];
            kv_rows_unpack(slice, keys, type, head_dim, r, first, n);
            add_squares(sums, slice, n);
        }
        double sum = 0;
        for (size_t lane = 0; lane < LANES; lane++)
            sum += sums[lane];
        if (isnan(sum))
            return INFINITY;
        max = sum > max ? sum : max;
    }
    /* Rounding in double is far below half a unit of float, so one step up from the nearest float is above the truth.
     */
    return max > 0 ? nextafterf((float)sqrt(max), INFINITY) : 0;
}
