#include "plan.h"

#include "attention.h"
#include "base/mem.h"
#include "decode.h"
#include "head.h"
#include "layer.h"
#include "residency.h"

/* Everything that the plan is made from, in bytes. */
struct needs {
    uint64_t fixed;    /* whatever happens: base, token ids, logits, unfinished KV blocks */
    uint64_t decode;   /* buffers of the tokens that go together */
    uint64_t scratch;  /* of the threads */
    uint64_t logprobs; /* rows of logits */
    uint64_t per_chunk_token, per_span_token;
    uint64_t layer_weights; /* the largest layer, as stored */
    uint64_t head_weights;  /* embedding and head */
    uint64_t layer_kv;      /* one layer of the whole text */
    uint64_t heads_kv;      /* what the threads read of it at once */
    uint32_t n_layers;
    /* For packed weights, which depend on the chunk. */
    const struct quire_model *model;
    const struct gemm *gemm;
    uint32_t n_threads;
    uint64_t n_tokens;
};

static uint64_t u64_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t u64_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static struct needs measure(const struct quire_model *model, const struct kernels *kernels,
                            const quire_engine_options *opts, uint32_t n_threads, uint64_t n_tokens, uint64_t n_new)
{
    const quire_config *config = &model->config;
    const struct gemm *gemm = kernels->gemm;
    struct kv_geometry geometry = engine_kv_geometry(config, opts->kv_type);
    uint64_t n_all = n_tokens + n_new, f = sizeof(float);
    struct needs n = {
        .n_layers = config->n_layers, .model = model, .gemm = gemm, .n_threads = n_threads, .n_tokens = n_tokens};
    for (uint32_t i = 0; i < config->n_layers; i++)
        n.layer_weights = u64_max(n.layer_weights, residency_layer_bytes(&model->layers[i]));
    n.head_weights = (uint64_t)model->wte.rows * model->wte.row_bytes;
    if (model->lm_head.data != model->wte.data)
        n.head_weights += (uint64_t)model->lm_head.rows * model->lm_head.row_bytes;
    n.layer_kv = kv_disk_bytes(&geometry, n_all) / config->n_layers;
    n.heads_kv = u64_min(n.layer_kv, n.layer_kv / config->kv_n_heads * n_threads);
    /* Unfinished blocks: of the text, and of the branch that is appended to it. */
    uint64_t open_blocks = 2ull * config->n_layers * config->kv_n_heads * kv_block_bytes(&geometry);
    /* Key norms: one number for each block, in pages of their own for each layer and head. */
    uint64_t norms =
        size_round_up(n_all / KV_BLOCK_TOKENS * sizeof(float) + 1, 4096) * config->n_layers * config->kv_n_heads;
    n.fixed = PLAN_BASE_BYTES + norms + (uint64_t)n_threads * PLAN_THREAD_BYTES + 2 * n_all * sizeof(int32_t) +
              2 * f * config->vocab_size + open_blocks;
    uint64_t n_at_once = 1 + opts->draft_tokens;
    n.decode = n_at_once * (f * decode_floats(config, n_all) + fixed_bytes(size_max(config->d_model, config->d_ff))) +
               opts->draft_tokens * f * config->vocab_size;
    if (opts->draft_tokens > 0)
        n.fixed += n_all * PLAN_DRAFT_TOKEN_BYTES;
    n.scratch = f * n_threads * (gemm_sums_floats(gemm) + attention_scratch_floats(config)) +
                layer_strips_bytes(config, gemm, 1);
    if (opts->logprobs)
        n.logprobs = f * head_buffers_floats(config, kernels, n_threads);
    n.per_chunk_token = f * (config->d_model + layer_wide_floats(config)) +
                        gemm_row_bytes(gemm, size_max(config->d_model, config->d_ff));
    n.per_span_token = f * config->d_model;
    return n;
}

/* What prefill needs at least with these chunks and spans: one layer's weights, the KV that is being read. */
static uint64_t prefill_bytes(const struct needs *n, uint64_t chunk, uint64_t span, uint64_t kv)
{
    uint64_t packed = layer_packed_bytes(n->model, n->gemm, n->n_threads, n->n_tokens, chunk);
    return n->fixed + n->scratch + packed + n->logprobs + chunk * n->per_chunk_token + span * n->per_span_token +
           u64_max(n->layer_weights, n->head_weights) + kv;
}

/* The same with the least KV. span: 0 for one of a chunk. */
static uint64_t least_with(const struct needs *n, uint64_t chunk, uint64_t span)
{
    return prefill_bytes(n, chunk, span ? span : chunk, n->heads_kv);
}

/* Spends what is left of the budget on layers that stay. `spare` already excludes one streaming layer of each kind. */
static void keep_layers(struct plan_residency *residency, const struct needs *n, uint64_t spare)
{
    residency->keeps_head = spare >= n->head_weights;
    if (residency->keeps_head)
        spare -= n->head_weights;
    residency->n_weight_layers = (uint32_t)u64_min(n->n_layers, spare / n->layer_weights);
    spare -= residency->n_weight_layers * n->layer_weights;
    residency->n_kv_layers = (uint32_t)u64_min(n->n_layers, spare / u64_max(1, n->layer_kv));
}

static uint64_t kept_bytes(const struct plan_residency *residency, const struct needs *n)
{
    return (residency->keeps_head ? n->head_weights : 0) + residency->n_weight_layers * n->layer_weights +
           residency->n_kv_layers * n->layer_kv;
}

