/* Attention with vectors as wide as the machine's: part of kernels_vector.h, which includes it once per instruction
 * set.
 */

enum {
    ROWS = 4, /* queries whose sums fit into the registers */
    /* Keys whose scores, and vectors of values, that are summed at once: as many as the registers hold for ROWS
     * queries.
     */
    SCORE_VECTORS = W == 16 ? 4 : 2,
    SCORE_KEYS = SCORE_VECTORS * W,
    VALUE_VECTORS = W == 16 ? 4 : 2
};

/* --- stored rows ----------------------------------------------------------------------------------------------- */

/* W integers of an int4 row, from channel c on: a multiple of W. */
#if KERNELS_WIDTH > 4
INLINE vec load_i4(const unsigned char *numbers, size_t c)
{
    const unsigned char *p = numbers + c / KV_GROUP * (KV_GROUP / 2) + c % (KV_GROUP / 2);
    int shift = c % KV_GROUP < KV_GROUP / 2 ? 0 : 4;
#if KERNELS_WIDTH == 16
    __m512i b = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    b = _mm512_and_si512(_mm512_srli_epi32(b, (unsigned)shift), _mm512_set1_epi32(15));
    return (vec)_mm512_cvtepi32_ps(b) - 8.0f;
#else
    __m256i b = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
    b = _mm256_and_si256(_mm256_srli_epi32(b, shift), _mm256_set1_epi32(15));
    return (vec)_mm256_cvtepi32_ps(b) - 8.0f;
#endif
}
#else
INLINE vec load_i4(const unsigned char *numbers, size_t c)
{
    const unsigned char *p = numbers + c / KV_GROUP * (KV_GROUP / 2) + c % (KV_GROUP / 2);
    int8_t integers[W];
    for (int i = 0; i < W; i++)
        integers[i] = (int8_t)((c % KV_GROUP < KV_GROUP / 2 ? p[i] & 15 : p[i] >> 4) - 8);
    return load_i8(integers);
}
#endif

/* A row as it is stored. */
struct stored_row {
    const unsigned char *numbers;
    const uint16_t *scales; /* int8 and int4 */
};

INLINE struct stored_row find_row(const void *side, quire_kv_type type, size_t head_dim, size_t row)
{
    return (struct stored_row){(const unsigned char *)side + row * kv_rows_number_bytes(type, head_dim),
                               kv_rows_scales(side, type, head_dim, row)};
}

/* W numbers from channel c on, a multiple of W, all of them in the row; of int8 without the row's scale. */
INLINE vec load_stored(struct stored_row row, quire_kv_type type, size_t c)
{
    switch (type) {
    case QUIRE_KV_F32: return load_f32(row.numbers + 4 * c);
    case QUIRE_KV_F16: return load_f16(row.numbers + 2 * c);
    case QUIRE_KV_INT8: return load_i8(row.numbers + c);
    case QUIRE_KV_INT4: return load_i4(row.numbers, c) * bf16_to_f32(row.scales[c / KV_GROUP]);
    default: return load_bf16(row.numbers + 2 * c);
    }
}

/* The last of them, with zeros behind the row's end. An int4 row is filled up in itself. */
INLINE vec load_rest(struct stored_row row, quire_kv_type type, size_t c, size_t head_dim)
{
    unsigned char rest[4 * W] = {0};
    size_t size = type == QUIRE_KV_F32 ? 4 : type == QUIRE_KV_INT8 ? 1 : 2;
    if (type == QUIRE_KV_INT4)
        return load_stored(row, type, c);
    memcpy(rest, row.numbers + size * c, size * (head_dim - c));
    return load_stored((struct stored_row){rest, row.scales}, type, 0);
}

/* The scale that load_stored left out. */
INLINE float row_scale(struct stored_row row, quire_kv_type type)
{
    return type == QUIRE_KV_INT8 ? bf16_to_f32(row.scales[0]) : 1.0f;
}

