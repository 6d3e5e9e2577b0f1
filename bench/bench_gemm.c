/* Products of many rows on one thread: each table's own, at the shapes of a 7B layer, and the packing beside it.
 *
 *     bench_gemm [ROWS]        512 by default
 *
 * Lines are CSV: table, factors, n, k, GFLOP/s of the product (best of some repeats), GB/s at which Q4_0 weights are
 * packed (of the stored bytes), milliseconds for packing the rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/sys.h"
#include "kernels/kernels.h"

enum { REPEATS = 3, COLUMNS = 1024 };

static void *buffer(size_t n_bytes)
{
    quire_error err = {0};
    void *p = mem_aligned(n_bytes, 1, "a benchmark", &err);
    if (!p) {
        fprintf(stderr, "bench_gemm: %s\n", err.message);
        exit(1);
    }
    memset(p, 0, n_bytes);
    return p;
}

static void run(const struct kernels *kernels, size_t m, size_t k)
{
    const struct gemm *gemm = kernels->gemm;
    size_t n = COLUMNS, row_bytes = k / 32 * 18, n_strips = (m + gemm->strip_rows - 1) / gemm->strip_rows;
    size_t panel_bytes = gemm_panel_bytes(gemm, k);
    float *x = buffer(m * k * sizeof *x), *y = buffer(m * n * sizeof *y);
    float *sums = buffer(gemm_sums_floats(gemm) * sizeof *sums);
    unsigned char *w = buffer(n * row_bytes), *strips = buffer(n_strips * gemm_strip_bytes(gemm, k));
    unsigned char *panels = buffer(n / gemm->panel_columns * panel_bytes);
    const struct stored_matrix stored = {w, row_bytes, n, QUIRE_DTYPE_Q4_0};
    double best_product = 1e9, best_panels = 1e9, best_strips = 1e9;
    struct gemm_blocks blocks = gemm_blocks(gemm, m, n, 1);
    struct rng rng = {1}; /* numbers of many bits: zeros cost a processor less power, and so time */
    for (size_t i = 0; i < m * k; i++)
        x[i] = (float)(2 * rng_unit(&rng) - 1);
    for (size_t i = 0; i < n * row_bytes; i++)
        w[i] = (unsigned char)rng_next(&rng);
    for (size_t i = 0; i < n * row_bytes; i += 18)
        memcpy(w + i, &(uint16_t){0x2C00}, 2); /* scales: 1/16 */
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double start = sys_now();
        for (size_t i = 0; i < n_strips; i++)
            gemm->pack_strip(strips + i * gemm_strip_bytes(gemm, k), x + i * gemm->strip_rows * k, k,
                             size_min(gemm->strip_rows, m - i * gemm->strip_rows), k);
        double packed = sys_now();
        for (size_t j = 0; j < n; j += gemm->panel_columns)
            kernels_pack_panel(kernels, gemm, panels + j / gemm->panel_columns * panel_bytes, &stored, j, k);
        double ready = sys_now();
        for (size_t i = 0; i < gemm_blocks_count(&blocks); i++)
            gemm_multiply_block(gemm, y, n, strips, panels, sums, gemm_block_at(&blocks, i), k, &(struct gemm_edge){0});
        double end = sys_now();
        best_strips = packed - start < best_strips ? packed - start : best_strips;
        best_panels = ready - packed < best_panels ? ready - packed : best_panels;
        best_product = end - ready < best_product ? end - ready : best_product;
    }
    printf("%s,%s,%zu,%zu,%.1f,%.2f,%.2f\n", kernels->name, gemm->name, n, k,
           2e-9 * (double)m * (double)n * (double)k / best_product, 1e-9 * (double)(n * row_bytes) / best_panels,
           1e3 * best_strips);
    free(x);
    free(y);
    free(sums);
    free(w);
    free(strips);
    free(panels);
}

int main(int argc, char **argv)
{
    size_t m = argc > 1 ? strtoul(argv[1], NULL, 10) : 512;
    int runs;
    const struct kernels *kernels;
    kernels_gemm_init();
    printf("table,factors,n,k,gflops,q4_0_gb_per_second,strips_ms\n");
    for (size_t i = 1; (kernels = kernels_at(i, &runs)) != NULL; i++)
        for (size_t k = 4096; runs && k <= 16384; k *= 4)
            run(kernels, m, k);
    return 0;
}
