/* Products of weights stored as small integers with a vector in 16-bit fixed point: part of kernels_vector.h, for
 * processors with 256-bit integer arithmetic.
 *
 * A block of 32 products is summed in 32-bit integers, exactly: at most 4 products of 127 * 32767 meet in a lane, which
 * float32 still holds without rounding. So no weight is turned into a float. */
enum {
    FEW_ROWS = 4,   /* rows that go together, */
    FEW_VECTORS = 4 /* and vectors: as many as the registers hold */
};

/* sums + a . b, in pairs of 16-bit numbers. */
INLINE __m256i add_products(__m256i sums, __m256i a, __m256i b)
{
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    return _mm256_dpwssd_epi32(sums, a, b);
#elif defined(__AVXVNNI__)
    return _mm256_dpwssd_avx_epi32(sums, a, b);
#else
    return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
#endif
}

INLINE __m256i load_256(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* The same in a register as wide as the machine's. */
INLINE ivec add_pairs(ivec sums, ivec a, ivec b)
{
#if KERNELS_WIDTH == 16 && defined(__AVX512VNNI__)
    return (ivec)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)a, (__m512i)b);
#elif KERNELS_WIDTH == 16
    return sums + (ivec)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#else
    return (ivec)add_products((__m256i)sums, (__m256i)a, (__m256i)b);
#endif
}

INLINE vec floats_of(ivec whole)
{
#if KERNELS_WIDTH == 16
    return (vec)_mm512_cvtepi32_ps((__m512i)whole);
#else
    return (vec)_mm256_cvtepi32_ps((__m256i)whole);
#endif
}

INLINE ivec load_ints(const void *p)
{
    ivec v;
    memcpy(&v, p, sizeof v);
    return v;
}

#if KERNELS_WIDTH == 16
/* The first n lanes, of 16 at most. */
INLINE __mmask16 first_lanes(size_t n)
{
    return (__mmask16)(n < 16 ? (1u << n) - 1 : 0xFFFFu);
}
#endif

#include "dot_nibbles.h"

INLINE float sum_of_8(__m256 v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

typedef int16_t svec __attribute__((vector_size(2 * W)));

static void to_fixed(const struct fixed *fixed, const float *x, size_t n)
{
    const vec round = splat(12582912.0f); /* 1.5 * 2^23, as in exp_vec */
    for (size_t i = 0; i < n; i += FIXED_BLOCK) {
        vec largest = splat(0.0f), zero = splat(0.0f); /* stays zero unless something is infinite or NaN */
        for (size_t j = 0; j < FIXED_BLOCK; j += W) {
            vec v = load(x + i + j);
            zero += v * 0.0f;
            largest = larger(as_vec(bits_of(v) & 0x7FFFFFFFu), largest);
        }
        float scale = lane_max(largest) * (1.0f / 32767.0f);
        bool is_finite = lane_sum(zero) == 0.0f, is_zero = scale < 0x1p-120f; /* too small for an inverse */
        float inverse = is_finite && !is_zero ? 1.0f / scale : 0.0f;
        fixed->scales[i / FIXED_BLOCK] = is_finite ? is_zero ? 0.0f : scale : NAN;
        for (size_t j = 0; j < FIXED_BLOCK; j += W) {
            vec shifted = choose(splat(inverse) > 0.0f, load(x + i + j), splat(0.0f)) * inverse + round;
            ivec whole = (ivec)(bits_of(shifted) - 0x4B400000u);
            svec narrow = __builtin_convertvector(whole, svec);
            memcpy(fixed->numbers + i + j, &narrow, sizeof narrow);
        }
        const __m256i one = _mm256_set1_epi16(1);
        __m256i low = load_256(fixed->numbers + i), high = load_256(fixed->numbers + i + 16);
        __m256i total = add_products(add_products(_mm256_setzero_si256(), one, low), one, high);
        fixed->totals[i / FIXED_BLOCK] = sum_of_8(_mm256_cvtepi32_ps(total)) * fixed->scales[i / FIXED_BLOCK];
    }
    fill_groups(fixed, n);
}

/* 16 bytes as 16-bit numbers: without and with their sign. */
INLINE __m256i widen_u8(const void *p)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
}

INLINE __m256i widen_i8(const void *p)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
}

/* 32 numbers of the vector, and their scale. */
struct fixed_block {
    __m256i low, high;
    __m256 scale;
};

INLINE struct fixed_block load_block(const struct fixed *x, size_t i)
{
    return (struct fixed_block){load_256(x->numbers + i), load_256(x->numbers + i + 16),
                                _mm256_broadcast_ss(x->scales + i / 32)};
}

/* 32 numbers of a row as 16-bit integers. */
struct wide {
    __m256i low, high;
};

