/* Attention tiles of bfloat16 factors with float32 sums, by AVX-512-BF16: part of kernels_vector.h.
 *
 * Keys and values that are stored as bfloat16 are used as they are, put together in pairs as the instruction wants them
 * (gemm_bf16.h); queries and weights are rounded to it. head_dim is a multiple of NARROW_STEP. */

/* Pairs of channels, key by key: [head_dim / 2][TILE_KEYS]. */
static void narrow_columns(void *columns, const void *side, uint32_t n, uint32_t head_dim)
{
    uint32_t n_pairs = head_dim / 2, j = 0;
    const unsigned char *src = side;
    uint32_t *dst = columns;
    for (; j + 16 <= n; j += 16)
        for (uint32_t p = 0; p < n_pairs; p += 16)
            transpose(dst + (size_t)p * TILE_KEYS + j, TILE_KEYS, src + 4 * ((size_t)j * n_pairs + p), n_pairs);
    for (; j < TILE_KEYS; j++)
        for (uint32_t p = 0; p < n_pairs; p++)
            dst[(size_t)p * TILE_KEYS + j] = j < n ? load_u32(src + 4 * ((size_t)j * n_pairs + p)) : 0;
}

/* Pairs of keys, channel by channel: [TILE_KEYS / 2][head_dim]. */
static void narrow_pairs(void *pairs, const void *side, uint32_t n, uint32_t head_dim)
{
    const uint16_t *src = side;
    uint32_t *dst = pairs;
    memset(dst, 0, (size_t)TILE_KEYS / 2 * head_dim * sizeof *dst);
    for (uint32_t j = 0; j < n; j++, src += head_dim)
        for (uint32_t c = 0; c < head_dim; c += 16) {
            uint32_t *both = dst + (size_t)(j / 2) * head_dim + c;
            __m512i row = _mm512_cvtepu16_epi32(load_256(src + c));
            row = j % 2 ? _mm512_or_si512(_mm512_loadu_si512(both), _mm512_slli_epi32(row, 16)) : row;
            _mm512_storeu_si512(both, row);
        }
}

static void narrow_row(void *to, const float *row, uint32_t n)
{
    for (uint32_t c = 0; c < n; c += 16) {
        __m256i rounded = bf16_row(row + c);
        memcpy((uint16_t *)to + c, &rounded, sizeof rounded);
    }
}

/* acc = acc * keep + weights . values for the live rows and n_vectors columns. */
INLINE void add_narrow_values(const struct attention_tile *tile, float *acc, unsigned live, const float keep[ROWS],
                              const int32_t *weights, const int32_t *values, int n_vectors)
{
    __m512 sums[ROWS][BF16_VECTORS];
    multiply_pairs(ROWS, n_vectors, sums, weights, TILE_KEYS / 2, 1, values, tile->row, TILE_KEYS / 2);
    for (int a = 0; a < ROWS; a++)
        for (int b = 0; b < n_vectors && (live >> a & 1); b++) {
            float *sum = acc + (size_t)a * tile->row + 16 * b;
            store(sum, load(sum) * keep[a] + (vec)sums[a][b]);
        }
}

static void attend_narrow_rows(const struct attention_tile *tile, uint32_t r, unsigned live, const int32_t *keys,
                               const int32_t *values, int64_t first_key)
{
    float s[ROWS][TILE_KEYS], keep[W];
    int32_t weights[ROWS][TILE_KEYS / 2];
    float *acc = tile->acc + (size_t)r * tile->row;
    __m512 sums[ROWS][BF16_VECTORS];
    multiply_pairs(ROWS, BF16_VECTORS, sums, (const int32_t *)(const void *)(tile->q + (size_t)r * tile->row),
                   tile->row, 1, keys, TILE_KEYS, tile->head_dim / 2);
    for (int a = 0; a < ROWS; a++)
        for (int b = 0; b < BF16_VECTORS; b++)
            store(s[a] + 16 * b, (vec)sums[a][b]);
    weigh_rows(tile, r, live, s, keep, first_key);
    for (int a = 0; a < ROWS; a++)
        for (int j = 0; j < TILE_KEYS; j += 16) {
            __m256i rounded = bf16_row(s[a] + j);
            memcpy(weights[a] + j / 2, &rounded, sizeof rounded);
        }
    uint32_t c = 0;
    for (; c + 16 * BF16_VECTORS <= tile->head_dim; c += 16 * BF16_VECTORS)
        add_narrow_values(tile, acc + c, live, keep, weights[0], values + c, BF16_VECTORS);
    for (; c < tile->head_dim; c += 16)
        add_narrow_values(tile, acc + c, live, keep, weights[0], values + c, 1);
}

static void narrow_start(const struct attention_tile *tile)
{
    for (uint32_t r = 0; r < tile->n_queries; r++) {
        float *row = tile->q + (size_t)r * tile->row;
        narrow_row(row, row, tile->head_dim);
    }
}

static void narrow_end(const struct attention_tile *tile)
{
    (void)tile; /* its sums are rows */
}

/* Of one block. */
static void attend_narrow(const struct attention_tile *tile, const void *keys, const void *values, int64_t first_key,
                          uint32_t n_blocks)
{
    (void)n_blocks;
    for (uint32_t r = 0; r < tile->n_queries; r += ROWS) {
        unsigned live = (unsigned)(tile->live >> r) & ((1u << ROWS) - 1);
        if (live)
            attend_narrow_rows(tile, r, live, keys, values, first_key);
    }
}
