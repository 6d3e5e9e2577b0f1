/* Attention tiles of bfloat16 factors by AMX: part of kernels_vector.h.
 *
 * Everything is turned: scores are columns of queries, s[key][query], so that maxima and sums run down the keys with a
 * query in each lane, and weights come out in the pairs of keys that the next product wants. A strip is 32 queries.
 *
 *     s = keys . queries^T       keys: rows; queries: pairs of channels
 *     acc^T += values^T . s      values: rows of channels; s: pairs of keys, which lie where the scores lay
 *
 * head_dim is a multiple of AMX_STEP. */
enum { STRIP_KEYS = NARROW_BLOCKS * TILE_KEYS, HALF = 16 /* queries of a vector */ };

/* What masked scores are: far below all others, but not so far that exp_narrow would have to know of it. */
static const float MASKED = -1e12f, LOG2_E = 1.44269504f;

/* exp(x - max) to be rounded to bfloat16, for x <= max, top = max / ln 2, where the mask is set: relative error below
 * 8e-5, a 25th of that rounding (2^f on [0, 1] by a polynomial of degree 3, fitted for the least relative error; the
 * same factor for all, 2^(top's rounding), comes on top). A NaN stays one. */
INLINE __m512 exp_narrow(__m512 x, __m512 top, __mmask16 mask)
{
    __m512 t = _mm512_fmsub_ps(x, _mm512_set1_ps(LOG2_E), top);
    __m512 f = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 p = _mm512_fmadd_ps(f, _mm512_set1_ps(0.07802452004f), _mm512_set1_ps(0.2260671591f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.6958335392f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.9999252186f));
    return _mm512_maskz_scalef_ps(mask, p, t); /* by 2^floor(t) */
}

/* --- layouts ----------------------------------------------------------------------------------------------------- */

/* A block's keys: [TILE_KEYS / 32][head_dim / 32][32 keys][32 channels]. */
static void amx_keys(void *keys, const void *side, uint32_t n, uint32_t head_dim)
{
    const uint16_t *row = side;
    for (uint32_t j = 0; j < TILE_KEYS; j++, row += head_dim) {
        uint16_t *to = (uint16_t *)keys + (size_t)j / AMX_BLOCK * AMX_BLOCK * head_dim + j % AMX_BLOCK * AMX_STEP;
        for (uint32_t c = 0; c < head_dim; c += AMX_STEP, to += AMX_BLOCK * AMX_STEP)
            _mm512_storeu_si512(to, j < n ? _mm512_loadu_si512(row + c) : _mm512_setzero_si512());
    }
}

/* A block's values: [TILE_KEYS / 32][head_dim][32 keys]. */
static void amx_values(void *values, const void *side, uint32_t n, uint32_t head_dim)
{
    const uint16_t *src = side;
    for (uint32_t j = 0; j < TILE_KEYS; j += AMX_STEP)
        for (uint32_t c = 0; c < head_dim; c += 16) {
            uint32_t pairs[AMX_STEP / 2][16];
            for (uint32_t p = 0; p < AMX_STEP / 2; p++) {
                const uint16_t *row = src + (size_t)(j + 2 * p) * head_dim + c;
                __m256i first = j + 2 * p < n ? load_256(row) : _mm256_setzero_si256();
                __m256i second = j + 2 * p + 1 < n ? load_256(row + head_dim) : _mm256_setzero_si256();
                _mm512_storeu_si512(pairs[p], _mm512_or_si512(_mm512_cvtepu16_epi32(first),
                                                              _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16)));
            }
            transpose((uint32_t *)values + ((size_t)j / AMX_STEP * head_dim + c) * 16, 16, pairs, 16);
        }
}

