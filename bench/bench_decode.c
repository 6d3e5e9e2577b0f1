/* Decode behind a long text, at a model's true size, without reading one: keys and values are random, and are put into
 * the store under the engine's identity, as a reading would have left them.
 *
 *     bench_decode MODEL FOLDER [--at TOKENS] [--kv-type TYPE] [--appends N] [--memory MIB] [--turns N] [--scale X]
 *
 * FOLDER must have the room; what is put there is removed again. Each turn of N tokens stands beside what reading
 * memory gives just before it. Channels of keys are uniform between -X and X: X sets how soon attention may stop. The
 * first token also checks all blocks against their checksums, and is shown by itself. Lines are tab-separated: what,
 * value, unit. */
#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "engine/engine.h"
#include "kv/kv.h"
#include "measure.h"
#include "quire/peaks.h"
#include "quire/quire.h"

enum { CHUNK = 512, TURNS_MAX = 64 };

static void check(quire_status status, const quire_error *err)
{
    if (status != QUIRE_OK) {
        fprintf(stderr, "bench_decode: %s\n", err->message);
        exit(1);
    }
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)st, (void)kind, (void)place;
    return remove(path);
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* A committed book of ids[0..n) with random keys and values, and logits of zeros. */
static void fill(struct quire_engine *engine, const int32_t *ids, size_t n, float scale)
{
    quire_error err = {0};
    const quire_config *c = &engine->model->config;
    size_t width = (size_t)c->kv_n_heads * c->head_dim;
    /* A chunk's worth, begun elsewhere each time: random enough. */
    size_t n_floats = 3 * (size_t)CHUNK * width;
    float *numbers = malloc(n_floats * sizeof *numbers), *logits = calloc(c->vocab_size, sizeof *logits);
    uint64_t state = 1;
    for (size_t i = 0; i < n_floats; i++)
        numbers[i] = scale * (float)((double)next_random(&state) / 0x1p30 - 1.0);
    struct kv_book *book;
    check(kv_book_open(&book, engine->store, ids, n, true, &err), &err);
    check(kv_book_reserve(book, n, 0, &err), &err);
    for (uint32_t layer = 0; layer < c->n_layers; layer++)
        for (size_t t = 0; t < n; t += CHUNK) {
            size_t n_chunk = n - t < CHUNK ? n - t : CHUNK;
            const float *k = numbers + next_random(&state) % (CHUNK * width);
            const float *v = numbers + next_random(&state) % (CHUNK * width);
            check(kv_book_put(book, layer, t, n_chunk, k, v, width, &err), &err);
        }
    check(kv_book_commit(book, ids, n, logits, c->vocab_size, &err), &err);
    kv_book_close(book);
    free(numbers);
    free(logits);
}

struct settings {
    size_t n_tokens, appends, turns;
    uint64_t memory_bytes;
    quire_kv_type kv_type;
    float scale;
};

static void decode(const struct settings *s, quire_engine *engine, const int32_t *ids)
{
    quire_error err = {0};
    quire_book *book;
    double tokens[TURNS_MAX], memory[TURNS_MAX];
    check(quire_book_open(&book, engine, &err), &err);
    check(quire_book_read(book, ids, s->n_tokens, 1 + s->turns * s->appends, &err), &err);
    if (quire_book_n_reused(book) != s->n_tokens) {
        fprintf(stderr, "bench_decode: the engine did not take the book as it is\n");
        exit(1);
    }
    double start = sys_now();
    check(quire_book_append(book, ids[0], &err), &err);
    printf("first token\t%.3g\ts\n", sys_now() - start);
    uint64_t met = quire_book_n_blocks_met(book), skipped = quire_book_n_blocks_skipped(book);
    for (size_t turn = 0; turn < s->turns; turn++) {
        quire_peaks peaks = {0};
        check(quire_peaks_measure_memory(&peaks, 0, 0, &err), &err);
        memory[turn] = peaks.memory_read / 1e9;
        start = sys_now();
        for (size_t i = 0; i < s->appends; i++)
            check(quire_book_append(book, ids[i % s->n_tokens], &err), &err);
        tokens[turn] = (double)s->appends / (sys_now() - start);
        printf("turn\t%.3f\ttokens/s\tbeside\t%.1f\tGB/s\n", tokens[turn], memory[turn]);
        fflush(stdout);
    }
    met = quire_book_n_blocks_met(book) - met;
    skipped = quire_book_n_blocks_skipped(book) - skipped;
    printf("decode at %zu, median\t%.3f\ttokens/s\n", s->n_tokens, measure_median(tokens, s->turns));
    printf("memory read, median\t%.1f\tGB/s\n", measure_median(memory, s->turns));
    printf("blocks left out\t%.1f\t%%\n", 100 * (double)skipped / (double)(met + skipped));
    printf("peak resident memory\t%.0f\tMiB\n", (double)sys_peak_resident_bytes() / 1048576);
    quire_book_close(book);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"at", 1, 0, 'a'},    {"kv-type", 1, 0, 'k'}, {"appends", 1, 0, 'n'}, {"memory", 1, 0, 'b'},
        {"turns", 1, 0, 't'}, {"scale", 1, 0, 's'},   {0, 0, 0, 0},
    };
    struct settings s = {.n_tokens = 65536, .appends = 4, .turns = 5, .kv_type = QUIRE_KV_BF16, .scale = 2.0f};
    quire_error err = {0};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'a': s.n_tokens = strtoul(optarg, NULL, 10); break;
        case 'k': check(quire_kv_type_parse(&s.kv_type, optarg, &err), &err); break;
        case 'n': s.appends = strtoul(optarg, NULL, 10); break;
        case 'b': s.memory_bytes = strtoull(optarg, NULL, 10) << 20; break;
        case 't': s.turns = strtoul(optarg, NULL, 10); break;
        case 's': s.scale = strtof(optarg, NULL); break;
        default: return 2;
        }
    }
    if (argc - optind != 2 || s.n_tokens < 1 || s.appends < 1 || s.turns < 1 || s.turns > TURNS_MAX) {
        fprintf(stderr, "bench_decode: see the top of bench/bench_decode.c\n");
        return 2;
    }
    quire_model *model;
    quire_engine *engine;
    quire_engine_options opts = quire_engine_defaults();
    char store[4096];
    snprintf(store, sizeof store, "%s/bench-decode.%ld", argv[optind + 1], (long)getpid());
    opts.store_path = store;
    opts.memory_bytes = s.memory_bytes;
    opts.kv_type = s.kv_type;
    check(quire_model_open(&model, argv[optind], &err), &err);
    check(quire_engine_open(&engine, model, &opts, &err), &err);
    int32_t *ids = malloc(s.n_tokens * sizeof *ids);
    uint64_t state = 7;
    for (size_t i = 0; i < s.n_tokens; i++)
        ids[i] = (int32_t)(next_random(&state) % quire_model_config(model)->vocab_size);
    fill(engine, ids, s.n_tokens, s.scale);
    decode(&s, engine, ids);
    quire_engine_close(engine);
    quire_model_close(model);
    nftw(store, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(ids);
    return 0;
}
