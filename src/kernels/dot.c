/* Products of stored rows with vectors, whatever the type. */
#include "base/mem.h"
#include "kernels.h"

size_t fixed_bytes(size_t n)
{
    size_t padded = size_round_up(n, FIXED_GROUP), bytes = padded * sizeof(int16_t); /* each part stays aligned */
    return 2 * bytes + padded / 8 * (sizeof(int32_t) + sizeof(float)) +
           2 * size_round_up(padded / FIXED_BLOCK * sizeof(float), 64) + padded / 16 * sizeof(float);
}

struct fixed fixed_cut(void *memory, size_t n)
{
    struct fixed fixed;
    size_t padded = size_round_up(n, FIXED_GROUP);
    fixed.groups = memory;
    fixed.numbers = fixed.groups + padded;
    fixed.group_offsets = (int32_t *)(void *)(fixed.numbers + padded);
    fixed.group_scales = (float *)(void *)(fixed.group_offsets + padded / 8);
    fixed.scales = fixed.group_scales + padded / 8;
    fixed.totals = fixed.scales + size_round_up(padded / FIXED_BLOCK, 64 / sizeof(float));
    fixed.half_totals = fixed.totals + size_round_up(padded / FIXED_BLOCK, 64 / sizeof(float));
    return fixed;
}

/* Where there is nothing better, a row goes through all vectors while it is in the first-level cache. */
void kernels_dot_rows(const struct kernels *kernels, quire_dtype type, float *y, size_t y_stride, const void *w,
                      size_t row_bytes, size_t n_rows, const float *x, const struct fixed *fixed, size_t n_vectors,
                      size_t n)
{
    if (kernels->dot_fixed[type]) {
        kernels->dot_fixed[type](y, y_stride, w, row_bytes, n_rows, fixed, n_vectors, n);
    } else if (kernels->dot_rows[type]) {
        kernels->dot_rows[type](y, y_stride, w, row_bytes, n_rows, x, n_vectors, n);
    } else {
        for (size_t r = 0; r < n_rows; r++)
            for (size_t v = 0; v < n_vectors; v++)
                y[v * y_stride + r] = kernels->dot(type, (const unsigned char *)w + r * row_bytes, x + v * n, n);
    }
}
