/* Products of weights stored as small integers with a vector in 16-bit fixed point: part of kernels_vector.h, for
 * processors with 256-bit integer arithmetic.
 *
 * A block of 32 products is summed in 32-bit integers, exactly: at most 4 products of 127 * 32767 meet in a lane, which
 * float32 still holds without rounding. So no weight is turned into a float. FIXED_ROWS rows go together and share the
 * loads of the vector. */
enum { FIXED_ROWS = 4 };

typedef int16_t svec __attribute__((vector_size(2 * W)));

static void to_fixed(int16_t *numbers, float *scales, const float *x, size_t n)
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
        scales[i / FIXED_BLOCK] = is_finite ? is_zero ? 0.0f : scale : NAN;
        for (size_t j = 0; j < FIXED_BLOCK; j += W) {
            vec shifted = choose(splat(inverse) > 0.0f, load(x + i + j), splat(0.0f)) * inverse + round;
            ivec whole = (ivec)(bits_of(shifted) - 0x4B400000u);
            svec narrow = __builtin_convertvector(whole, svec);
            memcpy(numbers + i + j, &narrow, sizeof narrow);
        }
    }
}

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

/* The integer products of one block with the vector's two halves. offset: what they start from. */
INLINE __m256i block_q4_0(const unsigned char *block, __m256i low, __m256i high, __m256i offset)
{
    __m256i bytes =
        widen_u8(block + 2); /* numbers 0..15 are the low nibbles, 16..31 the high ones; each is 8 too much */
    __m256i sums = add_products(offset, _mm256_and_si256(bytes, _mm256_set1_epi16(15)), low);
    return add_products(sums, _mm256_srli_epi16(bytes, 4), high);
}

INLINE __m256i block_q8_0(const unsigned char *block, __m256i low, __m256i high, __m256i offset)
{
    return add_products(add_products(offset, widen_i8(block + 2), low), widen_i8(block + 18), high);
}

#define DEFINE_DOT_FIXED(name, block_bytes, block_products, excess)                                                    \
    INLINE void name##_rows(float *y, const unsigned char *w, size_t row_bytes, int n_rows, const int16_t *numbers,    \
                            const float *scales, size_t n)                                                             \
    {                                                                                                                  \
        __m256 sum[FIXED_ROWS];                                                                                        \
        for (int r = 0; r < n_rows; r++)                                                                               \
            sum[r] = _mm256_setzero_ps();                                                                              \
        for (size_t i = 0; i < n; i += 32, w += (block_bytes)) {                                                       \
            __m256i low = load_256(numbers + i), high = load_256(numbers + i + 16), offset = _mm256_setzero_si256();   \
            if (excess) {                                                                                              \
                const __m256i minus = _mm256_set1_epi16(-(excess));                                                    \
                offset = add_products(add_products(offset, minus, low), minus, high);                                  \
            }                                                                                                          \
            __m256 scale = _mm256_broadcast_ss(scales + i / 32);                                                       \
            for (int r = 0; r < n_rows; r++) {                                                                         \
                const unsigned char *block = w + (size_t)r * row_bytes;                                                \
                __builtin_prefetch(block + FIXED_ROWS * row_bytes); /* the rows to come */                             \
                __m256 products = _mm256_cvtepi32_ps(block_products(block, low, high, offset));                        \
                sum[r] = _mm256_fmadd_ps(products, _mm256_mul_ps(all_f16(block), scale), sum[r]);                      \
            }                                                                                                          \
        }                                                                                                              \
        for (int r = 0; r < n_rows; r++)                                                                               \
            y[r] = sum_of_8(sum[r]);                                                                                   \
    }                                                                                                                  \
    static void name(float *y, const void *w, size_t row_bytes, size_t n_rows, const int16_t *numbers,                 \
                     const float *scales, size_t n)                                                                    \
    {                                                                                                                  \
        const unsigned char *row = w;                                                                                  \
        size_t r = 0;                                                                                                  \
        for (; r + FIXED_ROWS <= n_rows; r += FIXED_ROWS, row += FIXED_ROWS * row_bytes)                               \
            name##_rows(y + r, row, row_bytes, FIXED_ROWS, numbers, scales, n);                                        \
        for (; r < n_rows; r++, row += row_bytes)                                                                      \
            name##_rows(y + r, row, row_bytes, 1, numbers, scales, n);                                                 \
    }

DEFINE_DOT_FIXED(dot_fixed_q4_0, 18, block_q4_0, 8)
DEFINE_DOT_FIXED(dot_fixed_q8_0, 34, block_q8_0, 0)
