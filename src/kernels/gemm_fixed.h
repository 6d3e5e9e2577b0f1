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

#include "gemm_fixed_pack.h"

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
    .pack_strips_turned = fixed_pack_strips_turned,
    .pack_columns_turned = fixed_pack_columns_turned,
    .multiply = fixed_multiply,
    .finish = gemm_finish,
};
