/* The kernels with vectors as wide as the machine's. The including file defines KERNELS_TABLE, KERNELS_NAME and
 * KERNELS_WIDTH, the number of floats in a vector (4, 8 or 16), and KERNELS_BF16 or KERNELS_FIXED where products
 * are to be made of factors in bfloat16 or in fixed point; it is compiled for the instruction set in question. With
 * KERNELS_AMX_TABLE there is a second table of that name, the same but for the products of bfloat16 factors. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#if KERNELS_WIDTH > 4
#include <immintrin.h>
#endif

#include "base/block_layout.h"
#include "base/kv_rows.h"
#include "tables.h"

enum { W = KERNELS_WIDTH };

typedef float vec __attribute__((vector_size(4 * W)));
typedef int32_t ivec __attribute__((vector_size(4 * W)));
typedef uint32_t uvec __attribute__((vector_size(4 * W)));
#if KERNELS_WIDTH == 4
typedef uint16_t hvec __attribute__((vector_size(2 * W)));
typedef int8_t bvec __attribute__((vector_size(W)));
#endif

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
    return x - (vec){0};
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

/* Sum and maximum over the lanes, in a fixed tree: the upper half onto the lower, until one is left. The compilers take
 * the portable form through memory. */
#if KERNELS_WIDTH > 4
INLINE __m128 upper_onto_lower(__m256 v, bool is_max)
{
    __m128 lower = _mm256_castps256_ps128(v), upper = _mm256_extractf128_ps(v, 1);
    return is_max ? _mm_max_ps(lower, upper) : _mm_add_ps(lower, upper);
}

