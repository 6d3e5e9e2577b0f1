/* From a configuration to the list of parameters: names and shapes are the model loader's. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/weights.h"
#include "net_private.h"

enum { PAD = 16 }; /* numbers: each parameter begins on a cache line */

struct count {
    size_t n_params, n_numbers;
    uint64_t n_parameters;
    bool is_too_large;
};

static void count_one(void *context, const struct weights_tensor *tensor)
{
    struct count *count = context;
    size_t n = (size_t)tensor->dims[0];
    if ((tensor->n_dims == 2 && !size_mul(&n, n, (size_t)tensor->dims[1])) ||
        !size_add(&count->n_numbers, count->n_numbers, n) || count->n_numbers > SIZE_MAX / sizeof(float) - PAD) {
        count->is_too_large = true;
        return;
    }
    count->n_params++;
    count->n_parameters += n;
    count->n_numbers = size_round_up(count->n_numbers, PAD);
}

quire_status net_params_count(struct net *net, quire_error *err)
{
    struct count count = {0};
    weights_each(&net->config, count_one, &count);
    if (count.is_too_large)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "a model of this configuration does not fit into memory at all");
    net->n_params = count.n_params;
    net->n_numbers = count.n_numbers;
    net->n_parameters = count.n_parameters;
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

struct maker {
    struct net *net;
    size_t n_params, n_numbers; /* so far */
};

static void make_one(void *context, const struct weights_tensor *tensor)
{
    struct maker *maker = context;
    struct net *net = maker->net;
    struct net_param *own = &net->net_params[maker->n_params];
    struct param *param = &net->params[maker->n_params];
    *own = (struct net_param){.layer = tensor->layer, .is_in_layer = tensor->is_in_layer, .offset = tensor->offset};
    memcpy(own->name, tensor->name, sizeof own->name);
    *param = (struct param){
        .name = own->name,
        .n_dims = tensor->n_dims,
        .n = (size_t)(tensor->n_dims == 2 ? tensor->dims[0] * tensor->dims[1] : tensor->dims[0]),
        .data = net->weights + maker->n_numbers,
        .grad = net->gradients + maker->n_numbers,
        .decays = tensor->n_dims == 2,
    };
    memcpy(param->dims, tensor->dims, sizeof param->dims);
    if (tensor->is_in_layer)
        *block_slot(&net->blocks[tensor->layer], tensor->offset, &own->kind) = param;
    else
        *net_slot(net, tensor->offset, &own->kind) = param;
    maker->n_params++;
    maker->n_numbers += size_round_up(param->n, PAD);
}

quire_status net_params_make(struct net *net, quire_error *err)
{
    struct maker maker = {.net = net};
    net->net_params = mem_calloc(net->n_params, sizeof *net->net_params, "the list of parameters", err);
    net->params = mem_calloc(net->n_params, sizeof *net->params, "the list of parameters", err);
    net->blocks = mem_calloc(net->config.n_layers, sizeof *net->blocks, "the blocks of a net", err);
    net->weights = mem_aligned(net->n_numbers, sizeof(float), "the weights", err);
    net->gradients = mem_aligned(net->n_numbers, sizeof(float), "the gradients", err);
    if (!net->net_params || !net->params || !net->blocks || !net->weights || !net->gradients)
        return QUIRE_ERR_NO_MEMORY;
    memset(net->weights, 0, net->n_numbers * sizeof(float));
    memset(net->gradients, 0, net->n_numbers * sizeof(float));
    weights_each(&net->config, make_one, &maker);
    if (net->config.tie_word_embeddings)
        net->lm_head = net->wte;
    return QUIRE_OK;
}
