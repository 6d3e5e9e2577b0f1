/* The KV store at work: what it writes and reads, beside what the machine can do, measured in the same run.
 *
 *     bench_store write  FOLDER [--mib N] [--repeats N] [--plain]      keys and values at memory speed, and plain
 * writes bench_store first  MODEL FOLDER [--tokens N] [--memory MIB]      first new token: computed, from a cold, a
 * warm store bench_store decode MODEL FOLDER [--at N,N,...] [--appends N]     bytes from the disk for a token, with
 * nothing kept bench_store cost   MODEL FOLDER [--tokens N] [--memory MIB]      checksums and commits, as shares of a
 * reading bench_store memory MODEL FOLDER [--tokens N] [--memory MIB]      peak resident memory against the budget
 *
 * FOLDER must be on the disk that is meant; what is put there is removed again. Lines are tab-separated: what, at
 * (tokens or MiB), value, unit, beside, share. --plain: without reserving the space first. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/sys.h"
#include "kv/kv.h"
#include "measure.h"
#include "quire/quire.h"

enum { REPEATS_MAX = 16, CHUNK = 512, SPAN = 2048, PIECE_BYTES = 1 << 20, FD_MAX = 4096 };

static void die(const char *what)
{
    fprintf(stderr, "bench_store: %s\n", what);
    exit(1);
}

static void check(quire_status status, const quire_error *err)
{
    if (status != QUIRE_OK)
        die(err->message);
}

static void row(const char *what, size_t at, double value, const char *unit, double beside, double share)
{
    printf("%s\t%zu\t%.4g\t%s\t%.4g\t%.4f\n", what, at, value, unit, beside, share);
    fflush(stdout);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)st, (void)kind, (void)place;
    return remove(path);
}

static void remove_folder(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int evict_one(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)st, (void)place;
    int fd = kind == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    return 0;
}

/* What lies in the folder leaves the page cache, as far as nobody has it mapped in memory. */
static void evict(const char *folder)
{
    nftw(folder, evict_one, 16, FTW_PHYS);
}

struct settings {
    const char *model, *folder, *at;
    char store[4096];
    size_t mib, tokens, appends, repeats;
    uint64_t memory_bytes;
    bool is_plain;
};

/* --- write ------------------------------------------------------------------------------------------------------ */

static const struct kv_geometry geometry_7b = {.n_layers = 32, .n_heads = 32, .head_dim = 128, .type = QUIRE_KV_BF16};

/* As a reading does it: span by span, layer by layer, in chunks; a commit at the end of each span. */
static double write_store(const struct settings *s, size_t n_tokens, const float *kv)
{
    quire_error err = {0};
    struct kv_store_options opts = {.path = s->store, .geometry = geometry_7b, .identity = "bench_store"};
    struct kv_store *store;
    struct kv_book *book;
    size_t width = (size_t)geometry_7b.n_heads * geometry_7b.head_dim;
    int32_t *ids = calloc(n_tokens, sizeof *ids);
    check(kv_store_open(&store, &opts, &err), &err);
    check(kv_book_open(&book, store, ids, n_tokens, true, &err), &err);
    double start = sys_now();
    if (!s->is_plain)
        check(kv_book_reserve(book, n_tokens, 0, &err), &err);
    for (size_t first = 0; first < n_tokens; first += SPAN) {
        for (uint32_t layer = 0; layer < geometry_7b.n_layers; layer++)
            for (size_t t = first; t < first + SPAN; t += CHUNK)
                check(kv_book_put(book, layer, t, CHUNK, kv, kv + CHUNK * width, width, &err), &err);
        check(kv_book_commit(book, ids, first + SPAN, NULL, 0, &err), &err);
    }
    double seconds = sys_now() - start;
    kv_book_close(book);
    kv_store_close(store);
    remove_folder(s->store);
    free(ids);
    return seconds;
}

