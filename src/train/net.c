/* A net's life: what it takes, opening, closing. */
#include "net.h"

#include <stdlib.h>

#include "model/alibi.h"
#include "model/config.h"
#include "net_rows.h"

enum {
    LOGIT_BYTES = 32 << 20, /* a chunk of logits: it should stay in a cache, and be worth a pass over the head */
    LEAST_LOGIT_ROWS = 64,
    MOST_LOGIT_ROWS = 1024
};

/* --- layout ------------------------------------------------------------------------------------------------------ */

static void lay_out_activations(struct net *net, struct arena *arena)
{
    const quire_config *c = &net->config;
    size_t n = net_most_tokens(net), n_layers = c->n_layers;
    struct block_activations shared = {0};
    struct block_activations *all = arena_take(arena, n_layers, 1, sizeof *all);
    for (size_t i = 0; i < n_layers; i++) {
        struct block_activations a = shared;
        if (i == 0 || !net->options.recomputes) {
            a.qkv = arena_floats(arena, n, net_qkv_width(c));
            a.mixed = arena_floats(arena, n, c->d_model);
            a.lse = arena_floats(arena, n, c->n_heads);
            a.x_mid = arena_floats(arena, n, c->d_model);
            a.up = arena_floats(arena, n, c->d_ff);
            shared = a;
        }
        a.x = arena_floats(arena, n, c->d_model);
        if (all)
            all[i] = a;
    }
    net->activations = all;
    net->x_out = arena_floats(arena, n, c->d_model);
}

static void lay_out_products(struct net *net, struct arena *arena)
{
    const quire_config *c = &net->config;
    const struct gemm *gemm = net->gemm;
    const size_t n_tokens = net_most_tokens(net), rows = net->head_rows, d = c->d_model;
    const struct {
        size_t n_tokens, outputs, inputs;
    } layers[] = {
        {n_tokens, net_qkv_width(c), d}, {n_tokens, d, d},         {n_tokens, c->d_ff, d},
        {n_tokens, d, c->d_ff},          {rows, c->vocab_size, d},
    };
    struct product_room room = {0};
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        product_room_for(&room, gemm, layers[i].n_tokens, layers[i].outputs, layers[i].inputs);
        product_room_for(&room, gemm, layers[i].n_tokens, layers[i].inputs, layers[i].outputs);
        product_room_for(&room, gemm, layers[i].outputs, layers[i].inputs, layers[i].n_tokens);
        size_t least = size_min(layers[i].outputs, layers[i].inputs); /* Muon's */
        product_room_for(&room, gemm, layers[i].outputs, layers[i].inputs, least);
        product_room_for(&room, gemm, least, least, size_max(layers[i].outputs, layers[i].inputs));
    }
    product_room_for_passed(&room, gemm, size_max(d, c->d_ff));
    product_lay_out(&net->scratch.product, arena, &room, gemm, net->n_threads);
    net->scratch.head_panels = arena_take(arena, product_packed_bytes(gemm, c->vocab_size, d), 1, 1);
    net->scratch.head_columns = arena_take(arena, product_packed_bytes(gemm, d, c->vocab_size), 1, 1);
}

static void lay_out_scratch(struct net *net, struct arena *arena)
{
    const quire_config *c = &net->config;
    struct net_scratch *s = &net->scratch;
    size_t n = net_most_tokens(net), d = c->d_model;
    s->normed = arena_floats(arena, n, d);
    s->wide = arena_floats(arena, n, size_max(c->d_ff, net_qkv_width(c)));
    s->qk = c->qk_ln ? arena_floats(arena, n, net_qkv_width(c)) : NULL;
    s->dx = arena_floats(arena, n, d);
    s->dn = arena_floats(arena, n, d);
    s->sums = arena_floats(arena, net_n_groups(n), 2 * d);
    s->logits = arena_floats(arena, net->head_rows, c->vocab_size);
    s->nll = arena_take(arena, n, 1, sizeof *s->nll);
    s->z = arena_take(arena, n, 1, sizeof *s->z);
    lay_out_products(net, arena);
    train_attention_lay_out(&s->attention, arena, net);
}

/* --- planning ---------------------------------------------------------------------------------------------------- */

/* Everything about a net but its memory. */
static quire_status prepare(struct net *net, const quire_config *config, const struct net_options *options,
                            quire_error *err)
{
    *net = (struct net){.config = *config, .options = *options};
    quire_status status = config_finish(&net->config, "the configuration", err);
    if (status != QUIRE_OK)
        return status;
    if (options->n_sequences == 0 || options->seq_len == 0)
        return quire_fail(err, QUIRE_ERR_USAGE,
                          "a micro-batch of %u sequences of %u tokens holds nothing to learn from",
                          options->n_sequences, options->seq_len);
    if (config->learned_pos_emb && options->seq_len > config->max_seq_len)
        return quire_fail(err, QUIRE_ERR_USAGE,
                          "sequences of %u tokens are longer than max_seq_len %u, where learned positions end",
                          options->seq_len, config->max_seq_len);
    if (!(options->z_loss >= 0) || options->z_loss > 1)
        return quire_fail(err, QUIRE_ERR_USAGE, "the z-loss is %g, expected a number from 0 to 1", options->z_loss);
    status = kernels_choose(&net->kernels, options->isa, err);
    if (status != QUIRE_OK)
        return status;
    bool is_bf16 = options->precision == TRAIN_BF16;
    net->gemm = is_bf16 ? net->kernels->gemm : net->kernels->gemm_exact;
    net->is_narrow = is_bf16 && net->kernels->attend_narrow && net->config.head_dim % NARROW_STEP == 0 &&
                     net->config.head_dim <= NARROW_MOST;
    net->n_threads = kernels_n_threads(net->kernels, options->n_threads);
    size_t rows = LOGIT_BYTES / sizeof(float) / config->vocab_size;
    rows = size_min(size_max(rows, LEAST_LOGIT_ROWS), MOST_LOGIT_ROWS);
    net->head_rows = size_min(rows, net_most_tokens(net));
    return net_params_count(net, err);
}

