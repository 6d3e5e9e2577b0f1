/* A chunk's queries are cut at the absolute 64-token block edges, and each tile meets its blocks from its own down to
 * block 0, or to where the stop is certain, row by row: a row's result depends on its position alone, not on the chunk
 * that it came in. */
#include "attention.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/attention_stop.h"

/* Tiles of floats that a side of some blocks takes: of one block in floats, or of several in bfloat16. */
enum { SIDE_TILES = NARROW_BLOCKS / 2 };

static size_t tile_floats(const quire_config *config)
{
    return TILE_QUERIES * attention_row_floats(config);
}

/* A thread's scratch, cut up. */
struct buffers {
    float *columns;          /* [head_dim][TILE_KEYS], or the keys of NARROW_BLOCKS blocks of bfloat16 */
    float *values;           /* [TILE_KEYS][row], or their values */
    float *rows;             /* [TILE_KEYS][row]: a side on its way to bfloat16 */
    float *q, *acc;          /* [GROUP_TILES][TILE_QUERIES][row]: of a group that shares the blocks' layout */
    float *max, *sum, *norm; /* [GROUP_TILES][TILE_QUERIES] */
};

size_t attention_scratch_floats(const quire_config *config)
{
    return (2 * SIDE_TILES + 1 + 2 * GROUP_TILES) * tile_floats(config) + 3 * GROUP_TILES * TILE_QUERIES;
}

static struct buffers cut_scratch(const struct attention_scratch *scratch, const quire_config *config, uint32_t worker)
{
    struct buffers b;
    size_t tile = tile_floats(config);
    float *p = scratch->memory + worker * scratch->worker_floats;
    b.columns = p;
    b.values = b.columns + SIDE_TILES * tile;
    b.rows = b.values + SIDE_TILES * tile;
    b.q = b.rows + tile;
    b.acc = b.q + GROUP_TILES * tile;
    b.max = b.acc + GROUP_TILES * tile;
    b.sum = b.max + GROUP_TILES * TILE_QUERIES;
    b.norm = b.sum + GROUP_TILES * TILE_QUERIES;
    return b;
}

struct job {
    struct quire_engine *engine;
    const struct attention *attention;
};

/* Tiles of bfloat16 factors: where the processor has them, for keys and values that are stored so, or with less. */
static bool is_narrow(const struct job *job)
{
    quire_kv_type type = job->engine->opts.kv_type;
    return job->engine->kernels->attend_narrow && type != QUIRE_KV_F32 && type != QUIRE_KV_F16 &&
           job->engine->model->config.head_dim % NARROW_STEP == 0 && job->engine->model->config.head_dim <= NARROW_MOST;
}

/* A tile with the norms of its queries. */
struct tile {
    struct attention_tile t;
    float *norm;
};

/* Queries [first, first + n) of a head, scaled, and an empty accumulator. */
static struct tile start_tile(const struct job *job, const struct buffers *b, size_t index, uint32_t head, size_t first,
                              size_t n)
{
    const struct attention *a = job->attention;
    const quire_config *config = &job->engine->model->config;
    size_t row = attention_row_floats(config), floats = tile_floats(config);
    size_t n_rows = size_round_up(n, TILE_ROW_STEP);
    struct attention_tile t = {
        .n_queries = (uint32_t)n,
        .head_dim = config->head_dim,
        .row = (uint32_t)row,
        .slope = job->engine->slopes[head],
        .first_query = (int64_t)first,
        .q = b->q + index * floats,
        .acc = b->acc + index * floats,
        .max = b->max + index * TILE_QUERIES,
        .sum = b->sum + index * TILE_QUERIES,
        .live = ~(uint64_t)0 >> (TILE_QUERIES - n),
    };
    struct tile tile = {t, b->norm + index * TILE_QUERIES};
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
        tile.norm[r] = attention_query_norm(t.q + r * row, config->head_dim);
        if (is_narrow(job)) /* rounding adds 2^-9 at most: to queries, and to int8 and int4 keys */
            tile.norm[r] *= 1 + 0x1p-7f;
    }
    if (is_narrow(job))
        job->engine->kernels->narrow_start(&t);
    return tile;
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

