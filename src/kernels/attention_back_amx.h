/* The way back through attention tiles of bfloat16 factors, by AMX: part of kernels_vector.h. What goes in is that of
 * attention_back_bf16.h; all sizes are multiples of AMX_BLOCK. */

/* 64 numbers, rounded. */
INLINE void amx_round_row(uint16_t *to, const float *x)
{
    _mm512_storeu_si512(to, bf16_part(x, 32));
    _mm512_storeu_si512(to + 32, bf16_part(x + 32, 32));
}

/* y[32][TILE_KEYS] = 32 rows of n numbers, row_bytes apart, times the columns of 64 keys. */
INLINE void amx_columns_product(float *y, const void *x, size_t row_bytes, const int32_t *columns, size_t n)
{
    for (size_t j = 0; j < TILE_KEYS; j += AMX_BLOCK)
        multiply_amx(y + j, TILE_KEYS, (struct amx_rows){x, row_bytes, 64},
                     amx_side_by_side(columns + j, TILE_KEYS * sizeof *columns), n / AMX_STEP, false,
                     (struct amx_ahead){0});
}

/* y[64][row] += rows[64][64] . pairs. */
INLINE void amx_add_product(float *y, uint32_t row, const void *rows, const int32_t *pairs)
{
    size_t row_bytes = TILE_KEYS * sizeof(uint16_t);
    for (size_t r = 0; r < TILE_QUERIES; r += AMX_BLOCK)
        for (uint32_t c = 0; c < row; c += AMX_BLOCK) {
            struct amx_rows some = {(const unsigned char *)rows + r * row_bytes, row_bytes, 64};
            multiply_amx(y + r * row + c, row, some, amx_side_by_side(pairs + c, row * sizeof *pairs),
                         TILE_KEYS / AMX_STEP, true, (struct amx_ahead){0});
        }
}

/* Rows of 64 queries, as pairs of queries, key by key, become rows of keys. */
INLINE void amx_turn(int32_t rows[TILE_KEYS][QUERY_PAIRS], int32_t pairs[QUERY_PAIRS][TILE_KEYS])
{
    for (size_t p = 0; p < QUERY_PAIRS; p += 16)
        for (size_t j = 0; j < TILE_KEYS; j += 16)
            transpose(rows[j] + p, QUERY_PAIRS, pairs[p] + j, TILE_KEYS);
}

static void attend_back_amx(const struct attention_back *b)
{
    int32_t p_pairs[QUERY_PAIRS][TILE_KEYS], ds_pairs[QUERY_PAIRS][TILE_KEYS], turned[TILE_KEYS][QUERY_PAIRS];
    uint16_t ds_rows[TILE_QUERIES][TILE_KEYS];
    size_t row_bytes = b->head_dim * sizeof(uint16_t);
    for (uint32_t r = 0; r < TILE_QUERIES; r += AMX_BLOCK) {
        float p[AMX_BLOCK][TILE_KEYS], ds[AMX_BLOCK][TILE_KEYS];
        amx_columns_product(p[0], (const unsigned char *)b->q + r * row_bytes, row_bytes, b->k_columns, b->head_dim);
        amx_columns_product(ds[0], (const unsigned char *)b->d_out + r * row_bytes, row_bytes, b->v_columns,
                            b->head_dim);
        for (uint32_t i = 0; i < AMX_BLOCK; i++) {
            weigh_back(b, r + i, p[i], ds[i]);
            amx_round_row(ds_rows[r + i], ds[i]);
        }
        for (uint32_t i = 0; i < AMX_BLOCK; i += 2) {
            pair_rows(p_pairs[(r + i) / 2], p[i], p[i + 1]);
            pair_rows(ds_pairs[(r + i) / 2], ds[i], ds[i + 1]);
        }
    }
    amx_add_product(b->dq, b->row, ds_rows, b->k_sums);
    amx_turn(turned, ds_pairs);
    amx_add_product(b->dk, b->row, turned, b->q_sums);
    amx_turn(turned, p_pairs);
    amx_add_product(b->dv, b->row, turned, b->d_out_sums);
}
