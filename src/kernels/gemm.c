/* What is the same for all products: panels from stored matrices, and the way through a panel. */
#include <string.h>

#include "base/mem.h"
#include "kernels.h"

/* Whatever the type and the product: part by part, through float32. */
void kernels_pack_panel(const struct kernels *kernels, const struct gemm *gemm, void *panel,
                        const struct stored_matrix *w, size_t first, size_t k)
{
    quire_dtype type = w->type;
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
                size_t n = at < w->n_rows ? n_k : 0;
                if (n > 0) {
                    const unsigned char *stored = (const unsigned char *)w->data + at * w->row_bytes + offset;
                    for (size_t b = part_bytes; b < 2 * part_bytes && offset + b < w->row_bytes; b += 64)
                        __builtin_prefetch(stored + b); /* this row's next part: sixteen rows are read by turns */
                    kernels->unpack(type, row, stored, n);
                }
                memset(row + n, 0, (GEMM_PACK_DEPTH - n) * sizeof *row);
            }
            gemm->pack_columns(panel, k_padded, column, first_k, part);
        }
}

/* --- blocks ------------------------------------------------------------------------------------------------------ */

enum { BLOCKS_PER_THREAD = 4 };

struct gemm_blocks gemm_blocks(const struct gemm *gemm, size_t m, size_t n, size_t n_threads)
{
    size_t n_panels = gemm->block_panels;
    struct gemm_blocks blocks = {m, n, gemm_block_rows(gemm), n_panels * gemm->panel_columns};
    while (n_panels > 1 && gemm_blocks_count(&blocks) < BLOCKS_PER_THREAD * n_threads) {
        n_panels = (n_panels + 1) / 2;
        blocks.columns = n_panels * gemm->panel_columns;
    }
    return blocks;
}

size_t gemm_blocks_count(const struct gemm_blocks *blocks)
{
    return size_pieces(blocks->m, blocks->rows) * size_pieces(blocks->n, blocks->columns);
}

struct gemm_block gemm_block_at(const struct gemm_blocks *blocks, size_t index)
{
    size_t n_across = size_pieces(blocks->m, blocks->rows);
    size_t row = index % n_across * blocks->rows, column = index / n_across * blocks->columns;
    return (struct gemm_block){row, size_min(blocks->rows, blocks->m - row), column,
                               size_min(blocks->columns, blocks->n - column)};
}

/* A block's panels: packed, one behind the other, or packed part by part of what is stored, when they are needed. */
struct panels {
    const unsigned char *packed; /* from the block's first on; NULL: */
    const struct kernels *kernels;
    const struct stored_matrix *stored;
    void *part;
};

/* The part of a panel that the step is for; column: the panel's first. */
static void take_panel(struct gemm_step *step, const struct gemm *gemm, const struct panels *panels, size_t column,
                       size_t first_k, size_t k)
{
    step->panel = panels->part;
    step->k_padded = step->n_k;
    step->first_k = 0;
    if (panels->packed) {
        step->panel = panels->packed + step->nth_panel * gemm_panel_bytes(gemm, k);
        step->k_padded = gemm_padded(gemm, k);
        step->first_k = first_k;
    } else {
        struct stored_matrix w = *panels->stored;
        size_t offset = first_k / quire_dtype_block_elements(w.type) * quire_dtype_block_bytes(w.type);
        w.data = (const unsigned char *)w.data + offset;
        kernels_pack_panel(panels->kernels, gemm, panels->part, &w, column, size_min(gemm->depth, k - first_k));
    }
}

/* Part by part of k: all sums of the block take part in each before the next. */
static void multiply_block(const struct gemm *gemm, float *y, size_t y_stride, const void *strips,
                           const struct panels *panels, float *sums, struct gemm_block block, size_t k,
                           const struct gemm_edge *edge)
{
    size_t k_padded = gemm_padded(gemm, k), strip_bytes = gemm_strip_bytes(gemm, k);
    size_t n_strips = size_pieces(block.n_rows, gemm->strip_rows),
           n_panels = size_pieces(block.n_columns, gemm->panel_columns);
    const unsigned char *first_strip = (const unsigned char *)strips + block.row / gemm->strip_rows * strip_bytes;
    for (size_t first_k = 0; first_k < k_padded; first_k += gemm->depth) {
        struct gemm_step step = {.n_k = size_min(gemm->depth, k_padded - first_k), .add = first_k > 0};
        step.goes_on = first_k + step.n_k < k_padded;
        for (size_t p = 0; p < n_panels; p++) {
            size_t column = p * gemm->panel_columns;
            struct gemm_edge here = *edge;
            here.bias = edge->bias ? edge->bias + block.column + column : NULL;
            step.nth_panel = p;
            take_panel(&step, gemm, panels, block.column + column, first_k, k);
            for (size_t s = 0; s < n_strips; s++) {
                size_t row = s * gemm->strip_rows;
                float *tile = sums + (p * gemm_block_rows(gemm) + row) * gemm->panel_columns;
                step.nth_strip = s;
                step.strip = first_strip + s * strip_bytes + gemm_strip_bytes(gemm, first_k);
                step.n_rows = size_min(gemm->strip_rows, block.n_rows - row);
                gemm->multiply(tile, &step);
                if (!step.goes_on)
                    gemm->finish(y + (block.row + row) * y_stride + block.column + column, y_stride, tile, step.n_rows,
                                 size_min(gemm->panel_columns, block.n_columns - column), &here);
            }
        }
    }
}

void gemm_multiply_block(const struct gemm *gemm, float *y, size_t y_stride, const void *strips, const void *panels,
                         float *sums, struct gemm_block block, size_t k, const struct gemm_edge *edge)
{
    size_t first = block.column / gemm->panel_columns * gemm_panel_bytes(gemm, k);
    const struct panels packed = {.packed = (const unsigned char *)panels + first};
    multiply_block(gemm, y, y_stride, strips, &packed, sums, block, k, edge);
}

void kernels_multiply_stored(const struct kernels *kernels, const struct gemm *gemm, float *y, size_t y_stride,
                             const void *strips, const struct stored_matrix *w, void *part, float *sums,
                             struct gemm_block block, size_t k, const struct gemm_edge *edge)
{
    const struct panels stored = {.kernels = kernels, .stored = w, .part = part};
    multiply_block(gemm, y, y_stride, strips, &stored, sums, block, k, edge);
}
