/* Every table against the reference twin: odd sizes, unaligned starts, poisoned padding, extreme values. */
#include "base/mem.h"
#include "kernels/kernels.h"
#include "stored.h"
#include "tables.h"
#include "test.h"

enum { MAX_N = 512 };

static void check_formats(const struct kernels *k, const struct kernels *ref)
{
    static unsigned char stored[MAX_N * 4 + 64];
    static float got[MAX_N + 1], want[MAX_N + 1], x[MAX_N + 1];
    uint64_t seed = 1;
    for (int type = 0; type < QUIRE_DTYPE_COUNT; type++)
        for (size_t n = 0; n <= MAX_N; n += quire_dtype_block_elements((quire_dtype)type)) {
            size_t offset = test_random(&seed) % 33;
            stored_random(stored + offset, (quire_dtype)type, n, &seed);
            for (size_t i = 0; i < n; i++)
                x[i] = test_random_float(&seed);
            got[n] = want[n] = 12345.0f;
            k->unpack((quire_dtype)type, got, stored + offset, n);
            ref->unpack((quire_dtype)type, want, stored + offset, n);
            CHECK_EQ_INT(memcmp(got, want, (n + 1) * sizeof *got), 0); /* bit for bit, and nothing behind the end */
            double size = 1;
            for (size_t i = 0; i < n; i++)
                size += fabs((double)want[i] * (double)x[i]);
            if (!k->dot_fixed[type])
                CHECK_NEAR((double)k->dot((quire_dtype)type, stored + offset, x, n),
                           (double)ref->dot((quire_dtype)type, stored + offset, x, n), size * 3e-7);
        }
}

static void formats(void)
{
    for_all_tables(check_formats);
}

enum { FIXED_ROWS = 11, FIXED_N = 9000 / FIXED_BLOCK * FIXED_BLOCK }; /* more than one part of the vector */

/* Rows of n numbers times x: as exact as the rounding of x allows, and of sums whose parts may cancel. */
static void check_dot_fixed(const struct kernels *k, const struct kernels *ref, quire_dtype type, const float *x,
                            const struct fixed *fixed, size_t n, uint64_t *seed)
{
    static unsigned char stored[FIXED_ROWS * FIXED_N * 4];
    static float weights[FIXED_N];
    float got[FIXED_ROWS + 1] = {[FIXED_ROWS] = 12345.0f};
    size_t row_bytes = stored_bytes(type, n);
    stored_random(stored, type, FIXED_ROWS * n, seed);
    k->dot_fixed[type](got, 0, stored, row_bytes, FIXED_ROWS, fixed, 1, n);
    CHECK(got[FIXED_ROWS] == 12345.0f);
    for (size_t r = 0; r < FIXED_ROWS; r++) {
        double want = 0, bound = 0;
        ref->unpack(type, weights, stored + r * row_bytes, n);
        for (size_t i = 0; i < n; i += FIXED_BLOCK) {
            double largest = 0;
            for (size_t j = i; j < i + FIXED_BLOCK; j++)
                largest = fmax(largest, fabs((double)weights[j]));
            for (size_t j = i; j < i + FIXED_BLOCK; j++) {
                want += (double)weights[j] * (double)x[j];
                bound += fabs((double)weights[j]) * (double)fixed->scales[i / FIXED_BLOCK];
                bound += largest * 1e-6 * fabs((double)x[j]);
            }
        }
        CHECK_NEAR((double)got[r], want, bound);
    }
}

/* Fixed point: every number within half a step, and products as exact as the rounding of x allows. */
static void check_fixed(const struct kernels *k, const struct kernels *ref)
{
    static unsigned char stored[1024];
    static float x[FIXED_N], got;
    quire_error err = {0};
    uint64_t seed = 8;
    if (!k->to_fixed)
        return;
    unsigned char *memory = mem_aligned(fixed_bytes(FIXED_N) + 1, 1, "a vector", &err);
    for (size_t n = FIXED_BLOCK; n <= FIXED_N; n += n < 512 ? 3 * FIXED_BLOCK : 127 * FIXED_BLOCK) {
        for (size_t i = 0; i < n; i++)
            x[i] = ldexpf(test_random_float(&seed), (int)(test_random(&seed) % 12) - (int)(i / FIXED_BLOCK % 7) * 9);
        memset(x + n - FIXED_BLOCK, 0, 7 * sizeof *x);
        struct fixed fixed = fixed_cut(memory, n);
        memset(memory, 0x7B, fixed_bytes(n) + 1);
        k->to_fixed(&fixed, x, n);
        CHECK_EQ_INT(memory[fixed_bytes(n)], 0x7B);
        for (size_t i = 0; i < n; i += FIXED_BLOCK) {
            double scale = (double)fixed.scales[i / FIXED_BLOCK], total = 0;
            for (size_t j = i; j < i + FIXED_BLOCK; j++) {
                CHECK_NEAR(fixed.numbers[j] * scale, (double)x[j], scale * 0.51);
                total += fixed.numbers[j] * scale;
            }
            CHECK_NEAR((double)fixed.totals[i / FIXED_BLOCK], total, fabs(total) * 2e-7);
        }
        for (int type = 0; type < QUIRE_DTYPE_COUNT; type++)
            if (k->dot_fixed[type])
                check_dot_fixed(k, ref, (quire_dtype)type, x, &fixed, n - n % quire_dtype_block_elements(type), &seed);
    }
    struct fixed fixed = fixed_cut(memory, 256);
    x[3] = NAN;
    x[40] = INFINITY;
    k->to_fixed(&fixed, x, 256);
    CHECK(isnan(fixed.scales[0]) && isnan(fixed.scales[1]) && !isnan(fixed.scales[2]));
    for (int type = 0; type < QUIRE_DTYPE_COUNT; type++)
        if (k->dot_fixed[type]) {
            memset(stored, 1, sizeof stored);
            k->dot_fixed[type](&got, 0, stored, 0, 1, &fixed, 1, 256);
            CHECK(isnan(got));
        }
    free(memory);
}