static double write_plainly(const struct settings *s, uint64_t n_bytes, const void *data)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/plain", s->folder);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    double start = sys_now();
    for (uint64_t i = 0; i < n_bytes; i += PIECE_BYTES)
        if (fd < 0 || pwrite(fd, data, PIECE_BYTES, (off_t)i) != PIECE_BYTES)
            die(strerror(errno));
    if (fdatasync(fd) != 0)
        die(strerror(errno));
    double seconds = sys_now() - start;
    close(fd);
    unlink(path);
    return seconds;
}

static void bench_write(const struct settings *s)
{
    size_t per_token =
        (size_t)kv_block_bytes(&geometry_7b) / KV_BLOCK_TOKENS * geometry_7b.n_heads * geometry_7b.n_layers;
    size_t n_tokens = size_max(1, (s->mib << 20) / per_token / SPAN) * SPAN;
    size_t n_floats = 2 * (size_t)CHUNK * geometry_7b.n_heads * geometry_7b.head_dim;
    float *kv = malloc(n_floats * sizeof *kv);
    double store[REPEATS_MAX], plain[REPEATS_MAX];
    uint64_t n_bytes = (uint64_t)n_tokens * per_token;
    for (size_t i = 0; i < n_floats; i++)
        kv[i] = (float)(i % 251) * 0.01f;
    for (size_t r = 0; r < s->repeats; r++) {
        plain[r] = (double)n_bytes / write_plainly(s, n_bytes, kv) / 1e6;
        store[r] = (double)n_bytes / write_store(s, n_tokens, kv) / 1e6;
    }
    double a = measure_median(store, s->repeats), b = measure_median(plain, s->repeats);
    row(s->is_plain ? "write bandwidth, not reserved" : "write bandwidth", n_bytes >> 20, a, "MB/s", b, a / b);
    free(kv);
}

/* --- readings --------------------------------------------------------------------------------------------------- */

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

struct reading {
    quire_model *model;
    quire_engine *engine;
    quire_book *book;
};

static void open_reading(struct reading *r, const struct settings *s, uint64_t memory_bytes)
{
    quire_error err = {0};
    quire_engine_options opts = quire_engine_defaults();
    opts.store_path = s->store;
    opts.memory_bytes = memory_bytes;
    check(quire_model_open(&r->model, s->model, &err), &err);
    check(quire_engine_open(&r->engine, r->model, &opts, &err), &err);
    check(quire_book_open(&r->book, r->engine, &err), &err);
}

static void close_reading(struct reading *r)
{
    quire_book_close(r->book);
    quire_engine_close(r->engine);
    quire_model_close(r->model);
}

static uint32_t vocabulary(const struct settings *s)
{
    quire_error err = {0};
    quire_model *model;
    check(quire_model_open(&model, s->model, &err), &err);
    uint32_t n = quire_model_config(model)->vocab_size;
    quire_model_close(model);
    return n;
}

/* From opening the model to the logits after one new token. */
static double first_token(const struct settings *s, const int32_t *ids)
{
    quire_error err = {0};
    struct reading r;
    double start = sys_now();
    open_reading(&r, s, s->memory_bytes);
    check(quire_book_read(r.book, ids, s->tokens, 1, &err), &err);
    check(quire_book_append(r.book, ids[s->tokens], &err), &err);
    double seconds = sys_now() - start;
    close_reading(&r);
    return seconds;
}

static void bench_first(const struct settings *s)
{
    int32_t *ids = make_ids(s->tokens + 1, vocabulary(s));
    double computed = first_token(s, ids);
    evict(s->store);
    double cold = first_token(s, ids), warm = first_token(s, ids);
    row("first token, cold store beside computed", s->tokens, cold, "s", computed, cold / computed);
    row("first token, warm store beside computed", s->tokens, warm, "s", computed, warm / computed);
    free(ids);
}

