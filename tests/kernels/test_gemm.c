/* Products of many rows, each table's own against sums in double: odd sizes, stored types, padding, edges, NaN. */
#include "kernels/kernels.h"
#include "stored.h"
#include "tables.h"
#include "test.h"

enum { GUARD = 64, POISON = 0xA5 };

/* One product and all that it needs. Buffers have poisoned bytes behind their ends. */
struct product {
    const struct kernels *kernels;
    const struct gemm *gemm;
    size_t m, n, k;
    quire_dtype type;
    float *x;         /* [m][k] */
    unsigned char *w; /* [n] rows, stored */
    float *w_float;   /* [n][k] */
    float *bias;      /* [n] */
};

static void *guarded(size_t n_bytes)
{
    unsigned char *p = aligned_alloc(64, (n_bytes + GUARD + 63) / 64 * 64);
    if (!p)
        abort();
    memset(p, POISON, n_bytes + GUARD);
    return p;
}

static void check_guard(const void *buffer, size_t n_bytes)
{
    const unsigned char *p = (const unsigned char *)buffer + n_bytes;
    for (size_t i = 0; i < GUARD; i++)
        CHECK_EQ_INT(p[i], POISON);
}

static size_t row_bytes(const struct product *p)
{
    return stored_bytes(p->type, p->k);
}

static struct product make_product(const struct kernels *kernels, const struct gemm *gemm, size_t m, size_t n, size_t k,
                                   quire_dtype type, uint64_t *seed)
{
    struct product p = {kernels, gemm, m, n, k, type, NULL, NULL, NULL, NULL};
    p.x = malloc(m * k * sizeof *p.x);
    p.w = malloc(n * row_bytes(&p));
    p.w_float = malloc(n * k * sizeof *p.w_float);
    p.bias = malloc(n * sizeof *p.bias);
    for (size_t i = 0; i < m * k; i++)
        p.x[i] = test_random_float(seed);
    for (size_t i = 0; i < n; i++)
        p.bias[i] = test_random_float(seed);
    stored_random(p.w, type, n * k, seed);
    for (size_t j = 0; j < n; j++)
        kernels_at(0, &(int){0})->unpack(type, p.w_float + j * k, p.w + j * row_bytes(&p), k);
    return p;
}

static void release_product(struct product *p)
{
    free(p->x);
    free(p->w);
    free(p->w_float);
    free(p->bias);
}

/* y[m][n] of rows [first, first + m), in blocks for so many threads; with panels packed before and on the way. */
static void multiply(float *y, const struct product *p, size_t first, size_t m, const struct gemm_edge *edge,
                     size_t n_threads)
{
    const struct gemm *gemm = p->gemm;
    size_t n_strips = (m + gemm->strip_rows - 1) / gemm->strip_rows, strip_bytes = gemm_strip_bytes(gemm, p->k);
    size_t n_panels = (p->n + gemm->panel_columns - 1) / gemm->panel_columns,
           panel_bytes = gemm_panel_bytes(gemm, p->k);
    size_t sums_bytes = gemm_sums_floats(gemm) * sizeof(float);
    struct gemm_blocks blocks = gemm_blocks(gemm, m, p->n, n_threads);
    unsigned char *strips = guarded(n_strips * strip_bytes), *panels = guarded(n_panels * panel_bytes);
    float *sums = guarded(sums_bytes), *again = malloc(m * p->n * sizeof *again);
    unsigned char *part = guarded(gemm_part_bytes(gemm, p->k));
    const struct stored_matrix stored = {p->w, row_bytes(p), p->n, p->type};
    memcpy(again, y, m * p->n * sizeof *again);
    for (size_t i = 0; i < n_strips; i++) {
        size_t row = i * gemm->strip_rows, n_rows = m - row < gemm->strip_rows ? m - row : gemm->strip_rows;
        gemm->pack_strip(strips + i * strip_bytes, p->x + (first + row) * p->k, p->k, n_rows, p->k);
    }
    for (size_t j = 0; j < n_panels; j++)
        kernels_pack_panel(p->kernels, gemm, panels + j * panel_bytes, &stored, j * gemm->panel_columns, p->k);
    for (size_t i = gemm_blocks_count(&blocks); i-- > 0;)
        gemm_multiply_block(gemm, y, p->n, strips, panels, sums, gemm_block_at(&blocks, i), p->k, edge);
    for (size_t i = gemm_blocks_count(&blocks); i-- > 0;)
        kernels_multiply_stored(p->kernels, gemm, again, p->n, strips, &stored, part, sums, gemm_block_at(&blocks, i),
                                p->k, edge);
    CHECK_EQ_INT(memcmp(y, again, m * p->n * sizeof *y), 0);
    check_guard(part, gemm_part_bytes(gemm, p->k));
    check_guard(strips, n_strips * strip_bytes);
    check_guard(panels, n_panels * panel_bytes);
    check_guard(sums, sums_bytes);
    free(strips);
    free(panels);
    free(sums);
    free(part);
    free(again);
}

