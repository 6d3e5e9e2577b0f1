/* Products of stored rows with one vector, as decode makes them, on one thread: every table, every number format.
 *
 *     bench_dot [TABLE]
 *
 * Lines are CSV: table, type, G weights/s and GB/s (of the stored bytes) out of the cache, and the same for 64 MB in
 * memory; the best of some repeats. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "kernels/kernels.h"

enum { COLS = 4096, REPEATS = 20, ROWS = 64 };

static void *buffer(size_t n_bytes)
{
    quire_error err = {0};
    void *p = mem_aligned(n_bytes, 1, "a benchmark", &err);
    if (!p) {
        fprintf(stderr, "bench_dot: %s\n", err.message);
        exit(1);
    }
    memset(p, 1, n_bytes);
    return p;
}

/* Seconds for n_rows rows, 64 at a time, n_times over. */
static double seconds(const struct kernels *kernels, quire_dtype type, const unsigned char *w, size_t n_rows,
                      const float *x, const struct fixed *fixed, size_t n_times)
{
    size_t row_bytes = COLS / quire_dtype_block_elements(type) * quire_dtype_block_bytes(type);
    static volatile float kept;
    double best = 1e9;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double start = sys_now();
        for (size_t t = 0; t < n_times; t++)
            for (size_t row = 0; row < n_rows; row += ROWS) {
                float y[ROWS];
                if (kernels->dot_fixed[type])
                    kernels->dot_fixed[type](y, w + row * row_bytes, row_bytes, ROWS, fixed, COLS);
                else
                    for (size_t r = 0; r < ROWS; r++)
                        y[r] = kernels->dot(type, w + (row + r) * row_bytes, x, COLS);
                kept = y[0];
            }
        double end = sys_now();
        best = end - start < best ? end - start : best;
    }
    (void)kept;
    return best;
}

static void run(const struct kernels *kernels, quire_dtype type, const unsigned char *w, size_t w_bytes, const float *x,
                const struct fixed *fixed)
{
    size_t row_bytes = COLS / quire_dtype_block_elements(type) * quire_dtype_block_bytes(type);
    size_t n_rows = w_bytes / row_bytes / ROWS * ROWS, n_times = (8u << 20) / (ROWS * row_bytes);
    double cached = seconds(kernels, type, w, ROWS, x, fixed, n_times) / (double)(n_times * ROWS);
    double memory = seconds(kernels, type, w, n_rows, x, fixed, 1) / (double)n_rows;
    printf("%s,%s,%.2f,%.2f,%.2f,%.2f\n", kernels->name, quire_dtype_name(type), 1e-9 * COLS / cached,
           1e-9 * (double)row_bytes / cached, 1e-9 * COLS / memory, 1e-9 * (double)row_bytes / memory);
}

int main(int argc, char **argv)
{
    enum { W_BYTES = 64 << 20 };
    unsigned char *w = buffer(W_BYTES);
    float *x = buffer(COLS * sizeof *x);
    struct fixed fixed = {buffer(COLS * sizeof *fixed.numbers), buffer(COLS / 4 * sizeof *fixed.offsets),
                          buffer(COLS / FIXED_BLOCK * sizeof *fixed.scales),
                          buffer(COLS / FIXED_BLOCK * sizeof *fixed.totals)};
    const struct kernels *kernels;
    int runs;
    printf("table,type,cache_gweights,cache_gb,memory_gweights,memory_gb\n");
    for (size_t i = 1; (kernels = kernels_at(i, &runs)) != NULL; i++)
        for (int type = 0; runs && type < QUIRE_DTYPE_COUNT; type++)
            if (argc < 2 || strcmp(argv[1], kernels->name) == 0) {
                if (kernels->to_fixed)
                    kernels->to_fixed(&fixed, x, COLS);
                run(kernels, (quire_dtype)type, w, W_BYTES, x, &fixed);
            }
    free(w);
    free(x);
    free(fixed.numbers);
    free(fixed.offsets);
    free(fixed.scales);
    free(fixed.totals);
    return 0;
}
