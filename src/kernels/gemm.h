/* Products of many rows with a weight matrix: y = x . w^T, in pieces that threads may take in any order.
 *
 * Both factors are packed first, in the order in which the innermost loop reads them: rows of x into strips of
 * `strip_rows`, rows of w (columns of y) into panels of `panel_columns`. A tile is the product of one strip and one
 * panel. All numbers of a tile are sums over k in ascending order, each cut into parts of `depth`, so that an element
 * of y depends on its row of x and its row of w alone: not on the other rows, nor on where it lies in a tile.
 *
 * What a product is wide in is the table's: float32 everywhere; bfloat16 factors, or factors in 16-bit fixed point,
 * with float32 sums where the processor has instructions for it. */
#ifndef QUIRE_KERNELS_GEMM_H
#define QUIRE_KERNELS_GEMM_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    GEMM_PACK_COLUMNS = 16, /* columns that are packed together, */
    GEMM_PACK_DEPTH = 256   /* and how much of each: a part that stays in L1 */
};

/* What happens to a sum on its way to y: y = clip(sum + bias), or y = y + clip(sum + bias). */
struct gemm_edge {
    const float *bias; /* of the columns at hand; NULL: none */
    float clip;        /* to -clip .. clip; a NaN passes: it must be found, not hidden. 0: not at all */
    bool add;
};

static inline float gemm_edge_apply(const struct gemm_edge *edge, float y, float sum, size_t column)
{
    float clip = edge->clip > 0 ? edge->clip : INFINITY;
    float value = edge->bias ? sum + edge->bias[column] : sum;
    value = value > clip ? clip : value;
    value = value < -clip ? -clip : value;
    return edge->add ? y + value : value;
}

/* n_rows x n_columns of a tile's sums, in rows of panel_columns, to y. Inlined into each table's `finish`, so that it
 * is compiled for that table's instruction set. */
static inline void gemm_finish_rows(float *y, size_t y_stride, const float *sums, size_t panel_columns, size_t n_rows,
                                    size_t n_columns, const struct gemm_edge *edge)
{
    for (size_t i = 0; i < n_rows; i++, y += y_stride, sums += panel_columns)
        for (size_t j = 0; j < n_columns; j++)
            y[j] = gemm_edge_apply(edge, y[j], sums[j], j);
}

/* n_k elements of a strip times elements [first_k, first_k + n_k) of a panel of k_padded. */
struct gemm_step {
    const void *strip; /* its first element of the step */
    const void *panel;
    size_t k_padded, first_k, n_k;
    size_t n_rows;               /* that the strip has: what the others' sums become does not matter */
    bool add;                    /* to what the sums hold */
    bool goes_on;                /* the strip, behind this step */
    size_t nth_strip, nth_panel; /* in their block: what is asked for ahead of its use is shared out by them */
};

struct gemm {
    const char *name;     /* of the factors' type: "f32", "bf16", "i16" */
    size_t strip_rows;    /* of x */
    size_t panel_columns; /* of y; a multiple of GEMM_PACK_COLUMNS */
    size_t k_step;        /* k is padded with zeros to a multiple of this */
    size_t step_bytes;    /* what k_step numbers of a row take when they are packed */
    size_t depth;         /* elements of k that one multiplication takes, at most; a multiple of k_step */
    size_t block_panels;  /* panels that one thread takes at once: their sums stay in L2, and so do the strips' parts */

    /* A strip of n_rows <= strip_rows rows of k elements; the other rows and the padding of k become zero. */
    void (*pack_strip)(void *strip, const float *x, size_t x_stride, size_t n_rows, size_t k);

    /* Columns [column, column + GEMM_PACK_COLUMNS) of a panel, for elements first_k .. first_k + GEMM_PACK_DEPTH - 1 of
     * k, as far as they are below k_padded. part: [GEMM_PACK_COLUMNS][GEMM_PACK_DEPTH]. */
    void (*pack_columns)(void *panel, size_t k_padded, size_t column, size_t first_k, const float *part);

