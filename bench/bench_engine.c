/* Prefill and decode of a model file, beside the machine's peak measured in the same run.
 *
 *     bench_engine MODEL [--prefill 512,2048,8192] [--decode N] [--at CONTEXT] [--repeats N] [--threads N] [--memory
 * MIB]
 *                  [--isa NAME] [--kv-type TYPE]
 *
 * Each prefill is a fresh reading without a store (its KV goes to unlinked temporary files). The peaks are measured
 * before and after every row and the best counts, so that a moment's noise in one of them does not flatter a share.
 * Lines are CSV: what, tokens, tokens per second (median of the repeats), share of the peak, peak resident memory so
 * far in MiB. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/kv_rows.h"
#include "base/mem.h"
#include "base/sys.h"
#include "base/threads.h"
#include "kernels/kernels.h"
#include "quire/quire.h"

enum { REPEATS_MAX = 32, ROWS_MAX = 32, GEMM = 2048 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(quire_status status, const quire_error *err)
{
    if (status == QUIRE_OK)
        return;
    fprintf(stderr, "bench_engine: %s\n", err->message);
    exit(1);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_size);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* What was measured, until the peaks are final. */
struct row {
    const char *what;
    size_t n_tokens;
    double tokens_per_second;
    double per_second; /* operations (prefill) or bytes (decode) */
    uint64_t peak_resident_bytes;
};

struct results {
    struct row rows[ROWS_MAX];
    size_t n_rows;
    double flops, bandwidth; /* the machine's peaks */
};

static void add_row(struct results *results, struct row row)
{
    row.peak_resident_bytes = sys_peak_resident_bytes();
    if (results->n_rows < ROWS_MAX)
        results->rows[results->n_rows++] = row;
}

/* --- the machine's peaks --------------------------------------------------------------------------------------- */

struct peak_job {
    float *memory;
    size_t floats; /* of one worker */
    double sink;
};

static void run_gemm(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct peak_job *job = context;
    float *x = job->memory + item * job->floats, *w = x + GEMM * GEMM, *y = w + GEMM * GEMM;
    kernels_gemm(y, GEMM, x, GEMM, w, GEMM, GEMM, GEMM, 0);
}

/* OpenBLAS sgemm of 2048^3 on every thread at once, best of five: operations per second. */
static double gemm_peak(struct threads *threads)
{
    uint32_t n = threads_count(threads);
    quire_error err = {0};
    struct peak_job job = {.floats = 3 * GEMM * GEMM};
    job.memory = mem_calloc(n * job.floats, sizeof(float), "a matrix product", &err);
    double best = 0;
    if (!job.memory)
        check(QUIRE_ERR_NO_MEMORY, &err);
    for (size_t i = 0; i < n * job.floats; i++)
        job.memory[i] = (float)(i % 17) * 0.01f;
    for (int i = 0; i < 5; i++) {
        double start = seconds();
        threads_run(threads, n, run_gemm, &job);
        double speed = 2.0 * GEMM * GEMM * GEMM * n / (seconds() - start);
        best = speed > best ? speed : best;
    }
    free(job.memory);
    return best;
}

enum { READ_PART = 1 << 20 };

static void read_part(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct peak_job *job = context;
    const uint64_t *p = (const uint64_t *)(const void *)job->memory + item * (READ_PART / 8);
    uint64_t sums[16] = {0};
    for (size_t i = 0; i < READ_PART / 8; i += 16)
        for (size_t j = 0; j < 16; j++)
            sums[j] += p[i + j];
    for (size_t j = 1; j < 16; j++)
        sums[0] += sums[j];
    __asm__ volatile("" : : "r"(sums[0])); /* the sum is used, as far as the compiler knows */
}

/* Reading 1 GiB with all threads, best of five: bytes per second. */
static double read_peak(struct threads *threads)
{
    quire_error err = {0};
    struct peak_job job = {.memory = mem_aligned(1 << 30, 1, "a gigabyte", &err)};
    double best = 0;
    if (!job.memory)
        check(QUIRE_ERR_NO_MEMORY, &err);
    memset(job.memory, 1, 1 << 30);
    for (int i = 0; i < 5; i++) {
        double start = seconds();
        threads_run(threads, (1 << 30) / READ_PART, read_part, &job);
        double speed = (double)(1 << 30) / (seconds() - start);
        best = speed > best ? speed : best;
    }
    free(job.memory);
    return best;
}

static void measure_peaks(struct results *results, uint32_t n_threads)
{
    struct threads *threads;
    quire_error err = {0};
    check(threads_open(&threads, n_threads, &err), &err);
    double flops = gemm_peak(threads), bandwidth = read_peak(threads);
    threads_close(threads);
    results->flops = flops > results->flops ? flops : results->flops;
    results->bandwidth = bandwidth > results->bandwidth ? bandwidth : results->bandwidth;
}

/* --- the model ------------------------------------------------------------------------------------------------- */

/* Operations of reading n tokens: products, causal attention, and the head once. */
static double prefill_work(const quire_config *c, double n)
{
    double kv = 2.0 * c->kv_n_heads * c->head_dim;
    double weights = (double)c->d_model * (2.0 * c->d_model + kv) + 2.0 * (double)c->d_model * c->d_ff;
    return c->n_layers * (2 * weights * n + 2.0 * c->d_model * n * n) + 2.0 * c->d_model * c->vocab_size;
}

