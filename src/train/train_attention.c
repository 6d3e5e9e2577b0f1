/* Forward. */
#include <math.h>
#include <string.h>

#include "kernels/attention_stop.h"
#include "train_tiles.h"

/* The largest norm of a tile's keys and of all before it in its sequence. */
static void make_norms_cover(const struct tiles *tiles)
{
    float *norms = tiles->net->scratch.attention.key_norms;
    for (size_t i = 1; i < tiles->net->config.kv_n_heads * tiles->n_tiles; i++)
        if (i % tiles->n_blocks != 0 && !(norms[i] >= norms[i - 1]))
            norms[i] = isnan(norms[i]) ? norms[i] : norms[i - 1];
}

/* Queries of a tile, scaled, and nothing seen. norms: [TILE_QUERIES]. */
static struct attention_tile start_tile(const struct tiles *tiles, float *memory, float *norms, size_t head,
                                        const struct tiles_place *place)
{
    const struct net *net = tiles->net;
    const quire_config *c = &net->config;
    size_t row = tiles_row(net), width = net_qkv_width(c);
    struct attention_tile tile = {
        .n_queries = (uint32_t)place->n,
        .head_dim = c->head_dim,
        .row = (uint32_t)row,
        .slope = net->slopes[head],
        .first_query = (int64_t)place->first,
        .q = memory,
        .acc = memory + tiles_floats(net),
        .max = memory + 2 * tiles_floats(net),
        .sum = memory + 2 * tiles_floats(net) + TILE_QUERIES,
        .live = ~(uint64_t)0 >> (TILE_QUERIES - place->n),
    };
    memset(memory, 0, 2 * tiles_floats(net) * sizeof *memory);
    for (size_t r = 0; r < TILE_QUERIES; r++) {
        tile.max[r] = -INFINITY;
        tile.sum[r] = 0.0f;
    }
    for (size_t r = 0; r < place->n; r++) {
        const float *q = tiles->attention->qkv + (place->first_row + r) * width + head * c->head_dim;
        float *to = tile.q + r * row;
        for (uint32_t i = 0; i < c->head_dim; i++)
            to[i] = q[i] * c->softmax_scale;
        norms[r] = tiles_row_norm(net, to);
        if (net->is_narrow)
            norms[r] *= 1 + 0x1p-8f;
    }
    if (net->is_narrow)
        net->kernels->narrow_start(&tile);
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

static void finish_tile(const struct tiles *tiles, const struct attention_tile *tile, size_t head,
                        const struct tiles_place *place)
{
    const quire_config *c = &tiles->net->config;
    float *lse = tiles->attention->lse + head * tiles_n_tokens(tiles) + place->first_row;
    for (size_t r = 0; r < place->n; r++) {
        float *out = tiles->attention->out + (place->first_row + r) * c->d_model + head * c->head_dim;
        float inverse = 1.0f / tile->sum[r];
        for (uint32_t i = 0; i < c->head_dim; i++)
            out[i] = tile->acc[r * tile->row + i] * inverse;
        lse[r] = tile->max[r] + logf(tile->sum[r]);
    }
}

/* A tile of a head against its blocks, newest first. */
static void attend_tile(void *context, size_t item, uint32_t worker)
{
    const struct tiles *tiles = context;
    const struct net *net = tiles->net;
    const struct kernels *kernels = net->kernels;
    size_t head = item % net->config.n_heads, t = tiles->n_tiles - 1 - item / net->config.n_heads; /* long ones first */
    size_t kv_head = tiles_kv_head(&net->config, head), first_tile = t / tiles->n_blocks * tiles->n_blocks;
    float *memory = tiles_worker(tiles, worker), *norms = memory + 2 * tiles_floats(net) + 2 * TILE_QUERIES;
    const float *key_norms = net->scratch.attention.key_norms + kv_head * tiles->n_tiles + first_tile;
    struct tiles_place place = tiles_place(tiles, t);
    struct attention_tile tile = start_tile(tiles, memory, norms, head, &place);
    struct attention_stop stop = attention_stop_make(tile.slope, TILES_STOP_EPS, tile.head_dim);
    size_t together = net->is_narrow ? kernels->narrow_blocks : 1;
    for (size_t end = t - first_tile + 1, block; end > 0 && tile.live; end = block) {
        block = (end - 1) / together * together;
        const void *k = tiles_of_side(tiles, SIDE_K, kv_head, first_tile + block);
        const void *v = tiles_of_side(tiles, SIDE_V, kv_head, first_tile + block);
        int64_t first_key = (int64_t)(block * TILE_KEYS);
        if (net->is_narrow)
            kernels->attend_narrow(&tile, k, v, first_key, (uint32_t)(end - block));
        else
            kernels->attend(&tile, k, v, first_key);
        if (block > 0)
            stop_rows(&tile, norms, &stop, key_norms[block - 1], block);
    }
    if (net->is_narrow)
        kernels->narrow_end(&tile);
    finish_tile(tiles, &tile, head, &place);
}

void train_attention_forward(struct net *net, const struct train_attention *attention)
{
    struct tiles tiles = tiles_make(net, attention);
    tiles_pack_keys(&tiles);
    make_norms_cover(&tiles);
    threads_run(net->threads, net->config.n_heads * tiles.n_tiles, attend_tile, &tiles);
}