/* Calls a function that is compiled for each type. */
#define FOR_TYPE(type, function, ...)                                                                                  \
    switch (type) {                                                                                                    \
    case QUIRE_KV_F32: function(QUIRE_KV_F32, __VA_ARGS__); break;                                                     \
    case QUIRE_KV_F16: function(QUIRE_KV_F16, __VA_ARGS__); break;                                                     \
    case QUIRE_KV_INT8: function(QUIRE_KV_INT8, __VA_ARGS__); break;                                                   \
    case QUIRE_KV_INT4: function(QUIRE_KV_INT4, __VA_ARGS__); break;                                                   \
    default: function(QUIRE_KV_BF16, __VA_ARGS__);                                                                     \
    }

INLINE void unpack_row(quire_kv_type type, float *out, struct stored_row row, uint32_t head_dim)
{
    float scale = row_scale(row, type);
    uint32_t c = 0;
    for (; c + W <= head_dim; c += W)
        store(out + c, load_stored(row, type, c) * scale);
    if (c < head_dim)
        store(out + c, load_rest(row, type, c, head_dim) * scale);
}

INLINE void rows_of_type(quire_kv_type type, float *rows, uint32_t row, const void *side, uint32_t n, uint32_t head_dim)
{
    for (uint32_t j = 0; j < n; j++)
        unpack_row(type, rows + (size_t)j * row, find_row(side, type, head_dim, j), head_dim);
}

static void unpack_rows(float *rows, uint32_t row, quire_kv_type type, const void *side, uint32_t n, uint32_t head_dim)
{
    if (n < TILE_KEYS || row - head_dim >= W)
        memset(rows, 0, (size_t)TILE_KEYS * row * sizeof *rows);
    FOR_TYPE(type, rows_of_type, rows, row, side, n, head_dim)
}

/* columns[i][j] = keys[j][i], for rows of TILE_KEYS. */
INLINE void turn_keys(float *columns, float keys[W][W], uint32_t n_channels)
{
#if KERNELS_WIDTH > 4
    if (n_channels == W) {
        transpose(columns, TILE_KEYS, keys, W);
        return;
    }
#endif
    for (uint32_t i = 0; i < n_channels; i++)
        for (uint32_t j = 0; j < W; j++)
            columns[(size_t)i * TILE_KEYS + j] = keys[j][i];
}

/* W keys at a time, so that their columns are written in whole vectors; those behind n are zeros. */
INLINE void columns_of_type(quire_kv_type type, float *columns, const void *side, uint32_t n, uint32_t head_dim)
{
    for (uint32_t first = 0; first < n; first += W) {
        struct stored_row rows[W];
        float scales[W], keys[W][W] = {{0}};
        uint32_t n_keys = n - first < W ? n - first : W;
        for (uint32_t j = 0; j < n_keys; j++) {
            rows[j] = find_row(side, type, head_dim, first + j);
            scales[j] = row_scale(rows[j], type);
        }
        for (uint32_t c = 0; c < head_dim; c += W) {
            uint32_t n_channels = head_dim - c < W ? head_dim - c : W;
            for (uint32_t j = 0; j < n_keys; j++)
                store(keys[j],
                      (n_channels < W ? load_rest(rows[j], type, c, head_dim) : load_stored(rows[j], type, c)) *
                          scales[j]);
            turn_keys(columns + (size_t)c * TILE_KEYS + first, keys, n_channels);
        }
    }
}

static void unpack_columns(float *columns, quire_kv_type type, const void *side, uint32_t n, uint32_t head_dim)
{
    if (n < TILE_KEYS)
        memset(columns, 0, (size_t)head_dim * TILE_KEYS * sizeof *columns);
    FOR_TYPE(type, columns_of_type, columns, side, n, head_dim)
}

/* --- scores and their exponentials ----------------------------------------------------------------------------- */

/* 0, 1, 2, ... */
INLINE vec lane_numbers(void)
{
    float x[W];
    for (int i = 0; i < W; i++)
        x[i] = (float)i;
    return load(x);
}