static int32_t *make_ids(size_t n, uint32_t vocab)
{
    int32_t *ids = malloc(n * sizeof *ids);
    uint64_t state = 1;
    for (size_t i = 0; ids && i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        ids[i] = (int32_t)((state >> 33) % vocab);
    }
    return ids;
}

static void bench_prefill(struct results *results, quire_engine *engine, const quire_config *config, size_t n,
                          int repeats)
{
    quire_error err = {0};
    double times[REPEATS_MAX];
    int32_t *ids = make_ids(n, config->vocab_size);
    for (int i = 0; i < repeats; i++) {
        quire_book *book;
        check(quire_book_open(&book, engine, &err), &err);
        double start = seconds();
        check(quire_book_read(book, ids, n, 0, &err), &err);
        times[i] = seconds() - start;
        quire_book_close(book);
    }
    double time = median(times, (size_t)repeats);
    add_row(results, (struct row){.what = "prefill",
                                  .n_tokens = n,
                                  .tokens_per_second = (double)n / time,
                                  .per_second = prefill_work(config, (double)n) / time});
    free(ids);
}

/* Decode at a context: the share of the bandwidth counts the weights and the KV, each read once for a token. */
static void bench_decode(struct results *results, quire_engine *engine, const quire_model *model, size_t context,
                         size_t n, quire_kv_type kv_type)
{
    const quire_config *config = quire_model_config(model);
    quire_error err = {0};
    quire_book *book;
    int32_t *ids = make_ids(context + n + 1, config->vocab_size);
    double *times = malloc(n * sizeof *times);
    check(quire_book_open(&book, engine, &err), &err);
    check(quire_book_read(book, ids, context, n + 1, &err), &err);
    check(quire_book_append(book, ids[context], &err), &err); /* the first one sets up the branch */
    for (size_t i = 0; i < n; i++) {
        double start = seconds();
        check(quire_book_append(book, ids[context + 1 + i], &err), &err);
        times[i] = seconds() - start;
    }
    double time = median(times, n);
    double kv =
        2.0 * config->n_layers * config->kv_n_heads * (double)kv_rows_bytes(kv_type, config->head_dim) / KV_ROWS;
    double bytes = (double)quire_model_weight_bytes(model) + kv * (double)context;
    add_row(
        results,
        (struct row){.what = "decode", .n_tokens = context, .tokens_per_second = 1 / time, .per_second = bytes / time});
    quire_book_close(book);
    free(ids);
    free(times);
}

static void print_results(const struct results *results, const char *path, const quire_engine *engine)
{
    printf("# %s, %u threads, kernels %s\n", path, quire_engine_n_threads(engine), quire_engine_isa(engine));
    printf("# peak: OpenBLAS sgemm %.1f GFLOP/s, memory read %.1f GB/s\n", results->flops / 1e9,
           results->bandwidth / 1e9);
    printf("what,tokens,tokens_per_second,share_of_peak,peak_resident_mib\n");
    for (size_t i = 0; i < results->n_rows; i++) {
        const struct row *row = &results->rows[i];
        double peak = strcmp(row->what, "prefill") == 0 ? results->flops : results->bandwidth;
        printf("%s,%zu,%.3f,%.3f,%llu\n", row->what, row->n_tokens, row->tokens_per_second, row->per_second / peak,
               (unsigned long long)(row->peak_resident_bytes >> 20));
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"prefill", 1, 0, 'p'}, {"decode", 1, 0, 'd'},  {"at", 1, 0, 'a'},
        {"repeats", 1, 0, 'r'}, {"threads", 1, 0, 't'}, {"memory", 1, 0, 'm'},
        {"isa", 1, 0, 'i'},     {"kv-type", 1, 0, 'k'}, {0, 0, 0, 0},
    };
    quire_engine_options opts = quire_engine_defaults();
    quire_error err = {0};
    char prefill[256] = "512,2048,8192";
    size_t n_decode = 16, context = 64;
    int repeats = 3;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'p': snprintf(prefill, sizeof prefill, "%s", optarg); break;
        case 'd': n_decode = strtoul(optarg, NULL, 10); break;
        case 'a': context = strtoul(optarg, NULL, 10); break;
        case 'r': repeats = atoi(optarg); break;
        case 't': opts.n_threads = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'm': opts.memory_bytes = strtoull(optarg, NULL, 10) << 20; break;
        case 'i': opts.isa = optarg; break;
        case 'k': check(quire_kv_type_parse(&opts.kv_type, optarg, &err), &err); break;
        default: return 2;
        }
    }
    if (optind + 1 != argc || repeats < 1 || repeats > REPEATS_MAX) {
        fprintf(stderr, "bench_engine: expected one model; see the top of bench/bench_engine.c\n");
        return 2;
    }
    quire_model *model;
    quire_engine *engine;
    struct results results = {0};
    check(quire_model_open(&model, argv[optind], &err), &err);
    check(quire_engine_open(&engine, model, &opts, &err), &err);
    uint32_t n_threads = quire_engine_n_threads(engine);
    measure_peaks(&results, n_threads);
    for (char *part = strtok(prefill, ","); part; part = strtok(NULL, ",")) {
        bench_prefill(&results, engine, quire_model_config(model), strtoul(part, NULL, 10), repeats);
        measure_peaks(&results, n_threads);
    }
    if (n_decode > 0) {
        bench_decode(&results, engine, model, context, n_decode, opts.kv_type);
        measure_peaks(&results, n_threads);
    }
    print_results(&results, argv[optind], engine);
    quire_engine_close(engine);
    quire_model_close(model);
    return 0;
}