/* A tile's queries, strip by strip, in their own place: pairs of channels, [head_dim / 32][2 halves][16 pairs][16]. */
static void amx_start(const struct attention_tile *tile)
{
    uint32_t pairs[AMX_BLOCK * NARROW_MOST / 2], n_pairs = tile->head_dim / 2;
    for (uint32_t r = 0; r < tile->n_queries; r += AMX_BLOCK) {
        float *rows = tile->q + (size_t)r * tile->row;
        for (uint32_t a = 0; a < AMX_BLOCK; a++)
            narrow_row(rows + (size_t)a * tile->row, rows + (size_t)a * tile->row, tile->head_dim);
        for (uint32_t p = 0; p < n_pairs; p += 16)
            for (uint32_t a = 0; a < AMX_BLOCK; a += HALF)
                transpose(pairs + ((size_t)p * 2 + a) * 16, 16, rows + (size_t)a * tile->row + p, tile->row);
        memcpy(rows, pairs, (size_t)n_pairs * AMX_BLOCK * sizeof *pairs);
    }
}

/* The sums of a strip are [head_dim][32 queries]: into rows. */
static void amx_end(const struct attention_tile *tile)
{
    float rows[AMX_BLOCK * NARROW_MOST];
    for (uint32_t r = 0; r < tile->n_queries; r += AMX_BLOCK) {
        float *acc = tile->acc + (size_t)r * tile->row;
        for (uint32_t c = 0; c < tile->head_dim; c += 16)
            for (uint32_t a = 0; a < AMX_BLOCK; a += HALF)
                transpose(rows + (size_t)a * tile->row + c, tile->row, acc + (size_t)c * AMX_BLOCK + a, AMX_BLOCK);
        memcpy(acc, rows, (size_t)AMX_BLOCK * tile->row * sizeof *acc);
    }
}

/* --- a strip against some blocks --------------------------------------------------------------------------------- */

/* Adds the bias to the scores of 16 queries, masks the keys behind each, and gives each one's largest, at least `max`.
 * s: their first score; the next key's lie AMX_BLOCK further. distance: from the first query to the first key. */
INLINE __m512 bias_columns(float *s, uint32_t n_keys, float slope, float distance, __m512 max, bool masks)
{
    enum { CHAINS = 4 };
    __m512 d[CHAINS], most[CHAINS], slopes = _mm512_set1_ps(slope), lanes = (__m512)lane_numbers();
#pragma GCC unroll 4
    for (int i = 0; i < CHAINS; i++) {
        d[i] = _mm512_sub_ps(_mm512_set1_ps(distance + (float)i), lanes);
        most[i] = max;
    }
    for (uint32_t j = 0; j < n_keys; j += CHAINS)
#pragma GCC unroll 4
        for (int i = 0; i < CHAINS; i++) {
            float *at = s + (size_t)(j + (uint32_t)i) * AMX_BLOCK;
            __m512 x = _mm512_fmadd_ps(d[i], slopes, _mm512_loadu_ps(at));
            if (masks)
                x = _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(d[i], _mm512_setzero_ps(), _CMP_GT_OQ),
                                       _mm512_set1_ps(MASKED));
            _mm512_storeu_ps(at, x);
            most[i] = _mm512_max_ps(most[i], x);
            d[i] = _mm512_add_ps(d[i], _mm512_set1_ps(CHAINS));
        }
    return _mm512_max_ps(_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3]));
}

/* Scores of 32 queries become weights, rounded, as pairs of keys, in their own place: row p of 32 pairs lies where the
 * scores of key p lay. Sums of the live queries' weights; the others' weights are 0. */
INLINE void weigh_columns(float *s, uint32_t n_keys, const __m512 max[2], const __mmask16 live[2], __m512 sums[2])
{
    static const uint16_t by_turns[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                          8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i turns = _mm512_loadu_si512(by_turns);
    __m512 top[2];
    for (int h = 0; h < 2; h++) {
        sums[h] = _mm512_setzero_ps();
        top[h] = _mm512_mul_ps(max[h], _mm512_set1_ps(LOG2_E));
    }
    for (uint32_t j = 0; j < n_keys; j += 2)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            const float *first = s + (size_t)j * AMX_BLOCK + h * HALF;
            __m512 a = exp_narrow(_mm512_loadu_ps(first), top[h], live[h]);
            __m512 b = exp_narrow(_mm512_loadu_ps(first + AMX_BLOCK), top[h], live[h]);
            sums[h] = _mm512_add_ps(sums[h], _mm512_add_ps(a, b));
            __m512i pairs = _mm512_permutexvar_epi16(turns, (__m512i)_mm512_cvtne2ps_pbh(b, a));
            _mm512_storeu_si512(s + (size_t)j / 2 * AMX_BLOCK + h * HALF, pairs);
        }
}

