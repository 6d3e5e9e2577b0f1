/* Products of bfloat16 factors with float32 sums, by AVX-512-BF16: part of kernels_vector.h.
 *
 * The instruction multiplies pairs: numbers k and k + 1 of 16 columns, side by side in a vector, with the same pair of
 * one row. So strips and panels hold pairs: [k / 2][rows or columns][2]. Factors are rounded to nearest, ties to even;
 * the instruction takes denormal factors for zero. */
enum { BF16_STRIP = 6, BF16_VECTORS = PANEL / 16, BF16_DEPTH = 2048 };

/* 16 numbers after another, rounded. */
INLINE __m256i bf16_row(const float *x)
{
    return (__m256i)_mm512_cvtneps_pbh((__m512)load(x));
}

/* Numbers 0 .. n - 1 of 32, rounded. */
INLINE __m512i bf16_part(const float *x, size_t n)
{
    __mmask32 mask = n < 32 ? ((__mmask32)1 << n) - 1 : ~(__mmask32)0;
    __m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, x), high = _mm512_setzero_ps();
    if (n > 16)
        high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), x + 16);
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

static void bf16_pack_strip(void *strip, const float *x, size_t x_stride, size_t n_rows, size_t k)
{
    uint32_t *dst = strip; /* a pair each */
    for (size_t i = 0; i < k; i += 32, dst += 16 * BF16_STRIP) {
        ivec rows[BF16_STRIP];
        size_t n = k - i < 32 ? k - i : 32;
#pragma GCC unroll 8
        for (size_t r = 0; r < BF16_STRIP; r++)
            rows[r] = r < n_rows ? (ivec)bf16_part(x + r * x_stride + i, n) : (ivec){0};
        if (n == 32) {
            turn_six(dst, rows);
        } else {
            uint32_t rest[16 * BF16_STRIP];
            turn_six(rest, rows);
            memcpy(dst, rest, (n + 1) / 2 * BF16_STRIP * sizeof *dst);
        }
    }
}

static void bf16_pack_columns(void *panel, size_t k_padded, size_t column, size_t first_k, const float *part)
{
    size_t n = k_padded - first_k < GEMM_PACK_DEPTH ? k_padded - first_k : GEMM_PACK_DEPTH;
    uint16_t *dst = (uint16_t *)panel + first_k * PANEL + 2 * column;
    uint32_t rows[GEMM_PACK_COLUMNS][16], pairs[16][GEMM_PACK_COLUMNS];
    for (size_t i = 0; i < n; i += 32) { /* part is full to its end: what lies behind k is zero there */
        for (size_t j = 0; j < GEMM_PACK_COLUMNS; j++) {
            const float *numbers = part + j * GEMM_PACK_DEPTH + i;
            __m256i low = bf16_row(numbers), high = bf16_row(numbers + 16);
            memcpy(rows[j], &low, sizeof low);
            memcpy(rows[j] + 8, &high, sizeof high);
        }
        transpose(pairs, GEMM_PACK_COLUMNS, rows, 16);
        for (size_t p = 0; p < 16 && i + 2 * p < n; p++)
            memcpy(dst + (i + 2 * p) * PANEL, pairs[p], sizeof pairs[p]);
    }
}

/* The first n of 16 numbers of two rows, rounded, as pairs. */
INLINE __m512i pair_numbers(const float *first, const float *second, __mmask16 mask)
{
    __m256i low = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, first));
    __m256i high = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, second));
    return _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}

INLINE __m512i one_of_pair(const float *first, __mmask16 mask)
{
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, first)));
}

/* Eight strips are three vectors of columns: whole lines are read, and each of them once. */
enum { BF16_TURNED_STRIPS = 8, BF16_TURNED_ROWS = BF16_TURNED_STRIPS * BF16_STRIP };

