/* The attention kernels by themselves, on one thread, beside what the machine can do at most in the same run.
 *
 *     bench_attention [--isa NAME] [--head-dim N] [--keys N]
 *
 * Lines are CSV: what, KV type, figure, unit, share of the peak.
 *
 *     tile      GFLOP/s of 512 queries (eight tiles) against blocks of keys, unpacking included; share of what the
 *               table's products do
 *     narrow-tile  the same with bfloat16 factors, where the processor has them
 *     token     GB/s of one query against N keys in memory, as they are stored; share of reading memory
 *     error     root mean square error of the output against float32, relative to it, for random keys and values
 *
 * The clock is the thread's processor time, so that other programs disturb less. Best of several rounds. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/kv_rows.h"
#include "base/mem.h"
#include "kernels/kernels.h"
#include "kv/kv_convert.h"
#include "quire/peaks.h"

enum { TILES = GROUP_TILES, QUERIES = TILES * TILE_QUERIES, ROUNDS = 7 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(quire_status status, const quire_error *err)
{
    if (status == QUIRE_OK)
        return;
    fprintf(stderr, "bench_attention: %s\n", err->message);
    exit(1);
}

static void *need(size_t n, size_t size)
{
    quire_error err = {0};
    void *memory = mem_aligned(n, size, "the benchmark", &err);
    check(memory ? QUIRE_OK : QUIRE_ERR_NO_MEMORY, &err);
    return memory;
}

/* Gaussian enough: a sum of uniform numbers, of variance 1. */
static float random_number(uint64_t *state)
{
    double sum = 0;
    for (int i = 0; i < 12; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(*state >> 40) * 0x1p-24;
    }
    return (float)(sum - 6);
}

/* Keys and values of one head in a KV type, block after block: keys, then values. */
struct head {
    quire_kv_type type;
    uint32_t head_dim;
    size_t n_blocks, side_bytes;
    unsigned char *blocks;
};

static const void *side_of(const struct head *head, size_t block, bool is_values)
{
    return head->blocks + (2 * block + is_values) * head->side_bytes;
}

static struct head make_head(quire_kv_type type, uint32_t head_dim, size_t n_blocks, const float *rows)
{
    struct head head = {type, head_dim, n_blocks, kv_rows_bytes(type, head_dim), NULL};
    head.blocks = need(2 * n_blocks, head.side_bytes);
    for (size_t i = 0; i < 2 * n_blocks; i++) /* the rows that there are, over and over */
        kv_convert_rows(head.blocks + i * head.side_bytes, 0, rows + i % 128 * KV_ROWS * head_dim, KV_ROWS, head_dim,
                        head_dim, type);
    return head;
}

/* Tiles with everything that they point to. */
struct work {
    struct attention_tile tiles[TILES];
    float *columns, *values, *q, *acc, *max, *sum;
};

static struct work make_work(uint32_t head_dim, float slope, size_t first_query, const float *q)
{
    struct work w;
    size_t row = size_round_up(head_dim, LANES), tile = TILE_QUERIES * row;
    w.columns = need(NARROW_BLOCKS * tile, sizeof(float));
    w.values = need(NARROW_BLOCKS * tile, sizeof(float));
    w.q = need(TILES * tile, sizeof(float));
    w.acc = need(TILES * tile, sizeof(float));
    w.max = need(QUERIES, sizeof(float));
    w.sum = need(QUERIES, sizeof(float));
    memset(w.q, 0, TILES * tile * sizeof(float));
    for (size_t i = 0; i < QUERIES; i++)
        for (uint32_t c = 0; c < head_dim; c++)
            w.q[i * row + c] = q[i * head_dim + c] / sqrtf((float)head_dim);
    for (size_t t = 0; t < TILES; t++)
        w.tiles[t] = (struct attention_tile){.n_queries = TILE_QUERIES,
                                             .head_dim = head_dim,
                                             .row = (uint32_t)row,
                                             .slope = slope,
                                             .first_query = (int64_t)(first_query + t * TILE_QUERIES),
                                             .q = w.q + t * tile,
                                             .acc = w.acc + t * tile,
                                             .max = w.max + t * TILE_QUERIES,
                                             .sum = w.sum + t * TILE_QUERIES,
                                             .live = ~(uint64_t)0};
    return w;
}

