/* Products of stored blocks with a vector in fixed point, but for Q4_0, which has its own (dot_nibbles.h): part of
 * dot_fixed.h. 32 numbers at a time are taken out of their bits, once for all vectors. */

/* --- 32 numbers as 16-bit integers -------------------------------------------------------------------------------- */

/* In registers of 256 bits everywhere: those of 512 leave fewer units to compute with. */
struct wide {
    __m256i low, high;
};

/* 16 bytes as 16-bit numbers: without and with their sign. */
INLINE __m256i widen_u8(const void *p)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
}

INLINE __m256i widen_i8(const void *p)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
}

INLINE struct wide wide_numbers(const unsigned char *numbers)
{
    return (struct wide){widen_i8(numbers), widen_i8(numbers + 16)};
}

/* What is at p as 16 bits: 16 in each number whose bit is set. */
INLINE __m256i spread_bits_wide(const unsigned char *p)
{
    const __m256i its_bit =
        _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, (short)0x8000);
    __m256i bits = _mm256_set1_epi16((short)load_u16(p));
    __m256i is_set = _mm256_cmpeq_epi16(_mm256_and_si256(bits, its_bit), its_bit);
    return _mm256_and_si256(is_set, _mm256_set1_epi16(16));
}

INLINE struct wide wide_levels(const unsigned char *nibbles)
{
    const __m128i levels = _mm_loadu_si128((const __m128i *)(const void *)iq4_levels), nibble = _mm_set1_epi8(15);
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)nibbles);
    __m128i low = _mm_and_si128(bytes, nibble), high = _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble);
    return (struct wide){_mm256_cvtepi8_epi16(_mm_shuffle_epi8(levels, low)),
                         _mm256_cvtepi8_epi16(_mm_shuffle_epi8(levels, high))};
}

INLINE struct wide wide_nibbles(struct nibble_bits from)
{
    if (from.is_level)
        return wide_levels(from.nibbles);
    __m256i bytes = widen_u8(from.nibbles);
    struct wide numbers = {_mm256_and_si256(bytes, _mm256_set1_epi16(15)), _mm256_srli_epi16(bytes, 4)};
    if (from.fifths) {
        numbers.low = _mm256_or_si256(numbers.low, spread_bits_wide(from.fifths));
        numbers.high = _mm256_or_si256(numbers.high, spread_bits_wide(from.fifths + 2));
    }
    if (from.minus) {
        numbers.low = _mm256_sub_epi16(numbers.low, _mm256_set1_epi16(from.minus));
        numbers.high = _mm256_sub_epi16(numbers.high, _mm256_set1_epi16(from.minus));
    }
    return numbers;
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
INLINE struct wide wide_joined(struct joined_bits from)
{
    return (struct wide){join_wide_half(from, 0), join_wide_half(from, 16)};
}

#define WIDE(bits)                                                                                                     \
    _Generic((bits), const unsigned char *: wide_numbers, struct nibble_bits: wide_nibbles,                            \
             struct joined_bits: wide_joined)(bits)

/* --- products ----------------------------------------------------------------------------------------------------- */

/* sum + 32 numbers times as many of the vector. Groups of 16 have two scales. */
INLINE __m256 add_wide(__m256 sum, struct wide w, const float *scales, size_t group, const struct fixed *x, size_t i)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i x_low = load_256(x->numbers + i), x_high = load_256(x->numbers + i + 16);
    __m256 x_scale = _mm256_broadcast_ss(x->scales + i / 32);
    __m256i first = add_products(zero, w.low, x_low);
    if (group == 32) {
        __m256 products = _mm256_cvtepi32_ps(add_products(first, w.high, x_high));
        return _mm256_fmadd_ps(products, _mm256_mul_ps(_mm256_set1_ps(scales[0]), x_scale), sum);
    }
    __m256 second = _mm256_cvtepi32_ps(add_products(zero, w.high, x_high));
    second = _mm256_mul_ps(second, _mm256_set1_ps(scales[1]));
    second = _mm256_fmadd_ps(_mm256_cvtepi32_ps(first), _mm256_set1_ps(scales[0]), second);
    return _mm256_fmadd_ps(second, x_scale, sum);
}

/* sum + the offsets of a block's groups times the numbers of the vector. */
INLINE __m256 add_offsets(__m256 sum, const float *offsets, size_t n_groups, const struct fixed *x, size_t i)
{
    if (n_groups == 1) /* one product, in one of the lanes */
        return _mm256_add_ps(sum, _mm256_zextps128_ps256(_mm_set_ss(offsets[0] * x->totals[i / 32])));
    const float *totals = n_groups == 8 ? x->totals + i / 32 : x->half_totals + i / 16;
    for (size_t g = 0; g < n_groups; g += 8)
        sum = _mm256_fmadd_ps(_mm256_loadu_ps(offsets + g), _mm256_loadu_ps(totals + g), sum);
    return sum;
}

/* Where a part's bits are is to be known when it is compiled. */
#if defined(__clang__)
#define UNROLL_PARTS _Pragma("clang loop unroll(full)")
#define UNROLL_FEW   UNROLL_PARTS
#else
#define UNROLL_PARTS _Pragma("GCC unroll 8")
#define UNROLL_FEW   _Pragma("GCC unroll 4") /* else the sums are kept in memory */
#endif

#define DEFINE_FEW(TYPE, name, elements, block_bytes, group, has_offsets, ...)                                         \
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
            UNROLL_FEW                                                                                                 \
            for (size_t r = 0; r < n_rows; r++) {                                                                      \
                const unsigned char *block = w + r * row_bytes;                                                        \
                struct block_parts parts;                                                                              \
                scales_##name(&parts, block);                                                                          \
                UNROLL_FEW                                                                                             \
                for (size_t v = 0; v < ((has_offsets) ? n_vectors : 0); v++)                                           \
                    sums[r][v] = add_offsets(sums[r][v], parts.offsets, (elements) / (group), &x[v], i);               \
                UNROLL_PARTS                                                                                           \
                for (int part = 0; part < (elements) / 32; part++) {                                                   \
                    struct wide numbers = WIDE(bits_##name(block, part));                                              \
                    UNROLL_FEW                                                                                         \
                    for (size_t v = 0; v < n_vectors; v++)                                                             \
                        sums[r][v] = add_wide(sums[r][v], numbers, parts.scales + part * 32 / (group), group, &x[v],   \
                                              i + 32 * (size_t)part);                                                  \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
        for (size_t r = 0; r < n_rows; r++)                                                                            \
            for (size_t v = 0; v < n_vectors; v++)                                                                     \
                y[v * y_stride + r] = sum_of_8(sums[r][v]);                                                            \
    }
BLOCK_TYPES_BUT_Q4_0(DEFINE_FEW)
