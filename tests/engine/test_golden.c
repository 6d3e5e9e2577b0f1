/* What small models compute, against MosaicML's own numbers and an independent float64 reference (tests/golden). */
#include <dirent.h>

#include "golden.h"
#include "golden_types.h"
#include "test.h"

static const double TOLERANCE = 1e-4;

/* Decode, and the head after prefill's last token, take activations in 16-bit fixed point to weights that are small
 * integers: within 2^-16 of a block's largest. So an error is in proportion to the logits, which are large here (the
 * models of 32 channels have one block, with no others to even it out). */
static double tolerance_of(const char *name, double want)
{
    bool is_fixed = strstr(name, "-q4_0") || strstr(name, "-q8_0") || strncmp(name, "types-", 6) == 0;
    return is_fixed ? 5e-5 * fmax(20, fabs(want)) : TOLERANCE;
}

static quire_engine_options options(void)
{
    quire_engine_options opts = quire_engine_defaults();
    opts.kv_type = QUIRE_KV_F32;
    opts.isa = float32_isa();
    return opts;
}

/* Prefill: the log-probability of every token and the last logits. */
static void check_prefill(const char *name, const quire_model *model, const char *isa)
{
    size_t n, n_want, n_logits;
    int32_t *ids = golden_tokens(name, &n);
    double *want = golden_numbers(name, "logprobs.txt", &n_want);
    double *logits = golden_numbers(name, "logits.txt", &n_logits);
    quire_engine_options opts = options();
    if (isa)
        opts.isa = isa;
    struct reading got = read_ids(model, &opts, ids, n);
    CHECK_EQ_INT(n_want, n - 1);
    for (size_t i = 1; i < n; i++)
        CHECK_NEAR((double)got.logprobs[i], want[i - 1], TOLERANCE);
    CHECK_EQ_INT(n_logits, quire_model_config(model)->vocab_size);
    for (size_t i = 0; i < n_logits; i++)
        CHECK_NEAR((double)got.logits[i], logits[i], tolerance_of(name, logits[i]));
    reading_release(&got);
    free(ids);
    free(want);
    free(logits);
}

static double logprob_of(const float *logits, size_t n, int32_t id)
{
    double largest = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, (double)logits[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - largest);
    return (double)logits[id] - largest - log(sum);
}

/* Decode: a few tokens are read, the others appended one by one. */
static void check_decode(const char *name, const quire_model *model, const char *isa)
{
    quire_error err = {0};
    quire_engine_options opts = options();
    quire_engine *engine;
    quire_book *book;
    opts.isa = isa ? isa : opts.isa;
    size_t n, n_want, n_read = 5;
    int32_t *ids = golden_tokens(name, &n);
    double *want = golden_numbers(name, "logprobs.txt", &n_want);
    REQUIRE_OK(quire_engine_open(&engine, model, &opts, &err));
    REQUIRE_OK(quire_book_open(&book, engine, &err));
    REQUIRE_OK(quire_book_read(book, ids, n_read, n - n_read, &err));
    for (size_t i = n_read; i < n; i++) {
        CHECK_NEAR(logprob_of(quire_book_logits(book), quire_model_config(model)->vocab_size, ids[i]), want[i - 1],
                   tolerance_of(name, want[i - 1]));
        REQUIRE_OK(quire_book_append(book, ids[i], &err));
    }
    CHECK_EQ_INT(quire_book_n_tokens(book), n);
    CHECK_EQ_INT(quire_book_append(book, 0, &err), QUIRE_ERR_USAGE);
    quire_book_close(book);
    quire_engine_close(engine);
    free(ids);
    free(want);
}

