/* What is the same for all products: panels from stored matrices, and the way through a panel. */
#include <string.h>

#include "kernels.h"

/* Whatever the type and the product: part by part, through float32. */
void kernels_pack_panel(const struct kernels *kernels, const struct gemm *gemm, void *panel, const void *w,
                        size_t row_bytes, quire_dtype type, size_t first, size_t n_rows, size_t k)
{
    size_t k_padded = gemm_padded(gemm, k);
    size_t part_bytes = GEMM_PACK_DEPTH / quire_dtype_block_elements(type) * quire_dtype_block_bytes(type);
    float part[GEMM_PACK_COLUMNS * GEMM_PACK_DEPTH];
    for (size_t column = 0; column < gemm->panel_columns; column += GEMM_PACK_COLUMNS)
        for (size_t first_k = 0; first_k < k_padded; first_k += GEMM_PACK_DEPTH) {
            size_t n_k = first_k < k ? (k - first_k < GEMM_PACK_DEPTH ? k - first_k : GEMM_PACK_DEPTH) : 0;
            size_t offset = first_k / quire_dtype_block_elements(type) * quire_dtype_block_bytes(type);
            for (size_t j = 0; j < GEMM_PACK_COLUMNS; j++) {
                float *row = part + j * GEMM_PACK_DEPTH;
                size_t at = first + column + j;
                size_t n = at < n_rows ? n_k : 0;
                if (n > 0) {
                    const unsigned char *stored = (const unsigned char *)w + at * row_bytes + offset;
                    for (size_t b = part_bytes; b < 2 * part_bytes && offset + b < row_bytes; b += 64)
                        __builtin_prefetch(stored + b); /* this row's next part: sixteen rows are read by turns */
                    kernels->unpack(type, row, stored, n);
                }
                memset(row + n, 0, (GEMM_PACK_DEPTH - n) * sizeof *row);
            }
            gemm->pack_columns(panel, k_padded, column, first_k, part);
        }
}

void gemm_multiply_panel(const struct gemm *gemm, float *y, size_t y_stride, const void *strips, const void *panel,
                         float *sums, size_t m, size_t n_columns, size_t k, const struct gemm_edge *edge)
{
    size_t k_padded = gemm_padded(gemm, k), strip_bytes = gemm_strip_bytes(gemm, k);
    for (size_t first_k = 0; first_k < k_padded; first_k += gemm->depth) {
        size_t n_k = k_padded - first_k < gemm->depth ? k_padded - first_k : gemm->depth;
        bool is_last = first_k + n_k == k_padded;
        for (size_t row = 0; row < m; row += gemm->strip_rows) {
            float *tile = sums + row * gemm->panel_columns;
            size_t n_rows = m - row < gemm->strip_rows ? m - row : gemm->strip_rows;
            const unsigned char *strip = (const unsigned char *)strips + row / gemm->strip_rows * strip_bytes;
            gemm->multiply(tile, strip, panel, k_padded, first_k, n_k, n_rows, first_k > 0);
            if (is_last)
                gemm->finish(y + row * y_stride, y_stride, tile, n_rows, n_columns, edge);
        }
    }
}
