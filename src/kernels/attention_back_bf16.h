/* The way back through attention tiles of bfloat16 factors with float32 sums: part of kernels_vector.h. Weights and
 * their gradients are rounded to bfloat16 where they are factors. */

enum { QUERY_PAIRS = TILE_QUERIES / 2, KEY_PAIRS = TILE_KEYS / 2 };

/* ROWS rows of y[64][TILE_KEYS] = x . columns. */
INLINE void narrow_columns_product(float *y, const int32_t *x, uint32_t n_pairs, const int32_t *columns)
{
    __m512 sums[ROWS][BF16_VECTORS];
    multiply_pairs(ROWS, BF16_VECTORS, sums, x, n_pairs, 1, columns, TILE_KEYS, n_pairs);
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < BF16_VECTORS; v++)
            store(y + r * TILE_KEYS + 16 * v, (vec)sums[r][v]);
}

/* y[64][row] += a . b, of 32 pairs. */
INLINE void add_pairs_product(float *y, uint32_t row, const int32_t *a, size_t a_row, size_t a_pair, const int32_t *b)
{
    for (size_t r = 0; r < TILE_QUERIES; r += ROWS)
        for (uint32_t c = 0; c < row;) {
            __m512 sums[ROWS][BF16_VECTORS];
            int n_vectors = c + 16 * BF16_VECTORS <= row ? BF16_VECTORS : 1;
            if (n_vectors == BF16_VECTORS)
                multiply_pairs(ROWS, BF16_VECTORS, sums, a + r * a_row, a_row, a_pair, b + c, row, QUERY_PAIRS);
            else
                multiply_pairs(ROWS, 1, sums, a + r * a_row, a_row, a_pair, b + c, row, QUERY_PAIRS);
            for (size_t i = 0; i < ROWS; i++)
                for (int v = 0; v < n_vectors; v++) {
                    float *to = y + (r + i) * row + c + 16 * (size_t)v;
                    store(to, load(to) + (vec)sums[i][v]);
                }
            c += 16 * (uint32_t)n_vectors;
        }
}

/* Two rows of 64 numbers, rounded: pairs of rows, key by key. */
INLINE void pair_rows(int32_t pairs[TILE_KEYS], const float *first, const float *second)
{
    for (int j = 0; j < TILE_KEYS; j += 16)
        _mm512_storeu_si512(pairs + j, pair_numbers(first + j, second + j, 0xFFFF));
}

static void attend_back_narrow(const struct attention_back *b)
{
    int32_t p_pairs[QUERY_PAIRS][TILE_KEYS], ds_pairs[QUERY_PAIRS][TILE_KEYS], ds_rows[TILE_QUERIES][KEY_PAIRS];
    uint32_t n_pairs = b->head_dim / 2;
    for (uint32_t r = 0; r < TILE_QUERIES; r += ROWS) {
        float p[ROWS][TILE_KEYS], ds[ROWS][TILE_KEYS];
        narrow_columns_product(p[0], (const int32_t *)b->q + (size_t)r * n_pairs, n_pairs, b->k_columns);
        narrow_columns_product(ds[0], (const int32_t *)b->d_out + (size_t)r * n_pairs, n_pairs, b->v_columns);
        for (uint32_t i = 0; i < ROWS; i++) {
            weigh_back(b, r + i, p[i], ds[i]);
            for (int j = 0; j < TILE_KEYS; j += 16) {
                __m256i rounded = bf16_row(ds[i] + j);
                memcpy(ds_rows[r + i] + j / 2, &rounded, sizeof rounded);
            }
        }
        for (uint32_t i = 0; i < ROWS; i += 2) {
            pair_rows(p_pairs[(r + i) / 2], p[i], p[i + 1]);
            pair_rows(ds_pairs[(r + i) / 2], ds[i], ds[i + 1]);
        }
    }
    add_pairs_product(b->dq, b->row, ds_rows[0], KEY_PAIRS, 1, b->k_sums);
    add_pairs_product(b->dk, b->row, ds_pairs[0], 1, TILE_KEYS, b->q_sums);
    add_pairs_product(b->dv, b->row, p_pairs[0], 1, TILE_KEYS, b->d_out_sums);
}
