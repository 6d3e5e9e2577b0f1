/* Factors of products: matrices of floats that lie either way, and what their numbers pass on their way into the packed
 * order, so that norms and GELU take no pass over memory of their own. Private to src/train. */
#ifndef QUIRE_TRAIN_FACTOR_H
#define QUIRE_TRAIN_FACTOR_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/gemm.h"

struct net;
struct net_norm;

/* Number j of row i is data[i * stride + j], or, transposed, data[j * stride + i]. A row that lies as it is may pass a
 * norm first; what is packed as strips and lies as it is, or as panels and is transposed, may pass GELU. Nothing asks
 * for the others, and they are not built. */
struct factor {
    const float *data;
    size_t stride;
    bool is_transposed;
    bool is_gelu;
    const struct net_norm *norm; /* NULL: none */
};

/* A few numbers from many rows, those of a row this far behind: no processor guesses where the next ones are. */
enum { FACTOR_ROWS_AHEAD = 8 };

static inline void factor_ask_ahead(const float *row, size_t n)
{
    for (size_t j = 0; j < n; j += 64 / sizeof *row)
        __builtin_prefetch(row + j);
}

/* Floats that a thread needs for what rows of up to k numbers pass. */
size_t factor_scratch_floats(const struct gemm *gemm, size_t k);

/* Rows [first_row, first_row + n_rows) of x, elements [first_k, first_k + n_k) of each, as strips, on all threads. */
void factor_pack_strips(struct net *net, void *strips, const struct factor *x, size_t first_row, size_t n_rows,
                        size_t first_k, size_t n_k);

/* All n rows of w (columns of y), elements [first_k, first_k + n_k) of each, as panels, on all threads. */
void factor_pack_panels(struct net *net, void *panels, const struct factor *w, size_t n, size_t first_k, size_t n_k);

#endif
