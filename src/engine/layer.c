#include "layer.h"

#include <math.h>

#include "base/mem.h"
#include "linear.h"

size_t layer_wide_floats(const quire_config *config)
{
    return size_max(engine_qkv_width(config), config->d_ff);
}

static void phase_matrices(const struct layer *layer, enum layer_phase phase, const struct matrix **first,
                           const struct matrix **second)
{
    *first = phase == PHASE_ATTENTION ? &layer->Wqkv : &layer->up_proj;
    *second = phase == PHASE_ATTENTION ? &layer->out_proj : &layer->down_proj;
}

bool layer_packs_ahead(const struct gemm *gemm, size_t n_tokens, size_t chunk_tokens)
{
    return n_tokens > size_min(chunk_tokens, gemm_block_rows(gemm));
}

size_t layer_packed_bytes(const struct quire_model *model, const struct gemm *gemm, size_t n_threads, size_t n_tokens,
                          size_t chunk_tokens)
{
    size_t most = n_threads * gemm_part_bytes(gemm, size_max(model->config.d_model, model->config.d_ff));
    for (uint32_t i = 0; i < model->config.n_layers && layer_packs_ahead(gemm, n_tokens, chunk_tokens); i++)
        for (int phase = 0; phase < N_PHASES; phase++) {
            const struct matrix *first, *second;
            phase_matrices(&model->layers[i], (enum layer_phase)phase, &first, &second);
            most = size_max(most, linear_packed_bytes(gemm, first) + linear_packed_bytes(gemm, second));
        }
    return most;
}

size_t layer_strips_bytes(const quire_config *config, const struct gemm *gemm, size_t chunk)
{
    return linear_strips_bytes(gemm, chunk, size_max(config->d_model, config->d_ff));
}

void layer_pack(struct quire_engine *engine, struct layer_buffers *buffers, uint32_t layer, enum layer_phase phase,
                size_t n_tokens, size_t chunk_tokens)
{
    const struct matrix *first, *second;
    buffers->first = buffers->second = NULL;
    if (!layer_packs_ahead(engine->kernels->gemm, n_tokens, chunk_tokens))
        return;
    phase_matrices(&engine->model->layers[layer], phase, &first, &second);
    unsigned char *behind = buffers->packed + linear_packed_bytes(engine->kernels->gemm, first);
    linear_pack(engine, buffers->packed, first);
    linear_pack(engine, behind, second);
    buffers->first = buffers->packed;
    buffers->second = behind;
}

/* --- rows ------------------------------------------------------------------------------------------------------ */

enum { ROWS_PER_ITEM = 16 };

/* y = norm(x), a row of n numbers; y may be x. */
static void norm_row(const struct quire_engine *engine, float *y, const float *x, const float *weight,
                     const float *bias, size_t n)
{
    const quire_config *config = &engine->model->config;
    if (config->norm_type == QUIRE_NORM_RMSNORM)
        engine->kernels->rmsnorm(y, x, weight, n, config->norm_eps);
    else
        engine->kernels->layernorm(y, x, weight, bias, n, config->norm_eps);
}

struct norm_job {
    struct quire_engine *engine;
    float *y;
    const float *x, *weight, *bias;
    size_t n;
};

static void norm_rows(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct norm_job *job = context;
    size_t d_model = job->engine->model->config.d_model;
    size_t end = size_min((item + 1) * ROWS_PER_ITEM, job->n);
    for (size_t row = item * ROWS_PER_ITEM; row < end; row++)
        norm_row(job->engine, job->y + row * d_model, job->x + row * d_model, job->weight, job->bias, d_model);
}

void layer_norm_rows(struct quire_engine *engine, float *y, const float *x, size_t n, const float *weight,
                     const float *bias)
{
    struct norm_job job = {engine, y, x, weight, bias, n};
    threads_run(engine->threads, (n + ROWS_PER_ITEM - 1) / ROWS_PER_ITEM, norm_rows, &job);
}

void layer_norm_qk(const struct quire_engine *engine, uint32_t layer, float *qkv, size_t n)
{
    const quire_config *config = &engine->model->config;
    const struct layer *w = &engine->model->layers[layer];
    size_t width = engine_qkv_width(config), kv_width = engine_kv_width(config);
    for (size_t row = 0; row < n && config->qk_ln; row++, qkv += width) {
        float *k = qkv + config->d_model;
        norm_row(engine, qkv, qkv, w->q_ln_weight, w->q_ln_bias, config->d_model);
        norm_row(engine, k, k, w->k_ln_weight, w->k_ln_bias, kv_width);
    }
}

struct qk_job {
    const struct quire_engine *engine;
    uint32_t layer;
    float *qkv;
    size_t n;
};

