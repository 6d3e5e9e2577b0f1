/* Attention of one token, or of a few in the same block. A head's keys are met in two parts. The near part, from the
 * token back to the segment before its own, goes by itself; what is behind it is cut into segments, which start from
 * the near part's maximum and sum, as far as the certified stop asks for them, and are then put together from the
 * newest to the oldest. Where the cuts are depends on the position alone, and each token stops by itself: neither the
 * thread that computes something nor the tokens beside it matter. */
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
    float *q;         /* [tokens][n_heads][row] scaled */
    float *norm;      /* [tokens][n_heads] of the queries */
    float *acc;       /* [tokens][n_heads][n_parts][row] */
    float *max, *sum; /* [tokens][n_heads][n_parts]; sum 0: nothing was met */
    float *is_live;   /* [tokens][n_heads] nonzero: the far segments may matter */
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
    size_t n_queries = a->n * config->n_heads, row = attention_row_floats(config);
    struct job job = {.engine = engine, .attention = a, .n_parts = 1 + n_far_segments(a->first)};
    job.q = a->scratch->memory;
    job.acc = job.q + n_queries * row;
    job.max = job.acc + n_queries * job.n_parts * row;
    job.sum = job.max + n_queries * job.n_parts;
    job.norm = job.sum + n_queries * job.n_parts;
    job.is_live = job.norm + n_queries;
    return job;
}

/* A token's query of one head. */
static size_t query_index(const struct job *job, size_t token, size_t head)
{
    return token * job->engine->model->config.n_heads + head;
}

/* One part of a head, for one token. */
struct meeting {
    struct attention_tile tile;
    float query_norm;
    float max, sum; /* of newer parts; sum 0: there are none */
    bool is_live;
};

static struct meeting start_meeting(const struct job *job, size_t token, size_t head, size_t part)
{
    const quire_config *config = &job->engine->model->config;
    size_t row = attention_row_floats(config), query = query_index(job, token, head), slot = query * job->n_parts;
    struct meeting meeting = {
        .tile = {.n_queries = 1,
                 .head_dim = config->head_dim,
                 .row = (uint32_t)row,
                 .slope = job->engine->slopes[head],
                 .first_query = (int64_t)(job->attention->first + token),
                 .q = job->q + query * row,
                 .acc = job->acc + (slot + part) * row,
                 .max = &job->max[slot + part],
                 .sum = &job->sum[slot + part],
                 .live = 1},
        .query_norm = job->norm[query],
        .max = part > 0 ? job->max[slot] : -INFINITY,
        .sum = part > 0 ? job->sum[slot] : 0,
        .is_live = part == 0 || job->is_live[query] != 0,
    };
    memset(meeting.tile.acc, 0, row * sizeof *meeting.tile.acc);
    *meeting.tile.max = -INFINITY;
    *meeting.tile.sum = 0;
    return meeting;
}

/* Whether blocks before `block` may matter to it. */
static bool needs_more(const struct meeting *meeting, const struct attention_stop *stop, float key_norm, size_t block)
{
    /* The part by itself, or what is before it, whichever has the larger maximum: a bound from either holds. */
    const struct attention_tile *tile = &meeting->tile;
    bool is_before = meeting->max > *tile->max;
    return !attention_may_stop(stop, meeting->query_norm, key_norm, tile->first_query,
                               (int64_t)(block * KV_BLOCK_TOKENS) - 1, is_before ? meeting->max : *tile->max,
                               is_before ? meeting->sum : *tile->sum);
}

/* Meets blocks end - 1 down to first of a head in one of its parts. In part 0 notes whether what is older may matter.
 */
