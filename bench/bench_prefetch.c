/* Ways of asking for keys and values ahead of their use, on files laid out as those of a KV store and not in memory.
 *
 *     bench_prefetch FOLDER [--layers N] [--heads N] [--blocks N] [--threads N] [--repeats N]
 *
 * A pass is what one decoded token does: layer after layer, threads take heads and read each one's blocks from the
 * newest to the oldest. Before each pass the files leave the page cache. Lines are tab-separated: way, MB/s (median of
 * the passes; the ways take turns), bytes read from the disk over bytes used. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "base/threads.h"
#include "measure.h"
#include "quire/error.h"

enum { BLOCK_BYTES = 32 << 10, PIECE_BYTES = 1 << 20, RING_ENTRIES = 64, WAYS_MAX = 8, REPEATS_MAX = 16 };

enum way { NONE, LAYER_MADVISE, HEAD_MADVISE, HEAD_URING_MADVISE, HEAD_URING_READ, N_WAYS };
static const char *const names[N_WAYS] = {"none", "madvise the next layer", "madvise a head ahead",
                                          "io_uring madvise a head ahead", "io_uring read a head ahead"};

struct layer {
    int fd;
    unsigned char *data;
};

struct bench {
    struct layer *layers;
    size_t n_layers, n_heads, n_blocks, head_bytes;
    struct threads *threads;
    enum way way;
    size_t layer; /* at work */
    struct io_uring *rings;
    unsigned *n_in_flight; /* [threads] */
    unsigned char *sink;   /* where io_uring reads to: [threads][PIECE_BYTES] */
};

static void die(const char *what)
{
    fprintf(stderr, "bench_prefetch: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void make_layer(struct layer *layer, const char *folder, size_t n_bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/prefetch-XXXXXX", folder);
    layer->fd = mkstemp(path);
    if (layer->fd < 0 || unlink(path) != 0)
        die(path);
    unsigned char *piece = malloc(PIECE_BYTES);
    memset(piece, 7, PIECE_BYTES);
    for (size_t i = 0; i < n_bytes; i += PIECE_BYTES)
        if (pwrite(layer->fd, piece, size_min(PIECE_BYTES, n_bytes - i), (off_t)i) < 0)
            die("write");
    free(piece);
    layer->data = mmap(NULL, n_bytes, PROT_READ, MAP_SHARED, layer->fd, 0);
    if (fsync(layer->fd) != 0 || layer->data == MAP_FAILED)
        die("fsync or mmap");
}

/* The mapping, too, must let go of the pages. */
static void evict(const struct bench *b)
{
    for (size_t i = 0; i < b->n_layers; i++) {
        madvise(b->layers[i].data, b->n_heads * b->head_bytes, MADV_DONTNEED);
        posix_fadvise(b->layers[i].fd, 0, 0, POSIX_FADV_DONTNEED);
    }
}

static void reap(struct bench *b, uint32_t worker)
{
    struct io_uring_cqe *cqe;
    while (b->n_in_flight[worker] > 0 && io_uring_peek_cqe(&b->rings[worker], &cqe) == 0) {
        io_uring_cqe_seen(&b->rings[worker], cqe);
        b->n_in_flight[worker]--;
    }
}

/* The newest piece first. */
static void ask_uring(struct bench *b, uint32_t worker, size_t layer, size_t head)
{
    struct io_uring *ring = &b->rings[worker];
    const struct layer *l = &b->layers[layer];
    size_t begin = head * b->head_bytes;
    reap(b, worker);
    for (size_t end = begin + b->head_bytes; end > begin;) {
        size_t n = size_min(PIECE_BYTES, end - begin);
        struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
        if (!sqe || b->n_in_flight[worker] >= RING_ENTRIES)
            break;
        end -= n;
        if (b->way == HEAD_URING_MADVISE)
            io_uring_prep_madvise(sqe, l->data + end, (off_t)n, MADV_WILLNEED);
        else
            io_uring_prep_read(sqe, l->fd, b->sink + worker * (size_t)PIECE_BYTES, (unsigned)n, end);
        b->n_in_flight[worker]++;
    }
    io_uring_submit(ring);
}

static void ask(struct bench *b, uint32_t worker, size_t layer, size_t head)
{
    if (b->way == HEAD_MADVISE)
        for (size_t end = b->head_bytes, n; end > 0; end -= n) {
            n = size_min(PIECE_BYTES, end);
            madvise(b->layers[layer].data + head * b->head_bytes + end - n, n, MADV_WILLNEED);
        }
    if (b->way == HEAD_URING_MADVISE || b->way == HEAD_URING_READ)
        ask_uring(b, worker, layer, head);
}

