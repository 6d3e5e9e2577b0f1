/* The kernels in plain C: the specification that the vector ones are tested against. Sums are in double. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/block_layout.h"
#include "base/blocks.h"
#include "base/kv_rows.h"
#include "tables.h"

/* Block by block through unpack. */
static float dot(quire_dtype type, const void *w, const float *x, size_t n)
{
    size_t step = quire_dtype_block_elements(type);
    size_t bytes = quire_dtype_block_bytes(type);
    const unsigned char *p = w;
    float block[BLOCK_MAX_ELEMENTS];
    double sum = 0;
    for (size_t i = 0; i < n; i += step, p += bytes) {
        blocks_unpack(type, block, p, step);
        for (size_t j = 0; j < step; j++)
            sum += (double)block[j] * (double)x[i + j];
    }
    return (float)sum;
}

static void layernorm(float *y, const float *x, const float *weight, const float *bias, size_t n, float eps)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double scale = 1.0 / sqrt(squares / (double)n + (double)eps);
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(((double)x[i] - mean) * scale * (double)weight[i] + (bias ? (double)bias[i] : 0.0));
}

static void rmsnorm(float *y, const float *x, const float *weight, size_t n, float eps)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    double scale = 1.0 / sqrt(squares / (double)n + (double)eps);
    for (size_t i = 0; i < n; i++)
        y[i] = (float)((double)x[i] * scale * (double)weight[i]);
}

/* dx of y = (x - mean) * scale * weight, from g = dy * weight and xhat = (x - mean) * scale:
 * scale * (g - mean(g) - xhat * mean(g * xhat)); without a mean in y, without mean(g). */
static void norm_back(float *dx, bool adds, float *dweight, float *dbias, const float *dy, const float *x,
                      const float *weight, size_t n, double mean, double scale, bool is_centered)
{
    double sum = 0, dot = 0;
    for (size_t i = 0; i < n; i++) {
        double g = (double)dy[i] * (double)weight[i];
        sum += g;
        dot += g * ((double)x[i] - mean) * scale;
    }
    sum = is_centered ? sum / (double)n : 0;
    dot /= (double)n;
    for (size_t i = 0; i < n; i++) {
        double xhat = ((double)x[i] - mean) * scale, g = (double)dy[i];
        dweight[i] = (float)((double)dweight[i] + g * xhat);
        if (dbias)
            dbias[i] = (float)((double)dbias[i] + g);
        dx[i] = (float)((adds ? (double)dx[i] : 0.0) + scale * (g * (double)weight[i] - sum - xhat * dot));
    }
}

static void layernorm_back(float *dx, bool adds, float *dweight, float *dbias, const float *dy, const float *x,
                           const float *weight, size_t n, float eps)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    norm_back(dx, adds, dweight, dbias, dy, x, weight, n, mean, 1.0 / sqrt(squares / (double)n + (double)eps), true);
}

static void rmsnorm_back(float *dx, bool adds, float *dweight, const float *dy, const float *x, const float *weight,
                         size_t n, float eps)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    norm_back(dx, adds, dweight, NULL, dy, x, weight, n, 0, 1.0 / sqrt(squares / (double)n + (double)eps), false);
}

static void gelu_back(float *dx, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double t = (double)x[i];
        double slope = 0.5 * erfc(-t * M_SQRT1_2) + t * exp(-0.5 * t * t) / sqrt(2.0 * M_PI);
        dx[i] = (float)((double)dx[i] * slope);
    }
}

static void softmax(float *x, size_t n, float lse, float factor)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(exp((double)x[i] - (double)lse) * (double)factor);
}

static void gelu(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(0.5 * (double)x[i] * erfc(-(double)x[i] * M_SQRT1_2));
}

static void softmax_sum(const float *x, size_t n, float *largest, double *sum)
{
    float m = -INFINITY;
    double s = 0;
    for (size_t i = 0; i < n; i++)
        m = fmaxf(m, x[i]);
    for (size_t i = 0; i < n; i++)
        s += exp((double)x[i] - (double)m);
    *largest = m;
    *sum = s;
}

