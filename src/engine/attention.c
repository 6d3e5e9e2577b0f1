/* A chunk's queries are cut at the absolute 64-token block edges, and each tile meets its blocks from its own down to
 * block 0: a row's result depends on its position alone, not on the chunk that it came in. */
#include "attention.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

/* Tiles that share one unpacking of a block. Four keep the thread's tiles in L2 at head_dim 128. */
enum { GROUP_TILES = 4, GROUP_QUERIES = GROUP_TILES * TILE_QUERIES };

static size_t row_floats(const quire_config *config)
{
    return size_round_up(config->head_dim, LANES);
}

static size_t tile_floats(const quire_config *config)
{
    return TILE_QUERIES * row_floats(config);
}

/* A thread's scratch, cut up. */
struct buffers {
    float *columns;   /* [head_dim][TILE_KEYS] */
    float *values;    /* [TILE_KEYS][row] */
    float *row;       /* [2][row] */
    float *q, *acc;   /* [GROUP_TILES][TILE_QUERIES][row] */
    float *max, *sum; /* [GROUP_TILES][TILE_QUERIES] */
};

size_t attention_scratch_floats(const quire_config *config)
{
    return (2 + 2 * GROUP_TILES) * tile_floats(config) + 2 * row_floats(config) + 2 * GROUP_QUERIES;
}

static struct buffers cut_scratch(const struct attention_scratch *scratch, const quire_config *config, uint32_t worker)
{
    struct buffers b;
    size_t tile = tile_floats(config);
    float *p = scratch->memory + worker * scratch->worker_floats;
    b.columns = p;
    b.values = b.columns + tile;
    b.q = b.values + tile;
    b.acc = b.q + GROUP_TILES * tile;
    b.max = b.acc + GROUP_TILES * tile;
    b.sum = b.max + GROUP_QUERIES;
    b.row = b.sum + GROUP_QUERIES;
    return b;
}

struct job {
    struct quire_engine *engine;
    const struct attention *attention;
};

/* Queries [first, first + n) of a head, scaled, and an empty accumulator. */
static struct attention_tile start_tile(const struct job *job, const struct buffers *b, size_t index, uint32_t head,
                                        size_t first, size_t n)
{
    const struct attention *a = job->attention;
    const quire_config *config = &job->engine->model->config;
    size_t row = row_floats(config), tile = tile_floats(config);
    size_t n_rows = size_round_up(n, TILE_ROW_STEP);
    struct attention_tile t = {
        .n_queries = (uint32_t)n,
        .head_dim = config->head_dim,
        .row = (uint32_t)row,
        .slope = job->engine->slopes[head],
        .first_query = (int64_t)first,
        .q = b->q + index * tile,
        .acc = b->acc + index * tile,
        .max = b->max + index * TILE_QUERIES,
        .sum = b->sum + index * TILE_QUERIES,
    };
    memset(t.q, 0, n_rows * row * sizeof *t.q);
    memset(t.acc, 0, n_rows * row * sizeof *t.acc);
    for (size_t r = 0; r < n_rows; r++) {
        t.max[r] = -INFINITY;
        t.sum[r] = 0.0f;
    }
    for (size_t r = 0; r < n; r++) {
        const float *q = a->q + (first - a->first + r) * a->q_stride + (size_t)head * config->head_dim;
        for (uint32_t c = 0; c < config->head_dim; c++)
            t.q[r * row + c] = q[c] * config->softmax_scale;
    }
    return t;
}

static void finish_tile(const struct job *job, const struct attention_tile *tile, uint32_t head)
{
    const struct attention *a = job->attention;
    size_t d_model = job->engine->model->config.d_model;
    for (size_t r = 0; r < tile->n_queries; r++) {
        float *out = a->out + ((size_t)tile->first_query - a->first + r) * d_model + (size_t)head * tile->head_dim;
        float inverse = 1.0f / tile->sum[r];
        for (uint32_t c = 0; c < tile->head_dim; c++)
            out[c] = tile->acc[r * tile->row + c] * inverse;
    }
}

static void unpack_values(const struct job *job, const struct buffers *b, struct kv_block block)
{
    const quire_config *config = &job->engine->model->config;
    quire_dtype type = job->engine->opts.kv_type;
    size_t row = row_floats(config), stored = (size_t)config->head_dim * quire_dtype_block_bytes(type);
    if (block.n_tokens < TILE_KEYS || row > config->head_dim)
        memset(b->values, 0, TILE_KEYS * row * sizeof *b->values);
    for (uint32_t j = 0; j < block.n_tokens; j++)
        job->engine->kernels->unpack[type](b->values + j * row, (const unsigned char *)block.v + j * stored,
                                           config->head_dim);
}

