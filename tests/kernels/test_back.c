/* The way back: every table's rows and attention tiles against the reference. */
#include "base/bytes.h"
#include "kernels/kernels.h"
#include "tables.h"
#include "test.h"

/* --- rows -------------------------------------------------------------------------------------------------------- */

enum { MOST = 1000 };

static void fill(float *x, size_t n, float scale, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        x[i] = scale * test_random_float(&seed);
}

static void check_close(const float *got, const float *want, size_t n, double tolerance)
{
    for (size_t i = 0; i < n && test_n_failed_checks < 10; i++)
        CHECK_NEAR(got[i], want[i], tolerance * (1 + fabs((double)want[i])));
}

static void check_norms(const struct kernels *k, const struct kernels *ref, size_t n)
{
    float x[MOST] = {0}, dy[MOST], weight[MOST], dx[2][MOST], dw[2][MOST], db[2][MOST];
    const struct kernels *tables[2] = {k, ref};
    for (int form = 0; form < 6; form++) { /* with bias, without, RMS; written, and added to */
        bool adds = form % 2;
        for (int t = 0; t < 2; t++) {
            fill(x, n, 3, 1);
            fill(dy, n, 1, 2);
            fill(weight, n, 1, 3);
            fill(dx[t], n, 1, 4);
            fill(dw[t], n, 1, 5);
            fill(db[t], n, 1, 6);
            if (form < 4)
                tables[t]->layernorm_back(dx[t], adds, dw[t], form < 2 ? db[t] : NULL, dy, x, weight, n, 1e-5f);
            else
                tables[t]->rmsnorm_back(dx[t], adds, dw[t], dy, x, weight, n, 1e-5f);
        }
        check_close(dx[0], dx[1], n, 2e-6);
        check_close(dw[0], dw[1], n, 2e-6);
        check_close(db[0], db[1], n, 2e-6);
    }
    for (int t = 0; t < 2; t++) { /* in place */
        fill(dy, n, 1, 2);
        fill(dw[t], n, 1, 5);
        tables[t]->layernorm_back(dy, false, dw[t], NULL, dy, x, weight, n, 1e-5f);
        memcpy(dx[t], dy, n * sizeof *dy);
    }
    check_close(dx[0], dx[1], n, 2e-6);
}

static void check_numbers(const struct kernels *k, const struct kernels *ref, size_t n)
{
    float x[MOST] = {0}, d[2][MOST], logits[2][MOST], largest;
    double sum;
    fill(x, n, 6, 7);
    fill(d[0], n, 1, 8);
    fill(d[1], n, 1, 8);
    k->gelu_back(d[0], x, n);
    ref->gelu_back(d[1], x, n);
    check_close(d[0], d[1], n, 1e-6);
    fill(logits[0], n, 20, 9);
    fill(logits[1], n, 20, 9);
    ref->softmax_sum(logits[0], n, &largest, &sum);
    float lse = (float)((double)largest + log(sum));
    k->softmax(logits[0], n, lse, 0.25f);
    ref->softmax(logits[1], n, lse, 0.25f);
    check_close(logits[0], logits[1], n, 1e-6);
}

static void check_rows(const struct kernels *k, const struct kernels *ref)
{
    static const size_t sizes[] = {1, 3, 8, 15, 16, 17, 33, 100, 384, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        check_norms(k, ref, sizes[i]);
        check_numbers(k, ref, sizes[i]);
    }
    float bad[20] = {[5] = NAN};
    k->softmax(bad, 20, 1, 1);
    CHECK(isnan(bad[5]));
    float d[20] = {[3] = NAN, [4] = 1};
    k->gelu_back(d, (const float[20]){[4] = NAN}, 20);
    CHECK(isnan(d[3]) && isnan(d[4]));
}

static void rows(void)
{
    for_all_tables(check_rows);
}

/* --- tiles ------------------------------------------------------------------------------------------------------- */

enum { MOST_DIM = 128, TILE = TILE_QUERIES * MOST_DIM };

/* A tile's factors as rows of head_dim floats, exact in bfloat16, and what goes with them. */
struct tile {
    uint32_t head_dim;
    float q[TILE], d_out[TILE], k[TILE], v[TILE];
    float lse[TILE_QUERIES], delta[TILE_QUERIES];
    float dq[TILE], dk[TILE], dv[TILE];
};

static void fill_tile(struct tile *t, uint32_t head_dim, size_t n_queries, uint64_t seed)
{
    t->head_dim = head_dim;
    float *all[] = {t->q, t->d_out, t->k, t->v};
    for (int i = 0; i < 4; i++)
        for (size_t j = 0; j < TILE_QUERIES * head_dim; j++) {
            float x = bf16_to_f32(f32_to_bf16(test_random_float(&seed)));
            all[i][j] = i < 2 && j >= n_queries * head_dim ? 0 : x;
        }
    for (size_t r = 0; r < TILE_QUERIES; r++) {
        float most = -INFINITY; /* no score is above lse */
        for (size_t j = 0; j < TILE_KEYS; j++) {
            float score = 0;
            for (size_t c = 0; c < head_dim; c++)
                score += t->q[r * head_dim + c] * t->k[j * head_dim + c];
            most = score > most ? score : most;
        }
        t->lse[r] = r < n_queries ? most + 1 : INFINITY;
        t->delta[r] = r < n_queries ? test_random_float(&seed) : 0;
    }
    fill(t->dq, TILE, 1, 1);
    fill(t->dk, TILE, 1, 2);
    fill(t->dv, TILE, 1, 3);
}