INLINE struct wide widen_numbers(const int8_t numbers[32])
{
    return (struct wide){widen_i8(numbers), widen_i8(numbers + 16)};
}

INLINE __m256i join_wide_half(struct joined_bits from, size_t at)
{
    __m256i numbers = _mm256_srli_epi16(widen_u8(from.low + at), from.low_shift);
    numbers = _mm256_and_si256(numbers, _mm256_set1_epi16(from.low_mask));
    if (from.high_mask) {
        __m256i high = _mm256_srli_epi16(widen_u8(from.high + at), from.high_shift);
        high = _mm256_and_si256(high, _mm256_set1_epi16(from.high_mask));
        numbers = _mm256_or_si256(numbers, _mm256_slli_epi16(high, from.place));
    }
    return from.minus ? _mm256_sub_epi16(numbers, _mm256_set1_epi16(from.minus)) : numbers;
}

/* As join_bits. */
INLINE struct wide join_wide(struct joined_bits from)
{
    return (struct wide){join_wide_half(from, 0), join_wide_half(from, 16)};
}

/* sum + 32 numbers times as many of the vector. Groups of 16 have two scales. */
INLINE __m256 add_wide(__m256 sum, struct wide w, const float *scales, size_t group, const struct fixed *x, size_t i)
{
    const __m256i zero = _mm256_setzero_si256();
    struct fixed_block numbers = load_block(x, i);
    __m256i first = add_products(zero, w.low, numbers.low);
    if (group == 32) {
        __m256 products = _mm256_cvtepi32_ps(add_products(first, w.high, numbers.high));
        return _mm256_fmadd_ps(products, _mm256_mul_ps(_mm256_set1_ps(scales[0]), numbers.scale), sum);
    }
    __m256 second = _mm256_cvtepi32_ps(add_products(zero, w.high, numbers.high));
    second = _mm256_mul_ps(second, _mm256_set1_ps(scales[1]));
    second = _mm256_fmadd_ps(_mm256_cvtepi32_ps(first), _mm256_set1_ps(scales[0]), second);
    return _mm256_fmadd_ps(second, numbers.scale, sum);
}

/* sum + the offsets of a block times the numbers of the vector. */
INLINE __m256 add_offsets(__m256 sum, const float *offsets, size_t elements, size_t group, const struct fixed *x,
                          size_t i)
{
    const __m256i one = _mm256_set1_epi16(1);
    if (elements == 32) /* one product, in one of the lanes */
        return _mm256_add_ps(sum, _mm256_zextps128_ps256(_mm_set_ss(offsets[0] * x->totals[i / 32])));
    if (group == 32)
        return _mm256_fmadd_ps(_mm256_loadu_ps(offsets), _mm256_loadu_ps(x->totals + i / 32), sum);
    for (size_t j = 0; j < elements; j += 32, offsets += 2)
        sum = add_wide(sum, (struct wide){one, one}, offsets, group, x, i + j);
    return sum;
}

/* Where a part's bits are is to be known when it is compiled. */
#if defined(__clang__)
#define UNROLL_PARTS _Pragma("clang loop unroll(full)")
#else
#define UNROLL_PARTS _Pragma("GCC unroll 8")
#endif

/* sum + one block of a row times the vector's numbers from i on. Those of a K type are taken out of their bits part by
 * part, those of the others at once. */
#define DEFINE_ADD(name, elements, group, has_offsets, take_out, wide_of_part)                                         \
    INLINE __m256 add_##name(__m256 sum, const unsigned char *block, const struct fixed *x, size_t i)                  \
    {                                                                                                                  \
        struct block_parts parts;                                                                                      \
        take_out(&parts, block);                                                                                       \
        if (has_offsets)                                                                                               \
            sum = add_offsets(sum, parts.offsets, elements, group, x, i);                                              \
        UNROLL_PARTS                                                                                                   \
        for (int part = 0; part < (elements) / 32; part++)                                                             \
            sum = add_wide(sum, wide_of_part, parts.scales + part * 32 / (group), group, x, i + 32 * (size_t)part);    \
        return sum;                                                                                                    \
    }