static void fixed(void)
{
    for_all_tables(check_fixed);
}

/* Rows with several vectors at once: the bits of each vector by itself, for any number of rows and vectors; and one
 * vector's NaN stays its own. */
static void check_together(const struct kernels *k, const struct kernels *ref)
{
    enum { ROWS = 11, N = 4096 + 7 * 256, VECTORS = 9 };
    static unsigned char stored[ROWS * N * 4];
    static float x[VECTORS * N], got[VECTORS * ROWS + 1], want[ROWS];
    struct fixed fixed[VECTORS] = {{0}};
    uint64_t seed = 9;
    quire_error err = {0};
    unsigned char *memory = mem_aligned(VECTORS, fixed_bytes(N), "vectors", &err);
    (void)ref;
    for (size_t n = 256; n <= N; n += 5 * 256)
        for (int type = 0; type < QUIRE_DTYPE_COUNT; type++) {
            size_t row_bytes = stored_bytes((quire_dtype)type, n);
            size_t n_vectors = 1 + test_random(&seed) % VECTORS, n_rows = 1 + test_random(&seed) % ROWS;
            stored_random(stored, (quire_dtype)type, n_rows * n, &seed);
            for (size_t i = 0; i < n_vectors * n; i++)
                x[i] = test_random_float(&seed);
            if (n_vectors > 1)
                x[n + test_random(&seed) % n] = NAN;
            for (size_t v = 0; v < n_vectors && k->to_fixed; v++) {
                fixed[v] = fixed_cut(memory + v * fixed_bytes(n), n);
                k->to_fixed(&fixed[v], x + v * n, n);
            }
            got[n_vectors * n_rows] = 12345.0f;
            kernels_dot_rows(k, (quire_dtype)type, got, n_rows, stored, row_bytes, n_rows, x, fixed, n_vectors, n);
            CHECK(got[n_vectors * n_rows] == 12345.0f);
            for (size_t v = 0; v < n_vectors; v++) {
                kernels_dot_rows(k, (quire_dtype)type, want, n_rows, stored, row_bytes, n_rows, x + v * n, &fixed[v], 1,
                                 n);
                for (size_t r = 0; r < n_rows; r++)
                    CHECK(v == 1 ? isnan(got[n_rows + r]) : got[v * n_rows + r] == want[r]);
            }
        }
    free(memory);
}

static void together(void)
{
    for_all_tables(check_together);
}

/* All 65,536 halves: conversion to float is exact, and back again the same. */
static void all_halves(void)
{
    for (uint32_t h = 0; h < 65536; h++) {
        uint32_t exponent = (h >> 10) & 31, mantissa = h & 1023;
        double want = exponent ? ldexp(1024 + mantissa, (int)exponent - 25) : ldexp(mantissa, -24);
        float got = f16_to_f32((uint16_t)h);
        if (exponent == 31) {
            CHECK(mantissa ? isnan(got) : isinf(got));
            if (mantissa)
                continue;
        } else {
            CHECK(got == (float)(h & 0x8000 ? -want : want));
        }
        CHECK_EQ_INT(f32_to_f16(got), h);
        CHECK_EQ_INT(f32_to_bf16(bf16_to_f32((uint16_t)h)) & 0x7F80, h & 0x7F80);
    }
}

/* Rounding to half precision is to nearest, ties to even: against the two neighbours, in double. */
static void half_rounding(void)
{
    uint64_t seed = 2;
    for (int i = 0; i < 200000; i++) {
        float x = ldexpf(test_random_float(&seed), (int)(test_random(&seed) % 44) - 27);
        uint16_t h = f32_to_f16(x);
        double error = fabs((double)f16_to_f32(h) - (double)x);
        if ((h & 0x7FFF) < 0x7BFF) {
            double up = fabs((double)f16_to_f32((uint16_t)(h + 1)) - (double)x);
            double down = (h & 0x7FFF) ? fabs((double)f16_to_f32((uint16_t)(h - 1)) - (double)x) : up;
            CHECK(error < up || (error == up && !(h & 1)));
            CHECK(error < down || (error == down && !(h & 1)));
        }
    }
    CHECK_EQ_INT(f32_to_f16(65520.0f), 0x7C00);
    CHECK_EQ_INT(f32_to_f16(65519.9f), 0x7BFF);
    CHECK_EQ_INT(f32_to_bf16(NAN) & 0x7FC0, 0x7FC0);
    CHECK(isnan(f16_to_f32(f32_to_f16(NAN))));
    CHECK_EQ_INT(f32_to_bf16(INFINITY), 0x7F80);
}

