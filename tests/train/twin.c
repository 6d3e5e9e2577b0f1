#include "twin.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double *zeros(size_t n)
{
    double *p = calloc(n ? n : 1, sizeof *p);
    if (!p)
        abort();
    return p;
}

struct twin twin_of(const struct net *net, double z_loss)
{
    struct twin twin = {.config = *net_config(net), .z_loss = z_loss};
    const struct param *params = net_params(net, &twin.n_params);
    twin.params = calloc(twin.n_params, sizeof *twin.params);
    for (size_t i = 0; i < twin.n_params; i++) {
        struct twin_param *p = &twin.params[i];
        snprintf(p->name, sizeof p->name, "%s", params[i].name);
        p->n = params[i].n;
        p->data = zeros(p->n);
        p->grad = zeros(p->n);
        for (size_t j = 0; j < p->n; j++)
            p->data[j] = (double)params[i].data[j];
    }
    return twin;
}

void twin_release(struct twin *twin)
{
    for (size_t i = 0; i < twin->n_params; i++) {
        free(twin->params[i].data);
        free(twin->params[i].grad);
    }
    free(twin->params);
}

struct twin_param *twin_find(const struct twin *twin, const char *name)
{
    for (size_t i = 0; i < twin->n_params; i++)
        if (strcmp(twin->params[i].name, name) == 0)
            return &twin->params[i];
    return NULL;
}

static struct twin_param *of_block(const struct twin *twin, uint32_t layer, const char *name)
{
    char full[96];
    snprintf(full, sizeof full, "transformer.blocks.%u.%s", layer, name);
    return twin_find(twin, full);
}

/* --- pieces, each with its way back ------------------------------------------------------------------------------ */

/* y[n][out] = x[n][in] W^T + b */
static void linear(double *y, const double *x, const struct twin_param *w, const struct twin_param *b, size_t n,
                   size_t out, size_t in)
{
    for (size_t r = 0; r < n; r++)
        for (size_t o = 0; o < out; o++) {
            double sum = b ? b->data[o] : 0;
            for (size_t i = 0; i < in; i++)
                sum += x[r * in + i] * w->data[o * in + i];
            y[r * out + o] = sum;
        }
}

/* dx += dy W; W += dy^T x; b += sums of dy. */
static void linear_back(double *dx, const double *dy, const double *x, struct twin_param *w, struct twin_param *b,
                        size_t n, size_t out, size_t in)
{
    for (size_t r = 0; r < n; r++)
        for (size_t o = 0; o < out; o++) {
            double g = dy[r * out + o];
            for (size_t i = 0; i < in; i++) {
                dx[r * in + i] += g * w->data[o * in + i];
                w->grad[o * in + i] += g * x[r * in + i];
            }
            if (b)
                b->grad[o] += g;
        }
}

/* Mean (0 for an RMS norm) and 1 / sqrt(mean square around it + eps). */
static void moments(const double *x, size_t width, bool is_rms, double eps, double *mean, double *scale)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < width && !is_rms; i++)
        sum += x[i];
    *mean = sum / (double)width;
    for (size_t i = 0; i < width; i++)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *scale = 1 / sqrt(squares / (double)width + eps);
}

/* Rows of `width` numbers that are `stride` apart. */
static void norm(double *y, const double *x, const struct twin_param *w, const struct twin_param *b, size_t n,
                 size_t width, size_t stride, bool is_rms, double eps)
{
    for (size_t r = 0; r < n; r++) {
        double mean, scale;
        moments(x + r * stride, width, is_rms, eps, &mean, &scale);
        for (size_t i = 0; i < width; i++)
            y[r * stride + i] = (x[r * stride + i] - mean) * scale * w->data[i] + (b ? b->data[i] : 0);
    }
}

/* dx += ... By the chain rule as it stands: y_i = (x_i - m) s w_i, dm/dx_j = 1/n, ds/dx_j = -s^3 (x_j - m) / n. */
static void norm_back(double *dx, const double *dy, const double *x, struct twin_param *w, struct twin_param *b,
                      size_t n, size_t width, size_t stride, bool is_rms, double eps)
{
    for (size_t r = 0; r < n; r++) {
        const double *xr = x + r * stride, *g = dy + r * stride;
        double mean, s, d_scale = 0, d_mean = 0;
        moments(xr, width, is_rms, eps, &mean, &s);
        for (size_t i = 0; i < width; i++) {
            d_scale += g[i] * w->data[i] * (xr[i] - mean);
            d_mean -= g[i] * w->data[i] * s;
            w->grad[i] += g[i] * (xr[i] - mean) * s;
            if (b)
                b->grad[i] += g[i];
        }
        for (size_t i = 0; i < width; i++)
            dx[r * stride + i] += g[i] * w->data[i] * s - d_scale * s * s * s * (xr[i] - mean) / (double)width +
                                  (is_rms ? 0 : d_mean / (double)width);
    }
}