static struct attention_back back_of(struct tile *t, int64_t distance, uint32_t row)
{
    return (struct attention_back){.head_dim = t->head_dim,
                                   .row = row,
                                   .slope = 0.03125f,
                                   .distance = distance,
                                   .lse = t->lse,
                                   .delta = t->delta,
                                   .dq = t->dq,
                                   .dk = t->dk,
                                   .dv = t->dv};
}

static void run_float(const struct kernels *k, struct tile *t, int64_t distance)
{
    static float q[TILE], d_out[TILE], k_rows[TILE], k_columns[TILE], v_columns[TILE];
    uint32_t row = (t->head_dim + LANES - 1) / LANES * LANES;
    k->unpack_rows(q, row, QUIRE_KV_F32, t->q, TILE_KEYS, t->head_dim);
    k->unpack_rows(d_out, row, QUIRE_KV_F32, t->d_out, TILE_KEYS, t->head_dim);
    k->unpack_rows(k_rows, row, QUIRE_KV_F32, t->k, TILE_KEYS, t->head_dim);
    k->unpack_columns(k_columns, QUIRE_KV_F32, t->k, TILE_KEYS, t->head_dim);
    k->unpack_columns(v_columns, QUIRE_KV_F32, t->v, TILE_KEYS, t->head_dim);
    struct attention_back back = back_of(t, distance, row);
    back.q = back.q_sums = q;
    back.d_out = back.d_out_sums = d_out;
    back.k_sums = k_rows;
    back.k_columns = k_columns;
    back.v_columns = v_columns;
    k->attend_back(&back);
}

static void to_bf16(uint16_t *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = f32_to_bf16(src[i]);
}

static void run_narrow(const struct kernels *k, struct tile *t, int64_t distance)
{
    static uint16_t q[TILE], d_out[TILE], side[TILE];
    static uint32_t q_pairs[TILE], d_out_pairs[TILE], k_pairs[TILE], k_columns[TILE], v_columns[TILE];
    size_t n = (size_t)TILE_KEYS * t->head_dim;
    struct attention_back back = back_of(t, distance, t->head_dim);
    to_bf16(q, t->q, n);
    to_bf16(d_out, t->d_out, n);
    k->narrow_pairs(q_pairs, q, TILE_KEYS, t->head_dim);
    k->narrow_pairs(d_out_pairs, d_out, TILE_KEYS, t->head_dim);
    to_bf16(side, t->k, n);
    k->narrow_columns(k_columns, side, TILE_KEYS, t->head_dim);
    k->narrow_pairs(k_pairs, side, TILE_KEYS, t->head_dim);
    to_bf16(side, t->v, n);
    k->narrow_columns(v_columns, side, TILE_KEYS, t->head_dim);
    back.q = q;
    back.q_sums = q_pairs;
    back.d_out = d_out;
    back.d_out_sums = d_out_pairs;
    back.k_sums = k_pairs;
    back.k_columns = k_columns;
    back.v_columns = v_columns;
    k->attend_back_narrow(&back);
}

/* Rounded weights are wrong by a 256th of themselves, sums of 64 of them by less than that of the largest sum. */
static void check_tile(const struct kernels *k, const struct kernels *ref, uint32_t head_dim, size_t n_queries,
                       int64_t distance)
{
    static struct tile got, want;
    size_t row = (head_dim + LANES - 1) / LANES * LANES, n = TILE_QUERIES * row;
    fill_tile(&want, head_dim, n_queries, 11);
    run_float(ref, &want, distance);
    for (int narrow = 0; narrow < (k->attend_back_narrow && head_dim % NARROW_STEP == 0 ? 2 : 1); narrow++) {
        fill_tile(&got, head_dim, n_queries, 11);
        if (narrow)
            run_narrow(k, &got, distance);
        else
            run_float(k, &got, distance);
        double tolerance = narrow ? 2e-2 : 2e-6;
        check_close(got.dq, want.dq, n, tolerance);
        check_close(got.dk, want.dk, n, tolerance);
        check_close(got.dv, want.dv, n, tolerance);
    }
}

static void check_tiles(const struct kernels *k, const struct kernels *ref)
{
    static const uint32_t dims[] = {1, 8, 20, 32, 64, 80, 96, 112, 128};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        check_tile(k, ref, dims[i], TILE_QUERIES, 0);
        check_tile(k, ref, dims[i], TILE_QUERIES, -128);
        check_tile(k, ref, dims[i], 37, 0);
        check_tile(k, ref, dims[i], 1, -64);
    }
}

static void tiles(void)
{
    for_all_tables(check_tiles);
}

static const struct test tests[] = {
    {"rows", rows},
    {"tiles", tiles},
};

TEST_MAIN(tests)