/* Rows for which everything before block `block` is nothing are done. */
static void stop_rows(struct tile *tile, const struct attention_stop *stop, float key_norm, size_t block)
{
    int64_t last_key = (int64_t)(block * KV_BLOCK_TOKENS) - 1;
    for (uint64_t rows = tile->t.live; rows; rows &= rows - 1) {
        unsigned r = (unsigned)__builtin_ctzll(rows);
        if (attention_may_stop(stop, tile->norm[r], key_norm, tile->t.first_query + r, last_key, tile->t.max[r],
                               tile->t.sum[r]))
            tile->t.live &= ~((uint64_t)1 << r);
    }
}

/* A side of a block in bfloat16: as it is stored, or by way of floats, in `rows`. */
static const void *narrow_side(const struct job *job, float *rows, const void *side, uint32_t n)
{
    const struct kernels *kernels = job->engine->kernels;
    quire_kv_type type = job->engine->opts.kv_type;
    uint32_t head_dim = job->engine->model->config.head_dim;
    if (type == QUIRE_KV_BF16)
        return side;
    kernels->unpack_rows(rows, head_dim, type, side, n, head_dim);
    for (size_t j = 0; j < n; j++) /* rows close up to the front */
        kernels->narrow_row((uint16_t *)(void *)rows + j * head_dim, rows + j * head_dim, head_dim);
    return rows;
}

/* Blocks [block, block + n) of a head as the tiles want them. */
static void lay_out_blocks(const struct job *job, const struct buffers *b, uint32_t kv_head, size_t block, size_t n)
{
    const struct attention *a = job->attention;
    const quire_config *config = &job->engine->model->config;
    const struct kernels *kernels = job->engine->kernels;
    quire_kv_type type = job->engine->opts.kv_type;
    uint32_t head_dim = config->head_dim;
    size_t side_bytes = (size_t)TILE_KEYS * head_dim * sizeof(uint16_t);
    for (size_t i = 0; i < n; i++) {
        struct kv_block keys = kv_book_block(a->kv, a->layer, kv_head, block + i);
        if (is_narrow(job)) {
            kernels->narrow_keys((unsigned char *)b->columns + i * side_bytes,
                                 narrow_side(job, b->rows, keys.k, keys.n_tokens), keys.n_tokens, head_dim);
            kernels->narrow_values((unsigned char *)b->values + i * side_bytes,
                                   narrow_side(job, b->rows, keys.v, keys.n_tokens), keys.n_tokens, head_dim);
        } else {
            kernels->unpack_columns(b->columns, type, keys.k, keys.n_tokens, head_dim);
            kernels->unpack_rows(b->values, (uint32_t)attention_row_floats(config), type, keys.v, keys.n_tokens,
                                 head_dim);
        }
    }
}

/* The blocks of a head for the tiles that are not done, newest first, in absolute groups of as many as the kernels take
 * together; of the newest group, a tile gets those up to its own. */