static double slope_of(const quire_config *c, uint32_t head)
{
    uint32_t power = 1, k = head + 1;
    while (power < c->n_heads)
        power *= 2;
    if (power != c->n_heads)
        k = head < power / 2 ? 2 * (head + 1) : 2 * (head - power / 2) + 1;
    return c->alibi ? (double)(float)exp2(-(double)k * (double)c->alibi_bias_max / power) : 0;
}

/* --- one sequence ------------------------------------------------------------------------------------------------ */

struct block {
    double *x, *a, *raw, *qkv, *qk, *p, *o, *x_mid, *m, *up, *g; /* in the order in which they come about */
};

struct sequence {
    struct twin *twin;
    size_t n, d, kv, width, ff;
    struct block *blocks;
    double *x, *h; /* behind the last block, and its norm */
};

static void heads(const struct sequence *s, const double *qk, double *p, double *o)
{
    const quire_config *c = &s->twin->config;
    size_t hd = c->head_dim, n = s->n;
    for (uint32_t head = 0; head < c->n_heads; head++) {
        size_t q_at = head * hd, k_at = s->d + head / (c->n_heads / c->kv_n_heads) * hd, v_at = k_at + s->kv;
        for (size_t i = 0; i < n; i++) {
            double *row = p + (head * n + i) * n, sum = 0, most = -INFINITY;
            for (size_t j = 0; j <= i; j++) {
                row[j] = 0;
                for (size_t e = 0; e < hd; e++)
                    row[j] += qk[i * s->width + q_at + e] * qk[j * s->width + k_at + e];
                row[j] = row[j] * (double)c->softmax_scale - slope_of(c, head) * (double)(i - j);
                most = fmax(most, row[j]);
            }
            for (size_t j = 0; j <= i; j++)
                sum += row[j] = exp(row[j] - most);
            for (size_t j = 0; j <= i; j++) {
                row[j] /= sum;
                for (size_t e = 0; e < hd; e++)
                    o[i * s->d + q_at + e] += row[j] * qk[j * s->width + v_at + e];
            }
        }
    }
}

static void heads_back(const struct sequence *s, const double *qk, const double *p, const double *d_o, double *d_qk)
{
    const quire_config *c = &s->twin->config;
    size_t hd = c->head_dim, n = s->n;
    double *dp = zeros(n);
    for (uint32_t head = 0; head < c->n_heads; head++) {
        size_t q_at = head * hd, k_at = s->d + head / (c->n_heads / c->kv_n_heads) * hd, v_at = k_at + s->kv;
        for (size_t i = 0; i < n; i++) {
            const double *row = p + (head * n + i) * n, *g = d_o + i * s->d + q_at;
            double mean = 0;
            for (size_t j = 0; j <= i; j++) {
                dp[j] = 0;
                for (size_t e = 0; e < hd; e++) {
                    dp[j] += g[e] * qk[j * s->width + v_at + e];
                    d_qk[j * s->width + v_at + e] += row[j] * g[e];
                }
                mean += row[j] * dp[j];
            }
            for (size_t j = 0; j <= i; j++) {
                double ds = row[j] * (dp[j] - mean) * (double)c->softmax_scale;
                for (size_t e = 0; e < hd; e++) {
                    d_qk[i * s->width + q_at + e] += ds * qk[j * s->width + k_at + e];
                    d_qk[j * s->width + k_at + e] += ds * qk[i * s->width + q_at + e];
                }
            }
        }
    }
    free(dp);
}

