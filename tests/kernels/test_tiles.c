/* Attention of every table: tiles, one query, and tiles of bfloat16 factors, against attention in double. */
#include "base/bytes.h"
#include "base/kv_rows.h"
#include "kernels/kernels.h"
#include "tables.h"
#include "test.h"

/* A head of n keys and queries, and a tile for queries [first, first + n_queries). */
struct head {
    uint32_t n, head_dim;
    float slope;
    float *q, *k, *v; /* [n][head_dim] */
};

static struct head random_head(uint32_t n, uint32_t head_dim, float slope, float key_size, uint64_t *seed)
{
    struct head head = {n, head_dim, slope, NULL, NULL, NULL};
    size_t count = (size_t)n * head_dim;
    head.q = calloc(count, sizeof(float));
    head.k = calloc(count, sizeof(float));
    head.v = calloc(count, sizeof(float));
    for (size_t i = 0; i < count; i++) {
        head.q[i] = test_random_float(seed);
        head.k[i] = test_random_float(seed) * key_size;
        head.v[i] = test_random_float(seed);
    }
    return head;
}

static void free_head(struct head *head)
{
    free(head->q);
    free(head->k);
    free(head->v);
}

/* Attention of one query over all its keys, in double. */
static void full_attention(const struct head *h, uint32_t query, double *out)
{
    double max = -INFINITY, sum = 0;
    double *scores = calloc(query + 1, sizeof *scores);
    memset(out, 0, h->head_dim * sizeof *out);
    for (uint32_t j = 0; j <= query; j++) {
        for (uint32_t c = 0; c < h->head_dim; c++)
            scores[j] += (double)h->q[query * h->head_dim + c] * (double)h->k[j * h->head_dim + c];
        scores[j] += (double)h->slope * ((double)j - (double)query);
        max = fmax(max, scores[j]);
    }
    for (uint32_t j = 0; j <= query; j++)
        sum += exp(scores[j] - max);
    for (uint32_t j = 0; j <= query; j++)
        for (uint32_t c = 0; c < h->head_dim; c++)
            out[c] += exp(scores[j] - max) / sum * (double)h->v[j * h->head_dim + c];
    free(scores);
}

/* The same through a table's tiles, for n_queries queries from `first` on; rows [head_dim]. */
static void tile_attention(const struct kernels *k, const struct head *h, uint32_t first, uint32_t n_queries,
                           float *out)
{
    uint32_t row = (h->head_dim + LANES - 1) / LANES * LANES;
    uint32_t n_rows = (n_queries + TILE_ROW_STEP - 1) / TILE_ROW_STEP * TILE_ROW_STEP;
    float *q = calloc((size_t)n_rows * row, sizeof *q), *acc = calloc((size_t)n_rows * row, sizeof *acc);
    float *columns = malloc((size_t)h->head_dim * TILE_KEYS * sizeof *columns);
    float *values = malloc((size_t)TILE_KEYS * row * sizeof *values);
    float max[TILE_QUERIES], sum[TILE_QUERIES] = {0};
    for (int r = 0; r < TILE_QUERIES; r++)
        max[r] = -INFINITY;
    for (uint32_t r = 0; r < n_queries; r++)
        memcpy(q + (size_t)r * row, h->q + (size_t)(first + r) * h->head_dim, h->head_dim * sizeof *q);
    struct attention_tile tile = {n_queries, h->head_dim, row, h->slope, first, q, acc, max, sum, ~(uint64_t)0};
    for (uint32_t block = (first + n_queries - 1) / TILE_KEYS + 1; block-- > 0;) {
        uint32_t first_key = block * TILE_KEYS;
        uint32_t n_keys = h->n - first_key < TILE_KEYS ? h->n - first_key : TILE_KEYS;
        const float *keys = h->k + (size_t)first_key * h->head_dim, *vals = h->v + (size_t)first_key * h->head_dim;
        for (size_t i = 0; i < (size_t)h->head_dim * TILE_KEYS; i++)
            columns[i] = NAN; /* poison: all of it must be set */
        for (size_t i = 0; i < (size_t)row * TILE_KEYS; i++)
            values[i] = NAN;
        k->unpack_columns(columns, QUIRE_KV_F32, keys, n_keys, h->head_dim);
        k->unpack_rows(values, row, QUIRE_KV_F32, vals, n_keys, h->head_dim);
        k->attend(&tile, columns, values, first_key);
    }
    for (uint32_t r = 0; r < n_queries; r++)
        for (uint32_t c = 0; c < h->head_dim; c++)
            out[(size_t)r * h->head_dim + c] = acc[(size_t)r * row + c] / sum[r];
    free(q);
    free(acc);
    free(columns);
    free(values);
}

