/* Products whose inner dimension is taken in parts: the bias once, the clip of the whole sum. */
#include "base/mem.h"
#include "test.h"
#include "train/net_private.h"

enum { M = 5, N = 70, K = 2 * 4096 + 100 };

static float x[M * K], w[N * K], bias[N], y[M * N], old[M * N];

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

static void check_edge(struct net *net, const struct gemm_edge *edge, const void *panels, double tolerance)
{
    const struct product product = {y, N, {x, K, false}, {w, K, false}, panels, M, N, K, *edge};
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
    net.scratch.product.strips = aligned_alloc(64, size_round_up(room.strip_bytes, 64));
    net.scratch.product.panels = aligned_alloc(64, size_round_up(room.panel_bytes, 64));
    net.scratch.product.sums = aligned_alloc(64, size_round_up(2 * gemm_sums_floats(gemm) * sizeof(float), 64));
    void *packed = aligned_alloc(64, size_round_up(product_packed_bytes(gemm, N, K), 64));
    const struct factor factor = {w, K, false};
    product_pack(&net, packed, &factor, N, K);
    double tolerance = strcmp(gemm->name, "f32") == 0 ? 1e-4 : 0.05;
    const struct gemm_edge edges[] = {
        {0}, {.bias = bias}, {.bias = bias, .clip = 0.5f}, {.clip = 0.25f}, {.bias = bias, .add = true}};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        check_edge(&net, &edges[i], NULL, tolerance);
        check_edge(&net, &edges[i], packed, tolerance);
    }
    free(packed);
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
    kernels_gemm_init();
    for (size_t i = 0; (kernels = kernels_at(i, &runs)) != NULL; i++) {
        if (!runs || !kernels->gemm->pack_strips_turned) /* not for training */
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