static void bf16_pack_strips_turned(void *strips, const float *x, size_t x_stride, size_t n_rows, size_t k)
{
    size_t strip_pairs = (k + 1) / 2 * BF16_STRIP;
    for (size_t row = 0; row < n_rows; row += BF16_TURNED_ROWS) {
        uint32_t *dst = (uint32_t *)strips + row / BF16_STRIP * strip_pairs;
        size_t n = n_rows - row < BF16_TURNED_ROWS ? n_rows - row : BF16_TURNED_ROWS;
        size_t n_strips = (n + BF16_STRIP - 1) / BF16_STRIP;
        for (size_t i = 0; i < k; i += 2, dst += BF16_STRIP) {
            const float *first = x + i * x_stride + row, *second = first + x_stride;
            uint32_t pairs[BF16_TURNED_ROWS];
#pragma GCC unroll 3
            for (size_t c = 0; c < BF16_TURNED_ROWS; c += 16) {
                __mmask16 mask = first_lanes(c < n ? n - c : 0);
                __m512i some = i + 1 < k ? pair_numbers(first + c, second + c, mask) : one_of_pair(first + c, mask);
                _mm512_storeu_si512(pairs + c, some);
            }
            for (size_t s = 0; s < n_strips; s++)
                for (size_t two = 0; two < BF16_STRIP; two += 2) /* never from two of the vectors */
                    memcpy(dst + s * strip_pairs + two, pairs + s * BF16_STRIP + two, 2 * sizeof *dst);
        }
    }
}

static void bf16_pack_columns_turned(void *panel, size_t k_padded, size_t column, size_t first_k, const float *x,
                                     size_t x_stride, size_t n_columns, size_t n_k)
{
    (void)k_padded;
    int32_t *dst = (int32_t *)panel + first_k / 2 * PANEL + column;
    __mmask16 mask = first_lanes(n_columns);
    size_t k = 0;
    for (; k + 2 <= n_k; k += 2, dst += PANEL, x += 2 * x_stride)
        _mm512_storeu_si512(dst, pair_numbers(x, x + x_stride, mask));
    if (k < n_k)
        _mm512_storeu_si512(dst, one_of_pair(x, mask));
}

/* sums[n_rows][n_vectors] = n_pairs pairs of some rows times those of n_vectors vectors of columns, the pairs of which
 * are column_stride apart. A row's pairs are pair_stride apart, and the rows row_stride. */
INLINE void multiply_pairs(int n_rows, int n_vectors, __m512 (*sums)[BF16_VECTORS], const int32_t *rows,
                           size_t row_stride, size_t pair_stride, const int32_t *columns, size_t column_stride,
                           size_t n_pairs)
{
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < n_vectors; c++)
            sums[r][c] = _mm512_setzero_ps();
    for (size_t p = 0; p < n_pairs; p++, rows += pair_stride, columns += column_stride) {
        __m512bh column[BF16_VECTORS];
#pragma GCC unroll 8
        for (int c = 0; c < n_vectors; c++)
            column[c] = (__m512bh)_mm512_loadu_si512(columns + 16 * c);
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; r++) {
            __m512bh pair = (__m512bh)_mm512_set1_epi32(rows[(size_t)r * row_stride]);
#pragma GCC unroll 8
            for (int c = 0; c < n_vectors; c++)
                sums[r][c] = _mm512_dpbf16_ps(sums[r][c], pair, column[c]);
        }
    }
}

static void bf16_multiply(float *sums, const struct gemm_step *step)
{
    const int32_t *x = step->strip;
    const int32_t *w = (const int32_t *)step->panel + step->first_k / 2 * PANEL;
    __m512 s[BF16_STRIP][BF16_VECTORS];
    multiply_pairs(BF16_STRIP, BF16_VECTORS, s, x, 1, BF16_STRIP, w, PANEL, step->n_k / 2);
#pragma GCC unroll 8
    for (int r = 0; r < BF16_STRIP; r++)
#pragma GCC unroll 8
        for (int c = 0; c < BF16_VECTORS; c++) {
            float *sum = sums + r * PANEL + c * 16;
            store(sum, step->add ? load(sum) + (vec)s[r][c] : (vec)s[r][c]);
        }
}

static const struct gemm gemm_bf16 = {
    .name = "bf16",
    .strip_rows = BF16_STRIP,
    .panel_columns = PANEL,
    .k_step = 2,
    .step_bytes = 2 * sizeof(uint16_t),
    .depth = BF16_DEPTH,
    .block_panels = 1,
    .pack_strip = bf16_pack_strip,
    .pack_columns = bf16_pack_columns,
    .pack_strips_turned = bf16_pack_strips_turned,
    .pack_columns_turned = bf16_pack_columns_turned,
    .multiply = bf16_multiply,
    .finish = gemm_finish,
};