/* Keys or values as a block stores them in bfloat16. */
static void round_side(uint16_t *side, const float *rows, uint32_t n, uint32_t head_dim)
{
    for (size_t i = 0; i < (size_t)n * head_dim; i++)
        side[i] = f32_to_bf16(rows[i]);
}

/* Tiles of bfloat16 factors, for queries [first, first + n_queries). */
static void narrow_attention(const struct kernels *k, const struct head *h, uint32_t first, uint32_t n_queries,
                             float *out)
{
    uint32_t row = h->head_dim, n_rows = (n_queries + TILE_ROW_STEP - 1) / TILE_ROW_STEP * TILE_ROW_STEP;
    size_t side_numbers = (size_t)row * TILE_KEYS, buffer_bytes = NARROW_BLOCKS * side_numbers * sizeof(uint16_t);
    float *q = calloc((size_t)n_rows * row, sizeof *q), *acc = calloc((size_t)n_rows * row, sizeof *acc);
    unsigned char *keys = malloc(buffer_bytes), *values = malloc(buffer_bytes);
    uint16_t *side = malloc(side_numbers * sizeof *side);
    float max[TILE_QUERIES], sum[TILE_QUERIES] = {0};
    for (int r = 0; r < TILE_QUERIES; r++)
        max[r] = -INFINITY;
    memcpy(q, h->q + (size_t)first * row, (size_t)n_queries * row * sizeof *q);
    struct attention_tile tile = {n_queries, row, row, h->slope, first, q, acc, max, sum, ~(uint64_t)0};
    k->narrow_start(&tile);
    for (uint32_t end = (first + n_queries - 1) / TILE_KEYS + 1, block; end > 0; end = block) {
        block = (end - 1) / k->narrow_blocks * k->narrow_blocks;
        memset(keys, 0xFF, buffer_bytes); /* poison, NaN */
        memset(values, 0xFF, buffer_bytes);
        for (uint32_t b = block; b < end; b++) {
            uint32_t first_key = b * TILE_KEYS;
            uint32_t n_keys = h->n - first_key < TILE_KEYS ? h->n - first_key : TILE_KEYS;
            memset(side, 0xFF, side_numbers * sizeof *side);
            round_side(side, h->k + (size_t)first_key * row, n_keys, row);
            k->narrow_keys(keys + (b - block) * side_numbers * sizeof *side, side, n_keys, row);
            round_side(side, h->v + (size_t)first_key * row, n_keys, row);
            k->narrow_values(values + (b - block) * side_numbers * sizeof *side, side, n_keys, row);
        }
        k->attend_narrow(&tile, keys, values, block * TILE_KEYS, end - block);
    }
    k->narrow_end(&tile);
    for (uint32_t r = 0; r < n_queries; r++)
        for (uint32_t c = 0; c < row; c++)
            out[(size_t)r * row + c] = acc[(size_t)r * row + c] / sum[r];
    free(q);
    free(acc);
    free(keys);
    free(values);
    free(side);
}

/* Against attention in double over the rounded numbers: what is left is the rounding of the weights. And row by row the
 * same bits, whatever shares the tile. */
