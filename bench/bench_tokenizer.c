/* How fast text becomes ids on one core: MB/s (1e6 bytes), the median of some runs and the slowest and fastest.
 *
 *     bench_tokenizer -m TOKENIZER [-r RUNS] [-b PIECE_BYTES] FILE
 *
 * TOKENIZER: a tokenizer.json, a GGUF or a model's folder. FILE: text, UTF-8. Each run encodes the whole file, fed in
 * pieces of PIECE_BYTES (65536), with an encoder of its own, so that every run starts with an empty cache of words.
 * Beside the time on the clock stands the time of the processor: the two differ where the machine is shared. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"
#include "quire/tokenizer.h"

#define MAX_RUNS 1000

struct timing {
    double wall, cpu; /* seconds */
};

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static char *read_file(const char *path, size_t *n)
{
    FILE *file = fopen(path, "rb");
    long size = file && fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    char *bytes = size > 0 ? malloc((size_t)size) : NULL;
    if (!bytes || fseek(file, 0, SEEK_SET) != 0 || fread(bytes, 1, (size_t)size, file) != (size_t)size) {
        fprintf(stderr, "bench_tokenizer: cannot read '%s': %s\n", path, size == 0 ? "it is empty" : strerror(errno));
        free(bytes);
        bytes = NULL;
    }
    if (file)
        fclose(file);
    *n = (size_t)size;
    return bytes;
}

/* One run. */
static quire_status encode(const quire_tokenizer *tokenizer, const char *text, size_t n, size_t piece, size_t *n_ids,
                           struct timing *timing, quire_error *err)
{
    quire_encoder *encoder = NULL;
    quire_ids ids;
    *n_ids = 0;
    timing->wall = seconds(CLOCK_MONOTONIC);
    timing->cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    quire_status status = quire_encoder_open(&encoder, tokenizer, false, err);
    for (size_t at = 0; status == QUIRE_OK && at < n; at += piece) {
        status = quire_encoder_feed(encoder, text + at, n - at < piece ? n - at : piece, &ids, err);
        *n_ids += status == QUIRE_OK ? ids.n_ids : 0;
    }
    if (status == QUIRE_OK)
        status = quire_encoder_finish(encoder, &ids, err);
    *n_ids += status == QUIRE_OK ? ids.n_ids : 0;
    quire_encoder_close(encoder);
    timing->wall = seconds(CLOCK_MONOTONIC) - timing->wall;
    timing->cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - timing->cpu;
    return status;
}

static void report(const char *what, double *rates, size_t n)
{
    qsort(rates, n, sizeof rates[0], measure_by_size);
    printf("%s median %.1f MB/s, slowest %.1f, fastest %.1f\n", what, rates[n / 2], rates[0], rates[n - 1]);
}

/* All runs; 0 where they went well. */
static int measure(const quire_tokenizer *tokenizer, const char *text, size_t n, size_t piece, size_t n_runs)
{
    static double wall[MAX_RUNS], cpu[MAX_RUNS];
    size_t n_ids = 0;
    for (size_t i = 0; i < n_runs; i++) {
        struct timing timing;
        quire_error err = {0};
        if (encode(tokenizer, text, n, piece, &n_ids, &timing, &err) != QUIRE_OK) {
            fprintf(stderr, "bench_tokenizer: %s\n", err.message);
            return 1;
        }
        wall[i] = (double)n / timing.wall * 1e-6;
        cpu[i] = (double)n / timing.cpu * 1e-6;
    }
    printf("%zu bytes, %zu ids, %zu runs, pieces of %zu bytes\n", n, n_ids, n_runs, piece);
    report("clock:    ", wall, n_runs);
    report("processor:", cpu, n_runs);
    return 0;
}

int main(int argc, char **argv)
{
    size_t n_runs = 9, piece = 65536, n = 0;
    const char *path = NULL;
    int option;
    while ((option = getopt(argc, argv, "m:r:b:")) != -1) {
        if (option == 'm')
            path = optarg;
        else if (option == 'r')
            n_runs = strtoul(optarg, NULL, 10);
        else if (option == 'b')
            piece = strtoul(optarg, NULL, 10);
        else
            optind = argc;
    }
    if (!path || argc - optind != 1 || n_runs < 1 || n_runs > MAX_RUNS || piece < 1) {
        fprintf(stderr, "usage: bench_tokenizer -m TOKENIZER [-r RUNS] [-b PIECE_BYTES] FILE\n");
        return 2;
    }
    quire_tokenizer *tokenizer = NULL;
    quire_error err = {0};
    double opened = seconds(CLOCK_MONOTONIC);
    if (quire_tokenizer_open_path(&tokenizer, path, &err) != QUIRE_OK) {
        fprintf(stderr, "bench_tokenizer: %s\n", err.message);
        return 1;
    }
    printf("opened in %.1f ms, %u tokens\n", (seconds(CLOCK_MONOTONIC) - opened) * 1e3,
           quire_tokenizer_n_tokens(tokenizer));
    char *text = read_file(argv[optind], &n);
    int result = text ? measure(tokenizer, text, n, piece, n_runs) : 1;
    free(text);
    quire_tokenizer_close(tokenizer);
    return result;
}
