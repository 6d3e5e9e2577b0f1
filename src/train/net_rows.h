/* What is done row by row, or to sums over all rows: norms, biases, embeddings. Split over the threads by
 * position; private to src/train. */
#ifndef QUIRE_TRAIN_NET_ROWS_H
#define QUIRE_TRAIN_NET_ROWS_H

#include "net_private.h"

/* A norm's weight and bias (NULL: none), and its kind, the model's. */
struct net_norm {
    const struct param *weight, *bias;
    bool is_rms;
};
struct net_norm net_norm_make(const struct net *net, const struct param *weight, const struct param *bias);

/* A row, or n of them, each weight->n numbers: y = norm(x). y may be x. */
void net_norm_row(const struct net *net, const struct net_norm *norm, float *y, const float *x);
void net_norm_rows(struct net *net, const struct net_norm *norm, float *y, size_t y_stride, const float *x,
                   size_t x_stride, size_t n);

/* dx (+)= the gradient of x, from that of y; and the gradients of weight and bias. dx may be dy unless it is added to.
 */
void net_norm_rows_back(struct net *net, const struct net_norm *norm, float *dx, size_t dx_stride, bool adds,
                        const float *dy, size_t dy_stride, const float *x, size_t x_stride, size_t n);

/* y = x, and y = 0. */
void net_copy(struct net *net, float *y, const float *x, size_t n);
void net_zero(struct net *net, float *y, size_t n);

/* d = 0 where |y| has come to the clip: of n numbers. */
void net_clip_back(struct net *net, float *d, const float *y, float clip, size_t n);

/* bias->grad += the sums of n rows' columns; nothing where there is no bias. */
void net_bias_back(struct net *net, const struct param *bias, const float *dy, size_t stride, size_t n);

/* x = wte[token] (+ wpe[position]), and back. */
void net_embed(struct net *net, const struct net_batch *batch, float *x);
void net_embed_back(struct net *net, const struct net_batch *batch, float *dx);

#endif