static void check_narrow(const struct kernels *k, const struct kernels *ref)
{
    static const uint32_t dims[] = {32, 64, 96, 128, NARROW_MOST}, lengths[] = {1, 63, 130, 257, 700};
    double want[NARROW_MOST];
    uint64_t seed = 9;
    (void)ref;
    if (!k->attend_narrow)
        return;
    for (size_t i = 0; i < 5; i++) {
        uint32_t dim = dims[i], n = lengths[i], first = (n - 1) / TILE_QUERIES * TILE_QUERIES;
        struct head head = random_head(n, dim, 0.01f, 1, &seed);
        float *out = calloc((size_t)TILE_QUERIES * dim, sizeof *out),
              *part = calloc((size_t)TILE_QUERIES * dim, sizeof *part);
        narrow_attention(k, &head, first, n - first, out);
        for (uint32_t r = 0; r < n - first; r += 5) {
            narrow_attention(k, &head, first + r, 1, part);
            CHECK_EQ_INT(memcmp(part, out + (size_t)r * dim, dim * sizeof *part), 0);
        }
        for (size_t c = 0; c < (size_t)n * dim; c++) {
            head.q[c] = bf16_to_f32(f32_to_bf16(head.q[c]));
            head.k[c] = bf16_to_f32(f32_to_bf16(head.k[c]));
            head.v[c] = bf16_to_f32(f32_to_bf16(head.v[c]));
        }
        for (uint32_t query = first; query < n; query++) {
            full_attention(&head, query, want);
            for (uint32_t c = 0; c < dim; c++)
                CHECK_NEAR((double)out[(size_t)(query - first) * dim + c], want[c], 0x1p-8);
        }
        free(out);
        free(part);
        free_head(&head);
    }
}

static void narrow_tiles(void)
{
    for_all_tables(check_narrow);
}

static void one_attention(const struct kernels *k, const struct head *h, uint32_t query, float *out)
{
    uint32_t row = (h->head_dim + LANES - 1) / LANES * LANES;
    float *q = calloc(row, sizeof *q), *acc = calloc(row, sizeof *acc);
    float max = -INFINITY, sum = 0;
    memcpy(q, h->q + (size_t)query * h->head_dim, h->head_dim * sizeof *q);
    struct attention_tile tile = {1, h->head_dim, row, h->slope, query, q, acc, &max, &sum, 1};
    for (uint32_t block = query / TILE_KEYS + 1; block-- > 0;) {
        uint32_t first_key = block * TILE_KEYS;
        uint32_t n_keys = query + 1 - first_key < TILE_KEYS ? query + 1 - first_key : TILE_KEYS;
        k->attend_one(&tile, QUIRE_KV_F32, h->k + (size_t)first_key * h->head_dim,
                      h->v + (size_t)first_key * h->head_dim, n_keys, first_key);
    }
    for (uint32_t c = 0; c < h->head_dim; c++)
        out[c] = acc[c] / sum;
    free(q);
    free(acc);
}

static void check_attention(const struct kernels *k, const struct kernels *ref)
{
    (void)ref; /* full_attention is stricter: it is not tiled at all */
    static const uint32_t head_dims[] = {1, 8, 16, 24, 64, 80, 112, 128};
    static const float slopes[] = {0.0f, 0x1p-16f, 0.00390625f, 0.25f, 0.84089643f};
    uint64_t seed = 4;
    for (size_t d = 0; d < sizeof head_dims / sizeof *head_dims; d++)
        for (size_t s = 0; s < sizeof slopes / sizeof *slopes; s++) {
            uint32_t n = 130 + (uint32_t)(test_random(&seed) % 100), head_dim = head_dims[d];
            struct head head = random_head(n, head_dim, slopes[s], (float)(1 + 8 * (s % 2)), &seed);
            float *tiled = malloc((size_t)n * head_dim * sizeof *tiled), one[128];
            double want[128];
            for (uint32_t first = 0; first < n; first += TILE_QUERIES) {
                uint32_t n_queries = n - first < TILE_QUERIES ? n - first : TILE_QUERIES;
                tile_attention(k, &head, first, n_queries, tiled + (size_t)first * head_dim);
            }
            for (uint32_t query = 0; query < n; query += 7) {
                full_attention(&head, query, want);
                one_attention(k, &head, query, one);
                for (uint32_t c = 0; c < head_dim; c++) {
                    CHECK_NEAR((double)tiled[(size_t)query * head_dim + c], want[c], 3e-5);
                    CHECK_NEAR((double)one[c], want[c], 3e-5);
                }
            }
            free(tiled);
            free_head(&head);
        }
}