static void decode_at(const struct settings *s, const int32_t *ids, size_t n)
{
    quire_error err = {0};
    struct reading r;
    quire_plan plan;
    open_reading(&r, s, 0);
    check(quire_engine_plan(r.engine, n, s->appends + 1, &plan, &err), &err);
    close_reading(&r);
    open_reading(&r, s, plan.least_bytes);
    check(quire_book_read(r.book, ids, n, s->appends + 1, &err), &err);
    check(quire_book_append(r.book, ids[n], &err), &err); /* it sets up the branch */
    const quire_config *c = quire_model_config(r.model);
    double needed = 2.0 * c->n_layers * c->kv_n_heads * c->head_dim * 2 * (double)n, seconds = 0;
    uint64_t n_read = 0;
    for (size_t i = 0; i < s->appends; i++) {
        evict(s->store);
        uint64_t before = measure_disk_bytes_read();
        double start = sys_now();
        check(quire_book_append(r.book, ids[n + 1 + i], &err), &err);
        seconds += sys_now() - start;
        n_read += measure_disk_bytes_read() - before;
    }
    double per_token = (double)n_read / (double)s->appends;
    row("read amplification in decode", n, per_token, "bytes", needed, per_token / needed);
    row("a token with nothing in memory", n, seconds / (double)s->appends, "s",
        per_token / (seconds / (double)s->appends) / 1e6, 0);
    close_reading(&r);
}

static void bench_decode(const struct settings *s)
{
    size_t places[16], n_places = 0, most = 0;
    char list[256];
    snprintf(list, sizeof list, "%s", s->at);
    for (char *part = strtok(list, ","); part && n_places < 16; part = strtok(NULL, ",")) {
        places[n_places] = strtoul(part, NULL, 10);
        most = size_max(most, places[n_places++]);
    }
    int32_t *ids = make_ids(most + s->appends + 1, vocabulary(s));
    for (size_t i = 0; i < n_places; i++) /* each goes on with the reading before */
        decode_at(s, ids, places[i]);
    free(ids);
}

/* --- what is not computing -----------------------------------------------------------------------------------------
 */

/* Time in the calls that commits are made of: syncs, the manifest's rename, writes to files that only commits write. */
static double commit_seconds;
static bool is_of_commits[FD_MAX];

static int timed_open(const char *path, int flags, mode_t mode)
{
    int fd = sys_real.open(path, flags, mode);
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    if (fd >= 0 && fd < FD_MAX)
        is_of_commits[fd] = strncmp(name, "layer", 5) != 0 && strncmp(name, "summary", 7) != 0;
    return fd;
}

static int timed_fdatasync(int fd)
{
    double start = sys_now();
    int result = sys_real.fdatasync(fd);
    commit_seconds += sys_now() - start;
    return result;
}

static int timed_fsync(int fd)
{
    double start = sys_now();
    int result = sys_real.fsync(fd);
    commit_seconds += sys_now() - start;
    return result;
}

static int timed_rename(const char *from, const char *to)
{
    double start = sys_now();
    int result = sys_real.rename(from, to);
    commit_seconds += sys_now() - start;
    return result;
}

static ssize_t timed_pwrite(int fd, const void *buffer, size_t n, off_t offset)
{
    double start = sys_now();
    ssize_t result = sys_real.pwrite(fd, buffer, n, offset);
    if (fd < FD_MAX && is_of_commits[fd])
        commit_seconds += sys_now() - start;
    return result;
}

/* Seconds that the checksums of n bytes take, on one thread as in kv_book_put. */
static double hash_seconds(double n_bytes)
{
    enum { BLOCK = 32 << 10, BLOCKS = 16, TURNS = 200 };
    unsigned char *blocks = calloc(BLOCKS, BLOCK);
    volatile uint64_t sink = 0;
    double start = sys_now();
    for (int turn = 0; turn < TURNS; turn++)
        for (size_t i = 0; i < BLOCKS; i++)
            sink = hash64_seeded(blocks + i * BLOCK, BLOCK, sink);
    double per_byte = (sys_now() - start) / ((double)TURNS * BLOCKS * BLOCK);
    free(blocks);
    return per_byte * n_bytes;
}

