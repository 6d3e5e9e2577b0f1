#include "engine.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/sys.h"
#include "estimate.h"
#include "identity.h"
#include "linear.h"
#include "model/alibi.h"

struct kv_geometry engine_kv_geometry(const quire_config *config, quire_kv_type kv_type)
{
    return (struct kv_geometry){
        .n_layers = config->n_layers,
        .n_heads = config->kv_n_heads,
        .head_dim = config->head_dim,
        .type = kv_type,
    };
}

quire_engine_options quire_engine_defaults(void)
{
    return (quire_engine_options){.kv_type = QUIRE_KV_BF16, .attn_eps = 0x1p-24f, .commit_seconds = 60};
}

static quire_status check_options(const quire_engine_options *opts, quire_error *err)
{
    if ((unsigned)opts->kv_type >= QUIRE_KV_TYPE_COUNT)
        return quire_fail(err, QUIRE_ERR_USAGE,
                          "keys and values cannot be kept as type %d: expected f32, f16, bf16, int8 or int4",
                          (int)opts->kv_type);
    if (opts->chunk_tokens > 1 << 20)
        return quire_fail(err, QUIRE_ERR_USAGE, "a chunk of %u tokens is too large: at most %d", opts->chunk_tokens,
                          1 << 20);
    if (!(opts->commit_seconds >= 0))
        return quire_fail(err, QUIRE_ERR_USAGE, "a commit every %g seconds: expected 0 or more", opts->commit_seconds);
    if (!(opts->attn_eps >= 0 && opts->attn_eps <= 1))
        return quire_fail(err, QUIRE_ERR_USAGE, "an attention error of %g: expected 0 to 1", (double)opts->attn_eps);
    if (opts->draft_tokens > QUIRE_DRAFT_MOST)
        return quire_fail(err, QUIRE_ERR_USAGE, "%u drafted tokens are too many: at most %d", opts->draft_tokens,
                          QUIRE_DRAFT_MOST);
    if (opts->n_threads > 1024)
        return quire_fail(err, QUIRE_ERR_USAGE, "%u threads are too many: at most 1024", opts->n_threads);
    return QUIRE_OK;
}

static quire_status copy_string(const char **field, quire_error *err)
{
    if (!*field)
        return QUIRE_OK;
    *field = mem_strdup(*field, err);
    return *field ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
}

static quire_status open_store(quire_engine *engine, quire_error *err)
{
    char identity[IDENTITY_SIZE];
    identity_make(identity, engine->model, engine->kernels->gemm->name, engine->kernels->name, engine->opts.attn_eps);
    struct kv_store_options opts = {
        .path = engine->opts.store_path,
        .spill_path = engine->opts.spill_path,
        .geometry = engine_kv_geometry(&engine->model->config, engine->opts.kv_type),
        .identity = identity,
    };
    return kv_store_open(&engine->store, &opts, err);
}

quire_status quire_engine_open(quire_engine **out, const quire_model *model, const quire_engine_options *opts,
                               quire_error *err)
{
    quire_status status = check_options(opts, err);
    if (status != QUIRE_OK)
        return status;
    quire_engine *engine = mem_calloc(1, sizeof *engine, "the engine", err);
    if (!engine)
        return QUIRE_ERR_NO_MEMORY;
    engine->model = model;
    engine->opts = *opts;
    engine->opts.store_path = engine->opts.spill_path = engine->opts.isa = NULL;
    atomic_init(&engine->is_cancelled, false);
    engine->has_own_budget = opts->memory_bytes == 0;
    if (engine->has_own_budget)
        engine->opts.memory_bytes = sys_available_memory_bytes() / 4 * 3;

    const quire_config *config = &model->config;
    engine->slopes = mem_calloc(config->n_heads, sizeof *engine->slopes, "ALiBi slopes", err);
    engine->n_at_once = 1 + (size_t)opts->draft_tokens;
    engine->fixed = mem_aligned(engine->n_at_once, fixed_bytes(size_max(config->d_model, config->d_ff)),
                                "activations in fixed point", err);
    if (!engine->slopes || !engine->fixed) {
        status = QUIRE_ERR_NO_MEMORY;
        goto fail;
    }
    if (config->alibi)
        alibi_slopes(engine->slopes, config->n_heads, config->alibi_bias_max);
    engine->opts.store_path = opts->store_path;
    status = copy_string(&engine->opts.store_path, err);
    if (status != QUIRE_OK)
        goto fail;
    engine->opts.spill_path = opts->spill_path;
    status = copy_string(&engine->opts.spill_path, err);
    if (status != QUIRE_OK)
        goto fail;
    status = kernels_choose(&engine->kernels, opts->isa, err);
    if (status != QUIRE_OK)
        goto fail;
    kernels_gemm_init();
    engine->opts.n_threads = kernels_n_threads(engine->kernels, opts->n_threads);
    status = threads_open(&engine->threads, engine->opts.n_threads, err);
    if (status != QUIRE_OK)
        goto fail;
    status = open_store(engine, err);
    if (status != QUIRE_OK)
        goto fail;
    *out = engine;
    return QUIRE_OK;
fail:
    quire_engine_close(engine);
    return status;
}

void quire_engine_close(quire_engine *engine)
{
    if (!engine)
        return;
    kv_store_close(engine->store);
    threads_close(engine->threads);
    free((char *)(uintptr_t)engine->opts.store_path);
    free((char *)(uintptr_t)engine->opts.spill_path);
    free(engine->slopes);
    free(engine->fixed);
    free(engine);
}

void quire_engine_cancel(quire_engine *engine)
{
    atomic_store_explicit(&engine->is_cancelled, true, memory_order_relaxed);
}

quire_status quire_engine_plan(quire_engine *engine, uint64_t n_tokens, uint64_t n_new, quire_plan *out,
                               quire_error *err)
{
    struct memory_plan plan = {0};
    quire_status status = plan_memory(&plan, engine->model, &engine->opts, engine->kernels,
                                      threads_count(engine->threads), n_tokens, n_new, err);
    if (status != QUIRE_OK && status != QUIRE_ERR_NO_MEMORY)
        return status;
    *out = plan.figures;
    if (status == QUIRE_OK)
        status = kv_store_free_bytes(engine->store, &out->free_bytes, err);
    if (status == QUIRE_OK)
        out->seconds = estimate_seconds(engine, n_tokens);
    return status;
}

const char *quire_engine_isa(const quire_engine *engine)
{
    return engine->kernels->name;
}

uint32_t quire_engine_n_threads(const quire_engine *engine)
{
    return threads_count(engine->threads);
}
