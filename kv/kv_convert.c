#include "kv/kv_convert.h"

#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

void kv_convert_rows(void *out, const float *in, size_t n_rows, size_t head_dim, size_t stride, quire_dtype type)
{
    for (size_t r = 0; r < n_rows; r++) {
        const float *row = in + r * stride;
        uint16_t *out16 = (uint16_t *)out + r * head_dim;
        switch (type) {
        case QUIRE_DTYPE_BF16:
            for (size_t i = 0; i < head_dim; i++)
                out16[i] = f32_to_bf16(row[i]);
            break;
        case QUIRE_DTYPE_F16:
            for (size_t i = 0; i < head_dim; i++)
                out16[i] = f32_to_f16(row[i]);
            break;
        default: memcpy((float *)out + r * head_dim, row, head_dim * sizeof *row);
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

float kv_key_norm_max(const void *keys, size_t n_rows, size_t head_dim, quire_dtype type)
{
    double max = 0;
    for (size_t r = 0; r < n_rows; r++) {
        double sums[LANES] = {0};
        for (size_t first = 0; first < head_dim; first += SLICE) {
            size_t n = size_min(head_dim - first, SLICE);
            float slice[SLICE];
            const uint16_t *half = (const uint16_t *)keys + r * head_dim + first;
            const float *row = slice;
            if (type == QUIRE_DTYPE_BF16)
                for (size_t i = 0; i < n; i++)
                    slice[i] = bf16_to_f32(half[i]);
            else if (type == QUIRE_DTYPE_F16)
                for (size_t i = 0; i < n; i++)
                    slice[i] = f16_to_f32(half[i]);
            else
                row = (const float *)keys + r * head_dim + first;
            add_squares(sums, row, n);
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
