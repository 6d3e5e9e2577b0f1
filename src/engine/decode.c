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
    float *x, *normed; /* [n_at_once][d_model] */
    float *wide;       /* [n_at_once][max(qkv width, d_ff)] */
    struct attention_scratch scratch;
};

size_t decode_floats(const quire_config *config, uint64_t n_tokens)
{
    return 2 * (size_t)config->d_model + layer_wide_floats(config) + attention_token_floats(config, n_tokens);
}

quire_status decode_open(struct decode **out, const struct quire_engine *engine, uint64_t n_tokens, quire_error *err)
{
    const quire_config *config = &engine->model->config;
    size_t n = engine->n_at_once;
    struct decode *decode = mem_calloc(1, sizeof *decode, "decoding", err);
    if (!decode)
        return QUIRE_ERR_NO_MEMORY;
    decode->memory = mem_aligned(n * decode_floats(config, n_tokens), sizeof(float), "decoding", err);
    if (!decode->memory) {
        free(decode);
        return QUIRE_ERR_NO_MEMORY;
    }
    decode->x = decode->memory;
    decode->normed = decode->x + n * config->d_model;
    decode->wide = decode->normed + n * config->d_model;
    decode->scratch.memory = decode->wide + n * layer_wide_floats(config);
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

size_t decode_room(size_t position)
{
    size_t n_left = KV_BLOCK_TOKENS - 1 - position % KV_BLOCK_TOKENS; /* before the block is whole */
    return size_max(1, n_left);
}

static quire_status decode_layer(struct quire_engine *engine, struct decode *d, struct kv_book *kv, uint32_t layer,
                                 size_t position, size_t n, const struct plan_residency *residency, quire_error *err)
{
    const quire_config *config = &engine->model->config;
    const struct layer *w = &engine->model->layers[layer];
    size_t width = engine_qkv_width(config);

    layer_norm_rows(engine, d->normed, d->x, n, w->norm_1_weight, w->norm_1_bias);
    linear_few(engine, &(struct linear_few){.y = d->wide,
                                            .matrix = &w->Wqkv,
                                            .x = d->normed,
                                            .n = n,
                                            .edge = {.bias = w->Wqkv_bias, .clip = config->clip_qkv}});
    layer_norm_qk(engine, layer, d->wide, n);
    const float *k = d->wide + config->d_model;
    quire_status status = kv_book_put(kv, layer, position, n, k, k + engine_kv_width(config), width, err);
    if (status != QUIRE_OK)
        return status;
    struct attention attention = {.kv = kv,
                                  .layer = layer,
                                  .first = position,
                                  .n = n,
                                  .q = d->wide,
                                  .q_stride = width,
                                  .out = d->normed,
                                  .scratch = &d->scratch,
                                  .releases_heads = residency->releases_heads,
                                  .asks_ahead = layer >= residency->n_kv_layers};
    status = attention_tokens(engine, &attention, err);
    if (status != QUIRE_OK)
        return status;
    if (layer + 1 < config->n_layers && layer + 1 >= residency->n_kv_layers)
        attention_ask_ahead(engine, kv, layer + 1, position); /* while the rest of this layer is computed */
    linear_few(engine, &(struct linear_few){.y = d->x,
                                            .matrix = &w->out_proj,
                                            .x = d->normed,
                                            .n = n,
                                            .edge = {.bias = w->out_proj_bias, .add = true}});

    layer_norm_rows(engine, d->normed, d->x, n, w->norm_2_weight, w->norm_2_bias);
    linear_few(engine, &(struct linear_few){.y = d->wide,
                                            .matrix = &w->up_proj,
                                            .x = d->normed,
                                            .n = n,
                                            .edge = {.bias = w->up_proj_bias},
                                            .gelu = true});
    linear_few(engine, &(struct linear_few){.y = d->x,
                                            .matrix = &w->down_proj,
                                            .x = d->wide,
                                            .n = n,
                                            .edge = {.bias = w->down_proj_bias, .add = true}});
    status = engine_check_files(engine, kv, layer, err);
    if (status != QUIRE_OK)
        return status;
    size_t bad = layer_find_bad_row(d->x, n, config->d_model);
    if (bad < n)
        return quire_fail(err, QUIRE_ERR_NUMERIC, "layer %u gives a number that is not finite at position %zu", layer,
                          position + bad);
    return QUIRE_OK;
}

quire_status decode_tokens(struct quire_engine *engine, struct decode *decode, struct kv_book *kv,
                           const struct plan_residency *residency, const int32_t *ids, size_t n, size_t position,
                           float *logits, quire_error *err)
{
    const struct quire_model *model = engine->model;
    uint32_t n_layers = model->config.n_layers;
    if (residency->n_kv_layers == 0)
        attention_ask_ahead(engine, kv, 0, position);
    head_embed(engine, decode->x, ids, position, n);
    for (uint32_t layer = 0; layer < n_layers; layer++) {
        quire_status status = engine_check_cancelled(engine, err);
        if (status != QUIRE_OK)
            return status;
        if (layer + 1 < n_layers && layer + 1 >= residency->n_weight_layers)
            residency_prefetch_layer(&model->layers[layer + 1]); /* while this layer is computed */
        status = decode_layer(engine, decode, kv, layer, position, n, residency, err);
        if (status != QUIRE_OK)
            return status;
        if (layer >= residency->n_weight_layers)
            residency_release_layer(&model->layers[layer]);
        if (layer >= residency->n_kv_layers)
            kv_book_release_layer(kv, layer);
    }
    head_logits(engine, logits, decode->x, decode->normed, n);
    if (!residency->keeps_head)
        residency_release_matrix(&model->lm_head);
    return model_check_files(model, err);
}
