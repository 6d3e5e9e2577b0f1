/* Products with weight matrices, split over the threads by position. */
#ifndef QUIRE_ENGINE_LINEAR_H
#define QUIRE_ENGINE_LINEAR_H

#include "engine.h"

/* Bytes of a matrix packed for the gemm. */
size_t linear_packed_bytes(const struct gemm *gemm, const struct matrix *matrix);

/* A matrix of the model, as the kernels see it. */
struct stored_matrix linear_stored(const struct matrix *matrix);

/* Packs a matrix: all of its panels, one behind the other. */
void linear_pack(struct quire_engine *engine, void *panels, const struct matrix *matrix);

/* What products of up to m rows of up to k numbers need besides. */
struct linear_scratch {
    void *strips; /* the packed rows */
    float *sums;  /* [threads][gemm_sums_floats] */
    void *parts;  /* [threads][gemm_part_bytes], for weights that are not packed */
};
size_t linear_strips_bytes(const struct gemm *gemm, size_t m, size_t k);

/* Packs m rows of k numbers into strips, on all threads. */
void linear_pack_strips(struct quire_engine *engine, const struct gemm *gemm, void *strips, const float *x,
                        size_t x_stride, size_t m, size_t k);

/* y[m][rows] = x[m][cols] . matrix^T, through the edge; strides in floats. Where nothing is added, y is undefined when
 * the engine was cancelled meanwhile. */
struct linear {
    float *y;
    size_t y_stride;
    const float *x;
    size_t x_stride;
    const struct matrix *matrix;
    const void *panels; /* the matrix, packed; NULL: it is packed on the way, for products that use it once */
    size_t m;
    struct gemm_edge edge; /* bias: [rows] */
    bool gelu;             /* y = gelu(y) */
};
void linear_product(struct quire_engine *engine, const struct linear_scratch *scratch, const struct linear *linear);

/* y[n][rows] = x[n][cols] . matrix^T, through the edge, for n <= DECODE_TOKENS tokens: weights are used as they are
 * stored, and read once for all of them; x in fixed point where the kernels have products for it, in engine->fixed. A
 * token's numbers do not depend on which others are computed with it. */
struct linear_few {
    float *y;
    const struct matrix *matrix;
    const float *x;
    size_t n;
    struct gemm_edge edge; /* bias: [rows] */
    bool gelu;             /* y = gelu(y) */
};
void linear_few(struct quire_engine *engine, const struct linear_few *linear);

#endif
