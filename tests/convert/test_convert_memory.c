/* Memory does not grow with the model: neither the one that is read nor the one that is written stays in it. */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/sys.h"
#include "convert_test.h"
#include "quire/verify.h"

/* Two chunks of 16 MiB, read and written, and what else a program has. */
enum { MOST_MIB = 64 };

static int sync_nothing(int fd)
{
    (void)fd;
    return 0;
}

static const char config_text[] =
    "{\"model_type\": \"mpt\", \"d_model\": 512, \"n_heads\": 8, \"n_layers\": 4, \"expansion_ratio\": 4,"
    " \"max_seq_len\": 64, \"vocab_size\": 32768, \"no_bias\": true, \"attn_config\": {\"alibi\": true}}";

/* 120 MB of zeros in f32, as a file with a hole. */
static void write_sparse(const char *folder)
{
    quire_config config = {.d_model = 512,
                           .n_heads = 8,
                           .kv_n_heads = 8,
                           .head_dim = 64,
                           .n_layers = 4,
                           .d_ff = 2048,
                           .max_seq_len = 64,
                           .vocab_size = 32768,
                           .no_bias = true,
                           .alibi = true,
                           .tie_word_embeddings = true};
    struct weight *weights;
    size_t n, at = 0;
    quire_error err = {0};
    char *header = NULL;
    uint64_t n_header;
    REQUIRE_OK(weights_list(&weights, &n, &config, &err));
    FILE *text = open_memstream(&header, &(size_t){0});
    for (size_t i = 0; i < n; i++) {
        size_t n_bytes = (size_t)weights[i].rows * weights[i].cols * sizeof(float);
        fprintf(text, "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? ',' : '{', weights[i].hf_name);
        if (!weights[i].is_vector)
            fprintf(text, "%u,", weights[i].rows);
        fprintf(text, "%u],\"data_offsets\":[%zu,%zu]}", weights[i].cols, at, at + n_bytes);
        at += n_bytes;
    }
    fputc('}', text);
    fclose(text);
    n_header = strlen(header);
    FILE *file = fopen(place_path(folder, "model.safetensors"), "w");
    fwrite(&n_header, sizeof n_header, 1, file);
    fwrite(header, 1, n_header, file);
    fflush(file);
    CHECK_EQ_INT(ftruncate(fileno(file), (off_t)(sizeof n_header + n_header + at)), 0);
    fclose(file);
    file = fopen(place_path(folder, "config.json"), "w");
    fputs(config_text, file);
    fclose(file);
    free(header);
    free(weights);
}

static void check_peak(uint64_t before, const char *what)
{
    uint64_t peak = sys_peak_resident_bytes();
    if (peak > before + ((uint64_t)MOST_MIB << 20))
        fprintf(stderr, "%s: a peak of %" PRIu64 " MiB, %" PRIu64 " before\n", what, peak >> 20, before >> 20);
    CHECK(peak <= before + ((uint64_t)MOST_MIB << 20));
}

static void models_pass_through(void)
{
    char folder[] = "/tmp/quire-test-XXXXXX";
    quire_error err = {0};
    if (!mkdtemp(folder))
        SKIP("/tmp cannot be written to");
    sys.fsync = sync_nothing; /* what is tried here does not depend on it */
    write_sparse(folder);
    quire_model *model = model_at(folder);
    uint64_t before = sys_peak_resident_bytes();
    CHECK(quire_model_weight_bytes(model) > (uint64_t)110 << 20);
    quire_convert_options options = type_options(QUIRE_DTYPE_BF16);
    options.n_threads = 2;
    CHECK_OK(quire_convert(model, place_path(folder, "m.gguf"), &options, &err));
    check_peak(before, "converting to bf16");
    unlink(place_path(folder, "m.gguf"));
    options.has_type = false;
    CHECK_OK(quire_convert(model, place_path(folder, "m.gguf"), &options, &err));
    check_peak(before, "copying");
    quire_model_close(model);
    quire_verify_result result;
    CHECK_OK(quire_verify(place_path(folder, "m.gguf"), 2, NULL, &result, &err));
    CHECK_EQ_INT(result.n_checksums_good, result.n_tensors);
    check_peak(before, "verifying");
    sys = sys_real;
    place_remove(strdup(folder));
}

static const struct test tests[] = {{"models_pass_through", models_pass_through}};
TEST_MAIN(tests)