static void plan_prefill(struct memory_plan *plan, const struct needs *n, const quire_engine_options *opts,
                         uint64_t budget)
{
    uint64_t n_tokens = u64_max(1, plan->figures.n_tokens);
    bool is_span_given = opts->span_tokens > 0;
    uint64_t wanted_span = is_span_given ? u64_min(opts->span_tokens, n_tokens) : n_tokens;
    uint64_t given_span = is_span_given ? wanted_span : 0;
    uint64_t chunk = u64_min(opts->chunk_tokens ? opts->chunk_tokens : PLAN_DEFAULT_CHUNK, n_tokens);
    while (!opts->chunk_tokens && chunk > PLAN_SMALLEST_CHUNK && least_with(n, chunk, given_span) > budget)
        chunk = size_round_up(chunk / 2, PLAN_SMALLEST_CHUNK);
    /* A layer's KV is read again for every chunk: it stays in memory unless that leaves no room for a decent span. */
    uint64_t decent_span = is_span_given ? wanted_span : u64_min(wanted_span, 8 * chunk);
    plan->prefill.releases_heads = prefill_bytes(n, chunk, decent_span, n->layer_kv) > budget;
    uint64_t kv = plan->prefill.releases_heads ? n->heads_kv : n->layer_kv;

    uint64_t span = wanted_span;
    uint64_t used = prefill_bytes(n, chunk, 0, kv);
    uint64_t room = budget > used ? (budget - used) / n->per_span_token : 0;
    if (!is_span_given && room < span)
        span = u64_max(room / chunk * chunk, chunk);
    used += span * n->per_span_token;
    keep_layers(&plan->prefill, n, budget > used ? budget - used : 0);

    quire_plan *f = &plan->figures;
    f->chunk_tokens = (uint32_t)chunk;
    f->span_tokens = (uint32_t)span;
    f->weight_bytes = u64_max(n->layer_weights, n->head_weights) + kept_bytes(&plan->prefill, n) -
                      plan->prefill.n_kv_layers * n->layer_kv;
    f->kv_bytes = kv + plan->prefill.n_kv_layers * n->layer_kv;
    f->memory_bytes = used + kept_bytes(&plan->prefill, n);
    f->activation_bytes = f->memory_bytes - f->weight_bytes - f->kv_bytes - n->fixed;
    /* A commit of a span in flight writes its residual stream anew before the one before goes. */
    f->flight_bytes = opts->store_path ? 2 * span * n->per_span_token : 0;
    uint64_t smallest = u64_min(PLAN_SMALLEST_CHUNK, n_tokens), whole = u64_min(PLAN_DEFAULT_CHUNK, n_tokens);
    if (opts->chunk_tokens)
        smallest = whole = chunk;
    f->least_bytes = u64_min(least_with(n, smallest, given_span), least_with(n, whole, given_span));
}

static void plan_decode(struct memory_plan *plan, const struct needs *n, uint64_t budget)
{
    uint64_t streaming = n->fixed + n->decode + u64_max(n->layer_weights, n->head_weights);
    if (plan->figures.n_new > 0)
        plan->figures.least_bytes = u64_max(plan->figures.least_bytes, streaming + n->heads_kv);
    plan->decode.releases_heads = streaming + n->layer_kv > budget;
    streaming += plan->decode.releases_heads ? n->heads_kv : n->layer_kv;
    keep_layers(&plan->decode, n, budget > streaming ? budget - streaming : 0);
    plan->figures.memory_bytes = u64_max(plan->figures.memory_bytes, streaming + kept_bytes(&plan->decode, n));
}

quire_status plan_memory(struct memory_plan *out, const struct quire_model *model, const quire_engine_options *opts,
                         const struct kernels *kernels, uint32_t n_threads, uint64_t n_tokens, uint64_t n_new,
                         quire_error *err)
{
    const quire_config *config = &model->config;
    struct kv_geometry geometry = engine_kv_geometry(config, opts->kv_type);
    if (n_tokens > INT32_MAX || n_new > INT32_MAX)
        return quire_fail(err, QUIRE_ERR_USAGE, "a text of %llu tokens, and %llu more, is longer than 2147483647",
                          (unsigned long long)n_tokens, (unsigned long long)n_new);
    if (config->learned_pos_emb && n_tokens + n_new > config->max_seq_len)
        return quire_fail(
            err, QUIRE_ERR_USAGE,
            "'%s' has learned positions and ends at %u tokens: the text has %llu, and %llu more are asked for",
            model->path, config->max_seq_len, (unsigned long long)n_tokens, (unsigned long long)n_new);
    struct needs needs = measure(model, kernels, opts, n_threads, n_tokens, n_new);
    struct memory_plan plan = {0};
    plan.figures.n_tokens = n_tokens;
    plan.figures.n_new = n_new;
    plan.figures.budget_bytes = opts->memory_bytes;
    plan.figures.disk_bytes = kv_disk_bytes(&geometry, n_tokens + n_new);
    plan_prefill(&plan, &needs, opts, opts->memory_bytes);
    plan_decode(&plan, &needs, opts->memory_bytes);
    *out = plan;
    if (plan.figures.least_bytes > opts->memory_bytes)
        return quire_fail(
            err, QUIRE_ERR_NO_MEMORY,
            "%llu tokens with '%s' need at least %llu MiB of memory%s, the budget is %llu MiB: give more with "
            "--memory, or a smaller model",
            (unsigned long long)n_tokens, model->name, (unsigned long long)mib_up(plan.figures.least_bytes),
            opts->chunk_tokens || opts->span_tokens ? " with this chunk and span" : "",
            (unsigned long long)(opts->memory_bytes >> 20));
    return QUIRE_OK;
}