/* Whoever starts a head asks for the one that follows it by as many as there are threads. */
static void read_head(void *context, size_t item, uint32_t worker)
{
    struct bench *b = context;
    size_t ahead = b->layer * b->n_heads + item + threads_count(b->threads);
    if (ahead < b->n_layers * b->n_heads)
        ask(b, worker, ahead / b->n_heads, ahead % b->n_heads);
    const unsigned char *data = b->layers[b->layer].data + item * b->head_bytes;
    uint64_t sum = 0;
    for (size_t block = b->n_blocks; block-- > 0;)
        for (size_t i = 0; i < BLOCK_BYTES; i += 8) {
            uint64_t word;
            memcpy(&word, data + block * BLOCK_BYTES + i, sizeof word);
            sum += word;
        }
    __asm__ volatile("" : : "r"(sum));
}

static double pass(struct bench *b, uint64_t *n_read)
{
    evict(b);
    uint64_t before = measure_disk_bytes_read();
    double start = sys_now();
    for (b->layer = 0; b->layer < b->n_layers; b->layer++) {
        if (b->way == LAYER_MADVISE && b->layer + 1 < b->n_layers)
            madvise(b->layers[b->layer + 1].data, b->n_heads * b->head_bytes, MADV_WILLNEED);
        threads_run(b->threads, b->n_heads, read_head, b);
    }
    double seconds = sys_now() - start;
    *n_read = measure_disk_bytes_read() - before;
    for (uint32_t w = 0; w < threads_count(b->threads); w++)
        while (b->n_in_flight[w] > 0) {
            struct io_uring_cqe *cqe;
            io_uring_wait_cqe(&b->rings[w], &cqe);
            io_uring_cqe_seen(&b->rings[w], cqe);
            b->n_in_flight[w]--;
        }
    return seconds;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"layers", 1, 0, 'l'},  {"heads", 1, 0, 'h'},   {"blocks", 1, 0, 'b'},
                                            {"threads", 1, 0, 't'}, {"repeats", 1, 0, 'r'}, {0, 0, 0, 0}};
    struct bench b = {.n_layers = 4, .n_heads = 16, .n_blocks = 512};
    uint32_t n_threads = threads_available();
    size_t n_repeats = 5;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        size_t n = optarg ? strtoul(optarg, NULL, 10) : 0;
        switch (c) {
        case 'l': b.n_layers = n; break;
        case 'h': b.n_heads = n; break;
        case 'b': b.n_blocks = n; break;
        case 't': n_threads = (uint32_t)n; break;
        case 'r': n_repeats = size_min(n, REPEATS_MAX); break;
        default: return 2;
        }
    }
    if (optind + 1 != argc || b.n_layers * b.n_heads * b.n_blocks * n_repeats * n_threads == 0) {
        fprintf(stderr, "bench_prefetch: expected a folder; see the top of bench/bench_prefetch.c\n");
        return 2;
    }
    quire_error err = {0};
    b.head_bytes = b.n_blocks * BLOCK_BYTES;
    b.layers = calloc(b.n_layers, sizeof *b.layers);
    b.rings = calloc(n_threads, sizeof *b.rings);
    b.n_in_flight = calloc(n_threads, sizeof *b.n_in_flight);
    b.sink = malloc((size_t)n_threads * PIECE_BYTES);
    if (threads_open(&b.threads, n_threads, &err) != QUIRE_OK)
        die(err.message);
    for (size_t i = 0; i < b.n_layers; i++)
        make_layer(&b.layers[i], argv[optind], b.n_heads * b.head_bytes);
    for (uint32_t w = 0; w < n_threads; w++)
        if ((errno = -io_uring_queue_init(RING_ENTRIES, &b.rings[w], 0)) != 0)
            die("io_uring");
    double seconds[N_WAYS][REPEATS_MAX], n_used = (double)(b.n_layers * b.n_heads * b.head_bytes);
    uint64_t n_read[N_WAYS] = {0};
    for (size_t r = 0; r < n_repeats; r++)
        for (int way = 0; way < N_WAYS; way++) {
            b.way = (enum way)way;
            seconds[way][r] = pass(&b, &n_read[way]);
        }
    printf("way\tmb_per_second\tread_over_used\n");
    for (int way = 0; way < N_WAYS; way++) {
        double median = measure_median(seconds[way], n_repeats);
        printf("%s\t%.0f\t%.3f\n", names[way], n_used / median / 1e6, (double)n_read[way] / n_used);
    }
    threads_close(b.threads);
    return 0;
}
