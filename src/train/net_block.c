#include "net_block.h"

#include "net_rows.h"

/* --- linear layers ----------------------------------------------------------------------------------------------- */

/* What enters a linear layer: rows as they are, or through a norm or GELU. */
struct input {
    const float *rows;
    const struct net_norm *norm; /* NULL: none */
    bool is_gelu;
};

/* y = x W^T + bias, clipped; or, plus addend. */
static void linear_forward(struct net *net, const struct param *weight, const struct param *bias, float clip, float *y,
                           struct input x, const float *addend, size_t n)
{
    size_t outputs = (size_t)weight->dims[0], inputs = (size_t)weight->dims[1];
    product_run(net, &(struct product){.y = y,
                                       .y_stride = outputs,
                                       .x = {.data = x.rows, .stride = inputs, .is_gelu = x.is_gelu, .norm = x.norm},
                                       .w = {.data = weight->data, .stride = inputs},
                                       .m = n,
                                       .n = outputs,
                                       .k = inputs,
                                       .edge = {.bias = bias ? bias->data : NULL, .clip = clip},
                                       .addend = addend});
}

/* The gradients of W and bias: W += dy^T x, or dy^T gelu(x). */
static void linear_back_weight(struct net *net, const struct param *weight, const struct param *bias, const float *dy,
                               const float *x, bool is_gelu, size_t n)
{
    size_t outputs = (size_t)weight->dims[0], inputs = (size_t)weight->dims[1];
    product_run(net, &(struct product){.y = weight->grad,
                                       .y_stride = inputs,
                                       .x = {.data = dy, .stride = outputs, .is_transposed = true},
                                       .w = {.data = x, .stride = inputs, .is_transposed = true, .is_gelu = is_gelu},
                                       .m = outputs,
                                       .n = inputs,
                                       .k = n,
                                       .edge = {.add = true}});
    net_bias_back(net, bias, dy, outputs, n);
}

/* dx = dy W; where x was gelu(x_before), the gradient of that. NULL: it was not. */
static void linear_back_input(struct net *net, const struct param *weight, float *dx, const float *dy,
                              const float *x_before, size_t n)
{
    size_t outputs = (size_t)weight->dims[0], inputs = (size_t)weight->dims[1];
    product_run(net, &(struct product){.y = dx,
                                       .y_stride = inputs,
                                       .x = {.data = dy, .stride = outputs},
                                       .w = {.data = weight->data, .stride = inputs, .is_transposed = true},
                                       .m = n,
                                       .n = inputs,
                                       .k = outputs,
                                       .gelu_back = x_before});
}

/* --- parts of a block -------------------------------------------------------------------------------------------- */

static size_t n_rows(const struct net_batch *batch)
{
    return (size_t)batch->n_sequences * batch->n_tokens;
}

/* What the heads see: qkv, or, with qk_ln, a copy with q and k through their norms. */
static const float *heads_input(struct net *net, const struct net_block *w, const float *qkv, size_t n)
{
    const quire_config *c = &net->config;
    size_t width = net_qkv_width(c), d = c->d_model;
    const struct net_norm q_ln = net_norm_make(net, w->q_ln_weight, w->q_ln_bias);
    const struct net_norm k_ln = net_norm_make(net, w->k_ln_weight, w->k_ln_bias);
    float *qk = net->scratch.qk;
    if (!c->qk_ln)
        return qkv;
    net_copy(net, qk, qkv, n * width);
    net_norm_rows(net, &q_ln, qk, width, qkv, width, n);
    net_norm_rows(net, &k_ln, qk + d, width, qkv + d, width, n);
    return qk;
}

static void heads_input_back(struct net *net, const struct net_block *w, float *dqkv, const float *qkv, size_t n)
{
    const quire_config *c = &net->config;
    size_t width = net_qkv_width(c), d = c->d_model;
    const struct net_norm q_ln = net_norm_make(net, w->q_ln_weight, w->q_ln_bias);
    const struct net_norm k_ln = net_norm_make(net, w->k_ln_weight, w->k_ln_bias);
    if (c->qk_ln) {
        net_norm_rows_back(net, &q_ln, dqkv, width, false, dqkv, width, qkv, width, n);
        net_norm_rows_back(net, &k_ln, dqkv + d, width, false, dqkv + d, width, qkv + d, width, n);
    }
    if (c->clip_qkv > 0)
        net_clip_back(net, dqkv, qkv, c->clip_qkv, n * width);
}

