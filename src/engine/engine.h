/* What an engine and its book hold; private to src/engine. */
#ifndef QUIRE_ENGINE_ENGINE_H
#define QUIRE_ENGINE_ENGINE_H

#include <stdatomic.h>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "kv/kv.h"
#include "model/model.h"
#include "notices.h"
#include "plan.h"
#include "quire/engine.h"

struct quire_engine {
    const struct quire_model *model;
    const struct kernels *kernels;
    struct threads *threads;
    struct kv_store *store;
    quire_engine_options opts; /* its strings are this engine's copies */
    bool has_own_budget;       /* opts.memory_bytes is this engine's choice and not its caller's */
    void *fixed;               /* [n_at_once] a token's activations in fixed point: linear_few */
    size_t n_at_once;          /* tokens that decode takes together at most: 1 and what is drafted */
    float *slopes;             /* ALiBi, [n_heads]; zeros without */
    atomic_bool is_cancelled;
    atomic_ullong n_blocks_met, n_blocks_due; /* of the open book: see quire_book_n_blocks_met */
    bool has_book;
    double products_per_second; /* operations, measured: estimate.c; 0: not yet */
};

enum { DECODE_TOKENS = 1 + QUIRE_DRAFT_MOST }; /* most tokens that decode takes through the stack together */

struct decode; /* buffers of a few tokens' way through the stack: decode.h */

struct quire_book {
    struct quire_engine *engine;
    struct kv_book *kv;     /* the text that was read */
    struct kv_book *branch; /* what was appended to it; NULL before the first */
    struct memory_plan plan;
    int32_t *ids; /* [n_text] */
    size_t n_text;
    size_t n_read; /* how much of it is, or is being, read */
    size_t n_tokens;
    size_t n_new;
    size_t n_reused;
    uint64_t n_resumed;
    uint64_t n_written_before; /* bytes, by handles that were closed over damage */
    float *logits;             /* [n_at_once][vocab_size]: after tokens that were decoded together */
    size_t logits_row;         /* the last token's of them */
    bool has_logits;
    bool has_failed;                 /* reading: there is no more to be read */
    int32_t ahead[QUIRE_DRAFT_MOST]; /* what was decoded behind the last token, and may turn out to be the text */
    size_t n_ahead;
    uint64_t n_drafted, n_accepted;
    struct decode *decode;
    struct notices notices;
};

static inline bool engine_is_cancelled(struct quire_engine *engine)
{
    return atomic_load_explicit(&engine->is_cancelled, memory_order_relaxed);
}

/* Blocks that attention met, of those that it would have without the certified stop. */
static inline void engine_count_blocks(struct quire_engine *engine, uint64_t n_met, uint64_t n_due)
{
    atomic_fetch_add_explicit(&engine->n_blocks_met, n_met, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->n_blocks_due, n_due, memory_order_relaxed);
}

/* Errors: CANCELLED. */
static inline quire_status engine_check_cancelled(struct quire_engine *engine, quire_error *err)
{
    return engine_is_cancelled(engine) ? quire_fail(err, QUIRE_ERR_CANCELLED, "stopped on request") : QUIRE_OK;
}

/* Before results are kept: whether all that they were computed from could be read, the model's weights and the layer's
 * keys and values. Errors: IO, naming file and offset. */
static inline quire_status engine_check_files(const struct quire_engine *engine, const struct kv_book *kv,
                                              uint32_t layer, quire_error *err)
{
    quire_status status = model_check_files(engine->model, err);
    return status == QUIRE_OK ? kv_book_check_map(kv, layer, err) : status;
}

/* Width of a row of keys (or values): kv_n_heads * head_dim. */
static inline size_t engine_kv_width(const quire_config *config)
{
    return (size_t)config->kv_n_heads * config->head_dim;
}

/* Width of a row of queries, keys and values as Wqkv gives them. */
static inline size_t engine_qkv_width(const quire_config *config)
{
    return config->d_model + 2 * engine_kv_width(config);
}

struct kv_geometry engine_kv_geometry(const quire_config *config, quire_kv_type kv_type);

#endif
