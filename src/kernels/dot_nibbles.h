/* Q4_0 a register at a time: part of dot_fixed.h.
 *
 * A group is as many blocks as fill the nibbles of a register, W / 4 of 18 bytes and 32 numbers. Its nibbles, four to a
 * 16-bit word, are masked out where they are, four vectors of 2 W words: of a block of 32, in 8 words, first numbers 0,
 * 2, .. 14, then 16, 18, .. 30, then 1, 3, .. 15, then 17, 19, .. 31. The vector's numbers lie in that order, too, so
 * that nothing has to be widened. A lane sums 8 products of at most 15 * 32767, which float32 holds exactly. */
enum { GROUP_BLOCKS = W / 4, GROUP = 32 * GROUP_BLOCKS, GROUP_BYTES = 18 * GROUP_BLOCKS };

typedef uint16_t words __attribute__((vector_size(4 * W)));

/* Numbers 0, 2, .. 14 of 16, then 1, 3, .. 15. */
INLINE __m256i evens_first(__m256i numbers)
{
    const __m256i in_halves = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1, 4, 5, 8, 9,
                                               12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(numbers, in_halves), 0xD8);
}

/* From numbers and scales. What fills up the last group is zero. */
static void fill_groups(const struct fixed *fixed, size_t n)
{
    for (size_t i = 0; i < n || i % GROUP > 0; i += 32) {
        int16_t *block = fixed->groups + i / GROUP * GROUP + i % GROUP / 4;
        for (size_t half = 0; half < 2; half++) {
            __m256i numbers = i < n ? load_256(fixed->numbers + i + 16 * half) : _mm256_setzero_si256();
            numbers = evens_first(numbers);
            _mm_storeu_si128((__m128i *)(void *)(block + half * 2 * W), _mm256_castsi256_si128(numbers));
            _mm_storeu_si128((__m128i *)(void *)(block + (half + 2) * 2 * W), _mm256_extracti128_si256(numbers, 1));
        }
        for (size_t lane = 0; lane < 4; lane++)
            fixed->group_scales[i / 8 + lane] = i < n ? fixed->scales[i / 32] : 0.0f;
    }
    for (size_t i = 0; i < n; i += GROUP) {
        const ivec minus = (ivec){0} - 0x70008; /* -8 in each half */
        ivec offsets = {0};
        for (size_t v = 0; v < 4; v++)
            offsets = add_pairs(offsets, minus, load_ints(fixed->groups + i + v * 2 * W));
        memcpy(fixed->group_offsets + i / 8, &offsets, sizeof offsets);
    }
}

/* Word 9 b of a group is the scale of block b, the next eight are its nibbles. */
#if KERNELS_WIDTH == 16
struct stored_scales {
    vec rows[FEW_ROWS]; /* each scale in the four lanes of its block */
};

INLINE struct stored_scales unpack_scales(const unsigned char *p, size_t row_bytes, size_t n_rows)
{
    static const uint16_t order[32] = {0, 0, 0, 0, 9, 9, 9, 9, 18, 18, 18, 18, 27, 27, 27, 27};
    struct stored_scales scales;
    for (size_t r = 0; r < n_rows; r++) {
        __m512i halves = _mm512_permutexvar_epi16(_mm512_loadu_si512(order), _mm512_loadu_si512(p + r * row_bytes));
        scales.rows[r] = (vec)_mm512_cvtph_ps(_mm512_castsi512_si256(halves));
    }
    return scales;
}

INLINE vec row_scales(const struct stored_scales *scales, size_t r, vec x_scales)
{
    return scales->rows[r] * x_scales;
}

INLINE words load_nibbles(const unsigned char *p)
{
    static const uint16_t order[32] = {1,  2,  3,  4,  5,  6,  7,  8,  10, 11, 12, 13, 14, 15, 16, 17,
                                       19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30, 31, 60, 61, 62, 63};
    __m512i first = _mm512_loadu_si512(p), rest = _mm512_loadu_si512(p + GROUP_BYTES - 64); /* the words from 4 on */
    return (words)_mm512_permutex2var_epi16(first, _mm512_loadu_si512(order), rest);
}
#else
/* Lane r of each half is row r's: 1, 2 or 4 rows are converted and multiplied at once. */
struct stored_scales {
    vec lanes;
};