static void check_rows(const struct kernels *k, const struct kernels *ref)
{
    static float x[MAX_N], w[MAX_N], b[MAX_N], got[MAX_N + 1], want[MAX_N];
    uint64_t seed = 3;
    for (size_t n = 1; n < MAX_N; n += 1 + n / 9) {
        for (size_t i = 0; i < n; i++) {
            x[i] = 100.0f + 5 * test_random_float(&seed);
            w[i] = test_random_float(&seed);
            b[i] = test_random_float(&seed);
        }
        for (int kind = 0; kind < 3; kind++) {
            got[n] = 77.0f;
            if (kind < 2) {
                k->layernorm(got, x, w, kind ? b : NULL, n, 1e-5f);
                ref->layernorm(want, x, w, kind ? b : NULL, n, 1e-5f);
            } else {
                k->rmsnorm(got, x, w, n, 1e-5f);
                ref->rmsnorm(want, x, w, n, 1e-5f);
            }
            for (size_t i = 0; i < n; i++)
                CHECK_NEAR((double)got[i], (double)want[i], 1e-5);
            CHECK(got[n] == 77.0f);
        }
        float got_max, want_max;
        double got_sum, want_sum;
        k->softmax_sum(x, n, &got_max, &got_sum);
        ref->softmax_sum(x, n, &want_max, &want_sum);
        CHECK(got_max == want_max);
        CHECK_NEAR(got_sum, want_sum, want_sum * 5e-7);
    }
}

static void rows(void)
{
    for_all_tables(check_rows);
}

static void check_fold(const struct kernels *k, const struct kernels *ref)
{
    uint32_t words[4 * 64], want = 0;
    uint64_t seed = 4;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        want ^= words[i] = (uint32_t)(test_random(&seed) >> 16);
    CHECK_EQ_INT(k->fold(words, sizeof words), want);
    CHECK_EQ_INT(ref->fold(words, sizeof words), want);
}

static void fold(void)
{
    for_all_tables(check_fold);
}

static void check_gelu(const struct kernels *k, const struct kernels *ref)
{
    enum { N = 4001 };
    static float got[N + 1], want[N];
    for (int i = 0; i < N; i++)
        got[i] = want[i] = (float)(i - N / 2) / 200.0f;
    got[N] = 5.0f;
    k->gelu(got, got, N);
    ref->gelu(want, want, N);
    for (int i = 0; i < N; i++)
        CHECK_NEAR((double)got[i], (double)want[i], 5e-7 * fmax(1, fabs((double)want[i])));
    CHECK(got[N] == 5.0f);
    float extreme[4] = {1e30f, -1e30f, NAN, -0.0f};
    k->gelu(extreme, extreme, 4);
    CHECK(extreme[0] == 1e30f);
    CHECK(extreme[1] == 0.0f);
    CHECK(isnan(extreme[2]));
    CHECK(extreme[3] == 0.0f);
}

static void gelu(void)
{
    for_all_tables(check_gelu);
}

static void choice(void)
{
    const struct kernels *k = NULL;
    quire_error err = {0};
    unsetenv("QUIRE_ISA");
    CHECK_OK(kernels_choose(&k, "base", &err));
    CHECK_EQ_STR(k->name, "base");
    setenv("QUIRE_ISA", "ref", 1);
    CHECK_OK(kernels_choose(&k, NULL, &err));
    CHECK_EQ_STR(k->name, "ref");
    CHECK_EQ_INT(kernels_choose(&k, "abacus", &err), QUIRE_ERR_UNSUPPORTED);
    CHECK_MESSAGE(err, "ref, base");
    unsetenv("QUIRE_ISA");
}

static void threads_that_products_bear(void)
{
    const struct kernels *k;
    int is_available;
    for (size_t i = 0; (k = kernels_at(i, &is_available)) != NULL; i++) {
        bool uses_openblas = k->gemm == &gemm_openblas || k->gemm_exact == &gemm_openblas;
        CHECK_EQ_INT(kernels_n_threads(k, 1), 1);
        CHECK_EQ_INT(kernels_n_threads(k, 100000), uses_openblas ? gemm_openblas_most_threads() : 100000);
        CHECK(kernels_n_threads(k, 0) > 0);
    }
    CHECK(gemm_openblas_most_threads() < 100000);
}

static const struct test tests[] = {
    {"formats", formats},
    {"fixed", fixed},
    {"together", together},
    {"all_halves", all_halves},
    {"half_rounding", half_rounding},
    {"rows", rows},
    {"fold", fold},
    {"gelu", gelu},
    {"choice", choice},
    {"threads that products bear", threads_that_products_bear},
};

TEST_MAIN(tests)
