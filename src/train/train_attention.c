#include "train_attention.h"

#include <math.h>
#include <string.h>

#include "kernels/attention_stop.h"
#include "net_private.h"

enum {
    SEGMENT_BLOCKS = 8, /* of keys, at least: threads share the backward pass of a head by segments */
    MOST_SEGMENTS = 4
};

/* What is left out of a query's weights at most: half a unit in a float's last place. */
static const float STOP_EPS = 0x1p-24f;

/* --- layout ------------------------------------------------------------------------------------------------------ */

/* Tiles as they are packed. Kinds of a query's head come first, then those of a kv head. */
enum tile_kind { TILE_Q, TILE_Q_PAIRS, TILE_D_OUT, TILE_D_OUT_PAIRS, N_QUERY_KINDS };
enum side_kind { SIDE_K_COLUMNS, SIDE_K_SUMS, SIDE_V, N_SIDE_KINDS };

static size_t row_floats(const struct net *net)
{
    return size_round_up(net->config.head_dim, LANES);
}

static size_t tile_floats(const struct net *net)
{
    return TILE_KEYS * row_floats(net);
}

static size_t tile_bytes(const struct net *net)
{
    return tile_floats(net) * (net->is_narrow ? sizeof(uint16_t) : sizeof(float));
}

static size_t n_tiles(size_t n_tokens)
{
    return (n_tokens + TILE_KEYS - 1) / TILE_KEYS;
}

static size_t n_segments(size_t n_tokens)
{
    return size_min(MOST_SEGMENTS, (n_tiles(n_tokens) + SEGMENT_BLOCKS - 1) / SEGMENT_BLOCKS);
}

/* A thread's floats: three tiles, and vectors of one. */
static size_t worker_floats(const struct net *net)
{
    return 3 * tile_floats(net) + 4 * TILE_QUERIES;
}

void train_attention_lay_out(struct train_attention_scratch *scratch, struct arena *arena, const struct net *net)
{
    const quire_config *c = &net->config;
    size_t tiles = net->options.n_sequences * n_tiles(net->options.seq_len);
    size_t kinds = (size_t)N_QUERY_KINDS * c->n_heads + (size_t)N_SIDE_KINDS * c->kv_n_heads;
    scratch->packed = arena_take(arena, tiles, kinds, tile_bytes(net));
    scratch->key_norms = arena_floats(arena, tiles, c->kv_n_heads);
    scratch->query_norms = arena_floats(arena, tiles, c->n_heads);
    scratch->least_lse = arena_floats(arena, tiles, c->n_heads);
    scratch->delta = arena_floats(arena, tiles * TILE_QUERIES, c->n_heads);
    scratch->dq = arena_floats(arena, n_segments(net->options.seq_len) * tiles * c->n_heads, tile_floats(net));
    scratch->workers = arena_floats(arena, net->n_threads, worker_floats(net));
}

struct job {
    struct net *net;
    const struct train_attention *attention;
    const float *d_out;
    float *d_qkv;
    size_t n_blocks; /* of a sequence */
    size_t n_tiles;  /* of all sequences */
    size_t n_segments, segment_blocks;
};

static struct job make_job(struct net *net, const struct train_attention *attention)
{
    struct job job = {.net = net, .attention = attention, .n_blocks = n_tiles(attention->n_tokens)};
    job.n_tiles = attention->n_sequences * job.n_blocks;
    job.n_segments = n_segments(attention->n_tokens);
    job.segment_blocks = (job.n_blocks + job.n_segments - 1) / job.n_segments;
    return job;
}

/* Tile t of all sequences, of a head. */
static unsigned char *query_tile(const struct job *job, enum tile_kind kind, size_t head, size_t t)
{
    size_t index = ((size_t)kind * job->net->config.n_heads + head) * job->n_tiles + t;
    return job->net->scratch.attention.packed + index * tile_bytes(job->net);
}

static unsigned char *side_tile(const struct job *job, enum side_kind kind, size_t kv_head, size_t t)
{
    const quire_config *c = &job->net->config;
    size_t index = (N_QUERY_KINDS * (size_t)c->n_heads + (size_t)kind * c->kv_n_heads + kv_head) * job->n_tiles + t;
    return job->net->scratch.attention.packed + index * tile_bytes(job->net);
}

static float *dq_tile(const struct job *job, size_t segment, size_t head, size_t t)
{
    size_t index = (segment * job->net->config.n_heads + head) * job->n_tiles + t;
    return job->net->scratch.attention.dq + index * tile_floats(job->net);
}

