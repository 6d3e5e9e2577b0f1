/* How fast the reader gives a document's bytes, UTF-8 checked: GB/s (1e9 bytes) for io_uring and for pread.
 *
 *     bench_reader [-r RUNS] [-b BUFFER_BYTES] [-n IN_FLIGHT] [FILE]
 *
 * Each run opens, reads and closes the file once; the first one, which may read from the disk, is not counted. Without
 * a FILE, 512 MiB of English-like text are written to TMPDIR (or /tmp) and removed again. To be held against `dd
 * if=FILE of=/dev/null bs=1M`, which reads the same pages and looks at none of them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"
#include "quire/reader.h"

#define GENERATED_BYTES ((size_t)512 << 20)
#define MAX_RUNS        1000

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Lines of prose with a curly quote or a dash every other line, as digitised books have them. NULL on failure. */
static char *generate(void)
{
    static const char text[] =
        "It was a bright morning, and the boats lay two and two along the quay with their sails "
        "half up;\nnobody had told the harbour master, who slept \xE2\x80\x94 and dreamt of rain.\n";
    const char *folder = getenv("TMPDIR");
    char *path;
    if (asprintf(&path, "%s/bench-reader-XXXXXX", folder && *folder ? folder : "/tmp") < 0)
        return NULL;
    int fd = mkstemp(path);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "wb");
    bool is_written = file != NULL;
    for (size_t n = 0; is_written && n < GENERATED_BYTES; n += sizeof text - 1)
        is_written = fwrite(text, sizeof text - 1, 1, file) == 1;
    if (file && fclose(file) == 0 && is_written)
        return path;
    fprintf(stderr, "bench_reader: cannot write '%s': %s\n", path, strerror(errno));
    unlink(path);
    free(path);
    return NULL;
}

/* One run: GB/s, or a negative number after a message. */
static double run(const char *path, const quire_reader_options *opts, char *backend, size_t backend_size)
{
    quire_reader *reader = NULL;
    quire_error err = {0};
    double start = seconds();
    quire_status status = quire_reader_open(&reader, path, opts, &err);
    size_t n = 1;
    if (status == QUIRE_OK) {
        const char *bytes;
        while (status == QUIRE_OK && n > 0)
            status = quire_reader_next(reader, &bytes, &n, &err);
        snprintf(backend, backend_size, "%s", quire_reader_backend(reader));
    }
    if (status != QUIRE_OK) {
        fprintf(stderr, "bench_reader: %s\n", err.message);
        quire_reader_close(reader);
        return -1;
    }
    double n_bytes = (double)quire_reader_n_bytes(reader);
    quire_reader_close(reader);
    return n_bytes / (seconds() - start) * 1e-9;
}

static int measure(const char *path, const quire_reader_options *opts, int n_runs)
{
    double speed[MAX_RUNS];
    char backend[128];
    for (int i = -1; i < n_runs; i++) {
        double s = run(path, opts, backend, sizeof backend);
        if (s < 0)
            return 1;
        if (i >= 0)
            speed[i] = s;
    }
    qsort(speed, (size_t)n_runs, sizeof speed[0], measure_by_size);
    printf("%-10s median %.2f GB/s, least %.2f, most %.2f (%d runs)\n", backend, speed[n_runs / 2], speed[0],
           speed[n_runs - 1], n_runs);
    return 0;
}

int main(int argc, char **argv)
{
    quire_reader_options opts = {0};
    int n_runs = 15, option;
    while ((option = getopt(argc, argv, "r:b:n:")) != -1) {
        switch (option) {
        case 'r': n_runs = atoi(optarg); break;
        case 'b': opts.buffer_bytes = strtoull(optarg, NULL, 10); break;
        case 'n': opts.n_in_flight = (uint32_t)strtoul(optarg, NULL, 10); break;
        default: n_runs = 0; break;
        }
    }
    if (n_runs < 1 || n_runs > MAX_RUNS || argc - optind > 1) {
        fprintf(stderr, "usage: bench_reader [-r RUNS] [-b BUFFER_BYTES] [-n IN_FLIGHT] [FILE]\n");
        return 2;
    }
    char *generated = optind < argc ? NULL : generate();
    const char *path = optind < argc ? argv[optind] : generated;
    int failed = path == NULL;
    for (int way = 0; way < 2 && !failed; way++) {
        opts.no_uring = way == 1;
        failed = measure(path, &opts, n_runs);
    }
    if (generated)
        unlink(generated);
    free(generated);
    return failed;
}
