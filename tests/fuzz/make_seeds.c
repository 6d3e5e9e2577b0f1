/* Makes the seeds of the KV targets: what the fuzzed book has in its files, sealed and as it is.
 *
 *     make_fuzz_seeds tests/fuzz/corpus */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz_kv.h"

/* The target's first byte, then the file's. */
static void make_seed(const char *corpus, const char *target, const char *seed, uint8_t first, const void *data,
                      size_t size)
{
    char path[KV_PATH_SIZE];
    unsigned char *bytes = malloc(size + 1);
    kv_path(path, corpus, "%s", target);
    mkdir(path, 0755);
    kv_path(path, corpus, "%s/%s", target, seed);
    bytes[0] = first;
    memcpy(bytes + 1, data, size);
    fuzz_write(path, bytes, size + 1);
    free(bytes);
}

static void make_seed_of_file(const char *corpus, const char *target, const char *seed, uint8_t first, const char *name)
{
    char path[KV_PATH_SIZE];
    unsigned char data[1 << 15];
    fuzz_kv_path(path, name);
    FILE *file = fopen(path, "rbe");
    if (!file) {
        perror(path);
        exit(1);
    }
    size_t n = fread(data, 1, sizeof data, file);
    fclose(file);
    make_seed(corpus, target, seed, first, data, n);
}

int main(int argc, char **argv)
{
    static const char *const sides[KV_SIDE_COUNT] = {"tail", "logits", "flight", "residual"};
    static const uint8_t places[][2] = {{0, 9}, {1, 1}, {2, 9}, {3, 1}, {4, 4}, {5, 5}};
    if (argc != 2)
        return 2;
    struct kv_manifest manifest = *fuzz_kv_manifest();
    for (uint8_t i = 0; i < KV_SIDE_COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s.%llu", sides[i], (unsigned long long)manifest.sides[i].generation);
        make_seed_of_file(argv[1], "kv_side", sides[i], 4 | i, name);
    }
    make_seed_of_file(argv[1], "kv_tokens", "sealed", 1, "tokens");
    make_seed_of_file(argv[1], "kv_tokens", "as-it-is", 0, "tokens");
    manifest.id = 0; /* of chance; a sealed one gets it back */
    manifest.checksum = 0;
    make_seed(argv[1], "kv_manifest", "flight", 3, &manifest, sizeof manifest);
    make_seed(argv[1], "kv_manifest", "as-it-is", 0, &manifest, sizeof manifest);
    manifest.flags = 0;
    manifest.flight = (struct kv_flight){0};
    manifest.n_ids = manifest.frontier;
    manifest.ids_hash = manifest.frontier_hash;
    manifest.sides[KV_SIDE_FLIGHT] = manifest.sides[KV_SIDE_RESIDUAL] = (struct kv_side_ref){0};
    make_seed(argv[1], "kv_manifest", "frontier", 3, &manifest, sizeof manifest);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        unsigned char bytes[4 + 32] = {places[i][1] * 16};
        char name[32];
        snprintf(name, sizeof name, "place-%zu", i);
        make_seed(argv[1], "kv_layer", name, places[i][0] | (places[i][1] & 8), bytes, sizeof bytes);
    }
    return 0;
}