/* Where a tile lies in its sequence, and in all rows. */
struct place {
    size_t first;     /* position */
    size_t first_row; /* of [T] */
    size_t n;         /* tokens */
};

static struct place place_of(const struct job *job, size_t t)
{
    struct place place = {.first = t % job->n_blocks * TILE_KEYS};
    place.first_row = t / job->n_blocks * job->attention->n_tokens + place.first;
    place.n = size_min(TILE_KEYS, job->attention->n_tokens - place.first);
    return place;
}

static float *worker_memory(const struct job *job, uint32_t worker)
{
    return job->net->scratch.attention.workers + worker * worker_floats(job->net);
}

static size_t lse_stride(const struct job *job)
{
    return job->attention->n_sequences * job->attention->n_tokens;
}

/* --- packing ----------------------------------------------------------------------------------------------------- */

/* At least the norm of n numbers: the sum's rounding is less than what is added. */
static float row_norm(const struct net *net, const float *row)
{
    uint32_t n = net->config.head_dim;
    return sqrtf(net->kernels->dot[QUIRE_DTYPE_F32](row, row, n)) * (1 + ((float)n + 4) * 0x1p-23f);
}

/* n rows of a head, times scale, as a side of a block: [n][head_dim] of the factors' type. norm, unless NULL: at least
 * the longest row's, before and after rounding. side: room for floats. */
static void make_side(const struct net *net, float *side, float *norm, const float *rows, size_t stride, size_t n,
                      float scale)
{
    uint32_t head_dim = net->config.head_dim;
    float longest = 0;
    for (size_t r = 0; r < n; r++, rows += stride) {
        float *row = side + r * head_dim;
        for (uint32_t c = 0; c < head_dim; c++)
            row[c] = rows[c] * scale;
        if (norm) {
            float length = row_norm(net, row);
            longest = length > longest || isnan(length) ? length : longest; /* a NaN stays: nothing is left out */
        }
        if (net->is_narrow) { /* rows close up to the front */
            net->kernels->narrow_query(row, head_dim);
            memmove((uint16_t *)(void *)side + r * head_dim, row, head_dim * sizeof(uint16_t));
        }
    }
    if (norm)
        *norm = net->is_narrow ? longest * (1 + 0x1p-7f) : longest;
}

static void pack_columns(const struct net *net, void *tile, const float *side, size_t n)
{
    uint32_t head_dim = net->config.head_dim;
    if (net->is_narrow)
        net->kernels->narrow_keys(tile, side, (uint32_t)n, head_dim);
    else
        net->kernels->unpack_columns(tile, QUIRE_KV_F32, side, (uint32_t)n, head_dim);
}

/* As what sums over the tile's tokens run through: rows, or pairs of them. */
static void pack_sums(const struct net *net, void *tile, const float *side, size_t n)
{
    uint32_t head_dim = net->config.head_dim;
    if (net->is_narrow)
        net->kernels->narrow_values(tile, side, (uint32_t)n, head_dim);
    else
        net->kernels->unpack_rows(tile, (uint32_t)row_floats(net), QUIRE_KV_F32, side, (uint32_t)n, head_dim);
}

/* Keys and values of a tile of a kv head; for the way back the values' columns are wanted. */
static void pack_keys(void *context, size_t item, uint32_t worker)
{
    const struct job *job = context;
    const struct net *net = job->net;
    const quire_config *c = &net->config;
    size_t kv_head = item / job->n_tiles, t = item % job->n_tiles, width = net_qkv_width(c);
    struct place place = place_of(job, t);
    float *side = worker_memory(job, worker);
    const float *k = job->attention->qkv + place.first_row * width + c->d_model + kv_head * c->head_dim;
    make_side(net, side, &net->scratch.attention.key_norms[item], k, width, place.n, 1.0f);
    pack_columns(net, side_tile(job, SIDE_K_COLUMNS, kv_head, t), side, place.n);
    if (job->d_out)
        pack_sums(net, side_tile(job, SIDE_K_SUMS, kv_head, t), side, place.n);
    make_side(net, side, NULL, k + net_kv_width(c), width, place.n, 1.0f);
    if (job->d_out)
        pack_columns(net, side_tile(job, SIDE_V, kv_head, t), side, place.n);
    else
        pack_sums(net, side_tile(job, SIDE_V, kv_head, t), side, place.n);
}

/* The largest norm of a tile's keys and of all before it in its sequence. */
static void make_norms_cover(const struct job *job)
{
    float *norms = job->net->scratch.attention.key_norms;
    for (size_t i = 1; i < job->net->config.kv_n_heads * job->n_tiles; i++)
        if (i % job->n_blocks != 0 && !(norms[i] >= norms[i - 1]))
            norms[i] = isnan(norms[i]) ? norms[i] : norms[i - 1];
}

