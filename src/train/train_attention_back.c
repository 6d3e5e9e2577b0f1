/* The way back: a tile's weights are computed again from the log-sum-exp of its queries. Threads take segments of the
 * keys of a head; each has its own part of the queries' gradient. */
#include <math.h>
#include <string.h>

#include "train_tiles.h"

/* A row tile of the queries' side: as floats, or bfloat16. */
static void pack_rows(const struct net *net, void *tile, const float *side, size_t n)
{
    size_t row_bytes = net->config.head_dim * sizeof(uint16_t);
    if (!net->is_narrow) {
        tiles_pack_sums(net, tile, side, n);
        return;
    }
    memcpy(tile, side, n * row_bytes);
    memset((unsigned char *)tile + n * row_bytes, 0, (TILE_QUERIES - n) * row_bytes);
}

/* Queries of a tile, the gradient of their output, and their product with the output. */
static void pack_queries(void *context, size_t item, uint32_t worker)
{
    const struct tiles *tiles = context;
    const struct net *net = tiles->net;
    const quire_config *c = &net->config;
    const struct train_attention *a = tiles->attention;
    size_t head = item / tiles->n_tiles, t = item % tiles->n_tiles, width = net_qkv_width(c), d = c->d_model;
    struct tiles_place place = tiles_place(tiles, t);
    size_t at = place.first_row * d + head * c->head_dim;
    float *side = tiles_worker(tiles, worker), *delta = net->scratch.attention.delta + item * TILE_QUERIES;
    float least = INFINITY;
    tiles_make_side(net, side, &net->scratch.attention.query_norms[item],
                    a->qkv + place.first_row * width + head * c->head_dim, width, place.n, c->softmax_scale);
    pack_rows(net, tiles_of_queries(tiles, TILE_Q, head, t), side, place.n);
    if (net->is_narrow)
        tiles_pack_sums(net, tiles_of_queries(tiles, TILE_Q_PAIRS, head, t), side, place.n);
    tiles_make_side(net, side, NULL, tiles->d_out + at, d, place.n, 1.0f);
    pack_rows(net, tiles_of_queries(tiles, TILE_D_OUT, head, t), side, place.n);
    if (net->is_narrow)
        tiles_pack_sums(net, tiles_of_queries(tiles, TILE_D_OUT_PAIRS, head, t), side, place.n);
    memset(delta, 0, TILE_QUERIES * sizeof *delta);
    for (size_t r = 0; r < place.n; r++) {
        float lse = a->lse[head * tiles_n_tokens(tiles) + place.first_row + r];
        least = lse < least || isnan(lse) ? lse : least;
        delta[r] = net->kernels->dot(QUIRE_DTYPE_F32, a->out + at + r * d, tiles->d_out + at + r * d, c->head_dim);
    }
    net->scratch.attention.least_lse[item] = least;
}

/* Whether each weight of the tile's queries for the block's keys is so small that all those left out of a query's
 * weights are lost in rounding. A NaN makes it no. */
static bool is_nothing(const struct tiles *tiles, size_t head, size_t kv_head, size_t t, size_t key_tile)
{
    const struct train_attention_scratch *s = &tiles->net->scratch.attention;
    size_t distance = (t - key_tile - 1) * TILE_KEYS + 1; /* from the first query to the last key */
    double score = (double)s->query_norms[head * tiles->n_tiles + t] *
                   (double)s->key_norms[kv_head * tiles->n_tiles + key_tile] * (1 + 0x1p-12);
    double most = score - (double)tiles->net->slopes[head] * (1 - 0x1p-22) * (double)distance -
                  (double)s->least_lse[head * tiles->n_tiles + t];
    return most + log((double)tiles->attention->n_tokens) <= log((double)TILES_STOP_EPS);
}

/* One tile of queries against one block. lse: scratch of TILE_QUERIES. */
static void pair_back(const struct tiles *tiles, size_t segment, size_t head, size_t t, size_t kv_head, size_t key_tile,
                      float *dk, float *dv, float *lse)
{
    const struct net *net = tiles->net;
    bool is_narrow = net->is_narrow;
    struct tiles_place place = tiles_place(tiles, t);
    for (size_t r = 0; r < TILE_QUERIES; r++)
        lse[r] = r < place.n ? tiles->attention->lse[head * tiles_n_tokens(tiles) + place.first_row + r] : INFINITY;
    struct attention_back back = {
        .head_dim = net->config.head_dim,
        .row = (uint32_t)tiles_row(net),
        .slope = net->slopes[head],
        .distance = ((int64_t)key_tile - (int64_t)t) * TILE_KEYS,
        .q = tiles_of_queries(tiles, TILE_Q, head, t),
        .d_out = tiles_of_queries(tiles, TILE_D_OUT, head, t),
        .q_sums = tiles_of_queries(tiles, is_narrow ? TILE_Q_PAIRS : TILE_Q, head, t),
        .d_out_sums = tiles_of_queries(tiles, is_narrow ? TILE_D_OUT_PAIRS : TILE_D_OUT, head, t),
        .k_columns = tiles_of_side(tiles, SIDE_K, kv_head, key_tile),
        .v_columns = tiles_of_side(tiles, SIDE_V, kv_head, key_tile),
        .k_sums = tiles_of_side(tiles, SIDE_K_SUMS, kv_head, key_tile),
        .lse = lse,
        .delta = net->scratch.attention.delta + (head * tiles->n_tiles + t) * TILE_QUERIES,
        .dq = tiles_of_dq(tiles, segment, head, t),
        .dk = dk,
        .dv = dv,
    };
    if (is_narrow)
        net->kernels->attend_back_narrow(&back);
    else
        net->kernels->attend_back(&back);
}