    /* The same of a matrix that lies the other way: number k of row (column of y) i is x[k * x_stride + i]. Strips lie
     * one behind the other, and n_rows may be any number. Of a panel's columns only n_columns are there, n_k numbers of
     * each, from first_k on, a multiple of k_step. Rows and columns that are not there, and the padding of k, become
     * zero. */
    void (*pack_strips_turned)(void *strips, const float *x, size_t x_stride, size_t n_rows, size_t k);
    void (*pack_columns_turned)(void *panel, size_t k_padded, size_t column, size_t first_k, const float *x,
                                size_t x_stride, size_t n_columns, size_t n_k);

    /* sums[strip_rows][panel_columns] (+)= a step of the product. */
    void (*multiply)(float *sums, const struct gemm_step *step);

    /* n_rows x n_columns of a tile's sums to y. */
    void (*finish)(float *y, size_t y_stride, const float *sums, size_t n_rows, size_t n_columns,
                   const struct gemm_edge *edge);
};

/* k with its padding; bytes of a packed row, a strip, a panel. */
static inline size_t gemm_padded(const struct gemm *gemm, size_t k)
{
    return (k + gemm->k_step - 1) / gemm->k_step * gemm->k_step;
}

static inline size_t gemm_row_bytes(const struct gemm *gemm, size_t k)
{
    return gemm_padded(gemm, k) / gemm->k_step * gemm->step_bytes;
}

static inline size_t gemm_strip_bytes(const struct gemm *gemm, size_t k)
{
    return gemm->strip_rows * gemm_row_bytes(gemm, k);
}

static inline size_t gemm_panel_bytes(const struct gemm *gemm, size_t k)
{
    return gemm->panel_columns * gemm_row_bytes(gemm, k);
}

/* Of the elements of k that one multiplication takes. */
static inline size_t gemm_part_bytes(const struct gemm *gemm, size_t k)
{
    return gemm_panel_bytes(gemm, k < gemm->depth ? k : gemm->depth);
}

/* Rows of a block: about 512, so that their sums stay in L2 beside the panel; and the floats of a block's sums. */
static inline size_t gemm_block_rows(const struct gemm *gemm)
{
    return (512 + gemm->strip_rows - 1) / gemm->strip_rows * gemm->strip_rows;
}

static inline size_t gemm_sums_floats(const struct gemm *gemm)
{
    return gemm_block_rows(gemm) * gemm->panel_columns * gemm->block_panels;
}

/* A product of m rows with n columns in blocks, which threads may take in any order. Blocks of rows of the same columns
 * follow each other, so that their panels are still in a cache that the threads share. */
struct gemm_blocks {
    size_t m, n;
    size_t rows, columns; /* of a block */
};

struct gemm_block {
    size_t row, n_rows, column, n_columns;
};

/* Blocks as large as the product likes them, with fewer columns where some threads would else have little to do. */
struct gemm_blocks gemm_blocks(const struct gemm *gemm, size_t m, size_t n, size_t n_threads);
size_t gemm_blocks_count(const struct gemm_blocks *blocks);
struct gemm_block gemm_block_at(const struct gemm_blocks *blocks, size_t index);

/* One block of y = x . w^T through the edge, on the calling thread. y, strips, panels and the edge's bias are those of
 * the whole product; the block begins with a whole strip and a whole panel. sums: scratch. */
void gemm_multiply_block(const struct gemm *gemm, float *y, size_t y_stride, const void *strips, const void *panels,
                         float *sums, struct gemm_block block, size_t k, const struct gemm_edge *edge);

/* Float32 through OpenBLAS: portable, and the reference for the others. Its sums are in an order of its own, which
 * depends on the shape of a tile. */
extern const struct gemm gemm_openblas;
size_t gemm_openblas_most_threads(void);

#endif