static void bench_cost(const struct settings *s)
{
    quire_error err = {0};
    struct reading r;
    int32_t *ids = make_ids(s->tokens, vocabulary(s));
    sys.open = timed_open;
    sys.fdatasync = timed_fdatasync;
    sys.fsync = timed_fsync;
    sys.rename = timed_rename;
    sys.pwrite = timed_pwrite;
    open_reading(&r, s, s->memory_bytes);
    commit_seconds = 0;
    double start = sys_now();
    check(quire_book_read(r.book, ids, s->tokens, 0, &err), &err);
    double seconds = sys_now() - start, commits = commit_seconds;
    sys = sys_real;
    const quire_config *c = quire_model_config(r.model);
    double hashes = hash_seconds(4.0 * c->n_layers * c->kv_n_heads * c->head_dim * (double)s->tokens);
    row("commits beside the reading", s->tokens, commits, "s", seconds, commits / seconds);
    row("checksums beside the reading", s->tokens, hashes, "s", seconds, hashes / seconds);
    close_reading(&r);
    free(ids);
}

static void bench_memory(const struct settings *s)
{
    quire_error err = {0};
    struct reading r;
    int32_t *ids = make_ids(s->tokens + 2, vocabulary(s));
    open_reading(&r, s, s->memory_bytes);
    double start = sys_now();
    check(quire_book_read(r.book, ids, s->tokens, 2, &err), &err);
    double seconds = sys_now() - start;
    for (int i = 0; i < 2; i++)
        check(quire_book_append(r.book, ids[s->tokens + i], &err), &err);
    double peak = (double)sys_peak_resident_bytes() / 1048576, budget = (double)s->memory_bytes / 1048576;
    row("peak memory beside the budget", s->tokens, peak, "MiB", budget, peak / budget);
    row("reading in that budget", s->tokens, (double)s->tokens / seconds, "tokens/s", budget, 0);
    close_reading(&r);
    free(ids);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        bool has_model;
        void (*run)(const struct settings *s);
    } benches[] = {{"write", false, bench_write},
                   {"first", true, bench_first},
                   {"decode", true, bench_decode},
                   {"cost", true, bench_cost},
                   {"memory", true, bench_memory}};
    static const struct option options[] = {
        {"mib", 1, 0, 'm'},     {"repeats", 1, 0, 'r'}, {"plain", 0, 0, 'p'},  {"tokens", 1, 0, 't'},
        {"appends", 1, 0, 'n'}, {"at", 1, 0, 'a'},      {"memory", 1, 0, 'b'}, {0, 0, 0, 0},
    };
    struct settings s = {.mib = 1024, .tokens = 2048, .appends = 4, .repeats = 3, .at = "8192,32768,65536,84000"};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'm': s.mib = strtoul(optarg, NULL, 10); break;
        case 'r': s.repeats = size_min(REPEATS_MAX, size_max(1, strtoul(optarg, NULL, 10))); break;
        case 'p': s.is_plain = true; break;
        case 't': s.tokens = size_max(1, strtoul(optarg, NULL, 10)); break;
        case 'n': s.appends = size_max(1, strtoul(optarg, NULL, 10)); break;
        case 'a': s.at = optarg; break;
        case 'b': s.memory_bytes = strtoull(optarg, NULL, 10) << 20; break;
        default: return 2;
        }
    }
    for (size_t i = 0; optind < argc && i < sizeof benches / sizeof *benches; i++) {
        if (strcmp(argv[optind], benches[i].name) != 0 || argc - optind != 2 + benches[i].has_model)
            continue;
        s.model = argv[optind + 1];
        s.folder = argv[argc - 1];
        snprintf(s.store, sizeof s.store, "%s/bench-store.%ld", s.folder, (long)getpid());
        benches[i].run(&s);
        remove_folder(s.store);
        return 0;
    }
    fprintf(stderr, "bench_store: see the top of bench/bench_store.c\n");
    return 2;
}
