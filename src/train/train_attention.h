/* Attention of whole sequences, in tiles: no buffer has a place for every pair of tokens.
 *
 * The forward pass keeps, for each query and head, the logarithm of the sum of its scores' exponentials; the backward
 * pass computes the weights again from it, tile by tile. Biases come from the integer positions. Blocks of keys whose
 * weights are provably lost in float32's rounding are left out. */
#ifndef QUIRE_TRAIN_ATTENTION_H
#define QUIRE_TRAIN_ATTENTION_H

#include <stddef.h>

#include "arena.h"

struct net;

struct train_attention_scratch {
    unsigned char *packed; /* tiles of 64 tokens of each head, in the orders in which the kernels read them */
    float *key_norms;      /* [kv_n_heads][tiles]: at least the longest key of each */
    float *query_norms;    /* [n_heads][tiles], with the scale */
    float *least_lse;      /* [n_heads][tiles] */
    float *delta;          /* [n_heads][tiles][64]: each query's output . its gradient */
    float *dq;             /* [segments][n_heads][tiles][64][row]: the gradient of the queries, by segments of keys */
    float *workers;        /* [threads][worker_floats] */
};

void train_attention_lay_out(struct train_attention_scratch *scratch, struct arena *arena, const struct net *net);

/* n_sequences sequences of n_tokens tokens. */
struct train_attention {
    size_t n_sequences, n_tokens;
    const float *qkv; /* [T][qkv width], behind clipping and qk_ln */
    float *out;       /* [T][d_model] */
    float *lse;       /* [n_heads][T] */
};

/* Writes out and lse. */
void train_attention_forward(struct net *net, const struct train_attention *attention);

/* d_out: [T][d_model]. Writes d_qkv [T][qkv width]. */
void train_attention_backward(struct net *net, const struct train_attention *attention, const float *d_out,
                              float *d_qkv);

#endif
