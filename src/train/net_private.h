/* What a net holds; private to src/train. */
#ifndef QUIRE_TRAIN_NET_PRIVATE_H
#define QUIRE_TRAIN_NET_PRIVATE_H

#include "arena.h"
#include "base/threads.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "net.h"
#include "train_attention.h"
#include "train_product.h"

/* What a parameter starts as. */
enum param_kind { PARAM_NORM, PARAM_BIAS, PARAM_EMBEDDING, PARAM_LINEAR, PARAM_RESIDUAL };

/* What only the net itself knows of a parameter. */
struct net_param {
    char name[96];
    enum param_kind kind;
    uint32_t layer;
    bool is_in_layer;
    size_t offset; /* in struct layer or struct quire_model: where a loaded model has it */
};

/* NULL: the model has none. */
struct net_block {
    const struct param *norm_1_weight, *norm_1_bias;
    const struct param *Wqkv, *Wqkv_bias;
    const struct param *q_ln_weight, *q_ln_bias, *k_ln_weight, *k_ln_bias;
    const struct param *out_proj, *out_proj_bias;
    const struct param *norm_2_weight, *norm_2_bias;
    const struct param *up_proj, *up_proj_bias;
    const struct param *down_proj, *down_proj_bias;
};

/* What the backward pass needs of a block's forward pass; T tokens. */
struct block_activations {
    float *x;     /* [T][d_model], what enters */
    float *qkv;   /* [T][d_model + 2 kv_width], clipped, before qk_ln */
    float *mixed; /* [T][d_model], the attention's output */
    float *lse;   /* [n_heads][T], of its scores */
    float *x_mid; /* [T][d_model], between the halves */
    float *up;    /* [T][d_ff], before GELU */
};

struct net_scratch {
    float *normed;      /* [T][d_model] */
    float *wide;        /* [T][max(d_ff, qkv width)] */
    float *qk;          /* [T][qkv width], behind qk_ln; NULL without */
    float *dx, *dn;     /* [T][d_model]: the gradient of the stream, and of what leaves a norm */
    float *sums;        /* [groups of rows][2 d_model]: gradients of a norm's weight and bias */
    float *logits;      /* [head_rows][vocab_size] */
    double *nll, *z;    /* [T] */
    void *head_panels;  /* lm_head packed, for the logits, */
    void *head_columns; /* and for their gradient */
    struct product_scratch product;
    struct train_attention_scratch attention;
};

struct net {
    quire_config config;
    struct net_options options;
    const struct kernels *kernels;
    const struct gemm *gemm; /* of the products */
    bool is_narrow;          /* attention of bfloat16 factors */
    uint32_t n_threads;
    struct threads *threads;
    float *slopes; /* ALiBi, [n_heads]; zeros without */

    struct param *params; /* [n_params] */
    struct net_param *net_params;
    size_t n_params;
    float *weights, *gradients;
    size_t n_numbers; /* in each, with padding */
    uint64_t n_parameters;
    size_t largest_linear; /* numbers in the largest matrix of a block */

    const struct param *wte, *wpe, *norm_f_weight, *norm_f_bias, *lm_head; /* lm_head: wte where tied */
    struct net_block *blocks;                                              /* [n_layers] */

    void *activation_memory, *scratch_memory;
    struct block_activations *activations; /* [n_layers] */
    float *x_out;                          /* [T][d_model], what leaves the last block */
    struct net_scratch scratch;
    size_t head_rows; /* of logits at once */
};

static inline size_t net_kv_width(const quire_config *config)
{
    return (size_t)config->kv_n_heads * config->head_dim;
}

static inline size_t net_qkv_width(const quire_config *config)
{
    return config->d_model + 2 * net_kv_width(config);
}

static inline size_t net_most_tokens(const struct net *net)
{
    return (size_t)net->options.n_sequences * net->options.seq_len;
}

/* Rows are taken in groups, by position, where sums over all rows are made. */
enum { NET_GROUP_ROWS = 64 };

static inline size_t net_n_groups(size_t n_rows)
{
    return (n_rows + NET_GROUP_ROWS - 1) / NET_GROUP_ROWS;
}

/* Counts the parameters of net->config into n_params, n_numbers and n_parameters. Errors: NO_MEMORY where they do not
 * fit into an address space. */
quire_status net_params_count(struct net *net, quire_error *err);

/* Makes net_params, params, blocks, and the arrays that they point into. */
quire_status net_params_make(struct net *net, quire_error *err);

#endif
