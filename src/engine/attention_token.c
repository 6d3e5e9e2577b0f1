/* One token's attention. Its head's keys are met in two parts. The near part, from the token back to the segment before
 * its own, goes by itself; what is behind it is cut into segments, which start from the near part's maximum and sum, as
 * far as the certified stop asks for them, and are then put together from the newest to the oldest. Where the cuts are
 * depends on the position alone, so that it does not matter which thread computes what. */
#include <math.h>
#include <string.h>

#include "attention.h"
#include "base/mem.h"
#include "kernels/attention_stop.h"

enum { SEGMENT_BLOCKS = 64 };

/* Segments behind the near part of a token. */
static size_t n_far_segments(size_t position)
{
    size_t own = position / (SEGMENT_BLOCKS * KV_BLOCK_TOKENS);
    return own > 0 ? own - 1 : 0;
}

struct job {
    struct quire_engine *engine;
    const struct attention *attention;
    size_t n_parts;   /* of a head: the near one, and the far segments, newest first */
    float *q;         /* [n_heads][row] scaled */
    float *norm;      /* [n_heads] of the queries */
    float *acc;       /* [n_heads][n_parts][row] */
    float *max, *sum; /* [n_heads][n_parts]; sum 0: nothing was met */
    float *is_live;   /* [n_heads] nonzero: the far segments may matter */
};

static size_t head_floats(const quire_config *config, size_t n_parts)
{
    size_t row = attention_row_floats(config);
    return row + n_parts * row + 2 + 2 * n_parts;
}

size_t attention_token_floats(const quire_config *config, uint64_t n_tokens)
{
    return config->n_heads * head_floats(config, 1 + n_far_segments(n_tokens));
}

static struct job cut_scratch(struct quire_engine *engine, const struct attention *a)
{
    const quire_config *config = &engine->model->config;
    size_t n_heads = config->n_heads, row = attention_row_floats(config);
    struct job job = {.engine = engine, .attention = a, .n_parts = 1 + n_far_segments(a->first)};
    job.q = a->scratch->memory;
    job.acc = job.q + n_heads * row;
    job.max = job.acc + n_heads * job.n_parts * row;
    job.sum = job.max + n_heads * job.n_parts;
    job.norm = job.sum + n_heads * job.n_parts;
    job.is_live = job.norm + n_heads;
    return job;
}

/* Meets blocks end - 1 down to first of a head in one of its parts. max and sum: what newer parts have. Whether what is
 * older than `first` may matter. */
static bool meet_blocks(const struct job *job, uint32_t head, size_t part, size_t first, size_t end, float max,
                        float sum)
{
    const struct attention *a = job->attention;
    struct quire_engine *engine = job->engine;
    const quire_config *config = &engine->model->config;
    size_t row = attention_row_floats(config), slot = head * job->n_parts + part;
    uint32_t kv_head = attention_kv_head(config, head);
    struct attention_stop stop = attention_stop_make(engine->slopes[head], engine->opts.attn_eps, config->head_dim);
    struct attention_tile tile = {
        .n_queries = 1,
        .head_dim = config->head_dim,
        .row = (uint32_t)row,
        .slope = engine->slopes[head],
        .first_query = (int64_t)a->first,
        .q = job->q + head * row,
        .acc = job->acc + slot * row,
        .max = &job->max[slot],
        .sum = &job->sum[slot],
        .live = 1,
    };
    memset(tile.acc, 0, row * sizeof *tile.acc);
    *tile.max = -INFINITY;
    *tile.sum = 0;
    uint64_t n_met = 0;
    bool is_live = true;
    for (size_t block = end;; block--) {
        /* The part by itself, or what is before it, whichever has the larger maximum: a bound from either holds. */
        bool is_before = max > *tile.max;
        if (block > 0 && block <= a->first / KV_BLOCK_TOKENS)
            is_live = !attention_may_stop(&stop, job->norm[head], kv_book_key_norm(a->kv, a->layer, kv_head, block - 1),
                                          tile.first_query, (int64_t)(block * KV_BLOCK_TOKENS) - 1,
                                          is_before ? max : *tile.max, is_before ? sum : *tile.sum);
        if (!is_live || block == first)
            break;
        struct kv_block keys = kv_book_block(a->kv, a->layer, kv_head, block - 1);
        engine->kernels->attend_one(&tile, engine->opts.kv_type, keys.k, keys.v, keys.n_tokens,
                                    (int64_t)((block - 1) * KV_BLOCK_TOKENS));
        n_met++;
    }
    engine_count_blocks(engine, n_met, end - first);
    if (a->releases_heads)
        kv_book_release(a->kv, a->layer, kv_head, first, end - first);
    return is_live;
}

