/* Products of stored rows with vectors in fixed point or float32, as decode makes them, on one thread.
 *
 *     bench_dot [--isa NAME] [--columns N] [--type TYPE]
 *
 * Lines are CSV: table, type, tokens at once, GB/s of stored weights from the cache, the same from memory, and what a
 * token costs there beside one that goes alone. The clock is the thread's processor time, so that other programs
 * disturb less; best of several rounds. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "kernels/kernels.h"

enum { ROWS = 64, ROUNDS = 9, MOST_VECTORS = 8, MEMORY_BYTES = 256 << 20, CACHE_BYTES = 64 << 20 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *need(size_t n_bytes)
{
    quire_error err = {0};
    void *p = mem_aligned(n_bytes, 1, "a benchmark", &err);
    if (!p) {
        fprintf(stderr, "bench_dot: %s\n", err.message);
        exit(1);
    }
    memset(p, 0, n_bytes);
    return p;
}

/* Vectors and everything that products with them need. */
struct work {
    const struct kernels *kernels;
    quire_dtype type;
    size_t n_columns, row_bytes, n_vectors;
    const float *x; /* [n_vectors][n_columns] */
    struct fixed fixed[MOST_VECTORS];
    float y[MOST_VECTORS * ROWS];
};

/* Bytes a second of products with n_rows stored rows, `repeats` times over the first n_used of them. */
static double measure(struct work *w, const unsigned char *weights, size_t n_used, size_t n_rows)
{
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        for (size_t r = 0; r < n_rows; r += ROWS)
            kernels_dot_rows(w->kernels, w->type, w->y, ROWS, weights + r % n_used * w->row_bytes, w->row_bytes, ROWS,
                             w->x, w->fixed, w->n_vectors, w->n_columns);
        best = fmax(best, (double)(n_rows * w->row_bytes) / (seconds() - start));
    }
    return best;
}

static void run(const struct kernels *kernels, quire_dtype type, size_t n_columns)
{
    size_t row_bytes = n_columns / quire_dtype_block_elements(type) * quire_dtype_block_bytes(type);
    size_t n_rows = MEMORY_BYTES / row_bytes / ROWS * ROWS;
    unsigned char *weights = need(n_rows * row_bytes);
    float *x = need(MOST_VECTORS * n_columns * sizeof *x);
    unsigned char *memory = need(MOST_VECTORS * fixed_bytes(n_columns));
    struct work w = {.kernels = kernels, .type = type, .n_columns = n_columns, .row_bytes = row_bytes, .x = x};
    for (size_t i = 0; i < MOST_VECTORS * n_columns; i++)
        x[i] = (float)(i * 7919 % 1009) / 504.5f - 1.0f;
    for (size_t r = 0; r < n_rows * row_bytes; r++)
        weights[r] = (unsigned char)(r * 2654435761u >> 13) & 0x3B; /* no exponent of a NaN in any type */
    size_t n_bytes = quire_dtype_block_elements(type) == 1 ? quire_dtype_block_bytes(type) : 0; /* of a float */
    for (size_t r = n_bytes - 1; n_bytes > 0 && r < n_rows * row_bytes; r += n_bytes)
        weights[r] |= 0x38; /* nor of a denormal, which some processors take many times as long for */
    for (size_t v = 0; v < MOST_VECTORS; v++) {
        w.fixed[v] = fixed_cut(memory + v * fixed_bytes(n_columns), n_columns);
        if (kernels->to_fixed)
            kernels->to_fixed(&w.fixed[v], x + v * n_columns, n_columns);
    }
    double alone = 0;
    for (w.n_vectors = 1; w.n_vectors <= MOST_VECTORS; w.n_vectors++) {
        double cache = measure(&w, weights, ROWS, CACHE_BYTES / row_bytes / ROWS * ROWS);
        double from_memory = measure(&w, weights, n_rows, n_rows);
        alone = w.n_vectors == 1 ? from_memory : alone;
        printf("%s,%s,%zu,%.1f,%.1f,%.2f\n", kernels->name, quire_dtype_name(type), w.n_vectors, cache / 1e9,
               from_memory / 1e9, alone / from_memory / (double)w.n_vectors);
        fflush(stdout);
    }
    free(weights);
    free(x);
    free(memory);
}

static void usage(void)
{
    fprintf(stderr, "usage: bench_dot [--isa NAME] [--columns N] [--type TYPE]\n");
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"isa", 1, 0, 'i'}, {"columns", 1, 0, 'c'}, {"type", 1, 0, 't'}, {0, 0, 0, 0}};
    const char *isa = NULL, *only = NULL;
    long n_columns = 4096;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        switch (c) {
        case 'i': isa = optarg; break;
        case 'c': n_columns = atol(optarg); break;
        case 't': only = optarg; break;
        default: usage();
        }
    if (optind != argc || n_columns < 256 || n_columns > 1 << 20 || n_columns % 256 != 0)
        usage();
    quire_error err = {0};
    const struct kernels *kernels;
    if (kernels_choose(&kernels, isa, &err) != QUIRE_OK) {
        fprintf(stderr, "bench_dot: %s\n", err.message);
        return 1;
    }
    printf("table,type,tokens,cache_gb_per_second,memory_gb_per_second,cost_of_a_token\n");
    for (int type = 0; type < QUIRE_DTYPE_COUNT; type++)
        if (!only || strcmp(only, quire_dtype_name((quire_dtype)type)) == 0)
            run(kernels, (quire_dtype)type, (size_t)n_columns);
    return 0;
}