static void store_rows(const struct tiles *tiles, size_t column, const float *rows, const struct tiles_place *place)
{
    const quire_config *c = &tiles->net->config;
    size_t width = net_qkv_width(c), row = tiles_row(tiles->net);
    for (size_t r = 0; r < place->n; r++)
        memcpy(tiles->d_qkv + (place->first_row + r) * width + column, rows + r * row, c->head_dim * sizeof *rows);
}

/* A segment of the keys of a kv head, for all queries of its heads: those keys' and values' gradients, and their part
 * of the queries'. */
static void segment_back(void *context, size_t item, uint32_t worker)
{
    const struct tiles *tiles = context;
    const struct net *net = tiles->net;
    const quire_config *c = &net->config;
    size_t kv_head = item % c->kv_n_heads, segment = item / c->kv_n_heads % tiles->n_segments;
    size_t sequence = item / c->kv_n_heads / tiles->n_segments, group = c->n_heads / c->kv_n_heads;
    size_t first_tile = sequence * tiles->n_blocks, end = first_tile + tiles->n_blocks;
    size_t first_key = first_tile + segment * tiles->segment_blocks;
    float *dk = tiles_worker(tiles, worker), *dv = dk + tiles_floats(net), *lse = dv + tiles_floats(net);
    for (size_t head = kv_head * group; head < (kv_head + 1) * group && first_key < end; head++)
        memset(tiles_of_dq(tiles, segment, head, first_key), 0, (end - first_key) * tiles_floats(net) * sizeof(float));
    for (size_t key = first_key; key < size_min(first_key + tiles->segment_blocks, end); key++) {
        struct tiles_place place = tiles_place(tiles, key);
        memset(dk, 0, 2 * tiles_floats(net) * sizeof *dk);
        for (size_t head = kv_head * group; head < (kv_head + 1) * group; head++)
            for (size_t t = key; t < end; t++)
                if (t == key || !is_nothing(tiles, head, kv_head, t, key))
                    pair_back(tiles, segment, head, t, kv_head, key, dk, dv, lse);
        store_rows(tiles, c->d_model + kv_head * c->head_dim, dk, &place);
        store_rows(tiles, c->d_model + net_kv_width(c) + kv_head * c->head_dim, dv, &place);
    }
}

/* The segments' parts of a query tile's gradient together, oldest first. */
static void add_segments(void *context, size_t item, uint32_t worker)
{
    const struct tiles *tiles = context;
    const struct net *net = tiles->net;
    const quire_config *c = &net->config;
    size_t head = item / tiles->n_tiles, t = item % tiles->n_tiles, last = t % tiles->n_blocks / tiles->segment_blocks;
    struct tiles_place place = tiles_place(tiles, t);
    float *restrict sum = tiles_worker(tiles, worker);
    memset(sum, 0, tiles_floats(net) * sizeof *sum);
    for (size_t segment = 0; segment <= last; segment++) {
        const float *restrict part = tiles_of_dq(tiles, segment, head, t);
        for (size_t i = 0; i < tiles_floats(net); i++)
            sum[i] += part[i];
    }
    for (size_t i = 0; i < tiles_floats(net); i++)
        sum[i] *= c->softmax_scale;
    store_rows(tiles, head * c->head_dim, sum, &place);
}

void train_attention_backward(struct net *net, const struct train_attention *attention, const float *d_out,
                              float *d_qkv)
{
    const quire_config *c = &net->config;
    struct tiles tiles = tiles_make(net, attention);
    tiles.d_out = d_out;
    tiles.d_qkv = d_qkv;
    tiles_pack_keys(&tiles);
    threads_run(net->threads, c->n_heads * tiles.n_tiles, pack_queries, &tiles);
    threads_run(net->threads, attention->n_sequences * tiles.n_segments * c->kv_n_heads, segment_back, &tiles);
    threads_run(net->threads, c->n_heads * tiles.n_tiles, add_segments, &tiles);
}