/* Adds the bias to one query's scores, masks the keys behind it, and gives the largest. distance: first_key - query. */
INLINE float bias_row(float s[TILE_KEYS], float slope, int64_t distance)
{
    const vec lane = lane_numbers();
    vec max = splat(-INFINITY);
    for (int j = 0; j < TILE_KEYS; j += W) {
        vec d = lane + (float)(distance + j);
        vec biased = choose(d > 0.0f, splat(-INFINITY), load(s + j) + d * slope);
        store(s + j, biased);
        max = larger(max, biased);
    }
    return lane_max(max);
}

/* s = exp(s - max), and their sum. */
INLINE float exp_row(float s[TILE_KEYS], float max)
{
    vec sum = splat(0.0f);
    for (int j = 0; j < TILE_KEYS; j += W) {
        vec e = exp_vec(load(s + j) - max);
        store(s + j, e);
        sum += e;
    }
    return lane_sum(sum);
}

/* --- tiles ----------------------------------------------------------------------------------------------------- */

/* Scores of ROWS queries against SCORE_KEYS keys, one column of keys at a time. scores: rows of TILE_KEYS. */
INLINE void score_rows(const struct attention_tile *tile, const float *q, const float *k_columns, float *scores)
{
    vec s[ROWS][SCORE_VECTORS];
    for (int a = 0; a < ROWS; a++)
        for (int b = 0; b < SCORE_VECTORS; b++)
            s[a][b] = splat(0.0f);
    for (uint32_t c = 0; c < tile->head_dim; c++) {
        const float *column = k_columns + (size_t)c * TILE_KEYS;
        for (int a = 0; a < ROWS; a++)
            for (int b = 0; b < SCORE_VECTORS; b++)
                s[a][b] += load(column + b * W) * q[(size_t)a * tile->row + c];
    }
    for (int a = 0; a < ROWS; a++)
        for (int b = 0; b < SCORE_VECTORS; b++)
            store(scores + a * TILE_KEYS + b * W, s[a][b]);
}

/* acc = acc * keep + p . v for n_vectors columns of the ROWS queries that are in `live`. A block's values are summed by
 * themselves first: added one by one to a sum over 84,000 keys, each would lose its low bits. */
INLINE void add_values(const struct attention_tile *tile, float *acc, unsigned live, const float keep[ROWS],
                       float p[ROWS][TILE_KEYS], const float *v, int n_vectors)
{
    vec o[ROWS][VALUE_VECTORS];
    for (int a = 0; a < ROWS; a++)
        for (int b = 0; b < n_vectors; b++)
            o[a][b] = splat(0.0f);
    for (int j = 0; j < TILE_KEYS; j++)
        for (int b = 0; b < n_vectors; b++) {
            vec value = load(v + (size_t)j * tile->row + b * W);
            for (int a = 0; a < ROWS; a++)
                o[a][b] += value * p[a][j];
        }
    for (int a = 0; a < ROWS; a++)
        for (int b = 0; b < n_vectors && (live >> a & 1); b++) {
            float *sum = acc + (size_t)a * tile->row + b * W;
            store(sum, load(sum) * keep[a] + o[a][b]);
        }
}

/* Scores of ROWS queries become weights exp(score - maximum), with the bias and the mask; the live rows' maximum and
 * sum move with them. keep: what their older sums are still worth. */
INLINE void weigh_rows(const struct attention_tile *tile, uint32_t r, unsigned live, float s[ROWS][TILE_KEYS],
                       float keep[W], int64_t first_key)
{
    float fall[W] = {0}, new_max[ROWS];
    for (int a = 0; a < ROWS; a++) {
        float old_max = tile->max[r + a];
        new_max[a] = bias_row(s[a], tile->slope, first_key - (tile->first_query + r + a));
        new_max[a] = new_max[a] > old_max ? new_max[a] : old_max;
        fall[a] = old_max - new_max[a];
    }
    store(keep, exp_vec(load(fall)));
    for (int a = 0; a < ROWS; a++) {
        float sum = tile->sum[r + a] * keep[a] + exp_row(s[a], new_max[a]);
        if (live >> a & 1) {
            tile->sum[r + a] = sum;
            tile->max[r + a] = new_max[a];
        }
    }
}

