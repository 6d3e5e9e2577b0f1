/* Runs a fuzz target without libFuzzer: every seed, and seeded mutations of each.
 *
 *     PROGRAM MUTATIONS SEED-FILE-OR-FOLDER... */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

enum { MAX_SEEDS = 64, MAX_BYTES = 1 << 20 };

struct input {
    uint8_t *data; /* exactly as large as it says, so that the sanitizers see what reads behind it */
    size_t size;
};

static struct input seeds[MAX_SEEDS];
static size_t n_seeds;
static uint64_t state = 1;

/* splitmix64 */
static uint64_t next_random(void)
{
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static size_t below(size_t n)
{
    return n ? next_random() % n : 0;
}

static void *allocate(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p)
        exit(1);
    return p;
}

static void read_seed(const char *path)
{
    FILE *file = fopen(path, "rbe");
    uint8_t *data = allocate(MAX_BYTES);
    if (!file || n_seeds == MAX_SEEDS) {
        fprintf(stderr, "cannot take %s\n", path);
        exit(1);
    }
    struct input *seed = &seeds[n_seeds++];
    seed->size = fread(data, 1, MAX_BYTES, file);
    seed->data = realloc(data, seed->size ? seed->size : 1);
    fclose(file);
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* In the order of their names, so that every run is the same. */
static void read_seeds(const char *path)
{
    struct dirent **names = NULL;
    int n = scandir(path, &names, NULL, compare_names);
    if (n < 0)
        read_seed(path);
    for (int i = 0; i < n; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            read_seed(file);
        free(names[i]);
    }
    free(names);
}

/* A number that is at some edge, of 1, 2, 4 or 8 bytes, over what is there. */
static void put_number(struct input *input)
{
    static const uint64_t edges[] = {0,         1,          2,          63,        64,        65,
                                     127,       128,        255,        1 << 16,   INT32_MAX, UINT32_MAX,
                                     INT64_MAX, UINT64_MAX, 1ull << 32, 1ull << 63};
    size_t n = (size_t)1 << below(4);
    uint64_t value = edges[below(sizeof edges / sizeof *edges)] + (next_random() % 8 == 0 ? next_random() % 4 : 0);
    if (input->size >= n)
        memcpy(input->data + below(input->size - n + 1), &value, n);
}

/* Takes n bytes away at `at` and puts those of another piece there. */
static void splice(struct input *input, size_t at, size_t n, const uint8_t *piece, size_t n_piece)
{
    size_t size = input->size - n + n_piece;
    if (size > MAX_BYTES)
        return;
    uint8_t *data = allocate(size);
    memcpy(data, input->data, at);
    memcpy(data + at, piece, n_piece);
    memcpy(data + at + n_piece, input->data + at + n, input->size - at - n);
    free(input->data);
    *input = (struct input){data, size};
}

static void mutate_once(struct input *input)
{
    const struct input *other = &seeds[below(n_seeds)];
    size_t at = below(input->size + 1), n = below(input->size - at + 1), from = below(other->size + 1);
    switch (below(8)) {
    case 0:
    case 1:
        if (input->size > 0)
            input->data[below(input->size)] ^= (uint8_t)(1 << below(8));
        break;
    case 2:
        if (input->size > 0)
            input->data[below(input->size)] = (uint8_t)next_random();
        break;
    case 3:
    case 4: put_number(input); break;
    case 5: splice(input, at, n % 65, input->data, 0); break;
    case 6: splice(input, at, below(2) ? n : 0, other->data + from, below(other->size - from + 1) % 300); break;
    default:
        if (below(4) == 0)
            splice(input, at, input->size - at, input->data, 0);
        else
            splice(input, at, 0, input->data + at, n % 65);
        break;
    }
}

static void mutate(const struct input *seed)
{
    struct input input = {allocate(seed->size), seed->size};
    memcpy(input.data, seed->data, seed->size);
    for (size_t i = 1 + below(6); i > 0; i--)
        mutate_once(&input);
    LLVMFuzzerTestOneInput(input.data, input.size);
    free(input.data);
}

int main(int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        read_seeds(argv[i]);
    if (n_seeds == 0) {
        fprintf(stderr, "usage: %s MUTATIONS SEED-FILE-OR-FOLDER...\n", argv[0]);
        return 2;
    }
    unsigned long n_mutations = strtoul(argv[1], NULL, 10);
    for (size_t i = 0; i < n_seeds; i++)
        LLVMFuzzerTestOneInput(seeds[i].data, seeds[i].size);
    for (unsigned long i = 0; i < n_mutations; i++)
        mutate(&seeds[i % n_seeds]);
    printf("%zu seeds, %lu mutations\n", n_seeds, n_mutations);
    for (size_t i = 0; i < n_seeds; i++)
        free(seeds[i].data);
    return 0;
}
