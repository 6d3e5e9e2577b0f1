#include "net_rows.h"

#include <math.h>
#include <string.h>

enum {
    PART = 1 << 13,  /* numbers, */
    COLUMN_PART = 64 /* and columns, that are taken together */
};

/* --- norms ------------------------------------------------------------------------------------------------------- */

struct net_norm net_norm_make(const struct net *net, const struct param *weight, const struct param *bias)
{
    return (struct net_norm){weight, bias, net->config.norm_type == QUIRE_NORM_RMSNORM};
}

void net_norm_row(const struct net *net, const struct net_norm *norm, float *y, const float *x)
{
    const struct param *weight = norm->weight, *bias = norm->bias;
    if (norm->is_rms)
        net->kernels->rmsnorm(y, x, weight->data, weight->n, net->config.norm_eps);
    else
        net->kernels->layernorm(y, x, weight->data, bias ? bias->data : NULL, weight->n, net->config.norm_eps);
}

struct norm_job {
    struct net *net;
    const struct net_norm *norm;
    float *y; /* or dx */
    const float *x, *dy;
    size_t y_stride, x_stride, dy_stride, n;
    bool adds;
};

static void norm_group(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct norm_job *job = context;
    size_t end = size_min((item + 1) * NET_GROUP_ROWS, job->n);
    for (size_t row = item * NET_GROUP_ROWS; row < end; row++)
        net_norm_row(job->net, job->norm, job->y + row * job->y_stride, job->x + row * job->x_stride);
}

void net_norm_rows(struct net *net, const struct net_norm *norm, float *y, size_t y_stride, const float *x,
                   size_t x_stride, size_t n)
{
    struct norm_job job = {
        .net = net, .norm = norm, .y = y, .x = x, .y_stride = y_stride, .x_stride = x_stride, .n = n};
    threads_run(net->threads, net_n_groups(n), norm_group, &job);
}

/* The sums for weight and bias of a group of rows. */
static float *group_sums(const struct norm_job *job, size_t group)
{
    return job->net->scratch.sums + group * 2 * job->net->config.d_model;
}

static void norm_group_back(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct norm_job *job = context;
    const struct kernels *kernels = job->net->kernels;
    const struct net_norm *norm = job->norm;
    size_t width = norm->weight->n, end = size_min((item + 1) * NET_GROUP_ROWS, job->n);
    float eps = job->net->config.norm_eps, *dweight = group_sums(job, item), *dbias = dweight + width;
    memset(dweight, 0, 2 * width * sizeof *dweight);
    for (size_t row = item * NET_GROUP_ROWS; row < end; row++) {
        float *dx = job->y + row * job->y_stride;
        const float *dy = job->dy + row * job->dy_stride, *x = job->x + row * job->x_stride;
        if (norm->is_rms)
            kernels->rmsnorm_back(dx, job->adds, dweight, dy, x, norm->weight->data, width, eps);
        else
            kernels->layernorm_back(dx, job->adds, dweight, norm->bias ? dbias : NULL, dy, x, norm->weight->data, width,
                                    eps);
    }
}

/* A part of the columns: the groups' sums together. */
static void add_groups(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct norm_job *job = context;
    const struct net_norm *norm = job->norm;
    size_t width = norm->weight->n, first = item * COLUMN_PART, end = size_min(first + COLUMN_PART, width);
    for (size_t group = 0; group < net_n_groups(job->n); group++) {
        const float *sums = group_sums(job, group);
        for (size_t i = first; i < end; i++)
            norm->weight->grad[i] += sums[i];
        for (size_t i = first; i < end && norm->bias; i++)
            norm->bias->grad[i] += sums[width + i];
    }
}

void net_norm_rows_back(struct net *net, const struct net_norm *norm, float *dx, size_t dx_stride, bool adds,
                        const float *dy, size_t dy_stride, const float *x, size_t x_stride, size_t n)
{
    struct norm_job job = {net, norm, dx, x, dy, dx_stride, x_stride, dy_stride, n, adds};
    threads_run(net->threads, net_n_groups(n), norm_group_back, &job);
    threads_run(net->threads, (norm->weight->n + COLUMN_PART - 1) / COLUMN_PART, add_groups, &job);
}

/* --- number by number -------------------------------------------------------------------------------------------- */

struct part_job {
    float *y;
    const float *x;
    float clip;
    size_t n;
};

static void run_parts(struct net *net, threads_work work, struct part_job job)
{
    threads_run(net->threads, (job.n + PART - 1) / PART, work, &job);
}