/* A row tile of the queries' side: as floats, or bfloat16. */
static void pack_rows(const struct net *net, void *tile, const float *side, size_t n)
{
    size_t row_bytes = net->config.head_dim * sizeof(uint16_t);
    if (!net->is_narrow) {
        pack_sums(net, tile, side, n);
        return;
    }
    memcpy(tile, side, n * row_bytes);
    memset((unsigned char *)tile + n * row_bytes, 0, (TILE_QUERIES - n) * row_bytes);
}

/* Queries of a tile, the gradient of their output, and their product with the output. */
static void pack_queries(void *context, size_t item, uint32_t worker)
{
    const struct job *job = context;
    const struct net *net = job->net;
    const quire_config *c = &net->config;
    const struct train_attention *a = job->attention;
    size_t head = item / job->n_tiles, t = item % job->n_tiles, width = net_qkv_width(c), d = c->d_model;
    struct place place = place_of(job, t);
    size_t at = place.first_row * d + head * c->head_dim;
    float *side = worker_memory(job, worker), *delta = net->scratch.attention.delta + item * TILE_QUERIES;
    float least = INFINITY;
    make_side(net, side, &net->scratch.attention.query_norms[item],
              a->qkv + place.first_row * width + head * c->head_dim, width, place.n, c->softmax_scale);
    pack_rows(net, query_tile(job, TILE_Q, head, t), side, place.n);
    if (net->is_narrow)
        pack_sums(net, query_tile(job, TILE_Q_PAIRS, head, t), side, place.n);
    make_side(net, side, NULL, job->d_out + at, d, place.n, 1.0f);
    pack_rows(net, query_tile(job, TILE_D_OUT, head, t), side, place.n);
    if (net->is_narrow)
        pack_sums(net, query_tile(job, TILE_D_OUT_PAIRS, head, t), side, place.n);
    memset(delta, 0, TILE_QUERIES * sizeof *delta);
    for (size_t r = 0; r < place.n; r++) {
        float lse = a->lse[head * lse_stride(job) + place.first_row + r];
        least = lse < least || isnan(lse) ? lse : least;
        delta[r] = net->kernels->dot[QUIRE_DTYPE_F32](a->out + at + r * d, job->d_out + at + r * d, c->head_dim);
    }
    net->scratch.attention.least_lse[item] = least;
}

/* --- forward ----------------------------------------------------------------------------------------------------- */

static uint32_t kv_head_of(const quire_config *c, size_t head)
{
    return (uint32_t)head / (c->n_heads / c->kv_n_heads);
}

/* Queries of a tile, scaled, and nothing seen. norms: [TILE_QUERIES]. */
static struct attention_tile start_tile(const struct job *job, float *memory, float *norms, size_t head,
                                        const struct place *place)
{
    const struct net *net = job->net;
    const quire_config *c = &net->config;
    size_t row = row_floats(net), width = net_qkv_width(c);
    struct attention_tile tile = {
        .n_queries = (uint32_t)place->n,
        .head_dim = c->head_dim,
        .row = (uint32_t)row,
        .slope = net->slopes[head],
        .first_query = (int64_t)place->first,
        .q = memory,
        .acc = memory + tile_floats(net),
        .max = memory + 2 * tile_floats(net),
        .sum = memory + 2 * tile_floats(net) + TILE_QUERIES,
        .live = ~(uint64_t)0 >> (TILE_QUERIES - place->n),
    };
    memset(memory, 0, 2 * tile_floats(net) * sizeof *memory);
    for (size_t r = 0; r < TILE_QUERIES; r++) {
        tile.max[r] = -INFINITY;
        tile.sum[r] = 0.0f;
    }
    for (size_t r = 0; r < place->n; r++) {
        const float *q = job->attention->qkv + (place->first_row + r) * width + head * c->head_dim;
        float *to = tile.q + r * row;
        for (uint32_t i = 0; i < c->head_dim; i++)
            to[i] = q[i] * c->softmax_scale;
        norms[r] = row_norm(net, to);
        if (net->is_narrow) {
            norms[r] *= 1 + 0x1p-8f;
            net->kernels->narrow_query(to, c->head_dim);
        }
    }
    return tile;
}

