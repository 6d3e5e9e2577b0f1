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
#else
    return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
#endif
}

INLINE __m256i load_256(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

#if KERNELS_WIDTH == 16
#include "dot_quads.h"
#endif

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
#if KERNELS_WIDTH < 16
        const __m256i minus = _mm256_set1_epi16(-8);
        __m256i low = load_256(fixed->numbers + i), high = load_256(fixed->numbers + i + 16);
        __m256i offsets = add_products(add_products(_mm256_setzero_si256(), minus, low), minus, high);
        _mm256_storeu_si256((__m256i *)(void *)(fixed->offsets + i / 4), offsets);
#endif
    }
#if KERNELS_WIDTH == 16
    fill_quads(fixed, n);
#endif
}

/* A half, in all lanes. */
INLINE __m256 all_f16(const unsigned char *p)
{
    return _mm256_cvtph_ps(_mm_set1_epi16((short)load_u16(p)));
}

/* 16 bytes as 16-bit numbers: without and with their sign. */
INLINE __m256i widen_u8(const unsigned char *p)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
}

INLINE __m256i widen_i8(const unsigned char *p)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
}

INLINE float sum_of_8(__m256 v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* 32 numbers of a row as 16-bit integers, those of Q4_0 with 8 too much, and their scale in all lanes. */
struct stored_block {
    __m256i low, high;
    __m256 scale;
};

INLINE struct stored_block unpack_block(quire_dtype type, const unsigned char *block)
{
    if (type == QUIRE_DTYPE_Q8_0)
        return (struct stored_block){widen_i8(block + 2), widen_i8(block + 18), all_f16(block)};
    __m256i bytes = widen_u8(block + 2); /* numbers 0..15 are the low nibbles, 16..31 the high ones */
    return (struct stored_block){_mm256_and_si256(bytes, _mm256_set1_epi16(15)), _mm256_srli_epi16(bytes, 4),
                                 all_f16(block)};
}

/* Their products with numbers i to i + 31 of a vector, added to sums. */
INLINE __m256 add_block(quire_dtype type, __m256 sums, const struct stored_block *block, const struct fixed *x,
                        size_t i)
{
    __m256i offset = type == QUIRE_DTYPE_Q8_0 ? _mm256_setzero_si256() : load_256(x->offsets + i / 4);
    __m256i products = add_products(add_products(offset, block->low, load_256(x->numbers + i)), block->high,
                                    load_256(x->numbers + i + 16));
    __m256 scale = _mm256_mul_ps(block->scale, _mm256_broadcast_ss(x->scales + i / 32));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), scale, sums);
}

/* A few rows and vectors, whose counts are known where this is compiled. */
INLINE void dot_blocks(quire_dtype type, size_t block_bytes, float *y, size_t y_stride, const unsigned char *w,
                       size_t row_bytes, size_t n_rows, const struct fixed *x, size_t n_vectors, size_t n)
{
    __m256 sums[FEW_ROWS][FEW_VECTORS];
    struct ahead ahead = {w + n_rows * row_bytes, 0, n / 32 * block_bytes, row_bytes};
    for (size_t r = 0; r < n_rows; r++)
        for (size_t v = 0; v < n_vectors; v++)
            sums[r][v] = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 32, w += block_bytes) {
        ask_ahead(&ahead, n_rows * block_bytes);
        for (size_t r = 0; r < n_rows; r++) {
            struct stored_block block = unpack_block(type, w + r * row_bytes);
            for (size_t v = 0; v < n_vectors; v++)
                sums[r][v] = add_block(type, sums[r][v], &block, &x[v], i);
        }
    }
    for (size_t r = 0; r < n_rows; r++)
        for (size_t v = 0; v < n_vectors; v++)
            y[v * y_stride + r] = sum_of_8(sums[r][v]);
}

INLINE void dot_blocks_q8_0(float *y, size_t y_stride, const unsigned char *w, size_t row_bytes, size_t n_rows,
                            const struct fixed *x, size_t n_vectors, size_t n)
{
    dot_blocks(QUIRE_DTYPE_Q8_0, 34, y, y_stride, w, row_bytes, n_rows, x, n_vectors, n);
}

INLINE void dot_blocks_q4_0(float *y, size_t y_stride, const unsigned char *w, size_t row_bytes, size_t n_rows,
                            const struct fixed *x, size_t n_vectors, size_t n)
{
#if KERNELS_WIDTH == 16
    dot_quads(y, y_stride, w, row_bytes, n_rows, x, n_vectors, n);
#else
    dot_blocks(QUIRE_DTYPE_Q4_0, 18, y, y_stride, w, row_bytes, n_rows, x, n_vectors, n);
#endif
}

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
    for (; n_vectors > FEW_VECTORS; n_vectors -= FEW_VECTORS, x += FEW_VECTORS, y += FEW_VECTORS * y_stride)
        dot_rows(few, y, y_stride, w, row_bytes, n_rows, x, FEW_VECTORS, n);
    switch (n_vectors) {
    case 1: dot_rows(few, y, y_stride, w, row_bytes, n_rows, x, 1, n); break;
    case 2: dot_rows(few, y, y_stride, w, row_bytes, n_rows, x, 2, n); break;
    case 3: dot_rows(few, y, y_stride, w, row_bytes, n_rows, x, 3, n); break;
    default: dot_rows(few, y, y_stride, w, row_bytes, n_rows, x, FEW_VECTORS, n);
    }
}

static void dot_fixed_q4_0(float *y, size_t y_stride, const void *w, size_t row_bytes, size_t n_rows,
                           const struct fixed *x, size_t n_vectors, size_t n)
{
    dot_vectors(dot_blocks_q4_0, y, y_stride, w, row_bytes, n_rows, x, n_vectors, n);
}

static void dot_fixed_q8_0(float *y, size_t y_stride, const void *w, size_t row_bytes, size_t n_rows,
                           const struct fixed *x, size_t n_vectors, size_t n)
{
    dot_vectors(dot_blocks_q8_0, y, y_stride, w, row_bytes, n_rows, x, n_vectors, n);
}
