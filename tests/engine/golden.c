#include "golden.h"

#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "test.h"

const char *golden_path(const char *name, const char *file)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/tests/golden/%s%s%s", QUIRE_SOURCE_DIR, name, *file ? "/" : "", file);
    return path;
}

double *golden_numbers(const char *name, const char *file, size_t *n)
{
    FILE *f = fopen(golden_path(name, file), "re");
    double *numbers = NULL, value;
    size_t count = 0, capacity = 0;
    while (f && fscanf(f, "%lf", &value) == 1) {
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 256;
            numbers = realloc(numbers, capacity * sizeof *numbers);
        }
        numbers[count++] = value;
    }
    if (count == 0) {
        fprintf(stderr, "no numbers in '%s'\n", golden_path(name, file));
        exit(1);
    }
    fclose(f);
    *n = count;
    return numbers;
}

int32_t *golden_tokens(const char *name, size_t *n)
{
    double *numbers = golden_numbers(name, "tokens.txt", n);
    int32_t *ids = malloc(*n * sizeof *ids);
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)numbers[i];
    free(numbers);
    return ids;
}

quire_model *golden_model(const char *name)
{
    quire_error err = {0};
    quire_model *model;
    bool is_gguf = access(golden_path(name, "model.gguf"), F_OK) == 0;
    REQUIRE_OK(quire_model_open(&model, golden_path(name, is_gguf ? "model.gguf" : ""), &err));
    return model;
}

static void take_logprobs(void *user, uint64_t first, const int32_t *ids, const float *logprobs, size_t n)
{
    struct reading *reading = user;
    (void)ids;
    for (size_t i = 0; i < n; i++) {
        CHECK(first + i < reading->n && isnan(reading->logprobs[first + i])); /* each position once */
        reading->logprobs[first + i] = logprobs[i];
    }
}

struct reading read_ids(const quire_model *model, const quire_engine_options *opts, const int32_t *ids, size_t n)
{
    quire_error err = {0};
    quire_engine_options own = *opts;
    struct reading reading = {.n = n, .logprobs = malloc(n * sizeof(float))};
    size_t vocab_size = quire_model_config(model)->vocab_size;
    for (size_t i = 0; i < n; i++)
        reading.logprobs[i] = NAN;
    own.logprobs = take_logprobs;
    own.user = &reading;
    quire_engine *engine;
    quire_book *book;
    REQUIRE_OK(quire_engine_open(&engine, model, &own, &err));
    REQUIRE_OK(quire_book_open(&book, engine, &err));
    REQUIRE_OK(quire_book_read(book, ids, n, 0, &err));
    reading.logits = malloc(vocab_size * sizeof(float));
    memcpy(reading.logits, quire_book_logits(book), vocab_size * sizeof(float));
    reading.n_reused = quire_book_n_reused(book);
    quire_book_close(book);
    quire_engine_close(engine);
    return reading;
}

void reading_release(struct reading *reading)
{
    free(reading->logprobs);
    free(reading->logits);
}

int32_t *random_ids(size_t n, uint32_t vocab_size, uint64_t seed)
{
    int32_t *ids = malloc(n * sizeof *ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)(test_random(&seed) % vocab_size);
    return ids;
}

void make_folder(char path[64])
{
    strcpy(path, "/tmp/quire-test-XXXXXX");
    if (!mkdtemp(path))
        exit(1);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)st;
    (void)kind;
    (void)place;
    return remove(path);
}

void remove_folder(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *float32_isa(void)
{
    const char *name = NULL;
    const struct kernels *kernels;
    int runs;
    for (size_t i = 0; (kernels = kernels_at(i, &runs)) != NULL; i++)
        if (runs && kernels->gemm == kernels->gemm_exact)
            name = kernels->name;
    return name;
}