/* A side of a block of any type, from random bits that are no NaN: one row behind the other, then the scales. */
static void random_side(unsigned char *side, quire_kv_type type, size_t head_dim, uint64_t *seed)
{
    size_t n_bytes = kv_rows_bytes(type, head_dim), n_numbers = KV_ROWS * kv_rows_number_bytes(type, head_dim);
    for (size_t i = 0; i < n_bytes; i += 2) {
        float x = test_random_float(seed);
        uint32_t bits = f32_bits(x);
        uint16_t half = type == QUIRE_KV_F16 ? f32_to_f16(x) : f32_to_bf16(x);
        if (type == QUIRE_KV_F32) {
            memcpy(side + i, &bits, 4);
            i += 2;
        } else if (i < n_numbers && type >= QUIRE_KV_INT8) {
            side[i] = (unsigned char)test_random(seed);
            side[i + 1] = (unsigned char)test_random(seed);
        } else {
            half = type >= QUIRE_KV_INT8 ? f32_to_bf16(fabsf(x) / 100) : half;
            memcpy(side + i, &half, 2);
        }
    }
    size_t row_bytes = kv_rows_number_bytes(type, head_dim), half_group = KV_GROUP / 2;
    for (size_t c = head_dim; type == QUIRE_KV_INT4 && c % KV_GROUP; c++) /* what fills the last group up is zero */
        for (size_t j = 0; j < KV_ROWS; j++) {
            unsigned char *pair = side + j * row_bytes + c / KV_GROUP * half_group + c % half_group;
            *pair = (unsigned char)(c % KV_GROUP < half_group ? (*pair & 0xF0) | 8 : (*pair & 0x0F) | 0x80);
        }
}

/* Unpacking is exact in every table, for every type and size; so attend_one meets what attend meets. */
static void check_sides(const struct kernels *k, const struct kernels *ref)
{
    enum { DIM = 300, ROW = 304 };
    static unsigned char keys[KV_ROWS * DIM * 4], values[KV_ROWS * DIM * 4];
    static float columns[2][DIM * TILE_KEYS], rows[2][ROW * TILE_KEYS];
    float q[ROW], acc[2][ROW];
    uint64_t seed = 8;
    for (int round = 0; round < 300; round++) {
        quire_kv_type type = (quire_kv_type)(round % QUIRE_KV_TYPE_COUNT);
        uint32_t dim = 1 + (uint32_t)(test_random(&seed) % DIM), row = (dim + LANES - 1) / LANES * LANES;
        uint32_t n = 1 + (uint32_t)(test_random(&seed) % TILE_KEYS);
        random_side(keys, type, dim, &seed);
        random_side(values, type, dim, &seed);
        memset(columns, 0x7F, sizeof columns);
        memset(rows, 0x7F, sizeof rows);
        memset(q, 0, sizeof q);
        memset(acc, 0, sizeof acc);
        for (uint32_t c = 0; c < dim; c++)
            q[c] = test_random_float(&seed);
        for (int which = 0; which < 2; which++) {
            const struct kernels *table = which ? ref : k;
            float max = -INFINITY, sum = 0;
            struct attention_tile tile = {1, dim, row, 0.01f, 500 + n - 1, q, acc[which], &max, &sum, 1};
            table->unpack_columns(columns[which], type, keys, n, dim);
            table->unpack_rows(rows[which], row, type, values, n, dim);
            table->attend_one(&tile, type, keys, values, n, 500);
            for (uint32_t c = 0; c < dim; c++)
                acc[which][c] /= sum;
        }
        CHECK_EQ_INT(memcmp(columns[0], columns[1], sizeof columns[0]), 0);
        CHECK_EQ_INT(memcmp(rows[0], rows[1], sizeof rows[0]), 0);
        for (uint32_t c = 0; c < row; c++)
            CHECK_NEAR((double)acc[0][c], (double)acc[1][c], type == QUIRE_KV_INT8 ? 1e-4 : 5e-6);
    }
}

static void sides(void)
{
    for_all_tables(check_sides);
}