static void reset(struct work *w)
{
    memset(w->acc, 0, QUERIES * w->tiles[0].row * sizeof(float));
    memset(w->sum, 0, QUERIES * sizeof(float));
    for (size_t i = 0; i < QUERIES; i++)
        w->max[i] = -INFINITY;
}

static void free_work(struct work *w)
{
    free(w->columns);
    free(w->values);
    free(w->q);
    free(w->acc);
    free(w->max);
    free(w->sum);
}

/* Tiles of bfloat16 factors. The queries are in w as narrow_start leaves them. */
static void run_narrow_tiles(const struct kernels *kernels, struct work *w, const struct head *head)
{
    size_t together = kernels->narrow_blocks, bytes = (size_t)KV_ROWS * head->head_dim * sizeof(uint16_t);
    reset(w);
    for (size_t b = head->n_blocks; b > 0;) {
        b -= together;
        for (size_t i = 0; i < together; i++) {
            kernels->narrow_keys((unsigned char *)w->columns + i * bytes, side_of(head, b + i, false), KV_ROWS,
                                 head->head_dim);
            kernels->narrow_values((unsigned char *)w->values + i * bytes, side_of(head, b + i, true), KV_ROWS,
                                   head->head_dim);
        }
        for (size_t t = 0; t < TILES; t++)
            kernels->attend_narrow(&w->tiles[t], w->columns, w->values, (int64_t)(b * KV_ROWS), (uint32_t)together);
    }
    for (size_t t = 0; t < TILES; t++)
        kernels->narrow_end(&w->tiles[t]);
}

static void run_tiles(const struct kernels *kernels, struct work *w, const struct head *head)
{
    reset(w);
    for (size_t b = head->n_blocks; b-- > 0;) {
        kernels->unpack_columns(w->columns, head->type, side_of(head, b, false), KV_ROWS, head->head_dim);
        kernels->unpack_rows(w->values, w->tiles[0].row, head->type, side_of(head, b, true), KV_ROWS, head->head_dim);
        for (size_t t = 0; t < TILES; t++)
            kernels->attend(&w->tiles[t], w->columns, w->values, (int64_t)(b * KV_ROWS));
    }
}

static void run_token(const struct kernels *kernels, struct work *w, const struct head *head)
{
    struct attention_tile tile = w->tiles[0];
    tile.n_queries = 1;
    reset(w);
    for (size_t b = head->n_blocks; b-- > 0;)
        kernels->attend_one(&tile, head->type, side_of(head, b, false), side_of(head, b, true), KV_ROWS,
                            (int64_t)(b * KV_ROWS));
}

static double output_error(const struct work *a, const float *exact, size_t n_heads_floats)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < n_heads_floats; i++) {
        double got = (double)a->acc[i] / (double)a->sum[i / a->tiles[0].row];
        error += (got - (double)exact[i]) * (got - (double)exact[i]);
        size += (double)exact[i] * (double)exact[i];
    }
    return sqrt(error / size);
}

typedef void run_fn(const struct kernels *kernels, struct work *w, const struct head *head);

static void bench_tiles(const char *what, run_fn *run, const struct kernels *kernels, const struct head *head,
                        struct work *w, const float *exact, double flops)
{
    double best = 0, n_flops = 4.0 * QUERIES * 64 * KV_ROWS * head->head_dim;
    const char *name = quire_kv_type_name(head->type);
    for (int i = 0; i < ROUNDS; i++) {
        double start = seconds();
        run(kernels, w, head);
        best = fmax(best, n_flops / (seconds() - start));
    }
    printf("%s,%s,%.1f,GFLOP/s,%.2f\n", what, name, best / 1e9, best / flops);
    printf("error,%s,%.2e,relative,\n", name, output_error(w, exact, QUERIES * (size_t)w->tiles[0].row));
}