static void block_forward(const struct sequence *s, uint32_t layer, const double *x_in, double *x_out)
{
    const struct twin *t = s->twin;
    const quire_config *c = &t->config;
    struct block *b = &s->blocks[layer];
    size_t n = s->n, d = s->d;
    bool is_rms = c->norm_type == QUIRE_NORM_RMSNORM;
    double eps = (double)c->norm_eps, clip = c->clip_qkv > 0 ? (double)c->clip_qkv : INFINITY;
    *b = (struct block){zeros(n * d),        zeros(n * d),        zeros(n * s->width),
                        zeros(n * s->width), zeros(n * s->width), zeros(c->n_heads * n * n),
                        zeros(n * d),        zeros(n * d),        zeros(n * d),
                        zeros(n * s->ff),    zeros(n * s->ff)};
    memcpy(b->x, x_in, n * d * sizeof *x_in);
    norm(b->a, b->x, of_block(t, layer, "norm_1.weight"), of_block(t, layer, "norm_1.bias"), n, d, d, is_rms, eps);
    linear(b->raw, b->a, of_block(t, layer, "attn.Wqkv.weight"), of_block(t, layer, "attn.Wqkv.bias"), n, s->width, d);
    for (size_t i = 0; i < n * s->width; i++)
        b->qk[i] = b->qkv[i] = fmin(fmax(b->raw[i], -clip), clip);
    if (c->qk_ln) {
        norm(b->qk, b->qkv, of_block(t, layer, "attn.q_ln.weight"), of_block(t, layer, "attn.q_ln.bias"), n, d,
             s->width, is_rms, eps);
        norm(b->qk + d, b->qkv + d, of_block(t, layer, "attn.k_ln.weight"), of_block(t, layer, "attn.k_ln.bias"), n,
             s->kv, s->width, is_rms, eps);
    }
    heads(s, b->qk, b->p, b->o);
    linear(b->x_mid, b->o, of_block(t, layer, "attn.out_proj.weight"), of_block(t, layer, "attn.out_proj.bias"), n, d,
           d);
    for (size_t i = 0; i < n * d; i++)
        b->x_mid[i] += b->x[i];
    norm(b->m, b->x_mid, of_block(t, layer, "norm_2.weight"), of_block(t, layer, "norm_2.bias"), n, d, d, is_rms, eps);
    linear(b->up, b->m, of_block(t, layer, "ffn.up_proj.weight"), of_block(t, layer, "ffn.up_proj.bias"), n, s->ff, d);
    for (size_t i = 0; i < n * s->ff; i++)
        b->g[i] = 0.5 * b->up[i] * erfc(-b->up[i] * M_SQRT1_2);
    linear(x_out, b->g, of_block(t, layer, "ffn.down_proj.weight"), of_block(t, layer, "ffn.down_proj.bias"), n, d,
           s->ff);
    for (size_t i = 0; i < n * d; i++)
        x_out[i] += b->x_mid[i];
}

/* dx: of x_out, and then of what entered. */
static void block_backward(const struct sequence *s, uint32_t layer, double *dx)
{
    const struct twin *t = s->twin;
    const quire_config *c = &t->config;
    const struct block *b = &s->blocks[layer];
    size_t n = s->n, d = s->d, ff = s->ff, width = s->width;
    bool is_rms = c->norm_type == QUIRE_NORM_RMSNORM;
    double eps = (double)c->norm_eps;
    double *dg = zeros(n * ff), *dm = zeros(n * d), *d_o = zeros(n * d), *d_qk = zeros(n * width), *da = zeros(n * d);
    linear_back(dg, dx, b->g, of_block(t, layer, "ffn.down_proj.weight"), of_block(t, layer, "ffn.down_proj.bias"), n,
                d, ff);
    for (size_t i = 0; i < n * ff; i++)
        dg[i] *= 0.5 * erfc(-b->up[i] * M_SQRT1_2) + b->up[i] * exp(-0.5 * b->up[i] * b->up[i]) / sqrt(2 * M_PI);
    linear_back(dm, dg, b->m, of_block(t, layer, "ffn.up_proj.weight"), of_block(t, layer, "ffn.up_proj.bias"), n, ff,
                d);
    norm_back(dx, dm, b->x_mid, of_block(t, layer, "norm_2.weight"), of_block(t, layer, "norm_2.bias"), n, d, d, is_rms,
              eps);
    linear_back(d_o, dx, b->o, of_block(t, layer, "attn.out_proj.weight"), of_block(t, layer, "attn.out_proj.bias"), n,
                d, d);
    heads_back(s, b->qk, b->p, d_o, d_qk);
    if (c->qk_ln) {
        double *from = zeros(n * width);
        memcpy(from, d_qk, n * width * sizeof *from);
        for (size_t r = 0; r < n; r++)
            memset(d_qk + r * width, 0, (d + s->kv) * sizeof *d_qk);
        norm_back(d_qk, from, b->qkv, of_block(t, layer, "attn.q_ln.weight"), of_block(t, layer, "attn.q_ln.bias"), n,
                  d, width, is_rms, eps);
        norm_back(d_qk + d, from + d, b->qkv + d, of_block(t, layer, "attn.k_ln.weight"),
                  of_block(t, layer, "attn.k_ln.bias"), n, s->kv, width, is_rms, eps);
        free(from);
    }
    for (size_t i = 0; i < n * width; i++)
        if (c->clip_qkv > 0 && fabs(b->raw[i]) > (double)c->clip_qkv)
            d_qk[i] = 0;
    linear_back(da, d_qk, b->a, of_block(t, layer, "attn.Wqkv.weight"), of_block(t, layer, "attn.Wqkv.bias"), n, width,
                d);
    norm_back(dx, da, b->x, of_block(t, layer, "norm_1.weight"), of_block(t, layer, "norm_1.bias"), n, d, d, is_rms,
              eps);
    free(dg);
    free(dm);
    free(d_o);
    free(d_qk);
    free(da);
}

