/* float32 products with vectors of W floats: part of kernels_vector.h, where W is 8 or 16.
 *
 * The registers hold STRIP rows by TILE_VECTORS vectors of sums. For each k the innermost loop loads two vectors of a
 * panel, and for each row of the strip one number, which meets both. A panel is made of such tiles, one behind the
 * other, as wide as makes a strip's part worth its way into L1. */
#include "gemm.h"
#include "transpose.h"

enum { STRIP = W == 16 ? 12 : 6, TILE_VECTORS = 2, TILE_COLUMNS = TILE_VECTORS * W, PANEL = 64, GEMM_DEPTH = 512 };

static void gemm_pack_strip(void *strip, const float *x, size_t x_stride, size_t n_rows, size_t k)
{
    float *dst = strip;
    for (size_t i = 0; i < k; i++, dst += STRIP) {
        for (size_t r = 0; r < n_rows; r++)
            dst[r] = x[r * x_stride + i];
        for (size_t r = n_rows; r < STRIP; r++)
            dst[r] = 0.0f;
    }
}

/* A tile of a panel: [k_padded][TILE_COLUMNS]. */
static void gemm_pack_columns(void *panel, size_t k_padded, size_t column, size_t first_k, const float *part)
{
    size_t n = k_padded - first_k < GEMM_PACK_DEPTH ? k_padded - first_k : GEMM_PACK_DEPTH, i = 0;
    float *dst = (float *)panel + column / TILE_COLUMNS * TILE_COLUMNS * k_padded + first_k * TILE_COLUMNS +
                 column % TILE_COLUMNS;
    for (; i + W <= n; i += W)
        for (size_t j = 0; j < GEMM_PACK_COLUMNS; j += W)
            transpose(dst + i * TILE_COLUMNS + j, TILE_COLUMNS, part + j * GEMM_PACK_DEPTH + i, GEMM_PACK_DEPTH);
    for (; i < n; i++)
        for (size_t j = 0; j < GEMM_PACK_COLUMNS; j++)
            dst[i * TILE_COLUMNS + j] = part[j * GEMM_PACK_DEPTH + i];
}

static void gemm_pack_strips_turned(void *strips, const float *x, size_t x_stride, size_t n_rows, size_t k)
{
    for (size_t i = 0; i < k; i++, x += x_stride)
        for (size_t row = 0; row < n_rows; row += STRIP) {
            float *dst = (float *)strips + row * k + i * STRIP;
            size_t n = n_rows - row < STRIP ? n_rows - row : STRIP;
            if (n == STRIP)
                memcpy(dst, x + row, sizeof(float[STRIP]));
            else
                for (size_t r = 0; r < STRIP; r++)
                    dst[r] = r < n ? x[row + r] : 0.0f;
        }
}

static void gemm_pack_columns_turned(void *panel, size_t k_padded, size_t column, size_t first_k, const float *x,
                                     size_t x_stride, size_t n_columns, size_t n_k)
{
    float *dst = (float *)panel + column / TILE_COLUMNS * TILE_COLUMNS * k_padded + first_k * TILE_COLUMNS +
                 column % TILE_COLUMNS;
    for (size_t k = 0; k < n_k; k++, dst += TILE_COLUMNS, x += x_stride)
        for (size_t j = 0; j < GEMM_PACK_COLUMNS; j++)
            dst[j] = j < n_columns ? x[j] : 0.0f;
}

INLINE void multiply_tile(float *sums, const float *x, const float *w, size_t n_k, bool add)
{
    vec s[STRIP][TILE_VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < STRIP; r++)
        for (int c = 0; c < TILE_VECTORS; c++)
            s[r][c] = splat(0.0f);
    for (size_t i = 0; i < n_k; i++, x += STRIP, w += TILE_COLUMNS) {
        vec first = load(w), second = load(w + W);
#pragma GCC unroll 16
        for (int r = 0; r < STRIP; r++) {
            vec number = splat(x[r]);
            s[r][0] += first * number;
            s[r][1] += second * number;
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < STRIP; r++)
        for (int c = 0; c < TILE_VECTORS; c++) {
            float *sum = sums + r * PANEL + c * W;
            store(sum, add ? load(sum) + s[r][c] : s[r][c]);
        }
}

static void gemm_multiply(float *sums, const struct gemm_step *step)
{
    const float *x = step->strip, *w = (const float *)step->panel + step->first_k * TILE_COLUMNS;
    for (size_t column = 0; column < PANEL; column += TILE_COLUMNS)
        multiply_tile(sums + column, x, w + column * step->k_padded, step->n_k, step->add);
}

static void gemm_finish(float *y, size_t y_stride, const float *sums, size_t n_rows, size_t n_columns,
                        const struct gemm_edge *edge)
{
    gemm_finish_rows(y, y_stride, sums, PANEL, n_rows, n_columns, edge);
}

static const struct gemm gemm_f32 = {
    .name = "f32",
    .strip_rows = STRIP,
    .panel_columns = PANEL,
    .k_step = 1,
    .step_bytes = sizeof(float),
    .depth = GEMM_DEPTH,
    .block_panels = 1,
    .pack_strip = gemm_pack_strip,
    .pack_columns = gemm_pack_columns,
    .pack_strips_turned = gemm_pack_strips_turned,
    .pack_columns_turned = gemm_pack_columns_turned,
    .multiply = gemm_multiply,
    .finish = gemm_finish,
};