static void meet_blocks(const struct job *job, uint32_t head, size_t part, size_t first, size_t end)
{
    const struct attention *a = job->attention;
    struct quire_engine *engine = job->engine;
    const quire_config *config = &engine->model->config;
    uint32_t kv_head = attention_kv_head(config, head);
    struct attention_stop stop = attention_stop_make(engine->slopes[head], engine->opts.attn_eps, config->head_dim);
    struct meeting meetings[DECODE_TOKENS];
    uint64_t n_met = 0;
    for (size_t t = 0; t < a->n; t++)
        meetings[t] = start_meeting(job, t, head, part);
    for (size_t block = end;; block--) {
        bool is_live = false;
        float key_norm = block > 0 && block <= a->first / KV_BLOCK_TOKENS
                             ? kv_book_key_norm(a->kv, a->layer, kv_head, block - 1)
                             : INFINITY;
        for (size_t t = 0; t < a->n; t++) {
            struct meeting *m = &meetings[t];
            m->is_live = m->is_live && (key_norm == INFINITY || needs_more(m, &stop, key_norm, block));
            is_live = is_live || m->is_live;
        }
        if (!is_live || block == first)
            break;
        struct kv_block keys = kv_book_block(a->kv, a->layer, kv_head, block - 1);
        int64_t first_key = (int64_t)((block - 1) * KV_BLOCK_TOKENS);
        for (size_t t = 0; t < a->n; t++) {
            int64_t n_seen = meetings[t].tile.first_query - first_key + 1;
            uint32_t n_keys = n_seen < keys.n_tokens ? (uint32_t)n_seen : keys.n_tokens;
            if (!meetings[t].is_live)
                continue;
            engine->kernels->attend_one(&meetings[t].tile, engine->opts.kv_type, keys.k, keys.v, n_keys, first_key);
            n_met++;
        }
    }
    for (size_t t = 0; t < a->n && part == 0; t++)
        job->is_live[query_index(job, t, head)] = meetings[t].is_live;
    engine_count_blocks(engine, n_met, a->n * (end - first));
    if (a->releases_heads)
        kv_book_release(a->kv, a->layer, kv_head, first, end - first);
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
    size_t row = attention_row_floats(config), first = near_first_block(a->first), end = a->first / KV_BLOCK_TOKENS + 1;
    ask_ahead(job, item, first, end);
    for (size_t t = 0; t < a->n; t++) {
        const float *q = a->q + t * a->q_stride + item * config->head_dim;
        float *scaled = job->q + query_index(job, t, item) * row;
        memset(scaled, 0, row * sizeof *scaled);
        for (uint32_t c = 0; c < config->head_dim; c++)
            scaled[c] = q[c] * config->softmax_scale;
        float norm = attention_query_norm(scaled, config->head_dim);
        if (job->engine->opts.kv_type == QUIRE_KV_INT8) /* kernels may round it: by 2^-16 of its largest channel */
            norm *= 1 + 0x1p-11f;
        job->norm[query_index(job, t, item)] = norm;
    }
    meet_blocks(job, (uint32_t)item, 0, first, end);
}

/* Item: newer segments of all heads before older ones. */
static void meet_segment(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct job *job = context;
    const struct attention *a = job->attention;
    size_t n_heads = job->engine->model->config.n_heads, head = item % n_heads, part = 1 + item / n_heads;
    size_t first = (job->n_parts - 1 - part) * SEGMENT_BLOCKS;
    bool is_live = false;
    for (size_t t = 0; t < a->n; t++)
        is_live = is_live || job->is_live[query_index(job, t, head)] != 0;
    if (is_live)
        ask_ahead(job, head, first, first + SEGMENT_BLOCKS);
    meet_blocks(job, (uint32_t)head, part, first, first + SEGMENT_BLOCKS);
}

/* Puts the parts of a token's head together. */
static void finish_head(const struct job *job, size_t token, uint32_t head)
{
    const struct attention *a = job->attention;
    const quire_config *config = &job->engine->model->config;
    size_t row = attention_row_floats(config), first = query_index(job, token, head) * job->n_parts;
    float *acc = job->acc + first * row, *out = a->out + token * config->d_model + (size_t)head * config->head_dim;
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

quire_status attention_tokens(struct quire_engine *engine, const struct attention *attention, quire_error *err)
{
    const quire_config *config = &engine->model->config;
    quire_status status = attention_check_blocks(engine, attention, err);
    if (status != QUIRE_OK)
        return status;
    struct job job = cut_scratch(engine, attention);
    threads_run(engine->threads, config->n_heads, meet_near, &job);
    if (job.n_parts > 1)
        threads_run(engine->threads, config->n_heads * (job.n_parts - 1), meet_segment, &job);
    for (size_t token = 0; token < attention->n; token++)
        for (uint32_t head = 0; head < config->n_heads; head++)
            finish_head(&job, token, head);
    return QUIRE_OK;
}

void attention_ask_ahead(const struct quire_engine *engine, const struct kv_book *kv, uint32_t layer, size_t position)
{
    size_t n_heads = size_min(engine->model->config.kv_n_heads, threads_count(engine->threads));
    size_t first = near_first_block(position), end = position / KV_BLOCK_TOKENS + 1;
    for (uint32_t head = 0; head < n_heads; head++)
        kv_book_prefetch(kv, layer, head, first, end - first);
}
