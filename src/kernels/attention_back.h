/* The way back through attention tiles, with vectors as wide as the machine's: part of kernels_vector.h. */

/* sums[ROWS][n_vectors] = a times b over n_k: number k of row r is a[r * a_row + k * a_k], and of b there are n_vectors
 * vectors for each k, b_stride apart. */
INLINE void multiply_rows(vec (*sums)[SCORE_VECTORS], const float *a, size_t a_row, size_t a_k, const float *b,
                          size_t b_stride, uint32_t n_k, int n_vectors)
{
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < n_vectors; v++)
            sums[r][v] = splat(0.0f);
    for (uint32_t k = 0; k < n_k; k++, a += a_k, b += b_stride)
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < n_vectors; v++)
                sums[r][v] += load(b + v * W) * a[(size_t)r * a_row];
}

/* ROWS rows of y[64][TILE_KEYS] = x . columns. */
INLINE void columns_product(float *y, const float *x, uint32_t row, const float *columns, uint32_t head_dim)
{
    for (int j = 0; j < TILE_KEYS; j += SCORE_KEYS) {
        vec sums[ROWS][SCORE_VECTORS];
        multiply_rows(sums, x, row, 1, columns + j, TILE_KEYS, head_dim, SCORE_VECTORS);
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < SCORE_VECTORS; v++)
                store(y + r * TILE_KEYS + j + v * W, sums[r][v]);
    }
}

/* y[64][row] += a[64][64] . b[64][row], a's numbers a_row and a_k apart. */
INLINE void add_product(float *y, uint32_t row, const float *a, size_t a_row, size_t a_k, const float *b)
{
    for (size_t r = 0; r < TILE_QUERIES; r += ROWS)
        for (uint32_t c = 0; c < row;) {
            vec sums[ROWS][SCORE_VECTORS];
            int n_vectors = c + SCORE_VECTORS * W <= row ? SCORE_VECTORS : 1;
            if (n_vectors == SCORE_VECTORS)
                multiply_rows(sums, a + r * a_row, a_row, a_k, b + c, row, TILE_KEYS, SCORE_VECTORS);
            else
                multiply_rows(sums, a + r * a_row, a_row, a_k, b + c, row, TILE_KEYS, 1);
            for (size_t i = 0; i < ROWS; i++)
                for (int v = 0; v < n_vectors; v++) {
                    float *to = y + (r + i) * row + c + (size_t)v * W;
                    store(to, load(to) + sums[i][v]);
                }
            c += (uint32_t)(n_vectors * W);
        }
}

/* One query's scores become weights, p, and what its keys' output gradients, dp, say of the scores: ds, in place. */
INLINE void weigh_back(const struct attention_back *b, uint32_t r, float p[TILE_KEYS], float dp[TILE_KEYS])
{
    const vec lane = lane_numbers();
    for (int j = 0; j < TILE_KEYS; j += W) {
        vec d = lane + (float)(b->distance + j - r);
        vec score = load(p + j) + d * b->slope - b->lse[r];
        vec weight = choose(d > 0.0f, splat(0.0f), exp_vec(choose(score > 0.0f, splat(0.0f), score)));
        store(p + j, weight);
        store(dp + j, weight * (load(dp + j) - b->delta[r]));
    }
}

static void attend_back(const struct attention_back *b)
{
    float p[TILE_QUERIES][TILE_KEYS], ds[TILE_QUERIES][TILE_KEYS];
    for (uint32_t r = 0; r < TILE_QUERIES; r += ROWS) {
        columns_product(p[r], (const float *)b->q + (size_t)r * b->row, b->row, b->k_columns, b->head_dim);
        columns_product(ds[r], (const float *)b->d_out + (size_t)r * b->row, b->row, b->v_columns, b->head_dim);
        for (uint32_t i = 0; i < ROWS; i++)
            weigh_back(b, r + i, p[r + i], ds[r + i]);
    }
    add_product(b->dq, b->row, ds[0], TILE_KEYS, 1, b->k_sums);
    add_product(b->dk, b->row, ds[0], 1, TILE_KEYS, b->q_sums);
    add_product(b->dv, b->row, p[0], 1, TILE_KEYS, b->d_out_sums);
}
