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
        const __m256i one = _mm256_set1_epi16(1), none = _mm256_setzero_si256();
        __m256i low = add_products(none, one, load_256(fixed->numbers + i)),
                high = add_products(none, one, load_256(fixed->numbers + i + 16));
        fixed->half_totals[i / 16] = sum_of_8(_mm256_cvtepi32_ps(low)) * fixed->scales[i / FIXED_BLOCK];
        fixed->half_totals[i / 16 + 1] = sum_of_8(_mm256_cvtepi32_ps(high)) * fixed->scales[i / FIXED_BLOCK];
        fixed->totals[i / FIXED_BLOCK] =
            sum_of_8(_mm256_cvtepi32_ps(_mm256_add_epi32(low, high))) * fixed->scales[i / FIXED_BLOCK];
    }
    fill_groups(fixed, n);
}

#include "dot_blocks.h"

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