static void attend_rows(const struct attention_tile *tile, uint32_t r, unsigned live, const float *k_columns,
                        const float *v, int64_t first_key)
{
    float s[ROWS][TILE_KEYS], keep[W];
    const float *q = tile->q + (size_t)r * tile->row;
    float *acc = tile->acc + (size_t)r * tile->row;
    for (int j = 0; j < TILE_KEYS; j += SCORE_KEYS)
        score_rows(tile, q, k_columns + j, s[0] + j);
    weigh_rows(tile, r, live, s, keep, first_key);
    uint32_t c = 0;
    for (; c + VALUE_VECTORS * W <= tile->row; c += VALUE_VECTORS * W)
        add_values(tile, acc + c, live, keep, s, v + c, VALUE_VECTORS);
    for (; c < tile->row; c += W)
        add_values(tile, acc + c, live, keep, s, v + c, 1);
}

static void attend(const struct attention_tile *tile, const float *k_columns, const float *v, int64_t first_key)
{
    for (uint32_t r = 0; r < tile->n_queries; r += ROWS) {
        unsigned live = (unsigned)(tile->live >> r) & ((1u << ROWS) - 1);
        if (live)
            attend_rows(tile, r, live, k_columns, v, first_key);
    }
}

/* --- one query ------------------------------------------------------------------------------------------------- */

/* Keys whose sums run side by side, and vectors of values that do, in registers. More keys would hide more of the
 * additions' latency, but memory is read fastest straight through. */
enum { ONE_KEYS = 2, ONE_VECTORS = 8, PREFETCH_BYTES = 9216 };

/* Some rows of keys or values, as they will be met PREFETCH_BYTES later. Behind the values of a block lies the newer
 * one, which is done; the older one lies before its keys. Into the second-level cache: the first has too few lines
 * under way to keep memory busy. Where there is nothing to be had, this does no harm. */
INLINE void prefetch_rows(const unsigned char *rows, const void *v, quire_kv_type type, uint32_t head_dim,
                          uint32_t n_rows)
{
    size_t side_bytes = kv_rows_bytes(type, head_dim);
    rows += PREFETCH_BYTES;
    if (rows >= (const unsigned char *)v + side_bytes)
        rows -= 4 * side_bytes;
    for (size_t at = 0; at < n_rows * kv_rows_number_bytes(type, head_dim); at += 64)
        __builtin_prefetch(rows + at, 0, 2);
}

INLINE void score_stored(quire_kv_type type, const struct attention_tile *tile, const void *k, const void *v,
                         uint32_t n_keys, float s[TILE_KEYS])
{
    uint32_t head_dim = tile->head_dim;
    for (uint32_t j = 0; j < n_keys; j += ONE_KEYS) {
        prefetch_rows(find_row(k, type, head_dim, j).numbers, v, type, head_dim, ONE_KEYS);
        struct stored_row rows[ONE_KEYS];
        vec sums[ONE_KEYS];
        for (uint32_t a = 0; a < ONE_KEYS; a++) { /* behind the last key: that one again */
            rows[a] = find_row(k, type, head_dim, j + a < n_keys ? j + a : n_keys - 1);
            sums[a] = splat(0.0f);
        }
        uint32_t c = 0;
        for (; c + W <= head_dim; c += W)
            for (uint32_t a = 0; a < ONE_KEYS; a++)
                sums[a] += load_stored(rows[a], type, c) * load(tile->q + c);
        for (uint32_t a = 0; a < ONE_KEYS && c < head_dim; a++)
            sums[a] += load_rest(rows[a], type, c, head_dim) * load(tile->q + c);
        for (uint32_t a = 0; a < ONE_KEYS; a++)
            s[j + a] = lane_sum(sums[a]) * row_scale(rows[a], type);
    }
}