/* Rows for which everything before block `block` is nothing are done. */
static void stop_rows(struct attention_tile *tile, const float *norms, const struct attention_stop *stop,
                      float key_norm, size_t block)
{
    int64_t last_key = (int64_t)(block * TILE_KEYS) - 1;
    for (uint64_t rows = tile->live; rows; rows &= rows - 1) {
        unsigned r = (unsigned)__builtin_ctzll(rows);
        if (attention_may_stop(stop, norms[r], key_norm, tile->first_query + r, last_key, tile->max[r], tile->sum[r]))
            tile->live &= ~((uint64_t)1 << r);
    }
}

static void finish_tile(const struct job *job, const struct attention_tile *tile, size_t head,
                        const struct place *place)
{
    const quire_config *c = &job->net->config;
    float *lse = job->attention->lse + head * lse_stride(job) + place->first_row;
    for (size_t r = 0; r < place->n; r++) {
        float *out = job->attention->out + (place->first_row + r) * c->d_model + head * c->head_dim;
        float inverse = 1.0f / tile->sum[r];
        for (uint32_t i = 0; i < c->head_dim; i++)
            out[i] = tile->acc[r * tile->row + i] * inverse;
        lse[r] = tile->max[r] + logf(tile->sum[r]);
    }
}

/* A tile of a head against its blocks, newest first. */
static void attend_tile(void *context, size_t item, uint32_t worker)
{
    const struct job *job = context;
    const struct net *net = job->net;
    const struct kernels *kernels = net->kernels;
    size_t head = item % net->config.n_heads, t = job->n_tiles - 1 - item / net->config.n_heads; /* long ones first */
    size_t kv_head = kv_head_of(&net->config, head), first_tile = t / job->n_blocks * job->n_blocks;
    float *memory = worker_memory(job, worker), *norms = memory + 2 * tile_floats(net) + 2 * TILE_QUERIES;
    const float *key_norms = net->scratch.attention.key_norms + kv_head * job->n_tiles + first_tile;
    struct place place = place_of(job, t);
    struct attention_tile tile = start_tile(job, memory, norms, head, &place);
    struct attention_stop stop = attention_stop_make(tile.slope, STOP_EPS, tile.head_dim);
    for (size_t block = t - first_tile + 1; block-- > 0 && tile.live;) {
        const void *k = side_tile(job, SIDE_K_COLUMNS, kv_head, first_tile + block);
        const void *v = side_tile(job, SIDE_V, kv_head, first_tile + block);
        int64_t first_key = (int64_t)(block * TILE_KEYS);
        if (net->is_narrow)
            kernels->attend_narrow(&tile, k, v, first_key);
        else
            kernels->attend(&tile, k, v, first_key);
        if (block > 0)
            stop_rows(&tile, norms, &stop, key_norms[block - 1], block);
    }
    finish_tile(job, &tile, head, &place);
}

void train_attention_forward(struct net *net, const struct train_attention *attention)
{
    struct job job = make_job(net, attention);
    threads_run(net->threads, net->config.kv_n_heads * job.n_tiles, pack_keys, &job);
    make_norms_cover(&job);
    threads_run(net->threads, net->config.n_heads * job.n_tiles, attend_tile, &job);
}

/* --- backward ---------------------------------------------------------------------------------------------------- */

/* Whether each weight of the tile's queries for the block's keys is so small that all those left out of a query's
 * weights are lost in rounding. A NaN makes it no. */
static bool is_nothing(const struct job *job, size_t head, size_t kv_head, size_t t, size_t key_tile)
{
    const struct train_attention_scratch *s = &job->net->scratch.attention;
    size_t distance = (t - key_tile - 1) * TILE_KEYS + 1; /* from the first query to the last key */
    double score = (double)s->query_norms[head * job->n_tiles + t] *
                   (double)s->key_norms[kv_head * job->n_tiles + key_tile] * (1 + 0x1p-12);
    double most = score - (double)job->net->slopes[head] * (1 - 0x1p-22) * (double)distance -
                  (double)s->least_lse[head * job->n_tiles + t];
    return most + log((double)job->attention->n_tokens) <= log((double)STOP_EPS);
}