#define DEFINE_ADD_NUMBERS(name, elements, has_offsets)                                                                \
    DEFINE_ADD(name, elements, 32, has_offsets, split_##name, widen_numbers(parts.numbers + 32 * part))
#define DEFINE_ADD_K(name, group, has_offsets)                                                                         \
    DEFINE_ADD(name, 256, group, has_offsets, scales_##name, join_wide(bits_##name(block, part)))
DEFINE_ADD_NUMBERS(q4_1, 32, true)
DEFINE_ADD_NUMBERS(q5_0, 32, false)
DEFINE_ADD_NUMBERS(q5_1, 32, true)
DEFINE_ADD_NUMBERS(iq4_nl, 32, false)
DEFINE_ADD_NUMBERS(iq4_xs, 256, false)
DEFINE_ADD_K(q2_k, 16, true)
DEFINE_ADD_K(q3_k, 16, false)
DEFINE_ADD_K(q4_k, 32, true)
DEFINE_ADD_K(q5_k, 32, true)
DEFINE_ADD_K(q6_k, 16, false)

INLINE __m256 add_q8_0(__m256 sum, const unsigned char *block, const struct fixed *x, size_t i)
{
    float scale = load_half(block);
    struct wide numbers = {widen_i8(block + 2), widen_i8(block + 18)};
    return add_wide(sum, numbers, &scale, 32, x, i);
}

/* Q4_0 has its own (dot_nibbles.h). */
#define DEFINE_FEW(TYPE, name, elements, block_bytes, ...)                                                             \
    INLINE void few_##name(float *y, size_t y_stride, const unsigned char *w, size_t row_bytes, size_t n_rows,         \
                           const struct fixed *x, size_t n_vectors, size_t n)                                          \
    {                                                                                                                  \
        __m256 sums[FEW_ROWS][FEW_VECTORS];                                                                            \
        struct ahead ahead = {w + n_rows * row_bytes, 0, n / (elements) * (block_bytes), row_bytes};                   \
        for (size_t r = 0; r < n_rows; r++)                                                                            \
            for (size_t v = 0; v < n_vectors; v++)                                                                     \
                sums[r][v] = _mm256_setzero_ps();                                                                      \
        for (size_t i = 0; i < n; i += (elements), w += (block_bytes)) {                                               \
            ask_ahead(&ahead, n_rows *(block_bytes));                                                                  \
            for (size_t r = 0; r < n_rows; r++)                                                                        \
                for (size_t v = 0; v < n_vectors; v++)                                                                 \
                    sums[r][v] = add_##name(sums[r][v], w + r * row_bytes, &x[v], i);                                  \
        }                                                                                                              \
        for (size_t r = 0; r < n_rows; r++)                                                                            \
            for (size_t v = 0; v < n_vectors; v++)                                                                     \
                y[v * y_stride + r] = sum_of_8(sums[r][v]);                                                            \
    }
BLOCK_TYPES_BUT_Q4_0(DEFINE_FEW)

/* A few rows and vectors, whose counts are known where it is compiled. */
typedef void dot_few(float *y, size_t y_stride, const unsigned char *w, size_t row_bytes, size_t n_rows,
                     const struct fixed *x, size_t n_vectors, size_t n);

INLINE void dot_rows(dot_few *few, float *y, size_t y_stride, const unsigned char *w, size_t row_bytes, size_t n_rows,
                     const struct fixed *x, size_t n_vectors, size_t n)
{
    size_t r = 0, step = W < 16 && n_vectors > 1 ? FEW_ROWS / 2 : FEW_ROWS; /* half as many registers */
    for (; r + step <= n_rows; r += step)
        few(y + r, y_stride, w + r * row_bytes, row_bytes, step, x, n_vectors, n);
    for (; r < n_rows; r++)
        few(y + r, y_stride, w + r * row_bytes, row_bytes, 1, x, n_vectors, n);
}

INLINE void dot_vectors(dot_few *few, float *y, size_t y_stride, const void *w, size_t row_bytes, size_t n_rows,
                        const struct fixed *x, size_t n_vectors, size_t n)
{
    for (size_t n_some; n_vectors > 0; n_vectors -= n_some, x += n_some, y += n_some * y_stride) {
        n_some = n_vectors < FEW_VECTORS ? n_vectors : FEW_VECTORS;
        switch (n_some) {
        case 1: dot_rows(few, y, y_stride, w, row_bytes, n_rows, x, 1, n); break;
        case 2: dot_rows(few, y, y_stride, w, row_bytes, n_rows, x, 2, n); break;
        case 3: dot_rows(few, y, y_stride, w, row_bytes, n_rows, x, 3, n); break;
        default: dot_rows(few, y, y_stride, w, row_bytes, n_rows, x, FEW_VECTORS, n);
        }
    }
}

#define DEFINE_DOT_FIXED(TYPE, name, ...)                                                                              \
    static void dot_fixed_##name(float *y, size_t y_stride, const void *w, size_t row_bytes, size_t n_rows,            \
                                 const struct fixed *x, size_t n_vectors, size_t n)                                    \
    {                                                                                                                  \
        dot_vectors(few_##name, y, y_stride, w, row_bytes, n_rows, x, n_vectors, n);                                   \
    }
BLOCK_TYPES(DEFINE_DOT_FIXED)