static size_t near_first_block(size_t position)
{
    return n_far_segments(position) * SEGMENT_BLOCKS;
}

/* Asks for the blocks that will be met in the same part by the head that comes after `head` by as many as there are
 * threads. */
static void ask_ahead(const struct job *job, size_t head, size_t first, size_t end)
{
    const quire_config *config = &job->engine->model->config;
    uint32_t ahead = attention_kv_head(config, (uint32_t)head) + threads_count(job->engine->threads);
    if (job->attention->asks_ahead && ahead < config->kv_n_heads && head % (config->n_heads / config->kv_n_heads) == 0)
        kv_book_prefetch(job->attention->kv, job->attention->layer, ahead, first, end - first);
}

static void meet_near(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    struct job *job = context;
    const struct attention *a = job->attention;
    const quire_config *config = &job->engine->model->config;
    size_t row = attention_row_floats(config);
    const float *q = a->q + item * config->head_dim;
    float *scaled = job->q + item * row;
    size_t first = near_first_block(a->first), end = a->first / KV_BLOCK_TOKENS + 1;
    ask_ahead(job, item, first, end);
    memset(scaled, 0, row * sizeof *scaled);
    for (uint32_t c = 0; c < config->head_dim; c++)
        scaled[c] = q[c] * config->softmax_scale;
    job->norm[item] = attention_query_norm(scaled, config->head_dim);
    job->is_live[item] = meet_blocks(job, (uint32_t)item, 0, first, end, -INFINITY, 0);
}

/* Item: newer segments of all heads before older ones. */
static void meet_segment(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct job *job = context;
    size_t n_heads = job->engine->model->config.n_heads, head = item % n_heads, part = 1 + item / n_heads;
    size_t near = head * job->n_parts, first = (job->n_parts - 1 - part) * SEGMENT_BLOCKS;
    if (job->is_live[head] != 0) {
        ask_ahead(job, head, first, first + SEGMENT_BLOCKS);
        meet_blocks(job, (uint32_t)head, part, first, first + SEGMENT_BLOCKS, job->max[near], job->sum[near]);
        return;
    }
    job->sum[near + part] = 0;
    engine_count_blocks(job->engine, 0, SEGMENT_BLOCKS);
}

/* Puts a head's parts together. */
static void finish_head(const struct job *job, uint32_t head)
{
    const struct attention *a = job->attention;
    const quire_config *config = &job->engine->model->config;
    size_t row = attention_row_floats(config), first = head * job->n_parts;
    float *acc = job->acc + first * row, *out = a->out + (size_t)head * config->head_dim;
    float max = job->max[first], sum = job->sum[first];
    for (size_t part = first + 1; part < first + job->n_parts; part++) {
        if (job->sum[part] == 0)
            continue;
        float larger = job->max[part] > max ? job->max[part] : max;
        float keep = expf(max - larger), take = expf(job->max[part] - larger);
        for (uint32_t c = 0; c < config->head_dim; c++)
            acc[c] = acc[c] * keep + job->acc[part * row + c] * take;
        sum = sum * keep + job->sum[part] * take;
        max = larger;
    }
    float inverse = 1.0f / sum;
    for (uint32_t c = 0; c < config->head_dim; c++)
        out[c] = acc[c] * inverse;
}

quire_status attention_token(struct quire_engine *engine, const struct attention *attention, quire_error *err)
{
    const quire_config *config = &engine->model->config;
    quire_status status = attention_check_blocks(engine, attention, err);
    if (status != QUIRE_OK)
        return status;
    struct job job = cut_scratch(engine, attention);
    threads_run(engine->threads, config->n_heads, meet_near, &job);
    if (job.n_parts > 1)
        threads_run(engine->threads, config->n_heads * (job.n_parts - 1), meet_segment, &job);
    for (uint32_t head = 0; head < config->n_heads; head++)
        finish_head(&job, head);
    return QUIRE_OK;
}

void attention_ask_ahead(const struct quire_engine *engine, const struct kv_book *kv, uint32_t layer, size_t position)
{
    size_t n_heads = size_min(engine->model->config.kv_n_heads, threads_count(engine->threads));
    size_t first = near_first_block(position), end = position / KV_BLOCK_TOKENS + 1;
    for (uint32_t head = 0; head < n_heads; head++)
        kv_book_prefetch(kv, layer, head, first, end - first);
}