static size_t for_all_folders(const char *prefix, const char *isa)
{
    DIR *folder = opendir(golden_path("", ""));
    struct dirent *entry;
    size_t n_seen = 0;
    while (folder && (entry = readdir(folder)) != NULL) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        int n_failed_before = test_n_failed_checks;
        quire_model *model = golden_model(entry->d_name);
        check_prefill(entry->d_name, model, isa);
        check_decode(entry->d_name, model, isa);
        quire_model_close(model);
        n_seen++;
        if (test_n_failed_checks > n_failed_before)
            fprintf(stderr, "in %s\n", entry->d_name);
    }
    closedir(folder);
    return n_seen;
}

static void mosaic(void)
{
    CHECK_EQ_INT(for_all_folders("mosaic-", NULL), 9);
}

static void mosaic_reference_kernels(void)
{
    CHECK_EQ_INT(for_all_folders("mosaic-", "ref"), 9);
}

static void mosaic_base_kernels(void)
{
    CHECK_EQ_INT(for_all_folders("mosaic-", "base"), 9);
}

static void random_models(void)
{
    CHECK(for_all_folders("random-", NULL) >= 19);
}

static void random_models_reference_kernels(void)
{
    CHECK(for_all_folders("random-", "ref") >= 19);
}

/* Checkpoints that HuggingFace transformers wrote, and what it computed with them (tests/parity). */
static void huggingface(void)
{
    CHECK_EQ_INT(for_all_folders("hf-", NULL), 4);
}

static void gguf_types(void)
{
    CHECK(for_all_folders("gguf-", NULL) >= 10);
}

/* Whatever goes together through the layers, and on how many threads: the same bits. */
static void check_independence(const char *name, const quire_model *model)
{
    size_t n;
    int32_t *ids = golden_tokens(name, &n);
    quire_engine_options opts = quire_engine_defaults();
    struct reading want = read_ids(model, &opts, ids, n);
    opts.chunk_tokens = 7;
    opts.span_tokens = 50;
    opts.n_threads = 3;
    struct reading got = read_ids(model, &opts, ids, n);
    CHECK_EQ_INT(memcmp(got.logprobs + 1, want.logprobs + 1, (n - 1) * sizeof *want.logprobs), 0);
    CHECK_EQ_INT(memcmp(got.logits, want.logits, quire_model_config(model)->vocab_size * sizeof *want.logits), 0);
    reading_release(&want);
    reading_release(&got);
    free(ids);
}

static void check_types(const char *isa)
{
    static const char *const names[] = {"types-q8_0",   "types-q4_0",   "types-q4_1",   "types-q5_0",  "types-q5_1",
                                        "types-q2_k",   "types-q3_k",   "types-q4_k",   "types-q5_k",  "types-q6_k",
                                        "types-iq4_nl", "types-iq4_xs", "types-q4_k_m", "types-q3_k_l"};
    char folder[64], path[96];
    make_folder(folder);
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int n_failed_before = test_n_failed_checks;
        quire_error err = {0};
        quire_model *model;
        golden_write_types(path, names[i]);
        REQUIRE_OK(quire_model_open(&model, path, &err));
        check_prefill(names[i], model, isa);
        check_decode(names[i], model, isa);
        if (!isa)
            check_independence(names[i], model);
        quire_model_close(model);
        if (test_n_failed_checks > n_failed_before)
            fprintf(stderr, "in %s\n", names[i]);
    }
    remove_folder(folder);
}

/* Every block type, and mixes of them as llama-quantize makes them. */
static void block_types(void)
{
    check_types(NULL);
}

static void block_types_base_kernels(void)
{
    check_types("base");
}

static const struct test tests[] = {
    {"mosaic", mosaic},
    {"mosaic_reference_kernels", mosaic_reference_kernels},
    {"mosaic_base_kernels", mosaic_base_kernels},
    {"random_models", random_models},
    {"random_models_reference_kernels", random_models_reference_kernels},
    {"huggingface", huggingface},
    {"gguf_types", gguf_types},
    {"block_types", block_types},
    {"block_types_base_kernels", block_types_base_kernels},
};

TEST_MAIN(tests)
