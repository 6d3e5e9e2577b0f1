/* Factors of products in fixed point on their way into strips and panels: part of gemm_fixed.h, whose layout it makes.
 * A number's integer is the same whichever way its matrix lies. */
typedef int16_t fixed_half __attribute__((vector_size(2 * W)));

INLINE ivec larger_ints(ivec a, ivec b)
{
#if KERNELS_WIDTH == 16
    return (ivec)_mm512_max_epi32((__m512i)a, (__m512i)b);
#else
    return (ivec)_mm256_max_epi32((__m256i)a, (__m256i)b);
#endif
}

/* A float's bits without the sign: in the order of the floats, and those of infinities and NaNs behind. */
INLINE ivec magnitude(vec v)
{
    return (ivec)(bits_of(v) & 0x7FFFFFFFu);
}

/* --- a row after another ------------------------------------------------------------------------------------------ */

/* I16_BLOCK numbers of a row of x as integers, and their scale: 0 where all are too small for an inverse, NaN where one
 * is not finite. */
INLINE float fixed_numbers(int32_t pairs[FIXED_PAIRS], const float *x)
{
    const vec round = splat(12582912.0f); /* 1.5 * 2^23, as in exp_vec */
    ivec largest = {0};
    for (size_t i = 0; i < I16_BLOCK; i += W)
        largest = larger_ints(magnitude(load(x + i)), largest);
    float scale = lane_max(choose(largest < 0x7F800000, as_vec((uvec)largest), splat(INFINITY))) / (float)X_MOST;
    bool is_finite = scale < INFINITY, is_zero = scale < 0x1p-120f;
    vec inverse = splat(is_finite && !is_zero ? 1.0f / scale : 0.0f);
    for (size_t i = 0; i < I16_BLOCK; i += W) {
        vec shifted = choose(inverse > 0.0f, load(x + i), splat(0.0f)) * inverse + round;
        ivec whole = (ivec)(bits_of(shifted) - 0x4B400000u);
        fixed_half narrow = __builtin_convertvector(whole, fixed_half);
        memcpy((char *)pairs + 2 * i, &narrow, sizeof narrow);
    }
    return is_finite ? is_zero ? 0.0f : scale : NAN;
}

static void fixed_pack_strip(void *strip, const float *x, size_t x_stride, size_t n_rows, size_t k)
{
    int32_t *dst = strip, pairs[FIXED_STRIP][FIXED_PAIRS] = {{0}};
    float scales[FIXED_STRIP] = {0};
    for (size_t i = 0; i < k; i += I16_BLOCK, dst += (size_t)FIXED_ROW_INTS * FIXED_STRIP) {
        for (size_t r = 0; r < n_rows; r++) {
            float part[I16_BLOCK] = {0};
            const float *numbers = x + r * x_stride + i;
            if (k - i < I16_BLOCK)
                numbers = memcpy(part, numbers, (k - i) * sizeof *part);
            scales[r] = fixed_numbers(pairs[r], numbers);
        }
        for (size_t p = 0; p < FIXED_PAIRS; p += W) {
            ivec rows[FIXED_STRIP];
#pragma GCC unroll 6
            for (size_t r = 0; r < FIXED_STRIP; r++)
                rows[r] = load_ints(pairs[r] + p);
            turn_six((uint32_t *)dst + p * FIXED_STRIP, rows);
        }
        memcpy(dst + (size_t)FIXED_PAIRS * FIXED_STRIP, scales, sizeof scales);
    }
}

/* --- a lane for each row or column -------------------------------------------------------------------------------- */

/* fixed_numbers for W rows or columns at once, a lane each; the scales. most: X_MOST or W_MOST. */
INLINE vec fixed_lanes(int32_t *pairs, size_t pair_stride, float numbers[I16_BLOCK][W], float most)
{
    const vec round = splat(12582912.0f);
    ivec largest = {0};
    for (size_t k = 0; k < I16_BLOCK; k++)
        largest = larger_ints(magnitude(load(numbers[k])), largest);
    vec scale = as_vec((uvec)largest) / most;
    ivec is_finite = largest < 0x7F800000, is_zero = scale < 0x1p-120f;
    uvec is_used = (uvec)(is_finite & ~is_zero);
    vec inverse = as_vec(bits_of(1.0f / scale) & is_used);
    for (size_t k = 0; k < I16_BLOCK; k += 2, pairs += pair_stride) {
        vec first = as_vec(bits_of(load(numbers[k])) & is_used) * inverse + round;
        vec second = as_vec(bits_of(load(numbers[k + 1])) & is_used) * inverse + round;
        uvec pair = (bits_of(first) & 0xFFFFu) | bits_of(second) << 16; /* the low halves are the integers */
        memcpy(pairs, &pair, sizeof pair);
    }
    return choose(is_finite, as_vec(bits_of(scale) & is_used), splat(NAN));
}