/* One head, and the queries of up to GROUP_TILES absolute blocks. */
static void attend_group(void *context, size_t item, uint32_t worker)
{
    const struct job *job = context;
    const struct attention *a = job->attention;
    const quire_config *config = &job->engine->model->config;
    const struct kernels *kernels = job->engine->kernels;
    struct buffers b = cut_scratch(a->scratch, config, worker);
    uint32_t head = (uint32_t)(item % config->n_heads);
    uint32_t kv_head = head / (config->n_heads / config->kv_n_heads);
    /* Groups are cut at absolute multiples of GROUP_QUERIES too. */
    size_t group = a->first / GROUP_QUERIES + item / config->n_heads;
    size_t first = size_max(a->first, group * GROUP_QUERIES);
    size_t end = size_min(a->first + a->n, (group + 1) * GROUP_QUERIES);
    struct attention_tile tiles[GROUP_TILES];
    size_t n_tiles = 0;
    for (size_t t = first; t < end; n_tiles++) {
        size_t tile_end = size_min(end, (t / TILE_QUERIES + 1) * TILE_QUERIES);
        tiles[n_tiles] = start_tile(job, &b, n_tiles, head, t, tile_end - t);
        t = tile_end;
    }
    for (size_t block = (end - 1) / KV_BLOCK_TOKENS + 1; block-- > 0;) {
        if (engine_is_cancelled(job->engine))
            return;
        struct kv_block keys = kv_book_block(a->kv, a->layer, kv_head, block);
        int64_t first_key = (int64_t)(block * KV_BLOCK_TOKENS);
        kernels->unpack_columns(b.columns, job->engine->opts.kv_type, keys.k, keys.n_tokens, config->head_dim, b.row);
        unpack_values(job, &b, keys);
        for (size_t t = 0; t < n_tiles; t++)
            if (first_key < tiles[t].first_query + tiles[t].n_queries)
                kernels->attend(&tiles[t], b.columns, b.values, first_key);
    }
    for (size_t t = 0; t < n_tiles; t++)
        finish_tile(job, &tiles[t], head);
    if (a->releases_heads)
        kv_book_release(a->kv, a->layer, kv_head, 0, (end - 1) / KV_BLOCK_TOKENS + 1);
}

/* --- checks ----------------------------------------------------------------------------------------------------- */

struct check {
    struct quire_engine *engine;
    const struct attention *attention;
    atomic_bool has_failed;
    quire_error why; /* of the first failure */
};

static void check_head(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    struct check *check = context;
    quire_error why = {0};
    if (engine_is_cancelled(check->engine) || atomic_load(&check->has_failed))
        return;
    if (kv_book_check(check->attention->kv, check->attention->layer, (uint32_t)item, &why) != QUIRE_OK &&
        !atomic_exchange(&check->has_failed, true))
        check->why = why;
}

static quire_status check_blocks(struct quire_engine *engine, const struct attention *attention, quire_error *err)
{
    struct check check = {.engine = engine, .attention = attention};
    if (kv_book_is_checked(attention->kv, attention->layer))
        return QUIRE_OK;
    threads_run(engine->threads, engine->model->config.kv_n_heads, check_head, &check);
    if (check.why.status != QUIRE_OK)
        return quire_fail(err, check.why.status, "%s", check.why.message);
    return engine_check_cancelled(engine, err);
}

/* --- both ways --------------------------------------------------------------------------------------------------- */

quire_status attention_chunk(struct quire_engine *engine, const struct attention *attention, quire_error *err)
{
    struct job job = {engine, attention};
    quire_status status = check_blocks(engine, attention, err);
    if (status != QUIRE_OK)
        return status;
    size_t first_group = attention->first / GROUP_QUERIES;
    size_t last_group = (attention->first + attention->n - 1) / GROUP_QUERIES;
    threads_run(engine->threads, (last_group - first_group + 1) * engine->model->config.n_heads, attend_group, &job);
    return engine_check_cancelled(engine, err);
}

static void attend_token(void *context, size_t item, uint32_t worker)
{
    const struct job *job = context;
    const struct attention *a = job->attention;
    const quire_config *config = &job->engine->model->config;
    struct buffers b = cut_scratch(a->scratch, config, worker);
    uint32_t head = (uint32_t)item;
    uint32_t kv_head = head / (config->n_heads / config->kv_n_heads);
    uint32_t ahead = kv_head + threads_count(job->engine->threads);
    if (a->asks_ahead && ahead < config->kv_n_heads && head % (config->n_heads / config->kv_n_heads) == 0)
        kv_book_prefetch(a->kv, a->layer, ahead, 0, a->first / KV_BLOCK_TOKENS + 1);
    struct attention_tile tile = start_tile(job, &b, 0, head, a->first, 1);
    memset(b.row, 0, row_floats(config) * sizeof *b.row);
    for (size_t block = a->first / KV_BLOCK_TOKENS + 1; block-- > 0;) {
        struct kv_block keys = kv_book_block(a->kv, a->layer, kv_head, block);
        int64_t first_key = (int64_t)(block * KV_BLOCK_TOKENS);
        job->engine->kernels->attend_one(&tile, job->engine->opts.kv_type, keys.k, keys.v, keys.n_tokens, first_key,
                                         b.row);
    }
    finish_tile(job, &tile, head);
    if (a->releases_heads)
        kv_book_release(a->kv, a->layer, kv_head, 0, a->first / KV_BLOCK_TOKENS + 1);
}

quire_status attention_token(struct quire_engine *engine, const struct attention *attention, quire_error *err)
{
    struct job job = {engine, attention};
    quire_status status = check_blocks(engine, attention, err);
    if (status == QUIRE_OK)
        threads_run(engine->threads, engine->model->config.n_heads, attend_token, &job);
    return status;
}

void attention_ask_ahead(const struct quire_engine *engine, const struct kv_book *kv, uint32_t layer, size_t position)
{
    size_t n_heads = size_min(engine->model->config.kv_n_heads, threads_count(engine->threads));
    for (uint32_t head = 0; head < n_heads; head++)
        kv_book_prefetch(kv, layer, head, 0, position / KV_BLOCK_TOKENS + 1);
}
