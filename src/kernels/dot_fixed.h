/* Products of weights stored as small integers with a vector in 16-bit fixed point: part of kernels_vector.h, for
 * processors with 256-bit integer arithmetic.
 *
 * A block of 32 products is summed in 32-bit integers, exactly: at most 4 products of 127 * 32767 meet in a lane, which
 * float32 still holds without rounding. So no weight is turned into a float. */
enum { FIXED_ROWS = 4 };    /* rows that go together */
enum { FIXED_PART = 4096 }; /* numbers of the vector that are used for all rows before the next: they stay in L1 */

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
        const __m256i minus = _mm256_set1_epi16(-8);
        __m256i low = load_256(fixed->numbers + i), high = load_256(fixed->numbers + i + 16);
        __m256i offsets = add_products(add_products(_mm256_setzero_si256(), minus, low), minus, high);
        _mm256_storeu_si256((__m256i *)(void *)(fixed->offsets + i / 4), offsets);
    }
}

/* A half, in all lanes. */
INLINE __m256 all_f16(const unsigned char *p)
{
    return _mm256_cvtph_ps(_mm_set1_epi16((short)load_u16(p)));
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

INLINE float sum_of_8(__m256 v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* 32 numbers of the vector, what nibbles give too much with them, and their scale. */
struct fixed_block {
    __m256i low, high, offsets;
    __m256 scale;
};

INLINE struct fixed_block load_block(const struct fixed *x, size_t i)
{
    return (struct fixed_block){load_256(x->numbers + i), load_256(x->numbers + i + 16), load_256(x->offsets + i / 4),
                                _mm256_broadcast_ss(x->scales + i / 32)};
}

/* sum + 32 numbers of a block, as 16-bit integers, times as many of the vector. Groups of 16 have two scales. */
INLINE __m256 add_group(__m256 sum, __m256i low, __m256i high, const struct fixed_block *x, const float *scales,
                        size_t group)
{
    const __m256i zero = _mm256_setzero_si256();
    if (group == 32) {
        __m256i products = add_products(add_products(zero, low, x->low), high, x->high);
        return _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), _mm256_mul_ps(_mm256_set1_ps(scales[0]), x->scale), sum);
    }
    __m256 first = _mm256_cvtepi32_ps(add_products(zero, low, x->low));
    __m256 second = _mm256_cvtepi32_ps(add_products(zero, high, x->high));
    __m256 products =
        _mm256_fmadd_ps(second, _mm256_set1_ps(scales[1]), _mm256_mul_ps(first, _mm256_set1_ps(scales[0])));
    return _mm256_fmadd_ps(products, x->scale, sum);
}

/* sum + the offsets of 32 numbers times the numbers of the vector. */
INLINE __m256 add_offsets(__m256 sum, const struct fixed_block *x, const float *offsets, size_t group)
{
    if (group == 32) {
        __m256 minus_eighth = _mm256_mul_ps(_mm256_set1_ps(offsets[0] * -0.125f), x->scale);
        return _mm256_fmadd_ps(_mm256_cvtepi32_ps(x->offsets), minus_eighth, sum);
    }
    const __m256i zero = _mm256_setzero_si256(), one = _mm256_set1_epi16(1);
    __m256 first = _mm256_cvtepi32_ps(add_products(zero, one, x->low));
    __m256 second = _mm256_cvtepi32_ps(add_products(zero, one, x->high));
    __m256 total =
        _mm256_fmadd_ps(second, _mm256_set1_ps(offsets[1]), _mm256_mul_ps(first, _mm256_set1_ps(offsets[0])));
    return _mm256_fmadd_ps(total, x->scale, sum);
}

/* sum + one block of a row times the vector's numbers from i on. */
#define DEFINE_ADD(TYPE, name, elements, bytes, group, has_offsets, ...)                                               \
    INLINE __m256 add_##name(__m256 sum, const unsigned char *block, const struct fixed *x, size_t i)                  \
    {                                                                                                                  \
        struct block_parts parts;                                                                                      \
        split_##name(&parts, block);                                                                                   \
        for (size_t j = 0; j < (elements); j += 32) {                                                                  \
            struct fixed_block numbers = load_block(x, i + j);                                                         \
            const int8_t *here = parts.numbers + j;                                                                    \
            sum = add_group(sum, widen_i8(here), widen_i8(here + 16), &numbers, parts.scales + j / (group), group);    \
            if (has_offsets)                                                                                           \
                sum = add_offsets(sum, &numbers, parts.offsets + j / (group), group);                                  \
        }                                                                                                              \
        return sum;                                                                                                    \
    }
BLOCK_TYPES(DEFINE_ADD)

/* Numbers [i, end) of n_rows rows, which share the loads of the vector. While they are multiplied, as many rows behind
 * them are asked for, one after the other: a memory that is read straight on is the fastest. */
#define DEFINE_DOT_FIXED(TYPE, name, elements, block_bytes, ...)                                                       \
    INLINE void part_##name(float *y, const unsigned char *block, size_t row_bytes, size_t n_rows,                     \
                            const struct fixed *x, size_t i, size_t end)                                               \
    {                                                                                                                  \
        __m256 sums[FIXED_ROWS];                                                                                       \
        const unsigned char *next = block + n_rows * row_bytes;                                                        \
        size_t n_bytes = (end - i) / (elements) * (block_bytes), ahead = 0;                                            \
        for (size_t r = 0; r < n_rows; r++)                                                                            \
            sums[r] = _mm256_setzero_ps();                                                                             \
        for (; i < end; i += (elements), block += (block_bytes)) {                                                     \
            for (size_t line = 0; line < n_rows * (block_bytes); line += 64)                                           \
                __builtin_prefetch(next + ahead + line);                                                               \
            ahead += n_rows * (block_bytes);                                                                           \
            if (ahead >= n_bytes) {                                                                                    \
                next += row_bytes;                                                                                     \
                ahead = 0;                                                                                             \
            }                                                                                                          \
            for (size_t r = 0; r < n_rows; r++)                                                                        \
                sums[r] = add_##name(sums[r], block + r * row_bytes, x, i);                                            \
        }                                                                                                              \
        for (size_t r = 0; r < n_rows; r++)                                                                            \
            y[r] += sum_of_8(sums[r]);                                                                                 \
    }                                                                                                                  \
    static void dot_fixed_##name(float *y, const void *w, size_t row_bytes, size_t n_rows, const struct fixed *x,      \
                                 size_t n)                                                                             \
    {                                                                                                                  \
        memset(y, 0, n_rows * sizeof *y);                                                                              \
        for (size_t first = 0; first < n; first += FIXED_PART) {                                                       \
            size_t end = n - first < FIXED_PART ? n : first + FIXED_PART, r = 0;                                       \
            const unsigned char *part = (const unsigned char *)w + first / (elements) * (block_bytes);                 \
            for (; r + FIXED_ROWS <= n_rows; r += FIXED_ROWS, part += FIXED_ROWS * row_bytes)                          \
                part_##name(y + r, part, row_bytes, FIXED_ROWS, x, first, end);                                        \
            for (; r < n_rows; r++, part += row_bytes)                                                                 \
                part_##name(y + r, part, row_bytes, 1, x, first, end);                                                 \
        }                                                                                                              \
    }
BLOCK_TYPES(DEFINE_DOT_FIXED)