INLINE float lane_tree(vec v, bool is_max)
{
#if KERNELS_WIDTH == 16
    __m256 low = _mm512_castps512_ps256((__m512)v), high = _mm512_extractf32x8_ps((__m512)v, 1);
    __m256 half = is_max ? _mm256_max_ps(low, high) : _mm256_add_ps(low, high);
#else
    __m256 half = (__m256)v;
#endif
    __m128 x = upper_onto_lower(half, is_max), y = _mm_movehl_ps(x, x);
    x = is_max ? _mm_max_ps(x, y) : _mm_add_ps(x, y);
    y = _mm_shuffle_ps(x, x, 1);
    return _mm_cvtss_f32(is_max ? _mm_max_ss(x, y) : _mm_add_ss(x, y));
}
#else
INLINE float lane_tree(vec v, bool is_max)
{
    float x[W];
    store(x, v);
    for (int half = W / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            x[i] = !is_max ? x[i] + x[i + half] : x[i] > x[i + half] ? x[i] : x[i + half];
    return x[0];
}
#endif

INLINE float lane_sum(vec v)
{
    return lane_tree(v, false);
}

INLINE float lane_max(vec v)
{
    return lane_tree(v, true);
}

/* --- exp and erfc ---------------------------------------------------------------------------------------------- */

/* exp(x) for x <= 0, relative error below 2e-7; 0 below -87, NaN for NaN. x = n ln 2 + r with |r| <= ln 2 / 2; the
 * polynomial is a Chebyshev fit of exp on that range (degree 6, error 3e-9 before rounding). */
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

/* erfc(a) for a >= 0: exp(-a^2) * t * P(t) with t = 1 / (1 + 0.4 a); P is a Chebyshev fit of degree 9, relative error
 * 3e-8 before rounding. */
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

/* 16-bit numbers and int8: the machine's own conversions where it has them. GCC 12 takes the portable forms apart,
 * which made the dot products of Q8_0 and Q4_0 five times slower. */
#if KERNELS_WIDTH == 16
INLINE vec load_bf16(const unsigned char *p)
{
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return (vec)_mm512_slli_epi32(bits, 16);
}

INLINE vec load_f16(const unsigned char *p)
{
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

INLINE vec load_i8(const void *p)
{
    return (vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
#elif KERNELS_WIDTH == 8
INLINE vec load_bf16(const unsigned char *p)
{
    __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return (vec)_mm256_slli_epi32(bits, 16);
}

INLINE vec load_f16(const unsigned char *p)
{
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

INLINE vec load_i8(const void *p)
{
    return (vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
#else
INLINE vec load_bf16(const unsigned char *p)
{
    hvec h;
    memcpy(&h, p, sizeof h);
    return as_vec(__builtin_convertvector(h, uvec) << 16);
}

/* As f16_to_f32 in base/bytes.h. */
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

INLINE vec load_i8(const void *p)
{
    bvec b;
    memcpy(&b, p, sizeof b);
    return __builtin_convertvector(__builtin_convertvector(b, ivec), vec);
}
#endif

static void unpack_f32(float *dst, const void *src, size_t n)
{
    memcpy(dst, src, n * sizeof *dst);
}

static void unpack_f16(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(dst + i, load_f16(p + 2 * i));
    for (; i < n; i++)
        dst[i] = load_half(p + 2 * i);
}

static void unpack_bf16(float *dst, const void *src, size_t n)
{
    const unsigned char *p = src;
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(dst + i, load_bf16(p + 2 * i));
    for (; i < n; i++)
        dst[i] = bf16_to_f32(load_u16(p + 2 * i));
}

#define DEFINE_UNPACK(TYPE, name, elements, bytes, group, has_offsets, ...)                                            \
    static void unpack_##name(float *dst, const void *src, size_t n)                                                   \
    {                                                                                                                  \
        const unsigned char *block = src;                                                                              \
        struct block_parts parts;                                                                                      \
        for (size_t i = 0; i < n; i += (elements), block += (bytes)) {                                                 \
            split_##name(&parts, block);                                                                               \
            for (size_t j = 0; j < (elements); j += W) {                                                               \
                vec numbers = load_i8(parts.numbers + j) * parts.scales[j / (group)];                                  \
                store(dst + i + j, (has_offsets) ? numbers + parts.offsets[j / (group)] : numbers);                    \
            }                                                                                                          \
        }                                                                                                              \
    }
BLOCK_TYPES(DEFINE_UNPACK)

static void unpack(quire_dtype type, float *dst, const void *src, size_t n)
{
#define UNPACK_ROW(TYPE, name, ...) [QUIRE_DTYPE_##TYPE] = unpack_##name,
    static void (*const of_type[QUIRE_DTYPE_COUNT])(float *, const void *, size_t) = {[QUIRE_DTYPE_F32] = unpack_f32,
                                                                                      [QUIRE_DTYPE_F16] = unpack_f16,
                                                                                      [QUIRE_DTYPE_BF16] = unpack_bf16,
                                                                                      BLOCK_TYPES(UNPACK_ROW)};
    of_type[type](dst, src, n);
}

static uint32_t fold(const void *p, size_t n_bytes)
{
    uvec words[4] = {{0}}, next;
    uint32_t lanes[W], all = 0;
    for (size_t i = 0; i < n_bytes; i += sizeof words)
        for (size_t j = 0; j < 4; j++) {
            memcpy(&next, (const unsigned char *)p + i + j * sizeof next, sizeof next);
            words[j] ^= next;
        }
    words[0] = (words[0] ^ words[1]) ^ (words[2] ^ words[3]);
    memcpy(lanes, &words[0], sizeof lanes);
    for (size_t j = 0; j < W; j++)
        all ^= lanes[j];
    return all;
}

/* --- dot products ---------------------------------------------------------------------------------------------- */

/* While rows are multiplied, as many behind them are asked for, one after the other: a memory that is read straight on
 * is the fastest. Into the second-level cache: the vectors fill the first. */
struct ahead {
    const unsigned char *row;
    size_t at, n_bytes, row_bytes;
};

INLINE void ask_ahead(struct ahead *ahead, size_t n_bytes)
{
    for (size_t line = 0; line < n_bytes; line += 64)
        __builtin_prefetch(ahead->row + ahead->at + line, 0, 2);
    ahead->at += n_bytes;
    if (ahead->at >= ahead->n_bytes) {
        ahead->row += ahead->row_bytes;
        ahead->at = 0;
    }
}

/* As many rows and vectors together as the registers hold, with two running vectors for each pair, which hide the
 * latency of the additions; what is left over goes number by number. */
enum { DOT_ROWS = 2, DOT_VECTORS = W == 16 ? 4 : 2, DOT_RUNNING = 2 };

/* few_##name: for counts that are known where it is compiled. */
#define DEFINE_DOT(name, element_bytes, load_vector, load_one)                                                         \
    INLINE void few_##name(float *y, size_t y_stride, const unsigned char *w, size_t row_bytes, size_t n_rows,         \
                           const float *x, size_t n_vectors, size_t n)                                                 \
    {                                                                                                                  \
        vec sums[DOT_ROWS][DOT_VECTORS][DOT_RUNNING];                                                                  \
        struct ahead ahead = {w + n_rows * row_bytes, 0, n * (element_bytes), row_bytes};                              \
        size_t i = 0;                                                                                                  \
        for (size_t r = 0; r < n_rows; r++)                                                                            \
            for (size_t v = 0; v < n_vectors; v++)                                                                     \
                sums[r][v][0] = sums[r][v][1] = splat(0.0f);                                                           \
        for (; i + DOT_RUNNING * W <= n; i += DOT_RUNNING * W) {                                                       \
            if (n_vectors > 1)                                                                                         \
                ask_ahead(&ahead, n_rows *(element_bytes)*DOT_RUNNING *W);                                             \
            for (size_t u = 0; u < DOT_RUNNING; u++)                                                                   \
                for (size_t r = 0; r < n_rows; r++) {                                                                  \
                    vec weights = load_vector(w + r * row_bytes + (element_bytes) * (i + u * W));                      \
                    for (size_t v = 0; v < n_vectors; v++)                                                             \
                        sums[r][v][u] += weights * load(x + v * n + i + u * W);                                        \
                }                                                                                                      \
        }                                                                                                              \
        for (size_t r = 0; r < n_rows; r++)                                                                            \
            for (size_t v = 0; v < n_vectors; v++) {                                                                   \
                float rest = 0.0f;                                                                                     \
                for (size_t j = i; j < n; j++)                                                                         \
                    rest += load_one(w + r * row_bytes + (element_bytes)*j) * x[v * n + j];                            \
                y[v * y_stride + r] = lane_sum(sums[r][v][0] + sums[r][v][1]) + rest;                                  \
            }                                                                                                          \
    }                                                                                                                  \
    INLINE void vectors_##name(float *y, size_t y_stride, const unsigned char *w, size_t row_bytes, size_t n_rows,     \
                               const float *x, size_t n_vectors, size_t n)                                             \
    {                                                                                                                  \
        size_t r = 0;                                                                                                  \
        for (; n_vectors > 1 && r + DOT_ROWS <= n_rows; r += DOT_ROWS)                                                 \
            few_##name(y + r, y_stride, w + r * row_bytes, row_bytes, DOT_ROWS, x, n_vectors, n);                      \
        for (; r < n_rows; r++)                                                                                        \
            few_##name(y + r, y_stride, w + r * row_bytes, row_bytes, 1, x, n_vectors, n);                             \
    }                                                                                                                  \
    static void rows_##name(float *y, size_t y_stride, const void *w, size_t row_bytes, size_t n_rows, const float *x, \
                            size_t n_vectors, size_t n)                                                                \
    {                                                                                                                  \
        for (; n_vectors >= DOT_VECTORS; n_vectors -= DOT_VECTORS, y += DOT_VECTORS * y_stride, x += DOT_VECTORS * n)  \
            vectors_##name(y, y_stride, w, row_bytes, n_rows, x, DOT_VECTORS, n);                                      \
        for (; n_vectors > 1; n_vectors -= 2, y += 2 * y_stride, x += 2 * n)                                           \
            vectors_##name(y, y_stride, w, row_bytes, n_rows, x, 2, n);                                                \
        if (n_vectors > 0)                                                                                             \
            vectors_##name(y, y_stride, w, row_bytes, n_rows, x, 1, n);                                                \
    }                                                                                                                  \
    static float name(const void *w, const float *x, size_t n)                                                         \
    {                                                                                                                  \
        float y;                                                                                                       \
        few_##name(&y, 0, w, 0, 1, x, 1, n);                                                                           \
        return y;                                                                                                      \
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

INLINE float one_bf16(const unsigned char *p)
{
    return bf16_to_f32(load_u16(p));
}

DEFINE_DOT(dot_f32, 4, load_f32, one_f32)
DEFINE_DOT(dot_f16, 2, load_f16, load_half)
DEFINE_DOT(dot_bf16, 2, load_bf16, one_bf16)

#if KERNELS_WIDTH > 4
#include "dot_fixed.h"
#else
/* What shares a scale is summed before it is scaled. */
#define DEFINE_DOT_BLOCKS(TYPE, name, elements, bytes, group, has_offsets, ...)                                        \
    static float dot_##name(const void *w, const float *x, size_t n)                                                   \
    {                                                                                                                  \
        const unsigned char *block = w;                                                                                \
        struct block_parts parts;                                                                                      \
        vec sum = splat(0.0f);                                                                                         \
        for (size_t i = 0; i < n; i += (elements), block += (bytes)) {                                                 \
            split_##name(&parts, block);                                                                               \
            for (size_t j = 0; j < (elements); j += (group)) {                                                         \
                vec products = splat(0.0f), total = splat(0.0f);                                                       \
                for (size_t k = j; k < j + (group); k += W) {                                                          \
                    products += load_i8(parts.numbers + k) * load(x + i + k);                                          \
                    total += load(x + i + k);                                                                          \
                }                                                                                                      \
                sum += products * parts.scales[j / (group)];                                                           \
                if (has_offsets)                                                                                       \
                    sum += total * parts.offsets[j / (group)];                                                         \
            }                                                                                                          \
        }                                                                                                              \
        return lane_sum(sum);                                                                                          \
    }
BLOCK_TYPES(DEFINE_DOT_BLOCKS)
#endif

static float dot(quire_dtype type, const void *w, const float *x, size_t n)
{
#define DOT_ROW(TYPE, name, ...) [QUIRE_DTYPE_##TYPE] = dot_##name,
    static float (*const of_type[QUIRE_DTYPE_COUNT])(const void *, const float *, size_t) = {
        [QUIRE_DTYPE_F32] = dot_f32,
        [QUIRE_DTYPE_F16] = dot_f16,
        [QUIRE_DTYPE_BF16] = dot_bf16,
#if KERNELS_WIDTH == 4
        BLOCK_TYPES(DOT_ROW)
#endif
    };
    return of_type[type](w, x, n);
}

#include "rows.h"

#include "rows_back.h" /* on the one before */

/* --- products of many rows ---------------------------------------------------------------------------------------- */

#if KERNELS_WIDTH > 4
#include "gemm_vector.h"
#ifdef KERNELS_BF16
#include "gemm_bf16.h"
#define KERNELS_GEMM gemm_bf16
#elif defined(KERNELS_FIXED)
#include "gemm_fixed.h"
#define KERNELS_GEMM gemm_fixed
#else
#define KERNELS_GEMM gemm_f32
#endif
#define KERNELS_GEMM_EXACT gemm_f32
#else
#define KERNELS_GEMM       gemm_openblas
#define KERNELS_GEMM_EXACT gemm_openblas
#endif

#include "attention_vector.h"

#include "attention_back.h" /* on the one before */
#ifdef KERNELS_BF16
#include "attention_bf16.h"

#include "attention_back_bf16.h"
#endif

const struct kernels KERNELS_TABLE = {
    .name = KERNELS_NAME,
    .gemm = &KERNELS_GEMM,
    .group_tiles = 4,
#ifdef KERNELS_BF16
    .narrow_blocks = 1,
    .narrow_start = narrow_start,
    .narrow_keys = narrow_columns,
    .narrow_values = narrow_pairs,
    .attend_narrow = attend_narrow,
    .narrow_end = narrow_end,
    .attend_back_narrow = attend_back_narrow,
#endif
#include "vector_entries.inc"
};

#ifdef KERNELS_AMX_TABLE
#include "amx.h"

#include "attention_amx.h"
#include "attention_back_amx.h"
#include "gemm_amx.h"

const struct kernels KERNELS_AMX_TABLE = {
    .name = "amx-bf16",
    .gemm = &gemm_amx,
    .group_tiles = GROUP_TILES,
    .narrow_blocks = NARROW_BLOCKS,
    .narrow_start = amx_start,
    .narrow_keys = amx_keys,
    .narrow_values = amx_values,
    .attend_narrow = attend_amx,
    .narrow_end = amx_end,
    .attend_back_narrow = attend_back_amx,
#include "vector_entries.inc"
};
#endif
