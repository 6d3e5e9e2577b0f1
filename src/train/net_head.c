#include "net_head.h"

#include <math.h>
#include <string.h>

#include "net_rows.h"

struct head_job {
    struct net *net;
    const struct net_batch *batch;
    size_t first; /* row of the chunk's first */
    bool wants_gradient;
    double scale;
};

/* A row of logits: its loss, and its gradient in its place. */
static void loss_of_row(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct head_job *job = context;
    const struct net *net = job->net;
    const struct kernels *kernels = net->kernels;
    size_t vocab = net->config.vocab_size, row = job->first + item;
    uint32_t target = job->batch->targets[row];
    float *logits = net->scratch.logits + item * vocab, logit_scale = net->config.logit_scale, largest;
    double sum;
    if (target == NET_IGNORE) {
        net->scratch.nll[row] = net->scratch.z[row] = 0;
        if (job->wants_gradient)
            memset(logits, 0, vocab * sizeof *logits);
        return;
    }
    for (size_t i = 0; i < vocab && logit_scale != 1.0f; i++)
        logits[i] *= logit_scale;
    kernels->softmax_sum(logits, vocab, &largest, &sum);
    double lse = (double)largest + log(sum), z = net->options.z_loss;
    net->scratch.nll[row] = lse - (double)logits[target];
    net->scratch.z[row] = z * lse * lse;
    if (!job->wants_gradient)
        return;
    double scale = job->scale * (double)logit_scale;
    kernels->softmax(logits, vocab, (float)lse, (float)(scale * (1 + 2 * z * lse)));
    logits[target] -= (float)scale;
}

/* Of a chunk of rows: their gradient h's, and the head's. */
static void chunk_back(struct net *net, const float *h, float *dh, size_t n)
{
    size_t vocab = net->config.vocab_size, d = net->config.d_model;
    const float *d_logits = net->scratch.logits;
    product_run(net, &(struct product){.y = net->lm_head->grad,
                                       .y_stride = d,
                                       .x = {.data = d_logits, .stride = vocab, .is_transposed = true},
                                       .w = {.data = h, .stride = d, .is_transposed = true},
                                       .m = vocab,
                                       .n = d,
                                       .k = n,
                                       .edge = {.add = true}});
    product_run(net, &(struct product){.y = dh,
                                       .y_stride = d,
                                       .x = {.data = d_logits, .stride = vocab},
                                       .panels = net->scratch.head_columns,
                                       .m = n,
                                       .n = d,
                                       .k = vocab});
}

static struct net_loss add_losses(const struct net *net, const struct net_batch *batch, size_t n_rows, float *nll)
{
    struct net_loss loss = {0};
    for (size_t row = 0; row < n_rows; row++) {
        loss.nll += net->scratch.nll[row];
        loss.z_loss += net->scratch.z[row];
        loss.n_targets += batch->targets[row] != NET_IGNORE;
        if (nll)
            nll[row] = (float)net->scratch.nll[row];
    }
    return loss;
}

struct net_loss net_head(struct net *net, const struct net_batch *batch, bool wants_gradient, double scale, float *nll)
{
    struct net_scratch *s = &net->scratch;
    size_t n_rows = (size_t)batch->n_sequences * batch->n_tokens, vocab = net->config.vocab_size, n;
    size_t d = net->config.d_model;
    const struct net_norm norm_f = net_norm_make(net, net->norm_f_weight, net->norm_f_bias);
    struct factor w = {.data = net->lm_head->data, .stride = d};
    net_norm_rows(net, &norm_f, s->normed, d, net->x_out, d, n_rows);
    product_pack(net, s->head_panels, &w, vocab, d);
    w.is_transposed = true;
    if (wants_gradient)
        product_pack(net, s->head_columns, &w, d, vocab);
    for (size_t first = 0; first < n_rows; first += n) {
        n = size_min(net->head_rows, n_rows - first);
        struct head_job job = {net, batch, first, wants_gradient, scale};
        product_run(net, &(struct product){.y = s->logits,
                                           .y_stride = vocab,
                                           .x = {.data = s->normed + first * d, .stride = d},
                                           .panels = s->head_panels,
                                           .m = n,
                                           .n = vocab,
                                           .k = d});
        threads_run(net->threads, n, loss_of_row, &job);
        if (wants_gradient)
            chunk_back(net, s->normed + first * d, s->dn + first * d, n);
    }
    if (wants_gradient)
        net_norm_rows_back(net, &norm_f, s->dx, d, false, s->dn, d, net->x_out, d, n_rows);
    return add_losses(net, batch, n_rows, nll);
}