static void copy_part(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct part_job *job = context;
    size_t first = item * PART, n = size_min(PART, job->n - first);
    if (job->x)
        memcpy(job->y + first, job->x + first, n * sizeof *job->y);
    else
        memset(job->y + first, 0, n * sizeof *job->y);
}

void net_copy(struct net *net, float *y, const float *x, size_t n)
{
    run_parts(net, copy_part, (struct part_job){.y = y, .x = x, .n = n});
}

void net_zero(struct net *net, float *y, size_t n)
{
    run_parts(net, copy_part, (struct part_job){.y = y, .n = n});
}

static void clip_back_part(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct part_job *job = context;
    size_t end = size_min((item + 1) * PART, job->n);
    for (size_t i = item * PART; i < end; i++)
        job->y[i] = fabsf(job->x[i]) >= job->clip ? 0.0f : job->y[i];
}

void net_clip_back(struct net *net, float *d, const float *y, float clip, size_t n)
{
    run_parts(net, clip_back_part, (struct part_job){.y = d, .x = y, .clip = clip, .n = n});
}

/* --- sums over all rows ------------------------------------------------------------------------------------------ */

struct column_job {
    const struct param *param;
    const float *dy;
    size_t stride, n;
};

/* Columns [*first, *end) are the item's. */
static void column_range(size_t item, size_t width, size_t *first, size_t *end)
{
    *first = item * COLUMN_PART;
    *end = size_min(*first + COLUMN_PART, width);
}

static void add_columns(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct column_job *job = context;
    size_t first, end;
    column_range(item, job->param->n, &first, &end);
    float sums[COLUMN_PART] = {0};
    for (size_t row = 0; row < job->n; row++)
        for (size_t i = first; i < end; i++)
            sums[i - first] += job->dy[row * job->stride + i];
    for (size_t i = first; i < end; i++)
        job->param->grad[i] += sums[i - first];
}

void net_bias_back(struct net *net, const struct param *bias, const float *dy, size_t stride, size_t n)
{
    struct column_job job = {.param = bias, .dy = dy, .stride = stride, .n = n};
    if (bias)
        threads_run(net->threads, (bias->n + COLUMN_PART - 1) / COLUMN_PART, add_columns, &job);
}

/* --- embeddings -------------------------------------------------------------------------------------------------- */

struct embed_job {
    struct net *net;
    const struct net_batch *batch;
    float *x;
};

static void embed_group(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct embed_job *job = context;
    const struct net *net = job->net;
    size_t d = net->config.d_model, n = (size_t)job->batch->n_sequences * job->batch->n_tokens;
    size_t end = size_min((item + 1) * NET_GROUP_ROWS, n);
    for (size_t row = item * NET_GROUP_ROWS; row < end; row++) {
        float *x = job->x + row * d;
        memcpy(x, net->wte->data + job->batch->tokens[row] * d, d * sizeof *x);
        const float *wpe = net->wpe ? net->wpe->data + row % job->batch->n_tokens * d : NULL;
        for (size_t i = 0; wpe && i < d; i++)
            x[i] += wpe[i];
    }
}

void net_embed(struct net *net, const struct net_batch *batch, float *x)
{
    struct embed_job job = {net, batch, x};
    threads_run(net->threads, net_n_groups((size_t)batch->n_sequences * batch->n_tokens), embed_group, &job);
}

/* Each thread takes some columns of all rows, in order: two rows of the same token meet in no other way. */
static void embed_columns_back(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct embed_job *job = context;
    const struct net *net = job->net;
    size_t d = net->config.d_model, n = (size_t)job->batch->n_sequences * job->batch->n_tokens, first, end;
    column_range(item, d, &first, &end);
    for (size_t row = 0; row < n; row++) {
        const float *dx = job->x + row * d;
        float *wte = net->wte->grad + job->batch->tokens[row] * d;
        float *wpe = net->wpe ? net->wpe->grad + row % job->batch->n_tokens * d : NULL;
        for (size_t i = first; i < end; i++)
            wte[i] += dx[i];
        for (size_t i = first; i < end && wpe; i++)
            wpe[i] += dx[i];
    }
}

void net_embed_back(struct net *net, const struct net_batch *batch, float *dx)
{
    struct embed_job job = {net, batch, dx};
    threads_run(net->threads, (net->config.d_model + COLUMN_PART - 1) / COLUMN_PART, embed_columns_back, &job);
}