/* One tile of queries against one block. lse: scratch of TILE_QUERIES. */
static void pair_back(const struct job *job, size_t segment, size_t head, size_t t, size_t kv_head, size_t key_tile,
                      float *dk, float *dv, float *lse)
{
    const struct net *net = job->net;
    bool is_narrow = net->is_narrow;
    struct place place = place_of(job, t);
    for (size_t r = 0; r < TILE_QUERIES; r++)
        lse[r] = r < place.n ? job->attention->lse[head * lse_stride(job) + place.first_row + r] : INFINITY;
    struct attention_back back = {
        .head_dim = net->config.head_dim,
        .row = (uint32_t)row_floats(net),
        .slope = net->slopes[head],
        .distance = ((int64_t)key_tile - (int64_t)t) * TILE_KEYS,
        .q = query_tile(job, TILE_Q, head, t),
        .d_out = query_tile(job, TILE_D_OUT, head, t),
        .q_sums = query_tile(job, is_narrow ? TILE_Q_PAIRS : TILE_Q, head, t),
        .d_out_sums = query_tile(job, is_narrow ? TILE_D_OUT_PAIRS : TILE_D_OUT, head, t),
        .k_columns = side_tile(job, SIDE_K_COLUMNS, kv_head, key_tile),
        .v_columns = side_tile(job, SIDE_V, kv_head, key_tile),
        .k_sums = side_tile(job, SIDE_K_SUMS, kv_head, key_tile),
        .lse = lse,
        .delta = net->scratch.attention.delta + (head * job->n_tiles + t) * TILE_QUERIES,
        .dq = dq_tile(job, segment, head, t),
        .dk = dk,
        .dv = dv,
    };
    if (is_narrow)
        net->kernels->attend_back_narrow(&back);
    else
        net->kernels->attend_back(&back);
}

static void store_rows(const struct job *job, size_t column, const float *rows, const struct place *place)
{
    const quire_config *c = &job->net->config;
    size_t width = net_qkv_width(c), row = row_floats(job->net);
    for (size_t r = 0; r < place->n; r++)
        memcpy(job->d_qkv + (place->first_row + r) * width + column, rows + r * row, c->head_dim * sizeof *rows);
}

/* A segment of the keys of a kv head, for all queries of its heads: those keys' and values' gradients, and their part
 * of the queries'. */
static void segment_back(void *context, size_t item, uint32_t worker)
{
    const struct job *job = context;
    const struct net *net = job->net;
    const quire_config *c = &net->config;
    size_t kv_head = item % c->kv_n_heads, segment = item / c->kv_n_heads % job->n_segments;
    size_t sequence = item / c->kv_n_heads / job->n_segments, group = c->n_heads / c->kv_n_heads;
    size_t first_tile = sequence * job->n_blocks, end = first_tile + job->n_blocks;
    size_t first_key = first_tile + segment * job->segment_blocks;
    float *dk = worker_memory(job, worker), *dv = dk + tile_floats(net), *lse = dv + tile_floats(net);
    for (size_t head = kv_head * group; head < (kv_head + 1) * group && first_key < end; head++)
        memset(dq_tile(job, segment, head, first_key), 0, (end - first_key) * tile_floats(net) * sizeof(float));
    for (size_t key = first_key; key < size_min(first_key + job->segment_blocks, end); key++) {
        struct place place = place_of(job, key);
        memset(dk, 0, 2 * tile_floats(net) * sizeof *dk);
        for (size_t head = kv_head * group; head < (kv_head + 1) * group; head++)
            for (size_t t = key; t < end; t++)
                if (t == key || !is_nothing(job, head, kv_head, t, key))
                    pair_back(job, segment, head, t, kv_head, key, dk, dv, lse);
        store_rows(job, c->d_model + kv_head * c->head_dim, dk, &place);
        store_rows(job, c->d_model + net_kv_width(c) + kv_head * c->head_dim, dv, &place);
    }
}

/* The segments' parts of a query tile's gradient together, oldest first. */
static void add_segments(void *context, size_t item, uint32_t worker)
{
    const struct job *job = context;
    const struct net *net = job->net;
    const quire_config *c = &net->config;
    size_t head = item / job->n_tiles, t = item % job->n_tiles, last = t % job->n_blocks / job->segment_blocks;
    struct place place = place_of(job, t);
    float *sum = worker_memory(job, worker);
    for (size_t i = 0; i < tile_floats(net); i++) {
        sum[i] = 0;
        for (size_t segment = 0; segment <= last; segment++)
            sum[i] += dq_tile(job, segment, head, t)[i];
        sum[i] *= c->softmax_scale;
    }
    store_rows(job, head * c->head_dim, sum, &place);
}

void train_attention_backward(struct net *net, const struct train_attention *attention, const float *d_out,
                              float *d_qkv)
{
    const quire_config *c = &net->config;
    struct job job = make_job(net, attention);
    job.d_out = d_out;
    job.d_qkv = d_qkv;
    threads_run(net->threads, c->kv_n_heads * job.n_tiles, pack_keys, &job);
    threads_run(net->threads, c->n_heads * job.n_tiles, pack_queries, &job);
    threads_run(net->threads, attention->n_sequences * job.n_segments * c->kv_n_heads, segment_back, &job);
    threads_run(net->threads, c->n_heads * job.n_tiles, add_segments, &job);
}