/* Rows that are not live stay as they are, and the others do not notice. */
static void check_live_rows(const struct kernels *k, const struct kernels *ref)
{
    (void)ref;
    enum { N = 64, DIM = 48 };
    static float columns[DIM * TILE_KEYS], values[DIM * TILE_KEYS], q[N * DIM], acc[2][N * DIM];
    float max[2][N], sum[2][N];
    uint64_t seed = 9;
    for (int i = 0; i < DIM * TILE_KEYS; i++) {
        columns[i] = test_random_float(&seed);
        values[i] = test_random_float(&seed);
        q[i] = test_random_float(&seed);
        acc[0][i] = acc[1][i] = test_random_float(&seed);
    }
    for (int r = 0; r < N; r++) {
        max[0][r] = max[1][r] = test_random_float(&seed);
        sum[0][r] = sum[1][r] = 1;
    }
    uint64_t live = test_random(&seed);
    for (int which = 0; which < 2; which++) {
        struct attention_tile tile = {N, DIM,        DIM,        0.1f,       200,
                                      q, acc[which], max[which], sum[which], which ? live : ~(uint64_t)0};
        k->attend(&tile, columns, values, 64);
    }
    for (int r = 0; r < N; r++)
        if (live >> r & 1) {
            CHECK_EQ_INT(memcmp(acc[0] + r * DIM, acc[1] + r * DIM, DIM * sizeof(float)), 0);
            CHECK(max[0][r] == max[1][r] && sum[0][r] == sum[1][r]);
        } else {
            CHECK(sum[1][r] == 1 && memcmp(acc[0] + r * DIM, acc[1] + r * DIM, DIM * sizeof(float)) != 0);
        }
}

/* The same in tiles of bfloat16 factors: what rows have when they stop is theirs for good. */
static void check_narrow_live_rows(const struct kernels *k, const struct kernels *ref)
{
    (void)ref;
    enum { DIM = 64, SIDE = DIM * TILE_KEYS, N_BLOCKS = 2 * NARROW_BLOCKS };
    static uint16_t sides[2][N_BLOCKS][SIDE], keys[NARROW_BLOCKS * SIDE], values[NARROW_BLOCKS * SIDE];
    static float q[TILE_QUERIES * DIM], acc[3][TILE_QUERIES * DIM];
    float max[3][TILE_QUERIES], sum[3][TILE_QUERIES] = {0};
    uint64_t seed = 9;
    if (!k->attend_narrow)
        return;
    for (size_t i = 0; i < sizeof sides / sizeof(uint16_t); i++)
        ((uint16_t *)sides)[i] = f32_to_bf16(test_random_float(&seed));
    memset(acc, 0, sizeof acc);
    uint64_t live = test_random(&seed);
    for (int which = 0; which < 3; which++) { /* all to the end, all to the middle, some to the end */
        uint64_t query_seed = 1;
        for (size_t i = 0; i < TILE_QUERIES * DIM; i++)
            q[i] = test_random_float(&query_seed);
        for (int r = 0; r < TILE_QUERIES; r++)
            max[which][r] = -INFINITY;
        struct attention_tile tile = {TILE_QUERIES, DIM,        DIM,        0.01f,       N_BLOCKS * TILE_KEYS, q,
                                      acc[which],   max[which], sum[which], ~(uint64_t)0};
        k->narrow_start(&tile);
        for (uint32_t end = N_BLOCKS; end > (which == 1 ? N_BLOCKS / 2 : 0); end -= k->narrow_blocks) {
            uint32_t block = end - k->narrow_blocks;
            if (which == 2 && end == N_BLOCKS / 2)
                tile.live = live;
            for (uint32_t b = 0; b < k->narrow_blocks; b++) {
                k->narrow_keys(keys + b * SIDE, sides[0][block + b], TILE_KEYS, DIM);
                k->narrow_values(values + b * SIDE, sides[1][block + b], TILE_KEYS, DIM);
            }
            k->attend_narrow(&tile, keys, values, block * TILE_KEYS, k->narrow_blocks);
        }
        k->narrow_end(&tile);
    }
    CHECK(memcmp(acc[0], acc[1], sizeof acc[0]) != 0);
    for (int r = 0; r < TILE_QUERIES; r++) {
        int want = live >> r & 1 ? 0 : 1;
        CHECK_EQ_INT(memcmp(acc[2] + r * DIM, acc[want] + r * DIM, DIM * sizeof(float)), 0);
        CHECK(max[2][r] == max[want][r] && sum[2][r] == sum[want][r]);
    }
}