/* One query's scores over a block are in `scores`, -INFINITY where masked: moves the running maximum and sum, and adds
 * the values. */
static void take_block(const struct attention_tile *tile, uint32_t r, const double *scores, const float *v)
{
    float new_max = tile->max[r];
    for (int j = 0; j < TILE_KEYS; j++)
        new_max = fmaxf(new_max, (float)scores[j]);
    if (!(new_max > -INFINITY))
        return;
    double keep = exp((double)tile->max[r] - (double)new_max);
    double sum = (double)tile->sum[r] * keep;
    float *acc = tile->acc + (size_t)r * tile->row;
    for (int j = 0; j < TILE_KEYS; j++)
        sum += exp(scores[j] - (double)new_max);
    for (uint32_t c = 0; c < tile->head_dim; c++) {
        double value = (double)acc[c] * keep;
        for (int j = 0; j < TILE_KEYS; j++)
            value += exp(scores[j] - (double)new_max) * (double)v[(size_t)j * tile->row + c];
        acc[c] = (float)value;
    }
    tile->max[r] = new_max;
    tile->sum[r] = (float)sum;
}

static bool is_live(const struct attention_tile *tile, uint32_t r)
{
    return (tile->live >> r & 1) != 0;
}

static void attend(const struct attention_tile *tile, const float *k_columns, const float *v, int64_t first_key)
{
    for (uint32_t r = 0; r < tile->n_queries; r++) {
        double scores[TILE_KEYS];
        int64_t query = tile->first_query + r;
        for (int j = 0; j < TILE_KEYS; j++) {
            double score = 0;
            for (uint32_t c = 0; c < tile->head_dim; c++)
                score += (double)tile->q[(size_t)r * tile->row + c] * (double)k_columns[(size_t)c * TILE_KEYS + j];
            score += (double)tile->slope * (double)(first_key + j - query);
            scores[j] = first_key + j <= query ? score : -INFINITY;
        }
        if (is_live(tile, r))
            take_block(tile, r, scores, v);
    }
}

/* Adds weight * row to sums. */
static void add_row(float *sums, double weight, const float *row, uint32_t n)
{
    for (uint32_t c = 0; c < n; c++)
        sums[c] = (float)((double)sums[c] + weight * (double)row[c]);
}

static void attend_back(const struct attention_back *b)
{
    for (uint32_t r = 0; r < TILE_QUERIES; r++) {
        const float *q = (const float *)b->q + (size_t)r * b->row,
                    *d_out = (const float *)b->d_out + (size_t)r * b->row;
        for (int j = 0; j < TILE_KEYS && b->distance + j <= r; j++) {
            double score = (double)b->slope * (double)(b->distance + j - r), dp = 0;
            for (uint32_t c = 0; c < b->head_dim; c++) {
                score += (double)q[c] * (double)((const float *)b->k_columns)[(size_t)c * TILE_KEYS + j];
                dp += (double)d_out[c] * (double)((const float *)b->v_columns)[(size_t)c * TILE_KEYS + j];
            }
            double p = exp(score - (double)b->lse[r]), ds = p * (dp - (double)b->delta[r]);
            add_row(b->dv + (size_t)j * b->row, p, d_out, b->head_dim);
            add_row(b->dk + (size_t)j * b->row, ds, q, b->head_dim);
            add_row(b->dq + (size_t)r * b->row, ds, (const float *)b->k_sums + (size_t)j * b->row, b->head_dim);
        }
    }
}

