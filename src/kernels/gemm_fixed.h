/* Products of factors in fixed point with float32 sums: part of kernels_vector.h, for processors whose 16-bit integer
 * products outrun float32 ones.
 *
 * Blocks of 64 numbers along k share a scale; the largest of x becomes +-X_MOST, the largest of w +-W_MOST, so that the
 * products of a block are summed in 32 bits without loss, and their float32 value joins the sum with both scales. A
 * factor is within 2^-13 of the largest of its block, which is nearer than a bfloat16 is to most numbers.
 *
 * The instruction multiplies pairs: numbers k and k + 1 of W columns, side by side in a vector, with the same pair of
 * one row. So a block of a strip is [32 pairs][rows][2] integers and [rows] scales; a panel is made of tiles, one
 * behind the other, whose blocks are [32 pairs][columns][2] and [columns] scales. */
enum {
    I16_BLOCK = 64,
    X_MOST = 6657,
    W_MOST = 5040, /* 6657 * 5040 * 64 < 2^31 */
    FIXED_STRIP = 6,
    FIXED_VECTORS = W == 16 ? 4 : 2,
    FIXED_TILE = FIXED_VECTORS * W,
    FIXED_PAIRS = I16_BLOCK / 2,
    FIXED_ROW_INTS = FIXED_PAIRS + 1, /* of 32 bits, that a block has for each row or column */
    FIXED_DEPTH = W == 16 ? 2048 : 512
};

typedef int16_t fixed_half __attribute__((vector_size(2 * W)));

/* I16_BLOCK numbers of x as integers, and their scale: 0 where all are too small for an inverse, NaN where one is not
 * finite. */
INLINE float fixed_numbers(int32_t pairs[FIXED_PAIRS], const float *x)
{
    const vec round = splat(12582912.0f); /* 1.5 * 2^23, as in exp_vec */
    vec largest = splat(0.0f), zero = splat(0.0f);
    for (size_t i = 0; i < I16_BLOCK; i += W) {
        vec v = load(x + i);
        zero += v * 0.0f; /* stays zero unless something is infinite or NaN */
        largest = larger(as_vec(bits_of(v) & 0x7FFFFFFFu), largest);
    }
    float scale = lane_max(largest) / (float)X_MOST;
    bool is_finite = lane_sum(zero) == 0.0f, is_zero = scale < 0x1p-120f;
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
    int32_t *dst = strip, pairs[FIXED_PAIRS];
    if (n_rows < FIXED_STRIP)
        memset(dst, 0, (k + I16_BLOCK - 1) / I16_BLOCK * FIXED_ROW_INTS * FIXED_STRIP * sizeof *dst);
    for (size_t i = 0; i < k; i += I16_BLOCK, dst += (size_t)FIXED_ROW_INTS * FIXED_STRIP)
        for (size_t r = 0; r < n_rows; r++) {
            float part[I16_BLOCK] = {0};
            const float *numbers = x + r * x_stride + i;
            if (k - i < I16_BLOCK)
                numbers = memcpy(part, numbers, (k - i) * sizeof *part);
            float scale = fixed_numbers(pairs, numbers);
            for (size_t p = 0; p < FIXED_PAIRS; p++)
                dst[p * FIXED_STRIP + r] = pairs[p];
            memcpy(dst + (size_t)FIXED_PAIRS * FIXED_STRIP + r, &scale, sizeof scale);
        }
}

INLINE ivec larger_ints(ivec a, ivec b)
{
#if KERNELS_WIDTH == 16
    return (ivec)_mm512_max_epi32((__m512i)a, (__m512i)b);
#else
    return (ivec)_mm256_max_epi32((__m256i)a, (__m256i)b);
#endif
}

/* A block of W columns, which lie in part as rows: fixed_numbers for all of them at once, a lane each. */
INLINE void fixed_pack_block(int32_t *dst, const float *part)
{
    const vec round = splat(12582912.0f);
    float numbers[I16_BLOCK][W];
    ivec largest = {0}; /* the bits of positive floats are in their order, and those of infinities and NaNs behind */
    for (size_t i = 0; i < I16_BLOCK; i += W) {
        transpose(numbers[i], W, part + i, GEMM_PACK_DEPTH);
        for (size_t k = i; k < i + W; k++)
            largest = larger_ints((ivec)(bits_of(load(numbers[k])) & 0x7FFFFFFFu), largest);
    }
    vec scale = as_vec((uvec)largest) / (float)W_MOST;
    ivec is_finite = largest < 0x7F800000, is_zero = scale < 0x1p-120f;
    uvec is_used = (uvec)(is_finite & ~is_zero);
    vec inverse = as_vec(bits_of(1.0f / scale) & is_used);
    scale = choose(is_finite, as_vec(bits_of(scale) & is_used), splat(NAN));
    for (size_t k = 0; k < I16_BLOCK; k += 2, dst += FIXED_TILE) {
        vec first = as_vec(bits_of(load(numbers[k])) & is_used) * inverse + round;
        vec second = as_vec(bits_of(load(numbers[k + 1])) & is_used) * inverse + round;
        uvec pair = (bits_of(first) & 0xFFFFu) | bits_of(second) << 16; /* the low halves are the integers */
        memcpy(dst, &pair, sizeof pair);
    }
    memcpy(dst, &scale, sizeof scale);
}

