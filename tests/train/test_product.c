/* Products whose inner dimension is taken in parts: the bias once, the clip of the whole sum; and what factors and sums
 * pass on their way. */
#include <math.h>

#include "base/mem.h"
#include "test.h"
#include "train/net_private.h"
#include "train/net_rows.h"

enum { M = 5, N = 70, K = 2 * 4096 + 100 };

static float x[M * K], w[N * K], w_turned[K * N], bias[N], y[M * N], old[M * N], other[M * N], norm_weight[K];
static const double eps = 1e-5;

static void fill(float *numbers, size_t n, float scale, uint64_t *seed)
{
    for (size_t i = 0; i < n; i++)
        numbers[i] = scale * test_random_float(seed);
}

/* What is asked for, in double. */
static double wanted(const struct gemm_edge *edge, size_t i, size_t j)
{
    double sum = edge->bias ? (double)edge->bias[j] : 0;
    for (size_t k = 0; k < K; k++)
        sum += (double)x[i * K + k] * (double)w[j * K + k];
    if (edge->clip > 0)
        sum = fmin(fmax(sum, -(double)edge->clip), (double)edge->clip);
    return edge->add ? (double)old[i * N + j] + sum : sum;
}

static double gelu(double v)
{
    return 0.5 * v * erfc(-v * M_SQRT1_2);
}

static double gelu_slope(double v)
{
    return 0.5 * erfc(-v * M_SQRT1_2) + v * exp(-0.5 * v * v) / sqrt(2 * M_PI);
}

/* y[i][j] of a product whose factors and sums pass what it says. */
static double wanted_behind(const struct product *p, size_t i, size_t j)
{
    double sum = 0, mean = 0, squares = 0;
    for (size_t k = 0; k < K; k++)
        mean += (double)x[i * K + k] / K;
    for (size_t k = 0; k < K; k++)
        squares += ((double)x[i * K + k] - mean) * ((double)x[i * K + k] - mean) / K;
    for (size_t k = 0; k < K; k++) {
        double from_x = (double)x[i * K + k], from_w = (double)w[j * K + k];
        if (p->x.norm)
            from_x = (from_x - mean) / sqrt(squares + eps) * (double)norm_weight[k];
        sum += (p->x.is_gelu ? gelu(from_x) : from_x) * (p->w.is_gelu ? gelu(from_w) : from_w);
    }
    sum += p->addend ? (double)other[i * N + j] : 0;
    return p->gelu_back ? sum * gelu_slope((double)other[i * N + j]) : sum;
}

static void check_behind(struct net *net, double tolerance)
{
    const struct param weight = {.data = norm_weight, .n = K};
    const struct net_norm norm = {&weight, NULL, false};
    const struct factor plain = {w, K, false, false, NULL}, turned = {w_turned, N, true, false, NULL};
    const struct factor turned_gelu = {w_turned, N, true, true, NULL};
    const struct factor as_it_is = {x, K, false, false, NULL}, gelu_x = {x, K, false, true, NULL};
    const struct factor norm_x = {x, K, false, false, &norm};
    const struct product products[] = {
        {.x = gelu_x, .w = plain},
        {.x = norm_x, .w = plain},
        {.x = as_it_is, .w = turned_gelu},
        {.x = as_it_is, .w = turned, .addend = other},
        {.x = as_it_is, .w = plain, .gelu_back = other},
    };
    net->config.norm_eps = (float)eps;
    for (size_t c = 0; c < sizeof products / sizeof *products; c++) {
        struct product p = products[c];
        p.y = y, p.y_stride = N, p.m = M, p.n = N, p.k = K;
        for (size_t i = 0; i < M * N; i++)
            y[i] = NAN;
        product_run(net, &p);
        for (size_t i = 0; i < M; i++)
            for (size_t j = 0; j < N; j++)
                CHECK_NEAR((double)y[i * N + j], wanted_behind(&p, i, j), tolerance * (p.x.norm ? 20 : 1));
    }
}

static void check_edge(struct net *net, const struct gemm_edge *edge, const void *panels, double tolerance)
{
    const struct product product = {
        y, N, {.data = x, .stride = K}, {.data = w, .stride = K}, panels, M, N, K, *edge, NULL, NULL};
    memcpy(y, old, sizeof y);
    product_run(net, &product);
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++)
            CHECK_NEAR((double)y[i * N + j], wanted(edge, i, j), tolerance);
}

static void check_gemm(const struct kernels *kernels, const struct gemm *gemm)
{
    quire_error err = {0};
    struct net net = {.kernels = kernels, .gemm = gemm};
    struct product_room room = {0};
    REQUIRE_OK(threads_open(&net.threads, 2, &err));
    product_room_for(&room, gemm, M, N, K);
    product_room_for_passed(&room, gemm, K);
    net.scratch.product.strips = aligned_alloc(64, size_round_up(room.strip_bytes, 64));
    net.scratch.product.panels = aligned_alloc(64, size_round_up(room.panel_bytes, 64));
    net.scratch.product.sums = aligned_alloc(64, size_round_up(2 * gemm_sums_floats(gemm) * sizeof(float), 64));
    net.scratch.product.n_passed = room.n_passed;
    net.scratch.product.passed = aligned_alloc(64, 2 * room.n_passed * sizeof(float));
    void *packed = aligned_alloc(64, size_round_up(product_packed_bytes(gemm, N, K), 64));
    const struct factor factor = {.data = w, .stride = K};
    product_pack(&net, packed, &factor, N, K);
    double tolerance = strcmp(gemm->name, "f32") == 0 ? 1e-4 : 0.05;
    const struct gemm_edge edges[] = {
        {0}, {.bias = bias}, {.bias = bias, .clip = 0.5f}, {.clip = 0.25f}, {.bias = bias, .add = true}};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        check_edge(&net, &edges[i], NULL, tolerance);
        check_edge(&net, &edges[i], packed, tolerance);
    }
    check_behind(&net, tolerance);
    free(packed);
    free(net.scratch.product.passed);
    free(net.scratch.product.strips);
    free(net.scratch.product.panels);
    free(net.scratch.product.sums);
    threads_close(net.threads);
}

static void parts_are_one_product(void)
{
    const struct kernels *kernels;
    int runs;
    uint64_t seed = 3;
    fill(x, M * K, 0.1f, &seed);
    fill(w, (size_t)N * K, 0.1f, &seed);
    fill(bias, N, 1, &seed);
    fill(old, M * N, 1, &seed);
    fill(other, M * N, 2, &seed);
    fill(norm_weight, K, 1, &seed);
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < K; k++)
            w_turned[k * N + i] = w[i * K + k];
    kernels_gemm_init();
    for (size_t i = 0; (kernels = kernels_at(i, &runs)) != NULL; i++) {
        if (!runs)
            continue;
        check_gemm(kernels, kernels->gemm);
        if (test_n_failed_checks > 0)
            fprintf(stderr, "table %s\n", kernels->name);
    }
}

static const struct test tests[] = {
    {"parts_are_one_product", parts_are_one_product},
};

TEST_MAIN(tests)