static bool is_fixed(const struct gemm *gemm)
{
    return strcmp(gemm->name, "i16") == 0;
}

/* A number as the product sees it, and what it may be off by: in fixed point a step, where it lies so near the middle
 * of two that a rounding on the way decides. */
struct factor {
    double value, doubt;
};

/* Number i of a row of k. most: of the integers of a row in fixed point. */
static struct factor factor(const struct gemm *gemm, const float *row, size_t k, size_t i, float most)
{
    float largest = 0;
    if (strcmp(gemm->name, "bf16") == 0)
        return (struct factor){(double)bf16_to_f32(f32_to_bf16(row[i])), 0};
    if (!is_fixed(gemm))
        return (struct factor){(double)row[i], 0};
    for (size_t j = i / 64 * 64; j < k && j < i / 64 * 64 + 64; j++)
        largest = fmaxf(largest, fabsf(row[j]));
    if (!(largest > 0))
        return (struct factor){0, 0};
    double step = (double)largest / (double)most, steps = (double)row[i] / step;
    bool is_middle = fabs(fabs(steps - trunc(steps)) - 0.5) < 2e-3;
    return (struct factor){nearbyint(steps) * step, is_middle ? step : 0};
}

static void check_values(struct product *p)
{
    static const struct gemm_edge edges[] = {{NULL, 0, false}, {NULL, 0.75f, false}, {NULL, 0, true}};
    size_t y_bytes = p->m * p->n * sizeof(float);
    float *y = guarded(y_bytes);
    struct factor *xs = malloc(p->m * p->k * sizeof *xs), *ws = malloc(p->n * p->k * sizeof *ws);
    for (size_t i = 0; i < p->m * p->k; i++)
        xs[i] = factor(p->gemm, p->x + i / p->k * p->k, p->k, i % p->k, 6657);
    for (size_t i = 0; i < p->n * p->k; i++)
        ws[i] = factor(p->gemm, p->w_float + i / p->k * p->k, p->k, i % p->k, 5040);
    for (size_t e = 0; e < 3; e++) {
        struct gemm_edge edge = edges[e];
        edge.bias = e > 0 ? p->bias : NULL;
        for (size_t i = 0; i < p->m * p->n; i++)
            y[i] = edge.add ? 0.5f : NAN;
        multiply(y, p, 0, p->m, &edge, 1);
        check_guard(y, y_bytes);
        for (size_t i = 0; i < p->m; i++)
            for (size_t j = 0; j < p->n; j++) {
                double want = edge.bias ? (double)edge.bias[j] : 0, size = 1, doubt = 0;
                for (size_t c = 0; c < p->k; c++) {
                    struct factor x = xs[i * p->k + c], w = ws[j * p->k + c];
                    want += x.value * w.value;
                    size += fabs(x.value * w.value);
                    doubt += fabs(x.value) * w.doubt + (fabs(w.value) + w.doubt) * x.doubt;
                }
                if (edge.clip > 0)
                    want = fmin(fmax(want, -(double)edge.clip), (double)edge.clip);
                CHECK_NEAR((double)y[i * p->n + j], want + (edge.add ? 0.5 : 0), size * 1e-6 + doubt);
            }
    }
    free(y);
    free(xs);
    free(ws);
}

