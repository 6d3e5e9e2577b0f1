#include "decode.h"

#include <stdlib.h>

#include "attention.h"
#include "base/mem.h"
#include "head.h"
#include "layer.h"
#include "linear.h"
#include "residency.h"

struct decode {
    float *memory;
    float *x, *normed; /* [d_model] */
    float *wide;       /* [max(qkv width, d_ff)] */
    struct attention_scratch scratch;
};

size_t decode_floats(const quire_config *config, uint64_t n_tokens)
{
    return 2 * (size_t)config->d_model + layer_wide_floats(config) + attention_token_floats(config, n_tokens);
}

quire_status decode_open(struct decode **out, const struct quire_engine *engine, uint64_t n_tokens, quire_error *err)
{
    const quire_config *config = &engine->model->config;
    struct decode *decode = mem_calloc(1, sizeof *decode, "decoding", err);
    if (!decode)
        return QUIRE_ERR_NO_MEMORY;
    decode->memory = mem_aligned(decode_floats(config, n_tokens), sizeof(float), "decoding", err);
    if (!decode->memory) {
        free(decode);
        return QUIRE_ERR_NO_MEMORY;
    }
    decode->x = decode->memory;
    decode->normed = decode->x + config->d_model;
    decode->wide = decode->normed + config->d_model;
    decode->scratch.memory = decode->wide + layer_wide_floats(config);
    *out = decode;
    return QUIRE_OK;
}

void decode_close(struct decode *decode)
{
    if (!decode)
        return;
    free(decode->memory);
    free(decode);
}

static quire_status decode_layer(struct quire_engine *engine, struct decode *d, struct kv_book *kv, uint32_t layer,
                                 size_t position, const struct plan_residency *residency, quire_error *err)
{
    const quire_config *config = &engine->model->config;
    const struct layer *w = &engine->model->layers[layer];
    size_t width = engine_qkv_width(config);

    layer_norm_rows(engine, d->normed, d->x, 1, w->norm_1_weight, w->norm_1_bias);
    linear_vector(engine, d->wide, &w->Wqkv, d->normed,
                  &(struct gemm_edge){.bias = w->Wqkv_bias, .clip = config->clip_qkv});
    layer_norm_qk(engine, layer, d->wide, 1);
    const float *k = d->wide + config->d_model;
    quire_status status = kv_book_put(kv, layer, position, 1, k, k + engine_kv_width(config), width, err);
    if (status != QUIRE_OK)
        return status;
    struct attention attention = {.kv = kv,
                                  .layer = layer,
                                  .first = position,
                                  .n = 1,
                                  .q = d->wide,
                                  .q_stride = width,
                                  .out = d->normed,
                                  .scratch = &d->scratch,
                                  .releases_heads = residency->releases_heads,
                                  .asks_ahead = layer >= residency->n_kv_layers};
    status = attention_token(engine, &attention, err);
    if (status != QUIRE_OK)
        return status;
    if (layer + 1 < config->n_layers && layer + 1 >= residency->n_kv_layers)
        attention_ask_ahead(engine, kv, layer + 1, position); /* while the rest of this layer is computed */
    linear_vector(engine, d->x, &w->out_proj, d->normed, &(struct gemm_edge){.bias = w->out_proj_bias, .add = true});

    layer_norm_rows(engine, d->normed, d->x, 1, w->norm_2_weight, w->norm_2_bias);
    linear_vector(engine, d->wide, &w->up_proj, d->normed, &(struct gemm_edge){.bias = w->up_proj_bias});
    engine->kernels->gelu(d->wide, config->d_ff);
    linear_vector(engine, d->x, &w->down_proj, d->wide, &(struct gemm_edge){.bias = w->down_proj_bias, .add = true});
    status = engine_check_files(engine, kv, layer, err);
    if (status != QUIRE_OK)
        return status;
    if (layer_find_bad_row(d->x, 1, config->d_model) == 0)
        return quire_fail(err, QUIRE_ERR_NUMERIC, "layer %u gives a number that is not finite at position %zu", layer,
                          position);
    return QUIRE_OK;
}

quire_status decode_token(struct quire_engine *engine, struct decode *decode, struct kv_book *kv,
                          const struct plan_residency *residency, int32_t id, size_t position, float *logits,
                          quire_error *err)
{
    const struct quire_model *model = engine->model;
    uint32_t n_layers = model->config.n_layers;
    if (residency->n_kv_layers == 0)
        attention_ask_ahead(engine, kv, 0, position);
    head_embed(engine, decode->x, &id, position, 1);
    for (uint32_t layer = 0; layer < n_layers; layer++) {
        quire_status status = engine_check_cancelled(engine, err);
        if (status != QUIRE_OK)
            return status;
        if (layer + 1 < n_layers && layer + 1 >= residency->n_weight_layers)
            residency_prefetch_layer(&model->layers[layer + 1]); /* while this layer is computed */
        status = decode_layer(engine, decode, kv, layer, position, residency, err);
        if (status != QUIRE_OK)
            return status;
        if (layer >= residency->n_weight_layers)
            residency_release_layer(&model->layers[layer]);
        if (layer >= residency->n_kv_layers)
            kv_book_release_layer(kv, layer);
    }
    head_logits(engine, logits, decode->x, decode->normed);
    if (!residency->keeps_head)
        residency_release_matrix(&model->lm_head);
    return model_check_files(model, err);
}