static void release_block(const struct block *b)
{
    double *all[] = {b->x, b->a, b->raw, b->qkv, b->qk, b->p, b->o, b->x_mid, b->m, b->up, b->g};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

/* The loss of logits of one token; with scale > 0 they become scale times its gradient. */
static double token_loss(double *logits, size_t vocab, uint32_t target, double z_loss, double scale, double *nll)
{
    double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < vocab; i++)
        most = fmax(most, logits[i]);
    for (size_t i = 0; i < vocab; i++)
        sum += exp(logits[i] - most);
    double lse = most + log(sum);
    *nll = lse - logits[target];
    for (size_t i = 0; i < vocab && scale > 0; i++)
        logits[i] = scale * (exp(logits[i] - lse) * (1 + 2 * z_loss * lse) - (i == target));
    return *nll + z_loss * lse * lse;
}

static double head(const struct sequence *s, const uint32_t *targets, double scale, double *nll, double *dx)
{
    const struct twin *t = s->twin;
    const quire_config *c = &t->config;
    size_t n = s->n, d = s->d, vocab = c->vocab_size;
    struct twin_param *w = twin_find(t, c->tie_word_embeddings ? "transformer.wte.weight" : "lm_head.weight");
    struct twin_param *norm_f = twin_find(t, "transformer.norm_f.weight"),
                      *bias = twin_find(t, "transformer.norm_f.bias");
    bool is_rms = c->norm_type == QUIRE_NORM_RMSNORM;
    double *logits = zeros(n * vocab), *dh = zeros(n * d), loss = 0, logit_scale = (double)c->logit_scale;
    norm(s->h, s->x, norm_f, bias, n, d, d, is_rms, (double)c->norm_eps);
    linear(logits, s->h, w, NULL, n, vocab, d);
    for (size_t r = 0; r < n; r++) {
        double one = 0, *row = logits + r * vocab;
        if (targets[r] == NET_IGNORE) {
            memset(row, 0, vocab * sizeof *row);
        } else {
            for (size_t i = 0; i < vocab; i++)
                row[i] *= logit_scale;
            loss += token_loss(row, vocab, targets[r], t->z_loss, scale, &one);
            for (size_t i = 0; i < vocab; i++)
                row[i] *= logit_scale;
        }
        if (nll)
            nll[r] = one;
    }
    if (scale > 0) {
        linear_back(dh, logits, s->h, w, NULL, n, vocab, d);
        norm_back(dx, dh, s->x, norm_f, bias, n, d, d, is_rms, (double)c->norm_eps);
    }
    free(logits);
    free(dh);
    return loss;
}

static double sequence_pass(struct twin *t, const uint32_t *tokens, const uint32_t *targets, size_t n, double scale,
                            double *nll)
{
    const quire_config *c = &t->config;
    size_t d = c->d_model, kv = (size_t)c->kv_n_heads * c->head_dim;
    struct sequence s = {
        t, n, d, kv, d + 2 * kv, c->d_ff, calloc(c->n_layers, sizeof *s.blocks), zeros(n * d), zeros(n * d)};
    struct twin_param *wte = twin_find(t, "transformer.wte.weight"), *wpe = twin_find(t, "transformer.wpe.weight");
    double *dx = zeros(n * d);
    for (size_t i = 0; i < n * d; i++)
        s.x[i] = wte->data[tokens[i / d] * d + i % d] + (wpe ? wpe->data[i] : 0);
    for (uint32_t layer = 0; layer < c->n_layers; layer++) {
        double *out = zeros(n * d);
        block_forward(&s, layer, s.x, out);
        free(s.x);
        s.x = out;
    }
    double loss = head(&s, targets, scale, nll, dx);
    for (uint32_t layer = c->n_layers; layer-- > 0 && scale > 0;)
        block_backward(&s, layer, dx);
    for (size_t i = 0; i < n * d && scale > 0; i++) {
        wte->grad[tokens[i / d] * d + i % d] += dx[i];
        if (wpe)
            wpe->grad[i] += dx[i];
    }
    for (uint32_t layer = 0; layer < c->n_layers; layer++)
        release_block(&s.blocks[layer]);
    free(s.blocks);
    free(s.x);
    free(s.h);
    free(dx);
    return loss;
}

double twin_pass(struct twin *twin, const struct net_batch *batch, double scale, double *nll)
{
    double loss = 0;
    for (uint32_t i = 0; i < batch->n_sequences; i++) {
        size_t at = (size_t)i * batch->n_tokens;
        loss +=
            sequence_pass(twin, batch->tokens + at, batch->targets + at, batch->n_tokens, scale, nll ? nll + at : NULL);
    }
    return loss;
}