static void meet_blocks(const struct job *job, const struct buffers *b, uint32_t head, struct tile *tiles,
                        size_t n_tiles)
{
    const struct attention *a = job->attention;
    const quire_config *config = &job->engine->model->config;
    const struct kernels *kernels = job->engine->kernels;
    uint32_t kv_head = attention_kv_head(config, head);
    struct attention_stop stop =
        attention_stop_make(job->engine->slopes[head], job->engine->opts.attn_eps, config->head_dim);
    bool narrow = is_narrow(job);
    size_t together = narrow ? kernels->narrow_blocks : 1;
    uint64_t n_met = 0, n_due = 0;
    for (size_t t = 0; t < n_tiles; t++)
        n_due += (uint64_t)tiles[t].t.n_queries * ((size_t)tiles[t].t.first_query / KV_BLOCK_TOKENS + 1);
    size_t end = (size_t)tiles[n_tiles - 1].t.first_query / KV_BLOCK_TOKENS + 1;
    for (bool is_live = true; is_live && end > 0 && !engine_is_cancelled(job->engine);) {
        size_t block = (end - 1) / together * together;
        int64_t first_key = (int64_t)(block * KV_BLOCK_TOKENS);
        float key_norm = block > 0 ? kv_book_key_norm(a->kv, a->layer, kv_head, block - 1) : 0;
        lay_out_blocks(job, b, kv_head, block, end - block);
        is_live = false;
        for (size_t t = 0; t < n_tiles; t++) {
            struct tile *tile = &tiles[t];
            size_t n_own = (size_t)tile->t.first_query / KV_BLOCK_TOKENS + 1;
            if (tile->t.live && block < n_own) {
                size_t n = size_min(end, n_own) - block;
                n_met += (uint64_t)__builtin_popcountll(tile->t.live) * n;
                if (narrow)
                    kernels->attend_narrow(&tile->t, b->columns, b->values, first_key, (uint32_t)n);
                else
                    kernels->attend(&tile->t, b->columns, b->values, first_key);
                if (block > 0)
                    stop_rows(tile, &stop, key_norm, block);
            }
            is_live = is_live || tile->t.live;
        }
        end = block;
    }
    for (size_t t = 0; t < n_tiles && narrow; t++)
        kernels->narrow_end(&tiles[t].t);
    engine_count_blocks(job->engine, n_met, n_due);
}

/* Groups of queries are cut at absolute multiples of so many. */
static size_t group_queries(const struct quire_engine *engine)
{
    return (size_t)engine->kernels->group_tiles * TILE_QUERIES;
}

/* One head, and the queries of a group. */
static void attend_group(void *context, size_t item, uint32_t worker)
{
    const struct job *job = context;
    const struct attention *a = job->attention;
    const quire_config *config = &job->engine->model->config;
    struct buffers b = cut_scratch(a->scratch, config, worker);
    uint32_t head = (uint32_t)(item % config->n_heads);
    size_t n_group = group_queries(job->engine), group = a->first / n_group + item / config->n_heads;
    size_t first = size_max(a->first, group * n_group), end = size_min(a->first + a->n, (group + 1) * n_group);
    struct tile tiles[GROUP_TILES];
    size_t n_tiles = 0;
    for (size_t t = first; t < end; n_tiles++) {
        size_t tile_end = size_min(end, (t / TILE_QUERIES + 1) * TILE_QUERIES);
        tiles[n_tiles] = start_tile(job, &b, n_tiles, head, t, tile_end - t);
        t = tile_end;
    }
    meet_blocks(job, &b, head, tiles, n_tiles);
    if (engine_is_cancelled(job->engine))
        return;
    for (size_t t = 0; t < n_tiles; t++)
        finish_tile(job, &tiles[t].t, head);
    if (a->releases_heads)
        kv_book_release(a->kv, a->layer, attention_kv_head(config, head), 0, (end - 1) / KV_BLOCK_TOKENS + 1);
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

quire_status attention_check_blocks(struct quire_engine *engine, const struct attention *attention, quire_error *err)
{
    struct check check = {.engine = engine, .attention = attention};
    if (kv_book_is_checked(attention->kv, attention->layer))
        return QUIRE_OK;
    threads_run(engine->threads, engine->model->config.kv_n_heads, check_head, &check);
    if (check.why.status != QUIRE_OK)
        return quire_fail(err, check.why.status, "%s", check.why.message);
    return engine_check_cancelled(engine, err);
}

/* --- a chunk ----------------------------------------------------------------------------------------------------- */

quire_status attention_chunk(struct quire_engine *engine, const struct attention *attention, quire_error *err)
{
    struct job job = {engine, attention};
    quire_status status = attention_check_blocks(engine, attention, err);
    if (status != QUIRE_OK)
        return status;
    size_t first_group = attention->first / group_queries(engine);
    size_t last_group = (attention->first + attention->n - 1) / group_queries(engine);
    threads_run(engine->threads, (last_group - first_group + 1) * engine->model->config.n_heads, attend_group, &job);
    return engine_check_cancelled(engine, err);
}