static void unpack_columns(float *columns, quire_kv_type type, const void *side, uint32_t n, uint32_t head_dim)
{
    memset(columns, 0, (size_t)head_dim * TILE_KEYS * sizeof *columns);
    for (uint32_t j = 0; j < n; j++)
        for (uint32_t c = 0; c < head_dim; c += KV_GROUP) {
            float part[KV_GROUP];
            uint32_t n_channels = head_dim - c < KV_GROUP ? head_dim - c : KV_GROUP;
            kv_rows_unpack(part, side, type, head_dim, j, c, n_channels);
            for (uint32_t i = 0; i < n_channels; i++)
                columns[(size_t)(c + i) * TILE_KEYS + j] = part[i];
        }
}

static void unpack_rows(float *rows, uint32_t row, quire_kv_type type, const void *side, uint32_t n, uint32_t head_dim)
{
    memset(rows, 0, (size_t)TILE_KEYS * row * sizeof *rows);
    for (uint32_t j = 0; j < n; j++)
        kv_rows_unpack(rows + (size_t)j * row, side, type, head_dim, j, 0, head_dim);
}

static void attend_one(const struct attention_tile *tile, quire_kv_type type, const void *k, const void *v,
                       uint32_t n_keys, int64_t first_key)
{
    double scores[TILE_KEYS];
    double new_max = (double)tile->max[0];
    if (!is_live(tile, 0))
        return;
    for (uint32_t j = 0; j < n_keys; j++) {
        scores[j] = (double)tile->slope * (double)(first_key + j - tile->first_query);
        for (uint32_t c = 0; c < tile->head_dim; c += KV_GROUP) {
            float part[KV_GROUP];
            uint32_t n = tile->head_dim - c < KV_GROUP ? tile->head_dim - c : KV_GROUP;
            kv_rows_unpack(part, k, type, tile->head_dim, j, c, n);
            for (uint32_t i = 0; i < n; i++)
                scores[j] += (double)tile->q[c + i] * (double)part[i];
        }
        new_max = fmax(new_max, scores[j]);
    }
    float rounded_max = (float)new_max;
    double keep = exp((double)tile->max[0] - (double)rounded_max);
    double sum = (double)tile->sum[0] * keep;
    for (uint32_t j = 0; j < n_keys; j++)
        sum += exp(scores[j] - (double)rounded_max);
    for (uint32_t c = 0; c < tile->head_dim; c += KV_GROUP) {
        double values[KV_GROUP] = {0}; /* the block's, summed by themselves first */
        float part[KV_GROUP];
        uint32_t n = tile->head_dim - c < KV_GROUP ? tile->head_dim - c : KV_GROUP;
        for (uint32_t j = 0; j < n_keys; j++) {
            kv_rows_unpack(part, v, type, tile->head_dim, j, c, n);
            for (uint32_t i = 0; i < n; i++)
                values[i] += exp(scores[j] - (double)rounded_max) * (double)part[i];
        }
        for (uint32_t i = 0; i < n; i++)
            tile->acc[c + i] = (float)((double)tile->acc[c + i] * keep + values[i]);
    }
    tile->max[0] = rounded_max;
    tile->sum[0] = (float)sum;
}

static uint32_t fold(const void *p, size_t n_bytes)
{
    uint32_t all = 0;
    for (size_t i = 0; i < n_bytes; i += sizeof all)
        all ^= load_u32((const unsigned char *)p + i);
    return all;
}

const struct kernels kernels_ref = {
    .name = "ref",
    .gemm = &gemm_openblas,
    .gemm_exact = &gemm_openblas,
    .unpack = blocks_unpack,
    .fold = fold,
    .dot = dot,
    .layernorm = layernorm,
    .rmsnorm = rmsnorm,
    .gelu = gelu,
    .layernorm_back = layernorm_back,
    .rmsnorm_back = rmsnorm_back,
    .gelu_back = gelu_back,
    .softmax = softmax,
    .softmax_sum = softmax_sum,
    .group_tiles = 1,
    .attend = attend,
    .attend_back = attend_back,
    .attend_one = attend_one,
    .unpack_columns = unpack_columns,
    .unpack_rows = unpack_rows,
};