static quire_status measure(struct net_memory *out, const struct net *net, quire_error *err)
{
    struct net copy = *net;
    struct arena activations = {0}, scratch = {0};
    lay_out_activations(&copy, &activations);
    lay_out_scratch(&copy, &scratch);
    struct net_memory memory = {
        .parameters = net->n_numbers * sizeof(float),
        .gradients = net->n_numbers * sizeof(float),
        .activations = activations.n_bytes,
        .scratch = scratch.n_bytes,
        .largest_linear = net->largest_linear * sizeof(float),
    };
    if (activations.is_too_large || scratch.is_too_large || scratch.n_bytes > SIZE_MAX - activations.n_bytes ||
        memory.parameters > SIZE_MAX / 4 - scratch.n_bytes - activations.n_bytes)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY,
                          "%u sequences of %u tokens at once do not fit into memory at all: take a smaller micro-batch",
                          net->options.n_sequences, net->options.seq_len);
    memory.total = memory.parameters + memory.gradients + memory.activations + memory.scratch;
    *out = memory;
    return QUIRE_OK;
}

quire_status net_plan(struct net_memory *out, const quire_config *config, const struct net_options *options,
                      quire_error *err)
{
    struct net net;
    quire_status status = prepare(&net, config, options, err);
    return status == QUIRE_OK ? measure(out, &net, err) : status;
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

static quire_status allocate(struct net *net, quire_error *err)
{
    struct net_memory memory;
    quire_status status = measure(&memory, net, err);
    if (status == QUIRE_OK)
        status = net_params_make(net, err);
    if (status != QUIRE_OK)
        return status;
    net->slopes = mem_calloc(net->config.n_heads, sizeof *net->slopes, "the slopes of a net", err);
    net->activation_memory = mem_aligned(memory.activations, 1, "the activations of a micro-batch", err);
    net->scratch_memory = mem_aligned(memory.scratch, 1, "the work on a micro-batch", err);
    if (!net->slopes || !net->activation_memory || !net->scratch_memory)
        return QUIRE_ERR_NO_MEMORY;
    lay_out_activations(net, &(struct arena){.memory = net->activation_memory});
    lay_out_scratch(net, &(struct arena){.memory = net->scratch_memory});
    if (net->config.alibi)
        alibi_slopes(net->slopes, net->config.n_heads, net->config.alibi_bias_max);
    return threads_open(&net->threads, net->n_threads, err);
}

quire_status net_open(struct net **out, const quire_config *config, const struct net_options *options, quire_error *err)
{
    struct net *net = mem_calloc(1, sizeof *net, "a net", err);
    if (!net)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = prepare(net, config, options, err);
    if (status == QUIRE_OK)
        status = allocate(net, err);
    if (status != QUIRE_OK) {
        net_close(net);
        return status;
    }
    net->options.isa = net->kernels->name;
    kernels_gemm_init();
    *out = net;
    return QUIRE_OK;
}

void net_close(struct net *net)
{
    if (!net)
        return;
    threads_close(net->threads);
    free(net->activation_memory);
    free(net->scratch_memory);
    free(net->slopes);
    free(net->weights);
    free(net->gradients);
    free(net->blocks);
    free(net->params);
    free(net->net_params);
    free(net);
}

/* --- questions --------------------------------------------------------------------------------------------------- */

const quire_config *net_config(const struct net *net)
{
    return &net->config;
}

struct threads *net_threads(struct net *net)
{
    return net->threads;
}

const char *net_isa(const struct net *net)
{
    return net->kernels->name;
}

const char *net_factors(const struct net *net)
{
    return net->gemm->name;
}

const struct param *net_params(const struct net *net, size_t *n_params)
{
    *n_params = net->n_params;
    return net->params;
}

uint64_t net_n_parameters(const struct net *net)
{
    return net->n_parameters;
}

float *net_weights(struct net *net, size_t *n)
{
    *n = net->n_numbers;
    return net->weights;
}

float *net_gradients(struct net *net, size_t *n)
{
    *n = net->n_numbers;
    return net->gradients;
}

void net_clear_gradients(struct net *net)
{
    net_zero(net, net->gradients, net->n_numbers);
}

double net_n_operations(const struct net *net, uint32_t n_sequences, uint32_t n_tokens)
{
    const quire_config *c = &net->config;
    double d = c->d_model, n = n_tokens, pairs = n * (n + 1) / 2;
    double layer = d * (double)net_qkv_width(c) + d * d + 2 * d * (double)c->d_ff;
    double weights = c->n_layers * layer + (double)c->vocab_size * d;
    return n_sequences * (6 * weights * n + 12 * c->n_layers * d * pairs);
}
