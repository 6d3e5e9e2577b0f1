/* Attention tiles of bfloat16 factors, and the way back through them, by AMX: part of kernels_vector.h. What goes in is
 * that of attention_bf16.h and attention_back_bf16.h; all sizes are multiples of AMX_BLOCK. */

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
        multiply_amx(y + j, TILE_KEYS, (struct amx_rows){x, row_bytes, 64}, columns + j, TILE_KEYS * sizeof *columns,
                     n / AMX_STEP, false);
}

static void attend_amx_rows(const struct attention_tile *tile, uint32_t r, uint32_t live, const int32_t *keys,
                            const int32_t *values, int64_t first_key)
{
    float s[AMX_BLOCK][TILE_KEYS], keep[AMX_BLOCK + W], sums[AMX_BLOCK][AMX_BLOCK];
    uint16_t weights[AMX_BLOCK][TILE_KEYS];
    uint32_t n = tile->n_queries - r < AMX_BLOCK ? tile->n_queries - r : AMX_BLOCK;
    size_t row_bytes = tile->row * sizeof(float);
    amx_columns_product(s[0], tile->q + (size_t)r * tile->row, row_bytes, keys, tile->head_dim);
    for (uint32_t a = 0; a < n; a += ROWS) {
        unsigned some = live >> a & ((1u << ROWS) - 1);
        if (some)
            weigh_rows(tile, r + a, some, s + a, keep + a, first_key);
    }
    for (uint32_t a = 0; a < AMX_BLOCK; a++)
        amx_round_row(weights[a], s[a]);
    for (uint32_t c = 0; c < tile->head_dim; c += AMX_BLOCK) {
        multiply_amx(sums[0], AMX_BLOCK, (struct amx_rows){weights, sizeof weights[0], 64}, values + c,
                     tile->head_dim * sizeof *values, TILE_KEYS / AMX_STEP, false);
        for (uint32_t a = 0; a < n; a++)
            for (uint32_t b = 0; b < AMX_BLOCK && (live >> a & 1); b += W) {
                float *acc = tile->acc + (size_t)(r + a) * tile->row + c + b;
                store(acc, load(acc) * keep[a] + load(sums[a] + b));
            }
    }
}

static void attend_amx(const struct attention_tile *tile, const void *keys, const void *values, int64_t first_key)
{
    for (uint32_t r = 0; r < tile->n_queries; r += AMX_BLOCK) {
        uint32_t live = (uint32_t)(tile->live >> r);
        if (live)
            attend_amx_rows(tile, r, live, keys, values, first_key);
    }
}

/* y[64][row] += rows[64][64] . pairs. */
INLINE void amx_add_product(float *y, uint32_t row, const void *rows, const int32_t *pairs)
{
    size_t row_bytes = TILE_KEYS * sizeof(uint16_t);
    for (size_t r = 0; r < TILE_QUERIES; r += AMX_BLOCK)
        for (uint32_t c = 0; c < row; c += AMX_BLOCK) {
            struct amx_rows some = {(const unsigned char *)rows + r * row_bytes, row_bytes, 64};
            multiply_amx(y + r * row + c, row, some, pairs + c, row * sizeof *pairs, TILE_KEYS / AMX_STEP, true);
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
