/* How attention's forward and backward pass see a micro-batch: tiles of 64 tokens of each head, packed in the orders in
 * which the kernels read them. Private to src/train. */
#ifndef QUIRE_TRAIN_TRAIN_TILES_H
#define QUIRE_TRAIN_TRAIN_TILES_H

#include "net_private.h"

/* What is left out of a query's weights at most: half a unit in a float's last place. */
#define TILES_STOP_EPS 0x1p-24f

/* Packed tiles. Kinds of a query's head come first, then those of a kv head. */
enum tile_kind { TILE_Q, TILE_Q_PAIRS, TILE_D_OUT, TILE_D_OUT_PAIRS, N_QUERY_KINDS };
enum side_kind { SIDE_K, SIDE_K_SUMS, SIDE_V, N_SIDE_KINDS };

/* One pass over one layer's attention. */
struct tiles {
    struct net *net;
    const struct train_attention *attention;
    const float *d_out; /* NULL: forward */
    float *d_qkv;
    size_t n_blocks; /* of a sequence */
    size_t n_tiles;  /* of all sequences */
    size_t n_segments, segment_blocks;
};

struct tiles tiles_make(struct net *net, const struct train_attention *attention);

/* Floats of a row, padded, and of a tile of rows. */
size_t tiles_row(const struct net *net);
size_t tiles_floats(const struct net *net);

/* Tile t of all sequences, of a head: packed; and a segment's part of the queries' gradient. */
unsigned char *tiles_of_queries(const struct tiles *tiles, enum tile_kind kind, size_t head, size_t t);
unsigned char *tiles_of_side(const struct tiles *tiles, enum side_kind kind, size_t kv_head, size_t t);
float *tiles_of_dq(const struct tiles *tiles, size_t segment, size_t head, size_t t);

/* Where a tile lies in its sequence, and in all rows. */
struct tiles_place {
    size_t first;     /* position */
    size_t first_row; /* of [T] */
    size_t n;         /* tokens */
};
struct tiles_place tiles_place(const struct tiles *tiles, size_t t);

/* A thread's scratch: three tiles of floats, then four vectors of 64. */
float *tiles_worker(const struct tiles *tiles, uint32_t worker);

/* Tokens, and so what lies between the lse of one head and that of the next. */
size_t tiles_n_tokens(const struct tiles *tiles);

static inline uint32_t tiles_kv_head(const quire_config *c, size_t head)
{
    return (uint32_t)head / (c->n_heads / c->kv_n_heads);
}

/* At least the norm of a row of head_dim numbers. */
float tiles_row_norm(const struct net *net, const float *row);

/* n rows of a head, times scale, as a side of a block: [n][head_dim] of the factors' type. norm, unless NULL: at least
 * the longest row's, before and after rounding. side: room for floats. */
void tiles_make_side(const struct net *net, float *side, float *norm, const float *rows, size_t stride, size_t n,
                     float scale);

/* A side as what sums over the tile's tokens run through: rows, or pairs of them. */
void tiles_pack_sums(const struct net *net, void *tile, const float *side, size_t n);

/* Packs the keys and values of all tiles for the forward pass or for the way back, and finds the keys' norms. */
void tiles_pack_keys(struct tiles *tiles);

#endif