/* acc = acc * keep + p . v for n_vectors columns from c on; is_rest: the last of them is not whole in the rows. */
INLINE void add_stored(quire_kv_type type, const struct attention_tile *tile, const void *v, uint32_t n_keys,
                       const float p[TILE_KEYS], float keep, uint32_t c, int n_vectors, bool is_rest)
{
    vec sums[ONE_VECTORS];
    for (int b = 0; b < n_vectors; b++)
        sums[b] = splat(0.0f);
    for (uint32_t j = 0; j < n_keys; j++) {
        struct stored_row row = find_row(v, type, tile->head_dim, j);
        float weight = p[j] * row_scale(row, type);
        if (c == 0)
            prefetch_rows(row.numbers, v, type, tile->head_dim, 1);
        for (int b = 0; b < n_vectors; b++)
            sums[b] += (is_rest ? load_rest(row, type, c, tile->head_dim) : load_stored(row, type, c + b * W)) * weight;
    }
    for (int b = 0; b < n_vectors; b++)
        store(tile->acc + c + b * W, load(tile->acc + c + b * W) * keep + sums[b]);
}

/* acc = acc * keep + p . v. */
INLINE void add_all_stored(quire_kv_type type, const struct attention_tile *tile, const void *v, uint32_t n_keys,
                           const float p[TILE_KEYS], float keep)
{
    uint32_t c = 0;
    for (; c + ONE_VECTORS * W <= tile->head_dim; c += ONE_VECTORS * W)
        add_stored(type, tile, v, n_keys, p, keep, c, ONE_VECTORS, false);
    for (; c + W <= tile->head_dim; c += W)
        add_stored(type, tile, v, n_keys, p, keep, c, 1, false);
    if (c < tile->head_dim)
        add_stored(type, tile, v, n_keys, p, keep, c, 1, true);
}

#if KERNELS_WIDTH == 16 && defined(__AVX512VNNI__)
#include "attention_int8.h"
#else
enum { INT8_CHANNELS = 0 }; /* in float, all of them */
#define score_int8(tile, k, v, n_keys, s)      score_stored(QUIRE_KV_INT8, tile, k, v, n_keys, s)
#define add_all_int8(tile, v, n_keys, p, keep) add_all_stored(QUIRE_KV_INT8, tile, v, n_keys, p, keep)
#endif

INLINE void one_of_type(quire_kv_type type, const struct attention_tile *tile, const void *k, const void *v,
                        uint32_t n_keys, int64_t first_key)
{
    bool in_integers = type == QUIRE_KV_INT8 && tile->head_dim <= INT8_CHANNELS;
    float s[TILE_KEYS] = {0}, fall[W] = {0}, keep[W], old_max = tile->max[0];
    if (in_integers)
        score_int8(tile, k, v, n_keys, s);
    else
        score_stored(type, tile, k, v, n_keys, s);
    /* Rows that are not there lie behind the query, and are masked as such. */
    float new_max = bias_row(s, tile->slope, first_key - tile->first_query);
    new_max = new_max > old_max ? new_max : old_max;
    fall[0] = old_max - new_max;
    store(keep, exp_vec(load(fall)));
    tile->sum[0] = tile->sum[0] * keep[0] + exp_row(s, new_max);
    tile->max[0] = new_max;
    if (in_integers)
        add_all_int8(tile, v, n_keys, s, keep[0]);
    else
        add_all_stored(type, tile, v, n_keys, s, keep[0]);
}

static void attend_one(const struct attention_tile *tile, quire_kv_type type, const void *k, const void *v,
                       uint32_t n_keys, int64_t first_key)
{
    if (tile->live & 1)
        FOR_TYPE(type, one_of_type, tile, k, v, n_keys, first_key)
}
