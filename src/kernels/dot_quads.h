/* Q4_0 in 512-bit registers: part of dot_fixed.h.
 *
 * A quad is four blocks, 72 bytes, 128 numbers. Its nibbles, four to a 16-bit word, are masked out where they are,
 * four vectors of 32 words: of a block of 32, in 8 words, first numbers 0, 2, .. 14, then 16, 18, .. 30, then 1, 3, ..
 * 15, then 17, 19, .. 31. The vector's numbers lie in that order, too, so that nothing has to be widened. A lane sums
 * 8 products of at most 15 * 32767, which float32 holds exactly. */
enum { QUAD_BYTES = 72 };

INLINE __m512i add_products_512(__m512i sums, __m512i a, __m512i b)
{
#if defined(__AVX512VNNI__)
    return _mm512_dpwssd_epi32(sums, a, b);
#else
    return _mm512_add_epi32(sums, _mm512_madd_epi16(a, b));
#endif
}

/* From numbers and scales. What fills up the last quad is zero. */
static void fill_quads(const struct fixed *fixed, size_t n)
{
    static const uint16_t order[32] = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                                       1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
    const __m512i by_nibble = _mm512_loadu_si512(order), minus = _mm512_set1_epi16(-8);
    for (size_t i = 0; i < n; i += FIXED_QUAD) {
        int16_t *quad = fixed->quads + i;
        for (size_t b = 0; b < 4; b++) {
            bool is_there = i + 32 * b < n;
            __m512i block = is_there ? _mm512_loadu_si512(fixed->numbers + i + 32 * b) : _mm512_setzero_si512();
            int16_t ordered[32];
            _mm512_storeu_si512(ordered, _mm512_permutexvar_epi16(by_nibble, block));
            for (size_t v = 0; v < 4; v++)
                memcpy(quad + 32 * v + 8 * b, ordered + 8 * v, 8 * sizeof *quad);
            for (size_t lane = 0; lane < 4; lane++)
                fixed->quad_scales[i / 8 + 4 * b + lane] = is_there ? fixed->scales[i / 32 + b] : 0.0f;
        }
        __m512i offsets = _mm512_setzero_si512();
        for (size_t v = 0; v < 4; v++)
            offsets = add_products_512(offsets, minus, _mm512_loadu_si512(quad + 32 * v));
        _mm512_storeu_si512(fixed->quad_offsets + i / 8, offsets);
    }
}

struct stored_quad {
    __m512i nibbles[4];
    __m512 scales; /* each in the four lanes of its block */
};

/* Word 9 b of the quad is the scale of block b, the next eight are its nibbles. `rest` holds the words from 4 on. */
INLINE struct stored_quad unpack_quad(const unsigned char *p)
{
    static const uint16_t of_nibbles[32] = {1,  2,  3,  4,  5,  6,  7,  8,  10, 11, 12, 13, 14, 15, 16, 17,
                                            19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30, 31, 60, 61, 62, 63};
    static const uint16_t of_scales[32] = {0, 0, 0, 0, 9, 9, 9, 9, 18, 18, 18, 18, 27, 27, 27, 27};
    __m512i words = _mm512_loadu_si512(p), rest = _mm512_loadu_si512(p + QUAD_BYTES - 64);
    __m512i four = _mm512_permutex2var_epi16(words, _mm512_loadu_si512(of_nibbles), rest);
    __m512i scales = _mm512_permutexvar_epi16(_mm512_loadu_si512(of_scales), words);
    const __m512i mask = _mm512_set1_epi16(15);
    return (struct stored_quad){{_mm512_and_si512(four, mask), _mm512_and_si512(_mm512_srli_epi16(four, 4), mask),
                                 _mm512_and_si512(_mm512_srli_epi16(four, 8), mask), _mm512_srli_epi16(four, 12)},
                                _mm512_cvtph_ps(_mm512_castsi512_si256(scales))};
}

INLINE __m512 add_quad(__m512 sums, const struct stored_quad *quad, const struct fixed *x, size_t i)
{
    __m512i products = _mm512_loadu_si512(x->quad_offsets + i / 8);
    for (size_t v = 0; v < 4; v++)
        products = add_products_512(products, quad->nibbles[v], _mm512_loadu_si512(x->quads + i + 32 * v));
    __m512 scales = _mm512_mul_ps(quad->scales, _mm512_loadu_ps(x->quad_scales + i / 8));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scales, sums);
}

/* A few rows and vectors, whose counts are known where this is compiled. */
INLINE void dot_quads(float *y, size_t y_stride, const unsigned char *w, size_t row_bytes, size_t n_rows,
                      const struct fixed *x, size_t n_vectors, size_t n)
{
    __m512 sums[FEW_ROWS][FEW_VECTORS];
    struct ahead ahead = {w + n_rows * row_bytes, 0, n / 32 * 18, row_bytes};
    size_t i = 0;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t v = 0; v < n_vectors; v++)
            sums[r][v] = _mm512_setzero_ps();
    for (; i + FIXED_QUAD <= n; i += FIXED_QUAD, w += QUAD_BYTES) {
        ask_ahead(&ahead, n_rows * QUAD_BYTES);
        for (size_t r = 0; r < n_rows; r++) {
            struct stored_quad quad = unpack_quad(w + r * row_bytes);
            for (size_t v = 0; v < n_vectors; v++)
                sums[r][v] = add_quad(sums[r][v], &quad, &x[v], i);
        }
    }
    for (size_t r = 0; r < n_rows && i < n; r++) { /* what is left, as if zeros followed */
        unsigned char last[QUAD_BYTES] = {0};
        memcpy(last, w + r * row_bytes, (n - i) / 32 * 18);
        struct stored_quad quad = unpack_quad(last);
        for (size_t v = 0; v < n_vectors; v++)
            sums[r][v] = add_quad(sums[r][v], &quad, &x[v], i);
    }
    for (size_t r = 0; r < n_rows; r++)
        for (size_t v = 0; v < n_vectors; v++)
            y[v * y_stride + r] = lane_sum((vec)sums[r][v]);
}