/* Scores to weights, with maxima and sums. keep: what the older sums of 32 queries are still worth. */
INLINE void weigh_strip(const struct attention_tile *tile, uint32_t r, float *s, uint32_t n_keys, int64_t first_key,
                        __m512 keep[2])
{
    __m512 max[2], sums[2];
    __mmask16 live[2];
    for (uint32_t h = 0; h < 2; h++) {
        uint32_t at = r + h * HALF;
        int64_t distance = first_key - (tile->first_query + at);
        __m512 old = _mm512_loadu_ps(tile->max + at);
        live[h] = (__mmask16)(tile->live >> at);
        if (distance + n_keys - 1 > 0)
            max[h] = bias_columns(s + h * HALF, n_keys, tile->slope, (float)distance, old, true);
        else
            max[h] = bias_columns(s + h * HALF, n_keys, tile->slope, (float)distance, old, false);
        keep[h] = (__m512)exp_vec((vec)_mm512_sub_ps(old, max[h]));
        keep[h] = _mm512_mask_mov_ps(_mm512_set1_ps(1.0f), live[h], keep[h]);
        _mm512_mask_storeu_ps(tile->max + at, live[h], max[h]);
    }
    weigh_columns(s, n_keys, max, live, sums);
    for (uint32_t h = 0; h < 2; h++) {
        float *sum = tile->sum + r + h * HALF;
        _mm512_storeu_ps(sum, _mm512_fmadd_ps(_mm512_loadu_ps(sum), keep[h], sums[h]));
    }
}

static void attend_amx_strip(const struct attention_tile *tile, uint32_t r, const uint16_t *keys,
                             const unsigned char *values, uint32_t n_keys, int64_t first_key)
{
    float s[STRIP_KEYS * AMX_BLOCK] __attribute__((aligned(64)));
    uint32_t head_dim = tile->head_dim;
    struct amx_columns queries = {tile->q + (size_t)r * tile->row, 64, 1024, 2048};
    struct amx_columns weights = amx_side_by_side((const int32_t *)(const void *)s, AMX_BLOCK * sizeof *s);
    for (uint32_t j = 0; j < n_keys; j += AMX_BLOCK)
        multiply_amx(s + (size_t)j * AMX_BLOCK, AMX_BLOCK,
                     (struct amx_rows){keys + (size_t)j * head_dim, 64, 64 * AMX_BLOCK}, queries, head_dim / AMX_STEP,
                     false, (struct amx_ahead){0});
    float *acc = tile->acc + (size_t)r * tile->row;
    __m512 keep[2], one = _mm512_set1_ps(1.0f);
    weigh_strip(tile, r, s, n_keys, first_key, keep);
    if (_mm512_cmp_ps_mask(keep[0], one, _CMP_NEQ_UQ) || _mm512_cmp_ps_mask(keep[1], one, _CMP_NEQ_UQ))
        for (size_t i = 0; i < (size_t)head_dim * AMX_BLOCK; i += HALF)
            _mm512_storeu_ps(acc + i, _mm512_mul_ps(_mm512_loadu_ps(acc + i), keep[i / HALF % 2]));
    for (uint32_t c = 0; c < head_dim; c += AMX_BLOCK)
        multiply_amx(acc + (size_t)c * AMX_BLOCK, AMX_BLOCK,
                     (struct amx_rows){values + (size_t)c * 64, 64, (size_t)head_dim * 64}, weights, n_keys / AMX_STEP,
                     true, (struct amx_ahead){0});
}

static void attend_amx(const struct attention_tile *tile, const void *keys, const void *values, int64_t first_key,
                       uint32_t n_blocks)
{
    for (uint32_t r = 0; r < tile->n_queries; r += AMX_BLOCK)
        if ((uint32_t)(tile->live >> r))
            attend_amx_strip(tile, r, keys, values, n_blocks * TILE_KEYS, first_key);
}