static void bench_type(const struct kernels *kernels, quire_kv_type type, uint32_t head_dim, size_t n_keys,
                       const float *rows, const float *exact, const quire_peaks *peaks)
{
    double flops = quire_peaks_flops(peaks, kernels->name), bandwidth = peaks->memory_read;
    const char *name = quire_kv_type_name(type);
    struct head head = make_head(type, head_dim, 64, rows);
    struct work w = make_work(head_dim, 0x1p-8f, 64 * KV_ROWS, rows);
    bench_tiles("tile", run_tiles, kernels, &head, &w, exact, flops);
    if (kernels->attend_narrow && type == QUIRE_KV_BF16 && head_dim % NARROW_STEP == 0 && head_dim <= NARROW_MOST) {
        struct work narrow = make_work(head_dim, 0x1p-8f, 64 * KV_ROWS, rows);
        for (size_t t = 0; t < TILES; t++)
            kernels->narrow_start(&narrow.tiles[t]);
        bench_tiles("narrow-tile", run_narrow_tiles, kernels, &head, &narrow, exact, flops);
        free_work(&narrow);
    }
    free(head.blocks);

    head = make_head(type, head_dim, n_keys / KV_ROWS, rows);
    size_t n_bytes = 2 * head.n_blocks * head.side_bytes;
    double best = 0;
    for (int i = 0; i < ROUNDS; i++) {
        double start = seconds();
        run_token(kernels, &w, &head);
        best = fmax(best, (double)n_bytes / (seconds() - start));
    }
    printf("token,%s,%.1f,GB/s,%.2f\n", name, best / 1e9, best / bandwidth);
    fflush(stdout);
    free(head.blocks);
    free_work(&w);
}

/* The output over the first 64 blocks in float32. */
static float *exact_output(const struct kernels *kernels, uint32_t head_dim, const float *rows)
{
    struct head head = make_head(QUIRE_KV_F32, head_dim, 64, rows);
    struct work w = make_work(head_dim, 0x1p-8f, 64 * KV_ROWS, rows);
    run_tiles(kernels, &w, &head);
    for (size_t i = 0; i < QUERIES * (size_t)w.tiles[0].row; i++)
        w.acc[i] /= w.sum[i / w.tiles[0].row];
    float *exact = w.acc;
    w.acc = NULL;
    free_work(&w);
    free(head.blocks);
    return exact;
}

static void usage(void)
{
    fprintf(stderr, "usage: bench_attention [--isa NAME] [--head-dim N] [--keys N]\n");
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"isa", 1, 0, 'i'}, {"head-dim", 1, 0, 'd'}, {"keys", 1, 0, 'k'}, {0, 0, 0, 0}};
    const char *isa = NULL;
    long head_dim = 128, n_keys = 1 << 20;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        switch (c) {
        case 'i': isa = optarg; break;
        case 'd': head_dim = atol(optarg); break;
        case 'k': n_keys = atol(optarg); break;
        default: usage();
        }
    if (optind != argc || head_dim < 1 || head_dim > 1024 || n_keys < KV_ROWS || n_keys > 1 << 26)
        usage();
    quire_error err = {0};
    const struct kernels *kernels;
    check(kernels_choose(&kernels, isa, &err), &err);
    kernels_gemm_init();
    uint64_t seed = 1;
    float *rows = need(128 * KV_ROWS * (size_t)head_dim, sizeof(float));
    for (size_t i = 0; i < 128 * KV_ROWS * (size_t)head_dim; i++)
        rows[i] = random_number(&seed);
    float *exact = exact_output(kernels, (uint32_t)head_dim, rows);
    quire_peaks peaks = {0};
    check(quire_peaks_measure_units(&peaks, kernels->name, 1, &err), &err);
    check(quire_peaks_measure_memory(&peaks, 1, 0, &err), &err);
    printf("# %s kernels, heads of %ld channels, %ld keys; peaks: products %.1f GFLOP/s, memory %.1f GB/s\n",
           kernels->name, head_dim, n_keys, quire_peaks_flops(&peaks, kernels->name) / 1e9, peaks.memory_read / 1e9);
    for (int type = 0; type < QUIRE_KV_TYPE_COUNT; type++)
        bench_type(kernels, (quire_kv_type)type, (uint32_t)head_dim, (size_t)n_keys, rows, exact, &peaks);
    free(rows);
    free(exact);
    return 0;
}