/* The same into a panel's block, where W columns begin at dst. */
INLINE void fixed_pack_lanes(int32_t *dst, float numbers[I16_BLOCK][W])
{
    vec scales = fixed_lanes(dst, FIXED_TILE, numbers, (float)W_MOST);
    memcpy(dst + (size_t)FIXED_PAIRS * FIXED_TILE, &scales, sizeof scales);
}

/* Where a column's block begins in a panel; the next one of the same columns is fixed_block_ints further. */
static const size_t fixed_block_ints = (size_t)FIXED_ROW_INTS * FIXED_TILE;

INLINE int32_t *fixed_block_at(void *panel, size_t k_padded, size_t column, size_t first_k)
{
    size_t n_before = column / FIXED_TILE * (k_padded / I16_BLOCK) + first_k / I16_BLOCK;
    return (int32_t *)panel + n_before * fixed_block_ints + column % FIXED_TILE;
}

static void fixed_pack_columns(void *panel, size_t k_padded, size_t column, size_t first_k, const float *part)
{
    size_t n = k_padded - first_k < GEMM_PACK_DEPTH ? k_padded - first_k : GEMM_PACK_DEPTH;
    int32_t *dst = fixed_block_at(panel, k_padded, column, first_k);
    float numbers[I16_BLOCK][W];
    for (size_t i = 0; i < n; i += I16_BLOCK, dst += fixed_block_ints)
        for (size_t j = 0; j < GEMM_PACK_COLUMNS; j += W) {
            for (size_t k = 0; k < I16_BLOCK; k += W)
                transpose(numbers[k], W, part + j * GEMM_PACK_DEPTH + i + k, GEMM_PACK_DEPTH);
            fixed_pack_lanes(dst + j, numbers);
        }
}

/* The first n of W numbers, zeros behind them; n may be larger. */
INLINE vec some_numbers(const float *x, size_t n)
{
    float some[W] = {0};
    return n >= W ? load(x) : n > 0 ? load(memcpy(some, x, n * sizeof *x)) : splat(0.0f);
}

static void fixed_pack_columns_turned(void *panel, size_t k_padded, size_t column, size_t first_k, const float *x,
                                      size_t x_stride, size_t n_columns, size_t n_k)
{
    int32_t *dst = fixed_block_at(panel, k_padded, column, first_k);
    float numbers[I16_BLOCK][W];
    for (size_t i = 0; i < n_k; i += I16_BLOCK, dst += fixed_block_ints, x += I16_BLOCK * x_stride)
        for (size_t j = 0; j < GEMM_PACK_COLUMNS; j += W) {
            for (size_t k = 0; k < I16_BLOCK; k++)
                store(numbers[k], some_numbers(x + k * x_stride + j, i + k < n_k && j < n_columns ? n_columns - j : 0));
            fixed_pack_lanes(dst + j, numbers);
        }
}

/* Some strips are three vectors of rows: whole lines are read, and each of them once. */
enum { FIXED_TURNED_ROWS = 3 * W, FIXED_TURNED_STRIPS = FIXED_TURNED_ROWS / FIXED_STRIP };

static void fixed_pack_strips_turned(void *strips, const float *x, size_t x_stride, size_t n_rows, size_t k)
{
    size_t strip_ints = (k + I16_BLOCK - 1) / I16_BLOCK * FIXED_ROW_INTS * FIXED_STRIP;
    float numbers[3][I16_BLOCK][W];
    int32_t block[FIXED_ROW_INTS][FIXED_TURNED_ROWS]; /* as one strip's would be */
    for (size_t row = 0; row < n_rows; row += FIXED_TURNED_ROWS) {
        int32_t *dst = (int32_t *)strips + row / FIXED_STRIP * strip_ints;
        size_t n = n_rows - row < FIXED_TURNED_ROWS ? n_rows - row : FIXED_TURNED_ROWS;
        size_t n_strips = (n + FIXED_STRIP - 1) / FIXED_STRIP;
        for (size_t i = 0; i < k; i += I16_BLOCK, dst += (size_t)FIXED_ROW_INTS * FIXED_STRIP) {
            for (size_t j = 0; j < I16_BLOCK; j++)
                for (size_t c = 0; c < 3; c++)
                    store(numbers[c][j],
                          some_numbers(x + (i + j) * x_stride + row + c * W, i + j < k && c * W < n ? n - c * W : 0));
            for (size_t c = 0; c < 3; c++) {
                vec scales = fixed_lanes(&block[0][c * W], FIXED_TURNED_ROWS, numbers[c], (float)X_MOST);
                memcpy(&block[FIXED_PAIRS][c * W], &scales, sizeof scales);
            }
            for (size_t s = 0; s < n_strips; s++)
                for (size_t p = 0; p < FIXED_ROW_INTS; p++)
                    memcpy(dst + s * strip_ints + p * FIXED_STRIP, &block[p][s * FIXED_STRIP],
                           sizeof(int32_t[FIXED_STRIP]));
        }
    }
}
