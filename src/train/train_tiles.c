#include "train_tiles.h"

#include <math.h>
#include <string.h>

enum {
    SEGMENT_BLOCKS = 8, /* of keys, at least: threads share the backward pass of a head by segments */
    MOST_SEGMENTS = 4
};

/* --- layout ------------------------------------------------------------------------------------------------------ */

size_t tiles_row(const struct net *net)
{
    return size_round_up(net->config.head_dim, LANES);
}

size_t tiles_floats(const struct net *net)
{
    return TILE_KEYS * tiles_row(net);
}

static size_t tile_bytes(const struct net *net)
{
    return tiles_floats(net) * (net->is_narrow ? sizeof(uint16_t) : sizeof(float));
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
    return 3 * tiles_floats(net) + 4 * TILE_QUERIES;
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
    scratch->dq = arena_floats(arena, n_segments(net->options.seq_len) * tiles * c->n_heads, tiles_floats(net));
    scratch->workers = arena_floats(arena, net->n_threads, worker_floats(net));
}

struct tiles tiles_make(struct net *net, const struct train_attention *attention)
{
    struct tiles tiles = {.net = net, .attention = attention, .n_blocks = n_tiles(attention->n_tokens)};
    tiles.n_tiles = attention->n_sequences * tiles.n_blocks;
    tiles.n_segments = n_segments(attention->n_tokens);
    tiles.segment_blocks = (tiles.n_blocks + tiles.n_segments - 1) / tiles.n_segments;
    return tiles;
}

unsigned char *tiles_of_queries(const struct tiles *tiles, enum tile_kind kind, size_t head, size_t t)
{
    size_t index = ((size_t)kind * tiles->net->config.n_heads + head) * tiles->n_tiles + t;
    return tiles->net->scratch.attention.packed + index * tile_bytes(tiles->net);
}

unsigned char *tiles_of_side(const struct tiles *tiles, enum side_kind kind, size_t kv_head, size_t t)
{
    const quire_config *c = &tiles->net->config;
    size_t index = (N_QUERY_KINDS * (size_t)c->n_heads + (size_t)kind * c->kv_n_heads + kv_head) * tiles->n_tiles + t;
    return tiles->net->scratch.attention.packed + index * tile_bytes(tiles->net);
}

float *tiles_of_dq(const struct tiles *tiles, size_t segment, size_t head, size_t t)
{
    size_t index = (segment * tiles->net->config.n_heads + head) * tiles->n_tiles + t;
    return tiles->net->scratch.attention.dq + index * tiles_floats(tiles->net);
}

struct tiles_place tiles_place(const struct tiles *tiles, size_t t)
{
    struct tiles_place place = {.first = t % tiles->n_blocks * TILE_KEYS};
    place.first_row = t / tiles->n_blocks * tiles->attention->n_tokens + place.first;
    place.n = size_min(TILE_KEYS, tiles->attention->n_tokens - place.first);
    return place;
}

float *tiles_worker(const struct tiles *tiles, uint32_t worker)
{
    return tiles->net->scratch.attention.workers + worker * worker_floats(tiles->net);
}

size_t tiles_n_tokens(const struct tiles *tiles)
{
    return tiles->attention->n_sequences * tiles->attention->n_tokens;
}

/* --- packing ----------------------------------------------------------------------------------------------------- */

/* The sum's rounding is less than what is added. */
float tiles_row_norm(const struct net *net, const float *row)
{
    uint32_t n = net->config.head_dim;
    return sqrtf(net->kernels->dot(QUIRE_DTYPE_F32, row, row, n)) * (1 + ((float)n + 4) * 0x1p-23f);
}

void tiles_make_side(const struct net *net, float *side, float *norm, const float *rows, size_t stride, size_t n,
                     float scale)
{
    uint32_t head_dim = net->config.head_dim;
    float longest = 0;
    for (size_t r = 0; r < n; r++, rows += stride) {
        float *row = side + r * head_dim;
        for (uint32_t c = 0; c < head_dim; c++)
            row[c] = rows[c] * scale;
        if (norm) {
            float length = tiles_row_norm(net, row);
            longest = length > longest || isnan(length) ? length : longest; /* a NaN stays: nothing is left out */
        }
        if (net->is_narrow) /* rows close up to the front */
            net->kernels->narrow_row((uint16_t *)(void *)side + r * head_dim, row, head_dim);
    }
    if (norm)
        *norm = net->is_narrow ? longest * (1 + 0x1p-7f) : longest;
}

static void pack_columns(const struct net *net, void *tile, const float *side, size_t n)
{
    uint32_t head_dim = net->config.head_dim;
    if (net->is_narrow)
        net->kernels->narrow_columns(tile, side, (uint32_t)n, head_dim);
    else
        net->kernels->unpack_columns(tile, QUIRE_KV_F32, side, (uint32_t)n, head_dim);
}

void tiles_pack_sums(const struct net *net, void *tile, const float *side, size_t n)
{
    uint32_t head_dim = net->config.head_dim;
    if (net->is_narrow)
        net->kernels->narrow_pairs(tile, side, (uint32_t)n, head_dim);
    else
        net->kernels->unpack_rows(tile, (uint32_t)tiles_row(net), QUIRE_KV_F32, side, (uint32_t)n, head_dim);
}

/* Keys and values of a tile of a kv head: for the forward pass as the attention kernels take them, for the way back by
 * columns, and the keys for sums as well. */
static void pack_keys(void *context, size_t item, uint32_t worker)
{
    const struct tiles *tiles = context;
    const struct net *net = tiles->net;
    const quire_config *c = &net->config;
    size_t kv_head = item / tiles->n_tiles, t = item % tiles->n_tiles, width = net_qkv_width(c);
    struct tiles_place place = tiles_place(tiles, t);
    float *side = tiles_worker(tiles, worker);
    const float *k = tiles->attention->qkv + place.first_row * width + c->d_model + kv_head * c->head_dim;
    void *keys = tiles_of_side(tiles, SIDE_K, kv_head, t), *values = tiles_of_side(tiles, SIDE_V, kv_head, t);
    bool is_back = tiles->d_out != NULL, is_narrow = net->is_narrow;
    tiles_make_side(net, side, &net->scratch.attention.key_norms[item], k, width, place.n, 1.0f);
    if (is_narrow && !is_back)
        net->kernels->narrow_keys(keys, side, (uint32_t)place.n, c->head_dim);
    else
        pack_columns(net, keys, side, place.n);
    if (is_back)
        tiles_pack_sums(net, tiles_of_side(tiles, SIDE_K_SUMS, kv_head, t), side, place.n);
    tiles_make_side(net, side, NULL, k + net_kv_width(c), width, place.n, 1.0f);
    if (is_back)
        pack_columns(net, values, side, place.n);
    else if (is_narrow)
        net->kernels->narrow_values(values, side, (uint32_t)place.n, c->head_dim);
    else
        tiles_pack_sums(net, values, side, place.n);
}

void tiles_pack_keys(struct tiles *tiles)
{
    threads_run(tiles->net->threads, tiles->net->config.kv_n_heads * tiles->n_tiles, pack_keys, tiles);
}