void net_block_forward(struct net *net, uint32_t layer, const struct net_batch *batch,
                       const struct block_activations *a, float *x_out)
{
    const struct net_block *w = &net->blocks[layer];
    size_t n = n_rows(batch);
    const struct net_norm norm_1 = net_norm_make(net, w->norm_1_weight, w->norm_1_bias);
    const struct net_norm norm_2 = net_norm_make(net, w->norm_2_weight, w->norm_2_bias);

    linear_forward(net, w->Wqkv, w->Wqkv_bias, net->config.clip_qkv, a->qkv, (struct input){a->x, &norm_1, false}, NULL,
                   n);
    struct train_attention attention = {batch->n_sequences, batch->n_tokens, heads_input(net, w, a->qkv, n), a->mixed,
                                        a->lse};
    train_attention_forward(net, &attention);
    linear_forward(net, w->out_proj, w->out_proj_bias, 0, a->x_mid, (struct input){.rows = a->mixed}, a->x, n);

    linear_forward(net, w->up_proj, w->up_proj_bias, 0, a->up, (struct input){a->x_mid, &norm_2, false}, NULL, n);
    linear_forward(net, w->down_proj, w->down_proj_bias, 0, x_out, (struct input){a->up, NULL, true}, a->x_mid, n);
}

/* The second half: x_out = x_mid + down(gelu(up(norm_2(x_mid)))). */
static void feedforward_back(struct net *net, const struct net_block *w, const struct block_activations *a, size_t n)
{
    struct net_scratch *s = &net->scratch;
    size_t d = net->config.d_model;
    const struct net_norm norm_2 = net_norm_make(net, w->norm_2_weight, w->norm_2_bias);
    linear_back_weight(net, w->down_proj, w->down_proj_bias, s->dx, a->up, true, n);
    linear_back_input(net, w->down_proj, s->wide, s->dx, a->up, n);
    net_norm_rows(net, &norm_2, s->normed, d, a->x_mid, d, n);
    linear_back_weight(net, w->up_proj, w->up_proj_bias, s->wide, s->normed, false, n);
    linear_back_input(net, w->up_proj, s->dn, s->wide, NULL, n);
    net_norm_rows_back(net, &norm_2, s->dx, d, true, s->dn, d, a->x_mid, d, n);
}

/* The first half: x_mid = x + out(attention(qkv(norm_1(x)))). */
static void attention_back(struct net *net, const struct net_block *w, const struct net_batch *batch,
                           const struct block_activations *a)
{
    struct net_scratch *s = &net->scratch;
    size_t n = n_rows(batch), d = net->config.d_model;
    const struct net_norm norm_1 = net_norm_make(net, w->norm_1_weight, w->norm_1_bias);
    linear_back_weight(net, w->out_proj, w->out_proj_bias, s->dx, a->mixed, false, n);
    linear_back_input(net, w->out_proj, s->dn, s->dx, NULL, n);
    struct train_attention attention = {batch->n_sequences, batch->n_tokens, heads_input(net, w, a->qkv, n), a->mixed,
                                        a->lse};
    train_attention_backward(net, &attention, s->dn, s->wide);
    heads_input_back(net, w, s->wide, a->qkv, n);
    net_norm_rows(net, &norm_1, s->normed, d, a->x, d, n);
    linear_back_weight(net, w->Wqkv, w->Wqkv_bias, s->wide, s->normed, false, n);
    linear_back_input(net, w->Wqkv, s->dn, s->wide, NULL, n);
    net_norm_rows_back(net, &norm_1, s->dx, d, true, s->dn, d, a->x, d, n);
}

void net_block_backward(struct net *net, uint32_t layer, const struct net_batch *batch,
                        const struct block_activations *a)
{
    const struct net_block *w = &net->blocks[layer];
    feedforward_back(net, w, a, n_rows(batch));
    attention_back(net, w, batch, a);
}
