/* From a configuration to the list of parameters: names and shapes are the model loader's. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/weights.h"
#include "net_private.h"

enum { PAD = 16 }; /* numbers: each parameter begins on a cache line */

static bool is_linear(const struct weight *weight)
{
    return weight->is_in_layer && !weight->is_vector;
}

quire_status net_params_count(struct net *net, quire_error *err)
{
    struct weight *weights;
    size_t n_weights, n_numbers = 0;
    uint64_t n_parameters = 0;
    bool is_too_large = false;
    quire_status status = weights_list(&weights, &n_weights, &net->config, err);
    if (status != QUIRE_OK)
        return status;
    for (size_t i = 0; i < n_weights && !is_too_large; i++) {
        size_t n;
        is_too_large = !size_mul(&n, weights[i].rows, weights[i].cols) || !size_add(&n_numbers, n_numbers, n) ||
                       n_numbers > SIZE_MAX / sizeof(float) - PAD;
        n_parameters += is_too_large ? 0 : n;
        n_numbers = size_round_up(n_numbers, PAD);
        if (!is_too_large && is_linear(&weights[i]))
            net->largest_linear = size_max(net->largest_linear, n);
    }
    free(weights);
    if (is_too_large)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "a model of this configuration does not fit into memory at all");
    net->n_params = n_weights;
    net->n_numbers = n_numbers;
    net->n_parameters = n_parameters;
    return QUIRE_OK;
}

/* Where the net keeps a tensor, and what it starts as, by where a loaded model has it. */
static const struct param **block_slot(struct net_block *block, size_t offset, enum param_kind *kind)
{
    switch (offset) {
    case offsetof(struct layer, norm_1_weight): *kind = PARAM_NORM; return &block->norm_1_weight;
    case offsetof(struct layer, norm_1_bias): *kind = PARAM_BIAS; return &block->norm_1_bias;
    case offsetof(struct layer, Wqkv): *kind = PARAM_LINEAR; return &block->Wqkv;
    case offsetof(struct layer, Wqkv_bias): *kind = PARAM_BIAS; return &block->Wqkv_bias;
    case offsetof(struct layer, q_ln_weight): *kind = PARAM_NORM; return &block->q_ln_weight;
    case offsetof(struct layer, q_ln_bias): *kind = PARAM_BIAS; return &block->q_ln_bias;
    case offsetof(struct layer, k_ln_weight): *kind = PARAM_NORM; return &block->k_ln_weight;
    case offsetof(struct layer, k_ln_bias): *kind = PARAM_BIAS; return &block->k_ln_bias;
    case offsetof(struct layer, out_proj): *kind = PARAM_RESIDUAL; return &block->out_proj;
    case offsetof(struct layer, out_proj_bias): *kind = PARAM_BIAS; return &block->out_proj_bias;
    case offsetof(struct layer, norm_2_weight): *kind = PARAM_NORM; return &block->norm_2_weight;
    case offsetof(struct layer, norm_2_bias): *kind = PARAM_BIAS; return &block->norm_2_bias;
    case offsetof(struct layer, up_proj): *kind = PARAM_LINEAR; return &block->up_proj;
    case offsetof(struct layer, up_proj_bias): *kind = PARAM_BIAS; return &block->up_proj_bias;
    case offsetof(struct layer, down_proj): *kind = PARAM_RESIDUAL; return &block->down_proj;
    default: *kind = PARAM_BIAS; return &block->down_proj_bias;
    }
}

static const struct param **net_slot(struct net *net, size_t offset, enum param_kind *kind)
{
    switch (offset) {
    case offsetof(struct quire_model, norm_f_weight): *kind = PARAM_NORM; return &net->norm_f_weight;
    case offsetof(struct quire_model, norm_f_bias): *kind = PARAM_BIAS; return &net->norm_f_bias;
    case offsetof(struct quire_model, wpe): *kind = PARAM_EMBEDDING; return &net->wpe;
    case offsetof(struct quire_model, lm_head): *kind = PARAM_EMBEDDING; return &net->lm_head;
    default: *kind = PARAM_EMBEDDING; return &net->wte;
    }
}

static void make_one(struct net *net, size_t index, const struct weight *weight, size_t first_number)
{
    struct net_param *own = &net->net_params[index];
    struct param *param = &net->params[index];
    *own = (struct net_param){.layer = weight->layer, .is_in_layer = weight->is_in_layer, .offset = weight->offset};
    memcpy(own->name, weight->hf_name, sizeof own->name);
    *param = (struct param){
        .name = own->name,
        .n_dims = weight->is_vector ? 1 : 2,
        .dims = {weight->is_vector ? weight->cols : weight->rows, weight->is_vector ? 0 : weight->cols},
        .n = (size_t)weight->rows * weight->cols,
        .data = net->weights + first_number,
        .grad = net->gradients + first_number,
        .decays = !weight->is_vector,
        .is_linear = is_linear(weight),
    };
    if (weight->is_in_layer)
        *block_slot(&net->blocks[weight->layer], weight->offset, &own->kind) = param;
    else
        *net_slot(net, weight->offset, &own->kind) = param;
}

quire_status net_params_make(struct net *net, quire_error *err)
{
    struct weight *weights;
    size_t n_weights, first_number = 0;
    net->net_params = mem_calloc(net->n_params, sizeof *net->net_params, "the list of parameters", err);
    net->params = mem_calloc(net->n_params, sizeof *net->params, "the list of parameters", err);
    net->blocks = mem_calloc(net->config.n_layers, sizeof *net->blocks, "the blocks of a net", err);
    net->weights = mem_aligned(net->n_numbers, sizeof(float), "the weights", err);
    net->gradients = mem_aligned(net->n_numbers, sizeof(float), "the gradients", err);
    if (!net->net_params || !net->params || !net->blocks || !net->weights || !net->gradients)
        return QUIRE_ERR_NO_MEMORY;
    memset(net->weights, 0, net->n_numbers * sizeof(float));
    memset(net->gradients, 0, net->n_numbers * sizeof(float));
    quire_status status = weights_list(&weights, &n_weights, &net->config, err);
    if (status != QUIRE_OK)
        return status;
    for (size_t i = 0; i < n_weights; i++) {
        make_one(net, i, &weights[i], first_number);
        first_number += size_round_up(net->params[i].n, PAD);
    }
    free(weights);
    if (net->config.tie_word_embeddings)
        net->lm_head = net->wte;
    return QUIRE_OK;
}