static void for_all_gemms(void (*check)(const struct kernels *kernels, const struct gemm *gemm, uint64_t *seed))
{
    const struct kernels *kernels;
    int runs;
    uint64_t seed = 5;
    kernels_gemm_init();
    for (size_t i = 0; (kernels = table_at(i, &runs)) != NULL; i++)
        for (int exact = 0; runs && exact <= (kernels->gemm != kernels->gemm_exact); exact++) {
            check(kernels, exact ? kernels->gemm_exact : kernels->gemm, &seed);
            if (test_n_failed_checks > 0) {
                fprintf(stderr, "table %s, product %s\n", kernels->name, exact ? "exact" : kernels->gemm->name);
                return;
            }
        }
}

static void check_sizes(const struct kernels *kernels, const struct gemm *gemm, uint64_t *seed)
{
    static const size_t sizes[][3] = {{1, 1, 1},     {5, 3, 7},     {6, 16, 33},    {13, 65, 255}, {7, 64, 257},
                                      {25, 130, 96}, {3, 17, 4099}, {12, 70, 2050}, {70, 66, 545}, {530, 300, 290}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct product p = make_product(kernels, gemm, sizes[i][0], sizes[i][1], sizes[i][2], QUIRE_DTYPE_F32, seed);
        check_values(&p);
        release_product(&p);
    }
    for (int type = 0; type < QUIRE_DTYPE_COUNT; type++) {
        size_t k = 256 + quire_dtype_block_elements((quire_dtype)type);
        struct product p = make_product(kernels, gemm, 9, 35, k, (quire_dtype)type, seed);
        check_values(&p);
        release_product(&p);
    }
}

static void sizes(void)
{
    for_all_gemms(check_sizes);
}

/* A row's bits are the same whatever is computed beside it, and in whichever place of a strip. */
static void check_independence(const struct kernels *kernels, const struct gemm *gemm, uint64_t *seed)
{
    if (gemm == &gemm_openblas) /* its order of sums is its own */
        return;
    struct product p = make_product(kernels, gemm, 40, 300, 1500, QUIRE_DTYPE_F32, seed);
    float *whole = malloc(p.m * p.n * sizeof *whole), *part = malloc(p.m * p.n * sizeof *part);
    multiply(whole, &p, 0, p.m, &(struct gemm_edge){0}, 1);
    for (size_t first = 0; first < p.m;) {
        size_t m = 1 + test_random(seed) % 9;
        m = m < p.m - first ? m : p.m - first;
        multiply(part, &p, first, m, &(struct gemm_edge){0}, 1 + test_random(seed) % 4);
        CHECK_EQ_INT(memcmp(part, whole + first * p.n, m * p.n * sizeof *part), 0);
        first += m;
    }
    free(whole);
    free(part);
    release_product(&p);
}

static void independence(void)
{
    for_all_gemms(check_independence);
}

/* NaN and infinity come out in the rows and columns that have them, and nowhere else; clipping does not hide a NaN. In
 * fixed point an infinity is a NaN. */
static void check_not_finite(const struct kernels *kernels, const struct gemm *gemm, uint64_t *seed)
{
    struct product p = make_product(kernels, gemm, 14, 66, 100, QUIRE_DTYPE_F32, seed);
    float *y = malloc(p.m * p.n * sizeof *y), nan = NAN;
    p.x[3 * p.k + 50] = NAN;
    p.x[7 * p.k + 1] = INFINITY;
    memcpy(p.w + (9 * p.k + 99) * sizeof nan, &nan, sizeof nan);
    multiply(y, &p, 0, p.m, &(struct gemm_edge){.clip = 2.0f}, 1);
    for (size_t i = 0; i < p.m; i++)
        for (size_t j = 0; j < p.n; j++) {
            float value = y[i * p.n + j];
            CHECK(isnan(value) == (i == 3 || j == 9 || (i == 7 && is_fixed(gemm))));
            if (i == 7 && j != 9 && !is_fixed(gemm))
                CHECK(fabsf(value) == 2.0f);
        }
    free(y);
    release_product(&p);
}