static void live_rows(void)
{
    for_all_tables(check_live_rows);
    for_all_tables(check_narrow_live_rows);
}

static void attention(void)
{
    for_all_tables(check_attention);
}

static void reference_attention(void)
{
    int runs;
    check_attention(kernels_at(0, &runs), NULL);
}

/* A row's bits do not depend on which queries share its tile. */
static void check_row_independence(const struct kernels *k, const struct kernels *ref)
{
    (void)ref;
    uint64_t seed = 5;
    enum { N = 150, DIM = 40 };
    struct head head = random_head(N, DIM, 0.01f, 1, &seed);
    static float whole[N * DIM], part[N * DIM];
    tile_attention(k, &head, 64, 64, whole);
    for (uint32_t first = 64; first < 128;) {
        uint32_t n = 1 + (uint32_t)(test_random(&seed) % 9);
        n = n < 128 - first ? n : 128 - first;
        tile_attention(k, &head, first, n, part);
        CHECK_EQ_INT(memcmp(part, whole + (size_t)(first - 64) * DIM, n * DIM * sizeof(float)), 0);
        first += n;
    }
    free_head(&head);
}

static void row_independence(void)
{
    for_all_tables(check_row_independence);
}

/* A NaN in a key reaches the result of the queries that see it, and no other. */
static void check_nan(const struct kernels *k, const struct kernels *ref)
{
    (void)ref;
    uint64_t seed = 6;
    enum { N = 128, DIM = 16 };
    struct head head = random_head(N, DIM, 0.5f, 1, &seed);
    static float out[64 * DIM];
    head.k[100 * DIM + 3] = NAN;
    tile_attention(k, &head, 64, 64, out);
    for (int query = 64; query < 128; query++)
        CHECK(!isnan(out[(query - 64) * DIM]) == (query < 100));
    free_head(&head);
}

/* One query of 80 channels against 40 rows of int8, of which one number may be no number. */
static void check_nan_int8(const struct kernels *k, const struct kernels *ref)
{
    (void)ref;
    enum { N = 40, DIM = 80 };
    static unsigned char sides[2][KV_ROWS * (DIM + 2)];
    static const float strange[] = {NAN, INFINITY};
    for (int round = 0; round < 7; round++) {
        float q[DIM] = {0}, acc[DIM] = {0}, max = -INFINITY, sum = 0, bad = strange[round % 2];
        uint64_t seed = 9;
        for (int c = 0; c < DIM; c++)
            q[c] = test_random_float(&seed);
        for (int side = 0; side < 2; side++)
            random_side(sides[side], QUIRE_KV_INT8, DIM, &seed);
        uint16_t stored = f32_to_bf16(bad), largest = 0x7F7F; /* bfloat16's own */
        unsigned char *scales[2] = {sides[0] + KV_ROWS * DIM, sides[1] + KV_ROWS * DIM};
        if (round / 2 == 0)
            q[17] = bad;
        else if (round < 6)
            memcpy(scales[round / 2 - 1] + 2 * 21, &stored, 2);
        memcpy(scales[0] + 2 * N, &stored, 2); /* behind the last row: not seen */
        memcpy(scales[1] + 2 * N, &largest, 2);
        struct attention_tile tile = {1, DIM, DIM, 0.01f, 500 + N - 1, q, acc, &max, &sum, 1};
        k->attend_one(&tile, QUIRE_KV_INT8, sides[0], sides[1], N, 500);
        for (int c = 0; c < DIM; c++)
            CHECK_EQ_INT(isfinite(acc[c] / sum) != 0, round == 6);
    }
}

static void nan_is_seen(void)
{
    for_all_tables(check_nan);
    for_all_tables(check_nan_int8);
}

static const struct test tests[] = {
    {"sides", sides},
    {"live_rows", live_rows},
    {"attention", attention},
    {"reference_attention", reference_attention},
    {"narrow_tiles", narrow_tiles},
    {"row_independence", row_independence},
    {"nan_is_seen", nan_is_seen},
};

TEST_MAIN(tests)