static void fixed_pack_columns(void *panel, size_t k_padded, size_t column, size_t first_k, const float *part)
{
    size_t n = k_padded - first_k < GEMM_PACK_DEPTH ? k_padded - first_k : GEMM_PACK_DEPTH;
    int32_t *dst = (int32_t *)panel + column / FIXED_TILE * FIXED_TILE * (k_padded / I16_BLOCK) * FIXED_ROW_INTS +
                   first_k / I16_BLOCK * FIXED_ROW_INTS * FIXED_TILE + column % FIXED_TILE;
    for (size_t i = 0; i < n; i += I16_BLOCK, dst += (size_t)FIXED_ROW_INTS * FIXED_TILE)
        for (size_t j = 0; j < GEMM_PACK_COLUMNS; j += W)
            fixed_pack_block(dst + j, part + j * GEMM_PACK_DEPTH + i);
}

/* The products of a block, added to a tile's sums. */
INLINE void multiply_block(float *sums, const int32_t *x, const int32_t *w)
{
    ivec s[FIXED_STRIP][FIXED_VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < FIXED_STRIP; r++)
#pragma GCC unroll 4
        for (int c = 0; c < FIXED_VECTORS; c++)
            s[r][c] = (ivec){0};
#pragma GCC unroll 1
    for (int p = 0; p < FIXED_PAIRS; p++, x += FIXED_STRIP, w += FIXED_TILE) {
        ivec column[FIXED_VECTORS];
#pragma GCC unroll 4
        for (int c = 0; c < FIXED_VECTORS; c++)
            column[c] = load_ints(w + c * W);
#pragma GCC unroll 8
        for (int r = 0; r < FIXED_STRIP; r++) {
            ivec pair = x[r] - (ivec){0};
#pragma GCC unroll 4
            for (int c = 0; c < FIXED_VECTORS; c++)
                s[r][c] = add_pairs(s[r][c], pair, column[c]);
        }
    }
    const float *x_scales = (const float *)(const void *)x, *w_scales = (const float *)(const void *)w;
#pragma GCC unroll 8
    for (int r = 0; r < FIXED_STRIP; r++)
#pragma GCC unroll 4
        for (int c = 0; c < FIXED_VECTORS; c++) {
            float *sum = sums + r * PANEL + c * W;
            store(sum, load(sum) + floats_of(s[r][c]) * (splat(x_scales[r]) * load(w_scales + c * W)));
        }
}

static void fixed_multiply(float *sums, const struct gemm_step *step)
{
    size_t first = step->first_k / I16_BLOCK * FIXED_ROW_INTS, n_blocks = step->n_k / I16_BLOCK;
    if (!step->add)
        memset(sums, 0, (size_t)FIXED_STRIP * PANEL * sizeof *sums);
    for (size_t column = 0; column < PANEL; column += FIXED_TILE) {
        const int32_t *x = step->strip;
        const int32_t *w =
            (const int32_t *)step->panel + column * (step->k_padded / I16_BLOCK) * FIXED_ROW_INTS + first * FIXED_TILE;
        for (size_t i = 0; i < n_blocks; i++) {
            multiply_block(sums + column, x, w);
            x += (size_t)FIXED_ROW_INTS * FIXED_STRIP;
            w += (size_t)FIXED_ROW_INTS * FIXED_TILE;
        }
    }
}

static const struct gemm gemm_fixed = {
    .name = "i16",
    .strip_rows = FIXED_STRIP,
    .panel_columns = PANEL,
    .k_step = I16_BLOCK,
    .step_bytes = FIXED_ROW_INTS * sizeof(int32_t),
    .depth = FIXED_DEPTH,
    .block_panels = 1,
    .pack_strip = fixed_pack_strip,
    .pack_columns = fixed_pack_columns,
    .multiply = fixed_multiply,
    .finish = gemm_finish,
};
