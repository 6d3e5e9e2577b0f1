/* Products of matrices of floats that lie either way, through the table's gemm, split over the threads by position.
 * The three of a linear layer y = x W^T:
 *     y  = x W^T        x [T][in] as it lies, W [out][in] as it lies
 *     dx = dy W         dy as it lies, W transposed: its rows are W's columns
 *     dW += dy^T x      both transposed: k runs over the tokens */
#ifndef QUIRE_TRAIN_PRODUCT_H
#define QUIRE_TRAIN_PRODUCT_H

#include "arena.h"
#include "train_factor.h"

/* y[m][n] = x[m][k] . w[n][k]^T, through the edge, which does not both add and clip; then, while it is still in a
 * cache, plus addend[m][n] (not with clip), times GELU's derivative at gelu_back[m][n]. Both have y's stride; NULL:
 * neither. */
struct product {
    float *y;
    size_t y_stride;
    struct factor x, w;
    const void *panels; /* w, packed by product_pack; NULL: it is packed on the way */
    size_t m, n, k;
    struct gemm_edge edge;
    const float *addend, *gelu_back;
};

struct product_scratch {
    unsigned char *strips, *panels;
    float *sums;   /* [threads][gemm_sums_floats] */
    float *passed; /* [threads][n_passed]: what factors are behind a norm or GELU */
    size_t n_passed;
};

/* Room for products of up to m x n x k, and for rows of up to k numbers that pass something; by and by for all that
 * there will be, then laid out. */
struct product_room {
    size_t strip_bytes, panel_bytes, n_passed;
};
void product_room_for(struct product_room *room, const struct gemm *gemm, size_t m, size_t n, size_t k);
void product_room_for_passed(struct product_room *room, const struct gemm *gemm, size_t k);
void product_lay_out(struct product_scratch *scratch, struct arena *arena, const struct product_room *room,
                     const struct gemm *gemm, size_t n_threads);

/* Bytes of w[n][k] packed, and the packing. */
size_t product_packed_bytes(const struct gemm *gemm, size_t n, size_t k);
void product_pack(struct net *net, void *panels, const struct factor *w, size_t n, size_t k);

void product_run(struct net *net, const struct product *product);

#endif