static void norm_qk_rows(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct qk_job *job = context;
    size_t first = item * ROWS_PER_ITEM;
    layer_norm_qk(job->engine, job->layer, job->qkv + first * engine_qkv_width(&job->engine->model->config),
                  size_min(ROWS_PER_ITEM, job->n - first));
}

size_t layer_find_bad_row(const float *x, size_t n, size_t d_model)
{
    for (size_t row = 0; row < n; row++, x += d_model) {
        float zero = 0; /* stays zero unless something is infinite or NaN */
        for (size_t i = 0; i < d_model; i++)
            zero += x[i] * 0.0f;
        if (!(zero == 0.0f))
            return row;
    }
    return n;
}

/* --- the two phases -------------------------------------------------------------------------------------------- */

quire_status layer_attention(struct quire_engine *engine, struct layer_buffers *buffers, struct kv_book *kv,
                             uint32_t layer, size_t first, size_t n, size_t *kv_next, bool releases_heads, float *x,
                             quire_error *err)
{
    const quire_config *config = &engine->model->config;
    const struct layer *w = &engine->model->layers[layer];
    size_t d_model = config->d_model, width = engine_qkv_width(config);
    float *qkv = buffers->wide;

    layer_norm_rows(engine, buffers->normed, x, n, w->norm_1_weight, w->norm_1_bias);
    linear_product(engine, &buffers->linear,
                   &(struct linear){.y = qkv,
                                    .y_stride = width,
                                    .x = buffers->normed,
                                    .x_stride = d_model,
                                    .matrix = &w->Wqkv,
                                    .panels = buffers->first,
                                    .m = n,
                                    .edge = {.bias = w->Wqkv_bias, .clip = config->clip_qkv}});
    quire_status status = engine_check_cancelled(engine, err);
    if (status != QUIRE_OK)
        return status;
    struct qk_job job = {engine, layer, qkv, n};
    if (config->qk_ln)
        threads_run(engine->threads, (n + ROWS_PER_ITEM - 1) / ROWS_PER_ITEM, norm_qk_rows, &job);

    if (*kv_next < first + n) { /* after an interruption a part may be there already */
        const float *k = qkv + (*kv_next - first) * width + d_model;
        status = kv_book_put(kv, layer, *kv_next, first + n - *kv_next, k, k + engine_kv_width(config), width, err);
        if (status != QUIRE_OK)
            return status;
        *kv_next = first + n;
    }
    struct attention attention = {.kv = kv,
                                  .layer = layer,
                                  .first = first,
                                  .n = n,
                                  .q = qkv,
                                  .q_stride = width,
                                  .out = buffers->normed,
                                  .scratch = &buffers->scratch,
                                  .releases_heads = releases_heads};
    status = attention_chunk(engine, &attention, err);
    if (status != QUIRE_OK)
        return status;
    linear_product(engine, &buffers->linear,
                   &(struct linear){.y = x,
                                    .y_stride = d_model,
                                    .x = buffers->normed,
                                    .x_stride = d_model,
                                    .matrix = &w->out_proj,
                                    .panels = buffers->second,
                                    .edge = {.bias = w->out_proj_bias, .add = true},
                                    .m = n});
    return QUIRE_OK;
}

quire_status layer_feedforward(struct quire_engine *engine, struct layer_buffers *buffers, uint32_t layer, size_t first,
                               size_t n, float *x, quire_error *err)
{
    const quire_config *config = &engine->model->config;
    const struct layer *w = &engine->model->layers[layer];
    size_t d_model = config->d_model, d_ff = config->d_ff;

    layer_norm_rows(engine, buffers->normed, x, n, w->norm_2_weight, w->norm_2_bias);
    linear_product(engine, &buffers->linear,
                   &(struct linear){.y = buffers->wide,
                                    .y_stride = d_ff,
                                    .x = buffers->normed,
                                    .x_stride = d_model,
                                    .matrix = &w->up_proj,
                                    .panels = buffers->first,
                                    .edge = {.bias = w->up_proj_bias},
                                    .m = n,
                                    .gelu = true});
    quire_status status = engine_check_cancelled(engine, err);
    if (status != QUIRE_OK)
        return status;
    linear_product(engine, &buffers->linear,
                   &(struct linear){.y = x,
                                    .y_stride = d_model,
                                    .x = buffers->wide,
                                    .x_stride = d_ff,
                                    .matrix = &w->down_proj,
                                    .panels = buffers->second,
                                    .edge = {.bias = w->down_proj_bias, .add = true},
                                    .m = n});
    size_t bad = layer_find_bad_row(x, n, d_model);
    if (bad < n)
        return quire_fail(
            err, QUIRE_ERR_NUMERIC,
            "layer %u gives a number that is not finite at position %zu: the weights of '%s' are damaged, or "
            "overflow float32",
            layer, first + bad, engine->model->path);
    return QUIRE_OK;
}