/* Collected by the integer units, which have nothing else to do here. */
INLINE uint64_t load_halves(const unsigned char *p, size_t row_bytes, size_t n_rows)
{
    uint64_t halves = load_u16(p);
    if (n_rows > 1)
        halves |= (uint64_t)load_u16(p + row_bytes) << 16;
    if (n_rows > 2)
        halves |= (uint64_t)load_u16(p + 2 * row_bytes) << 32 | (uint64_t)load_u16(p + 3 * row_bytes) << 48;
    return halves;
}

INLINE struct stored_scales unpack_scales(const unsigned char *p, size_t row_bytes, size_t n_rows)
{
    __m128i first = _mm_cvtsi64_si128((long long)load_halves(p, row_bytes, n_rows));
    __m128i second = _mm_cvtsi64_si128((long long)load_halves(p + 18, row_bytes, n_rows));
    return (struct stored_scales){(vec)_mm256_cvtph_ps(_mm_unpacklo_epi64(first, second))};
}

INLINE vec row_scales(const struct stored_scales *scales, size_t r, vec x_scales)
{
    __m256 all = (__m256)(scales->lanes * x_scales);
    switch (r) {
    case 0: return (vec)_mm256_permute_ps(all, 0x00);
    case 1: return (vec)_mm256_permute_ps(all, 0x55);
    case 2: return (vec)_mm256_permute_ps(all, 0xAA);
    default: return (vec)_mm256_permute_ps(all, 0xFF);
    }
}

INLINE words load_nibbles(const unsigned char *p)
{
    __m128i first = _mm_loadu_si128((const __m128i *)(const void *)(p + 2));
    __m128i second = _mm_loadu_si128((const __m128i *)(const void *)(p + 20));
    return (words)_mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
}
#endif

struct nibbles {
    ivec numbers[4];
};

INLINE struct nibbles unpack_nibbles(words four)
{
    return (struct nibbles){{(ivec)(four & 15), (ivec)(four >> 4 & 15), (ivec)(four >> 8 & 15), (ivec)(four >> 12)}};
}

INLINE vec multiply_nibbles(struct nibbles nibbles, const struct fixed *x, size_t i)
{
    ivec products = load_ints(x->group_offsets + i / 8);
    for (size_t v = 0; v < 4; v++)
        products = add_pairs(products, nibbles.numbers[v], load_ints(x->groups + i + v * 2 * W));
    return floats_of(products);
}

/* A few rows and vectors, whose counts are known where this is compiled. */
INLINE void few_q4_0(float *y, size_t y_stride, const unsigned char *w, size_t row_bytes, size_t n_rows,
                     const struct fixed *x, size_t n_vectors, size_t n)
{
    vec sums[FEW_ROWS][FEW_VECTORS];
    unsigned char last[FEW_ROWS][GROUP_BYTES];
    struct ahead ahead = {w + n_rows * row_bytes, 0, n / 32 * 18, row_bytes};
    for (size_t r = 0; r < n_rows; r++)
        for (size_t v = 0; v < n_vectors; v++)
            sums[r][v] = splat(0.0f);
    for (size_t i = 0; i < n; i += GROUP, w += GROUP_BYTES) {
        if (n - i < GROUP) { /* what is left, as if zeros followed */
            memset(last, 0, sizeof last);
            for (size_t r = 0; r < n_rows; r++)
                memcpy(last[r], w + r * row_bytes, (n - i) / 32 * 18);
            w = last[0];
            row_bytes = GROUP_BYTES;
        }
        ask_ahead(&ahead, n_rows * GROUP_BYTES);
        struct stored_scales scales = unpack_scales(w, row_bytes, n_rows);
        for (size_t r = 0; r < n_rows; r++) {
            struct nibbles nibbles = unpack_nibbles(load_nibbles(w + r * row_bytes));
            for (size_t v = 0; v < n_vectors; v++)
                sums[r][v] +=
                    multiply_nibbles(nibbles, &x[v], i) * row_scales(&scales, r, load(x[v].group_scales + i / 8));
        }
    }
    for (size_t r = 0; r < n_rows; r++)
        for (size_t v = 0; v < n_vectors; v++)
            y[v * y_stride + r] = lane_sum(sums[r][v]);
}
