/* The kernels with vectors of 16 floats, for whatever instruction set the including file is compiled for: the compiler
 * splits a vector where the machine's are narrower. The including file defines KERNELS_TABLE and KERNELS_NAME. */
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "tables.h"

typedef float vec __attribute__((vector_size(64)));
typedef int32_t ivec __attribute__((vector_size(64)));
typedef uint32_t uvec __attribute__((vector_size(64)));
typedef uint16_t hvec __attribute__((vector_size(32)));
typedef int8_t bvec __attribute__((vector_size(16)));

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const float *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store(float *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

INLINE vec splat(float x)
{
    return (vec){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

INLINE vec as_vec(uvec bits)
{
    vec v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

INLINE uvec bits_of(vec v)
{
    uvec bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* a where the mask is all ones, b where it is zero. */
INLINE vec choose(ivec mask, vec a, vec b)
{
    uvec m;
    memcpy(&m, &mask, sizeof m);
    return as_vec((bits_of(a) & m) | (bits_of(b) & ~m));
}

INLINE vec larger(vec a, vec b)
{
    return choose(a > b, a, b);
}

/* Sum and maximum over the lanes, in a fixed tree. */
INLINE float lane_sum(vec v)
{
    float x[LANES];
    store(x, v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            x[i] += x[i + half];
    return x[0];
}

INLINE float lane_max(vec v)
{
    float x[LANES];
    store(x, v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            x[i] = x[i] > x[i + half] ? x[i] : x[i + half];
    return x[0];
}

/* --- exp and erfc ---------------------------------------------------------------------------------------------- */

/* exp(x) for x <= 0, relative error below 2e-7; 0 below -87, NaN for NaN. x = n ln 2 + r with |r| <= ln 2 / 2; the polynomial is a
 * Chebyshev fit of exp on that range (degree 6, error 3e-9 before rounding). */
INLINE vec exp_vec(vec x)
{
    const vec round = splat(12582912.0f); /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    ivec is_small = x < -87.0f;
    x = choose(is_small, splat(-87.0f), x);
    vec shifted = x * 1.44269504f + round;
    vec n = shifted - round;
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = r * 0.001394858118f + 0.008375128731f;
    p = p * r + 0.041666217148f;
    p = p * r + 0.166664153337f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uvec exponent = (bits_of(shifted) - 0x4B400000u + 127u) << 23;
    return choose(is_small, splat(0.0f), p * as_vec(exponent));
}

/* erfc(a) for a >= 0: exp(-a^2) * t * P(t) with t = 1 / (1 + 0.4 a); P is a Chebyshev fit of degree 9, relative error 3e-8
 * before rounding. */
INLINE vec erfc_vec(vec a)
{
    vec t = 1.0f / (1.0f + 0.4f * a);
    vec p = t * -0.028249159455f + 0.189928427339f;
    p = p * t + -0.477894365788f;
    p = p * t + 0.516928195953f;
    p = p * t + -0.256796538830f;
    p = p * t + 0.256101906300f;
    p = p * t + 0.135584324598f;
    p = p * t + 0.213578030467f;
    p = p * t + 0.225121259689f;
    p = p * t + 0.225697889924f;
    /* exp(-a^2) from a^2 in two parts, so that its rounding error is not multiplied by the exponential's steepness. */
    vec head = as_vec(bits_of(a) & 0xFFFFF000u);
    vec tail = a - head;
    return exp_vec(-(head * head)) * exp_vec(-(tail * (a + head))) * t * p;
}

/* --- number formats -------------------------------------------------------------------------------------------- */

INLINE vec load_bf16(const unsigned char *p)
{
    hvec h;
    memcpy(&h, p, sizeof h);
    return as_vec(__builtin_convertvector(h, uvec) << 16);
}

/* As f16_to_f32 in base/bytes.h, 16 at a time. */
INLINE vec load_f16(const unsigned char *p)
{
    hvec h;
    memcpy(&h, p, sizeof h);
    uvec bits = __builtin_convertvector(h, uvec);
    uvec sign = (bits & 0x8000u) << 16;
    uvec magnitude = (bits & 0x7FFFu) << 13;
    vec scaled = as_vec(magnitude) * 0x1p112f;
    ivec is_special = (bits & 0x7C00u) == 0x7C00u;
    return as_vec(sign | bits_of(choose(is_special, as_vec(magnitude | 0x7F800000u), scaled)));
}

INLINE vec load_i8(const unsigned char *p)
{
    bvec b;
    memcpy(&b, p, sizeof b);
    return __builtin_convertvector(b, vec);
}

/* The 32 numbers of a Q4_0 block without their scale. */
INLINE void load_i4(const unsigned char *p, vec *first, vec *second)
{
    bvec b;
    memcpy(&b, p, sizeof b);
    *first = __builtin_convertvector((b & 15) - 8, vec);
    *second = __builtin_convertvector(((b >> 4) & 15) - 8, vec);
}

static void unpack_f32(float *dst, const void *src, size_t n)
{
    memcpy(dst, src, n * sizeof *dst);
}

static void unpack_f16(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(dst + i, load_f16(p + 2 * i));
    for (; i < n; i++)
        dst[i] = f16_to_f32(load_u16(p + 2 * i));
}

static void unpack_bf16(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(dst + i, load_bf16(p + 2 * i));
    for (; i < n; i++)
        dst[i] = bf16_to_f32(load_u16(p + 2 * i));
}

static void unpack_q8_0(float *dst, const void *src, size_t n)
{
    const unsigned char *block = src;
    for (size_t i = 0; i < n; i += 32, block += 34) {
        float scale = f16_to_f32(load_u16(block));
        store(dst + i, load_i8(block + 2) * scale);
        store(dst + i + LANES, load_i8(block + 2 + LANES) * scale);
    }
}

static void unpack_q4_0(float *dst, const void *src, size_t n)
{
    const unsigned char *block = src;
    for (size_t i = 0; i < n; i += 32, block += 18) {
        float scale = f16_to_f32(load_u16(block));
        vec first, second;
        load_i4(block + 2, &first, &second);
        store(dst + i, first * scale);
        store(dst + i + LANES, second * scale);
    }
}

/* --- dot products ---------------------------------------------------------------------------------------------- */

/* Four running vectors hide the latency of the additions; what is left over goes number by number. */
#define DEFINE_DOT(name, element_bytes, load_vector, load_one)                                                        \
    static float name(const void *w, const float *x, size_t n)                                                        \
    {                                                                                                                 \
        const unsigned char *p = w;                                                                                   \
        vec sum[4] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};                                            \
        float rest = 0.0f;                                                                                            \
        size_t i = 0;                                                                                                 \
        for (; i + 4 * LANES <= n; i += 4 * LANES)                                                                    \
            for (size_t u = 0; u < 4; u++)                                                                            \
                sum[u] += load_vector(p + (element_bytes) * (i + u * LANES)) * load(x + i + u * LANES);               \
        for (; i + LANES <= n; i += LANES)                                                                            \
            sum[0] += load_vector(p + (element_bytes) * i) * load(x + i);                                             \
        for (; i < n; i++)                                                                                            \
            rest += load_one(p + (element_bytes) * i) * x[i];                                                         \
        return lane_sum((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;                                                \
    }

INLINE vec load_f32(const unsigned char *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE float one_f32(const unsigned char *p)
{
    return f32_from_bits(load_u32(p));
}

INLINE float one_f16(const unsigned char *p)
{
    return f16_to_f32(load_u16(p));
}

INLINE float one_bf16(const unsigned char *p)
{
    return bf16_to_f32(load_u16(p));
}

DEFINE_DOT(dot_f32, 4, load_f32, one_f32)
DEFINE_DOT(dot_f16, 2, load_f16, one_f16)
DEFINE_DOT(dot_bf16, 2, load_bf16, one_bf16)

static float dot_q8_0(const void *w, const float *x, size_t n)
{
    const unsigned char *block = w;
    vec sum[2] = {splat(0.0f), splat(0.0f)};
    for (size_t i = 0; i < n; i += 32, block += 34) {
        vec part = load_i8(block + 2) * load(x + i) + load_i8(block + 2 + LANES) * load(x + i + LANES);
        sum[(i / 32) & 1] += part * f16_to_f32(load_u16(block));
    }
    return lane_sum(sum[0] + sum[1]);
}

static float dot_q4_0(const void *w, const float *x, size_t n)
{
    const unsigned char *block = w;
    vec sum[2] = {splat(0.0f), splat(0.0f)};
    for (size_t i = 0; i < n; i += 32, block += 18) {
        vec first, second;
        load_i4(block + 2, &first, &second);
        vec part = first * load(x + i) + second * load(x + i + LANES);
        sum[(i / 32) & 1] += part * f16_to_f32(load_u16(block));
    }
    return lane_sum(sum[0] + sum[1]);
}

/* --- rows ------------------------------------------------------------------------------------------------------ */

/* Sums in double over eight columns at a time: the mean of a wide row keeps its precision, and the order is fixed. */
enum { SUMS = 8 };

INLINE double add_sums(const double *sums)
{
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

static void layernorm(float *y, const float *x, const float *weight, const float *bias, size_t n, float eps)
{
    double sums[SUMS] = {0}, squares[SUMS] = {0};
    for (size_t i = 0; i < n; i++)
        sums[i % SUMS] += (double)x[i];
    double mean = add_sums(sums) / (double)n;
    for (size_t i = 0; i < n; i++)
        squares[i % SUMS] += ((double)x[i] - mean) * ((double)x[i] - mean);
    float scale = (float)(1.0 / sqrt(add_sums(squares) / (double)n + (double)eps));
    float center = (float)mean;
    if (bias)
        for (size_t i = 0; i < n; i++)
            y[i] = (x[i] - center) * scale * weight[i] + bias[i];
    else
        for (size_t i = 0; i < n; i++)
            y[i] = (x[i] - center) * scale * weight[i];
}

static void rmsnorm(float *y, const float *x, const float *weight, size_t n, float eps)
{
    double squares[SUMS] = {0};
    for (size_t i = 0; i < n; i++)
        squares[i % SUMS] += (double)x[i] * (double)x[i];
    float scale = (float)(1.0 / sqrt(add_sums(squares) / (double)n + (double)eps));
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * scale * weight[i];
}

INLINE vec gelu_vec(vec x)
{
    ivec is_negative = x < 0.0f;
    vec half_erfc = erfc_vec(choose(is_negative, -x, x) * 0.70710678f) * 0.5f;
    return x * choose(is_negative, half_erfc, 1.0f - half_erfc);
}

static void gelu(float *x, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(x + i, gelu_vec(load(x + i)));
    if (i < n) {
        float rest[LANES] = {0};
        memcpy(rest, x + i, (n - i) * sizeof *x);
        store(rest, gelu_vec(load(rest)));
        memcpy(x + i, rest, (n - i) * sizeof *x);
    }
}

static void softmax_sum(const float *x, size_t n, float *largest, double *sum)
{
    vec max = splat(-INFINITY);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        max = larger(load(x + i), max);
    float m = lane_max(max);
    for (; i < n; i++)
        m = x[i] > m ? x[i] : m;
    double total = 0;
    for (i = 0; i + LANES <= n; i += LANES)
        total += (double)lane_sum(exp_vec(load(x + i) - m));
    for (; i < n; i++)
        total += (double)expf(x[i] - m);
    *largest = m;
    *sum = total;
}

/* --- attention ------------------------------------------------------------------------------------------------- */

enum { KEY_VECTORS = TILE_KEYS / LANES, ROWS = TILE_ROW_STEP };

/* Scores of ROWS queries against the 64 keys: 16 sums in registers, one column of keys at a time. */
INLINE void score_rows(const struct attention_tile *tile, uint32_t r, const float *k_columns, vec s[ROWS][KEY_VECTORS])
{
    const float *q = tile->q + (size_t)r * tile->row;
    for (int a = 0; a < ROWS; a++)
        for (int b = 0; b < KEY_VECTORS; b++)
            s[a][b] = splat(0.0f);
    for (uint32_t c = 0; c < tile->head_dim; c++) {
        const float *column = k_columns + (size_t)c * TILE_KEYS;
        for (int a = 0; a < ROWS; a++)
            for (int b = 0; b < KEY_VECTORS; b++)
                s[a][b] += load(column + b * LANES) * q[(size_t)a * tile->row + c];
    }
}

/* Adds the bias to one query's scores and masks the keys behind it. distance: first_key - query. */
INLINE void bias_row(vec s[KEY_VECTORS], float slope, int64_t distance)
{
    const vec lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int b = 0; b < KEY_VECTORS; b++) {
        vec d = lane + (float)(distance + b * LANES);
        s[b] = choose(d > 0.0f, splat(-INFINITY), s[b] + d * slope);
    }
}

static void attend(const struct attention_tile *tile, const float *k_columns, const float *v, int64_t first_key)
{
    for (uint32_t r = 0; r < tile->n_queries; r += ROWS) {
        vec s[ROWS][KEY_VECTORS];
        float p[ROWS][TILE_KEYS];
        float keep[ROWS];
        score_rows(tile, r, k_columns, s);
        for (int a = 0; a < ROWS; a++) {
            bias_row(s[a], tile->slope, first_key - (tile->first_query + r + a));
            float old_max = tile->max[r + a];
            float new_max = lane_max(larger(larger(s[a][0], s[a][1]), larger(s[a][2], s[a][3])));
            new_max = new_max > old_max ? new_max : old_max;
            vec sum = splat(0.0f);
            for (int b = 0; b < KEY_VECTORS; b++) {
                vec e = exp_vec(s[a][b] - new_max);
                store(p[a] + b * LANES, e);
                sum += e;
            }
            keep[a] = lane_sum(exp_vec(splat(old_max - new_max))) / LANES;
            tile->sum[r + a] = tile->sum[r + a] * keep[a] + lane_sum(sum);
            tile->max[r + a] = new_max;
        }
        /* A block's values are summed by themselves first: added one by one to a sum over 84,000 keys, each would lose its
         * low bits. */
        float *acc = tile->acc + (size_t)r * tile->row;
        for (uint32_t c = 0; c < tile->row; c += LANES) {
            vec o[ROWS];
            for (int a = 0; a < ROWS; a++)
                o[a] = splat(0.0f);
            for (int j = 0; j < TILE_KEYS; j++) {
                vec value = load(v + (size_t)j * tile->row + c);
                for (int a = 0; a < ROWS; a++)
                    o[a] += value * p[a][j];
            }
            for (int a = 0; a < ROWS; a++) {
                float *sum = acc + (size_t)a * tile->row + c;
                store(sum, load(sum) * keep[a] + o[a]);
            }
        }
    }
}

static void (*const unpack_type[QUIRE_DTYPE_COUNT])(float *, const void *, size_t) = {
    unpack_f32, unpack_f16, unpack_bf16, unpack_q8_0, unpack_q4_0};
static float (*const dot_type[QUIRE_DTYPE_COUNT])(const void *, const float *, size_t) = {
    dot_f32, dot_f16, dot_bf16, dot_q8_0, dot_q4_0};

static void unpack_columns(float *k_columns, quire_dtype type, const void *k, uint32_t n_keys, uint32_t head_dim,
                           float *scratch)
{
    size_t row_bytes = (size_t)head_dim * quire_dtype_block_bytes(type);
    if (n_keys < TILE_KEYS)
        memset(k_columns, 0, (size_t)head_dim * TILE_KEYS * sizeof *k_columns);
    for (uint32_t j = 0; j < n_keys; j++) {
        unpack_type[type](scratch, (const unsigned char *)k + j * row_bytes, head_dim);
        for (uint32_t c = 0; c < head_dim; c++)
            k_columns[(size_t)c * TILE_KEYS + j] = scratch[c];
    }
}

static void attend_one(const struct attention_tile *tile, quire_dtype type, const void *k, const void *v, uint32_t n_keys,
                       int64_t first_key, float *scratch)
{
    size_t row_bytes = (size_t)tile->head_dim * quire_dtype_block_bytes(type);
    float s[TILE_KEYS];
    float old_max = tile->max[0], new_max = old_max;
    for (uint32_t j = 0; j < n_keys; j++) {
        s[j] = dot_type[type]((const unsigned char *)k + j * row_bytes, tile->q, tile->head_dim) +
               tile->slope * (float)(first_key + j - tile->first_query);
        new_max = s[j] > new_max ? s[j] : new_max;
    }
    for (uint32_t j = n_keys; j < TILE_KEYS; j++)
        s[j] = -INFINITY;
    vec sum = splat(0.0f);
    for (int b = 0; b < KEY_VECTORS; b++) {
        vec e = exp_vec(load(s + b * LANES) - new_max);
        store(s + b * LANES, e);
        sum += e;
    }
    float keep = lane_sum(exp_vec(splat(old_max - new_max))) / LANES;
    tile->sum[0] = tile->sum[0] * keep + lane_sum(sum);
    tile->max[0] = new_max;
    float *part = scratch + tile->row; /* the block's values, summed by themselves first */
    memset(part, 0, tile->row * sizeof *part);
    for (uint32_t j = 0; j < n_keys; j++) {
        unpack_type[type](scratch, (const unsigned char *)v + j * row_bytes, tile->head_dim);
        for (uint32_t c = 0; c < tile->row; c += LANES)
            store(part + c, load(part + c) + load(scratch + c) * s[j]);
    }
    for (uint32_t c = 0; c < tile->row; c += LANES)
        store(tile->acc + c, load(tile->acc + c) * keep + load(part + c));
}

const struct kernels KERNELS_TABLE = {
    .name = KERNELS_NAME,
    .unpack = {unpack_f32, unpack_f16, unpack_bf16, unpack_q8_0, unpack_q4_0},
    .dot = {dot_f32, dot_f16, dot_bf16, dot_q8_0, dot_q4_0},
    .layernorm = layernorm,
    .rmsnorm = rmsnorm,
    .gelu = gelu,
    .softmax_sum = softmax_sum,
    .attend = attend,
    .attend_one = attend_one,
    .unpack_columns = unpack_columns,
};