static void not_finite(void)
{
    for_all_gemms(check_not_finite);
}

/* What lies the other way is packed to the same bytes. */
static void check_turned_strips(const struct gemm *gemm, const float *x, size_t stride, size_t k, size_t n_rows)
{
    size_t n_strips = (n_rows + gemm->strip_rows - 1) / gemm->strip_rows, strip_bytes = gemm_strip_bytes(gemm, k);
    unsigned char *strips = guarded(n_strips * strip_bytes), *turned = guarded(n_strips * strip_bytes);
    float *rows = malloc(n_rows * k * sizeof *rows);
    for (size_t i = 0; i < k; i++)
        for (size_t r = 0; r < n_rows; r++)
            rows[r * k + i] = x[i * stride + r];
    for (size_t row = 0; row < n_rows; row += gemm->strip_rows)
        gemm->pack_strip(strips + row / gemm->strip_rows * strip_bytes, rows + row * k, k,
                         n_rows - row < gemm->strip_rows ? n_rows - row : gemm->strip_rows, k);
    gemm->pack_strips_turned(turned, x, stride, n_rows, k);
    CHECK(memcmp(strips, turned, n_strips * strip_bytes) == 0);
    check_guard(strips, n_strips * strip_bytes);
    check_guard(turned, n_strips * strip_bytes);
    free(strips);
    free(turned);
    free(rows);
}

static void check_turned_panel(const struct gemm *gemm, const float *x, size_t stride, size_t k, size_t n_columns)
{
    size_t panel_bytes = gemm_panel_bytes(gemm, k), k_padded = gemm_padded(gemm, k);
    size_t half = k / 2 / gemm->k_step * gemm->k_step;
    unsigned char *panel = guarded(panel_bytes), *turned = guarded(panel_bytes);
    float part[GEMM_PACK_COLUMNS * GEMM_PACK_DEPTH] = {0};
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < n_columns; j++)
            part[j * GEMM_PACK_DEPTH + i] = x[i * stride + j];
    for (size_t column = 0; column < gemm->panel_columns; column += GEMM_PACK_COLUMNS) {
        gemm->pack_columns(panel, k_padded, column, 0, part);
        gemm->pack_columns_turned(turned, k_padded, column, 0, x, stride, n_columns, half);
        gemm->pack_columns_turned(turned, k_padded, column, half, x + half * stride, stride, n_columns, k - half);
    }
    CHECK(memcmp(panel, turned, panel_bytes) == 0);
    check_guard(turned, panel_bytes);
    free(panel);
    free(turned);
}

static void check_turned_table(const struct kernels *kernels, const struct kernels *ref)
{
    static const size_t depths[] = {1, 2, 31, 32, 33, 100, 256}, rows[] = {1, 5, 6, 12, 41, 48, 53, 103};
    enum { STRIDE = 107 };
    static float x[256 * STRIDE];
    const struct gemm *gemms[] = {kernels->gemm, kernels->gemm_exact, ref->gemm};
    uint64_t seed = 5;
    for (size_t i = 0; i < 256 * STRIDE; i++)
        x[i] = test_random_float(&seed);
    x[3 * STRIDE + 7] = NAN;
    x[70 * STRIDE + 13] = -INFINITY;
    for (size_t i = 0; i < 64; i++) /* numbers that have no inverse, and no others beside them in rows and columns */
        x[(64 + i) * STRIDE + 2] = i % 3 ? 0x1p-140f : 0;
    for (size_t g = 0; g < 3; g++)
        for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
            for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
                check_turned_strips(gemms[g], x, STRIDE, depths[i], rows[r]);
            for (size_t n = 0; n <= GEMM_PACK_COLUMNS; n += 4)
                check_turned_panel(gemms[g], x, STRIDE, depths[i], n);
        }
}

static void turned(void)
{
    for_all_tables(check_turned_table);
}

static const struct test tests[] = {
    {"sizes", sizes},
    {"independence", independence},
    {"not_finite", not_finite},
    {"turned", turned},
};

TEST_MAIN(tests)
