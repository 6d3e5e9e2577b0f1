/* What quire_verify finds, and that it finds nothing where nothing is wrong. */
#include "quire/verify.h"

#include <jansson.h>
#include <math.h>
#include <unistd.h>

#include "../model/torch_writer.h"
#include "convert_test.h"
#include "model/gguf_file.h"
#include "model/model.h"
#include "model/source.h"

struct seen {
    unsigned n[QUIRE_FINDING_TOKENIZER + 1], n_damage[QUIRE_FINDING_TOKENIZER + 1];
    unsigned n_obstacles; /* tensors whose data was not checked */
    char last[600];       /* message */
    char damaged[100];    /* the tensor of the last finding that is damage */
};

static void on_found(void *user, const quire_finding *finding)
{

    struct seen *seen = user;
    seen->n[finding->kind]++;
    seen->n_damage[finding->kind] += finding->is_damage;
    seen->n_obstacles += strstr(finding->message, "was not checked: it is a view") != NULL;
    snprintf(seen->last, sizeof seen->last, "%.599s", finding->message);
    if (finding->is_damage)
        snprintf(seen->damaged, sizeof seen->damaged, "%s", finding->tensor ? finding->tensor : "");
}

static struct seen look(const char *path, quire_status want, quire_verify_result *result)
{
    struct seen seen = {0};
    quire_error err = {0};
    quire_verify_watch watch = {on_found, NULL, &seen};
    quire_status status = quire_verify(path, 2, &watch, result, &err);
    CHECK_EQ_INT(status, want);
    if (status != want)
        fprintf(stderr, "%s: %s\n", path, err.message);
    return seen;
}

/* The test model in place/name; the options are of the type. */
static void write_model(struct made *made, const char *path, quire_dtype type)
{
    quire_error err = {0};
    quire_convert_options options = type_options(type);
    options.replaces = true;
    options.shard_bytes = 100000;
    REQUIRE_OK(model_writer_write(&made->content, path, &options, &err));
}

static void begin(char **place, struct made *made)
{
    quire_config config = made_config(64);
    *place = place_make();
    made_open(made, &config, TOKENIZER_DATA, 7);
}

static void end(char *place, struct made *made)
{
    made_close(made);
    place_remove(place);
}

static void sound_models_are_sound(void)
{
    static const quire_dtype types[] = {QUIRE_DTYPE_F32, QUIRE_DTYPE_BF16, QUIRE_DTYPE_Q4_0};
    struct made made;
    char *place;
    begin(&place, &made);
    for (int i = 0; i < 4; i++) {
        quire_verify_result result = {0};
        const char *path = place_path(place, i == 3 ? "folder" : "m.gguf");
        write_model(&made, path, types[i % 3]);
        struct seen seen = look(path, QUIRE_OK, &result);
        CHECK_EQ_INT(result.n_tensors, made.content.n_weights);
        CHECK_EQ_INT(result.n_checksums, made.content.n_weights);
        CHECK_EQ_INT(result.n_checksums_good, made.content.n_weights);
        CHECK_EQ_INT(result.n_damaged, 0);
        CHECK_EQ_INT(result.n_remarks, 1); /* rows beyond the vocabulary */
        CHECK_EQ_INT(seen.n[QUIRE_FINDING_TOKENIZER], 1);
    }
    end(place, &made);
}

/* The offset of a tensor's data in the file that has it. */
static long offset_of(const char *path, const char *name, char file[4096])
{
    quire_model *model = model_at(path);
    const struct model_source *source = model->source;
    const struct tensor *tensor = tensors_find(&source->tensors, name);
    long offset = 0;
    if (source->gguf)
        offset = (long)((const unsigned char *)tensor->data - source->gguf->map.data);
    snprintf(file, 4096, "%s", tensor->path);
    for (size_t i = 0; i < source->n_files; i++)
        if (strcmp(source->files[i].path, tensor->path) == 0)
            offset = (long)((const unsigned char *)tensor->data - source->files[i].map.data);
    quire_model_close(model);
    return offset;
}

static void flip(const char *file, long offset)
{
    FILE *f = fopen(file, "r+b");
    CHECK(f && fseek(f, offset, SEEK_SET) == 0);
    int byte = f ? fgetc(f) : 0;
    if (f) {
        fseek(f, offset, SEEK_SET);
        fputc(byte ^ 4, f);
        fclose(f);
    }
}

/* One bit of any tensor is found, and the tensor named; first and last byte of first and last tensor among them. */
static void every_damaged_tensor_is_named(void)
{
    struct made made;
    char *place, file[4096];
    begin(&place, &made);
    for (size_t i = 0; i < made.content.n_weights; i++)
        for (int is_folder = 0; is_folder < 2; is_folder++) {
            const char *path = place_path(place, is_folder ? "folder" : "m.gguf");
            const struct weight *weight = &made.weights[i];
            const char *name = is_folder ? weight->hf_name : weight->gguf_name;
            size_t n_bytes = (size_t)weight->rows * weight->cols * (is_folder || !weight->is_vector ? 2 : 4);
            quire_verify_result result = {0};
            write_model(&made, path, QUIRE_DTYPE_F16);
            flip(file, offset_of(path, name, file) + (long)(i % 2 ? 0 : n_bytes - 1));
            struct seen seen = look(path, QUIRE_OK, &result);
            CHECK_EQ_INT(seen.n_damage[QUIRE_FINDING_CHECKSUM], 1);
            CHECK_EQ_INT(result.n_damaged, 1);
            CHECK_EQ_INT(result.n_checksums_good, made.content.n_weights - 1);
            CHECK_EQ_STR(seen.damaged, name);
        }
    end(place, &made);
}

static void nan_and_infinity_are_counted(void)
{
    struct made made;
    char *place;
    quire_verify_result result = {0};
    begin(&place, &made);
    float *numbers = (float *)(uintptr_t)made.data[0].data;
    numbers[64 * 3 + 5] = NAN;
    numbers[64 * 4] = INFINITY;
    write_model(&made, place_path(place, "m.gguf"), QUIRE_DTYPE_BF16);
    struct seen seen = look(place_path(place, "m.gguf"), QUIRE_OK, &result);
    CHECK_EQ_INT(seen.n_damage[QUIRE_FINDING_NUMBERS], 1);
    CHECK_EQ_STR(seen.damaged, "token_embd.weight");
    CHECK_EQ_INT(result.n_damaged, 1);
    CHECK_EQ_INT(result.n_checksums_good, made.content.n_weights);
    end(place, &made);
}

static void missing_and_unused_tensors_are_listed(void)
{
    struct made made;
    char *place;
    quire_verify_result result = {0};
    begin(&place, &made);
    const char *path = place_path(place, "folder"), *config = place_path(place, "folder/config.json");
    write_model(&made, path, QUIRE_DTYPE_F32);
    json_t *root = json_load_file(config, 0, NULL);
    json_object_set_new(root, "n_layers", json_integer(3));
    json_dump_file(root, config, 0);
    struct seen seen = look(path, QUIRE_ERR_FORMAT, &result);
    CHECK_EQ_INT(seen.n_damage[QUIRE_FINDING_REFUSED], (made.content.n_weights - 4) / 2); /* all of one layer */
    CHECK(strstr(seen.last, "transformer.blocks.2.ffn.down_proj.bias") != NULL);
    json_object_set_new(root, "n_layers", json_integer(1));
    json_dump_file(root, config, 0);
    seen = look(path, QUIRE_OK, &result);
    CHECK_EQ_INT(seen.n[QUIRE_FINDING_UNUSED], (made.content.n_weights - 4) / 2);
    CHECK_EQ_INT(result.n_damaged, 0);
    json_decref(root);
    end(place, &made);
}

static void unsupported_fields_are_listed(void)
{
    struct made made;
    char *place;
    quire_verify_result result = {0};
    begin(&place, &made);
    const char *path = place_path(place, "folder"), *config = place_path(place, "folder/config.json");
    write_model(&made, path, QUIRE_DTYPE_F32);
    json_t *root = json_load_file(config, 0, NULL), *attention = json_object_get(root, "attn_config");
    json_object_set_new(attention, "rope", json_true());
    json_object_set_new(attention, "prefix_lm", json_true());
    json_object_set_new(root, "logit_scale", json_string("large"));
    json_object_set_new(root, "no_bias", json_string("yes"));
    json_dump_file(root, config, 0);
    struct seen seen = look(path, QUIRE_ERR_UNSUPPORTED, &result);
    CHECK_EQ_INT(seen.n_damage[QUIRE_FINDING_REFUSED], 4);
    CHECK(strstr(seen.last, "logit_scale") != NULL);
    json_decref(root);
    end(place, &made);
}

static void models_without_checksums_or_tokenizer(void)
{
    quire_verify_result result = {0};
    struct seen seen = look(QUIRE_SOURCE_DIR "/tests/golden/random-biases", QUIRE_OK, &result);
    CHECK_EQ_INT(seen.n[QUIRE_FINDING_CHECKSUM], 1);
    CHECK_EQ_INT(seen.n_damage[QUIRE_FINDING_CHECKSUM], 0);
    CHECK_EQ_INT(result.n_checksums, 0);
    CHECK_EQ_INT(seen.n_damage[QUIRE_FINDING_TOKENIZER], 1);
    CHECK_EQ_INT(result.n_damaged, 1);
    seen = look(QUIRE_SOURCE_DIR "/no-such-model", QUIRE_ERR_IO, &result);
    CHECK_EQ_INT(seen.n_damage[QUIRE_FINDING_REFUSED], 0);
}

/* A piece's text comes back, whatever is done to spaces; what no piece spells is lost, and no damage. */
static void sentencepiece_vocabularies_are_sound(void)
{
    static const char *const names[] = {"plain", "squeeze", "bytes", "code"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct made made;
        char source[4096];
        quire_error err = {0};
        quire_verify_result result = {0};
        quire_config config = made_config(32);
        quire_convert_options options = quire_convert_defaults();
        char *place = place_make();
        snprintf(source, sizeof source, QUIRE_SOURCE_DIR "/tests/tokenizer/data/spiece/%s.model", names[i]);
        made_open(&made, &config, source, 8);
        made.content.tokenizer = NULL;
        const char *folder = place_path(place, "folder");
        REQUIRE_OK(model_writer_write(&made.content, folder, &options, &err));
        struct bytes spiece = file_read(source);
        file_write(folder, "spiece.model", spiece.data, spiece.n);
        struct seen seen = look(folder, QUIRE_OK, &result);
        CHECK_EQ_INT(result.n_damaged, 0);
        CHECK(seen.n[QUIRE_FINDING_TOKENIZER] >= 1);
        bytes_release(&spiece);
        end(place, &made);
    }
}

/* Two numbers as the writer of pickles has them. */
static void put_pair(unsigned char pair[20], uint64_t first, uint64_t second)
{
    static const unsigned char code[2] = {0x8A, 8};
    memcpy(pair, code, 2);
    memcpy(pair + 2, &first, 8);
    memcpy(pair + 10, code, 2);
    memcpy(pair + 12, &second, 8);
}

/* The model's weights as torch.save writes them, and beside them a shard with views. A matrix that is named, d_model
 * squared, is the transpose of what lies in its storage; n_more names that no model has share the first weight's. */
static void write_torch(const struct made *made, const char *folder, const char *transposed, size_t n_more)
{
    size_t n = made->content.n_weights, d = made->config.d_model;
    struct torch_tensor *tensors = calloc(n + n_more, sizeof *tensors);
    char(*names)[16] = calloc(n_more + 1, sizeof *names);
    json_t *map = json_pack("{s:s}", "transposed", "views.bin");
    for (size_t i = 0; i < n; i++) {
        const struct weight *weight = &made->weights[i];
        tensors[i] = (struct torch_tensor){.name = weight->hf_name,
                                           .storage = "FloatStorage",
                                           .n_dims = weight->is_vector ? 1 : 2,
                                           .dims = {weight->is_vector ? weight->cols : weight->rows, weight->cols},
                                           .data = made->data[i].data,
                                           .n_bytes = (size_t)weight->rows * weight->cols * sizeof(float)};
        json_object_set_new(map, weight->hf_name, json_string("weights.bin"));
    }
    for (size_t i = 0; i < n_more; i++) {
        snprintf(names[i], sizeof names[i], "more.%zu", i);
        tensors[n + i] = tensors[0];
        tensors[n + i].name = names[i];
        tensors[n + i].shares = 1;
        json_object_set_new(map, names[i], json_string("weights.bin"));
    }
    n += n_more;
    struct bytes pickle = torch_pickle(tensors, n);
    if (transposed) {
        unsigned char strides[20];
        unsigned char *name = memmem(pickle.data, pickle.n, transposed, strlen(transposed)), *at = NULL;
        put_pair(strides, d, 1);
        if (name)
            at = memmem(name, (size_t)(pickle.data + pickle.n - name), strides, sizeof strides);
        CHECK(at != NULL);
        if (at)
            put_pair(at, 1, d);
    }
    struct bytes weights = torch_archive(pickle, tensors, n);
    struct bytes views = file_read(QUIRE_SOURCE_DIR "/tests/model/data/torch-2.15-views.bin");
    json_t *root = json_pack("{s:{},s:o}", "metadata", "weight_map", map);
    char *index = json_dumps(root, 0);
    file_write(folder, "weights.bin", weights.data, weights.n);
    file_write(folder, "views.bin", views.data, views.n);
    file_write(folder, "pytorch_model.bin.index.json", index, strlen(index));
    free(index);
    json_decref(root);
    bytes_release(&views);
    bytes_release(&weights);
    free(names);
    free(tensors);
}

/* A folder of the model without its weights, which write_torch brings. */
static const char *write_folder_for_torch(const struct made *made, const char *place)
{
    quire_error err = {0};
    quire_convert_options options = quire_convert_defaults();
    const char *folder = place_path(place, "folder");
    REQUIRE_OK(model_writer_write(&made->content, folder, &options, &err));
    CHECK(unlink(place_path(place, "folder/model.safetensors")) == 0);
    return folder;
}

/* A tensor that is a view and no part of the model is told and left; one that the model needs is a reason to stop. */
static void views_are_told_or_refused(void)
{
    static const char needed[] = "transformer.blocks.1.attn.out_proj.weight";
    struct made made;
    char *place;
    quire_error err = {0};
    quire_verify_result result = {0};
    begin(&place, &made);
    const char *folder = write_folder_for_torch(&made, place), *written = place_path(place, "written");
    write_torch(&made, folder, NULL, 0);
    struct seen seen = look(folder, QUIRE_OK, &result);
    CHECK_EQ_INT(result.n_damaged, 0);
    CHECK_EQ_INT(seen.n_obstacles, 3);
    convert(folder, written, NULL);
    CHECK(access(place_path(place, "written/model.safetensors"), R_OK) == 0);
    seen = look(written, QUIRE_OK, &result);
    CHECK_EQ_INT(result.n_tensors, made.content.n_weights);
    CHECK_EQ_INT(seen.n[QUIRE_FINDING_UNUSED], 0);

    write_torch(&made, folder, needed, 0);
    seen = look(folder, QUIRE_ERR_UNSUPPORTED, &result);
    CHECK_EQ_INT(seen.n_damage[QUIRE_FINDING_REFUSED], 1);
    CHECK(strstr(seen.last, needed) && strstr(seen.last, "view"));
    quire_model *model = NULL;
    CHECK_EQ_INT(quire_model_open(&model, folder, &err), QUIRE_ERR_UNSUPPORTED);
    CHECK(strstr(err.message, needed) && strstr(err.message, "contiguous()"));
    end(place, &made);
}

/* Names take no bytes: what is looked at is no more than the files. */
static void shared_bytes_are_not_read_for_each_name(void)
{
    struct made made;
    char *place;
    quire_verify_result result = {0};
    begin(&place, &made);
    const char *folder = write_folder_for_torch(&made, place);
    write_torch(&made, folder, NULL, 400);
    struct seen seen = look(folder, QUIRE_OK, &result);
    struct stat st, views;
    CHECK(stat(place_path(place, "folder/weights.bin"), &st) == 0);
    CHECK(stat(place_path(place, "folder/views.bin"), &views) == 0);
    CHECK(result.n_bytes <= (uint64_t)st.st_size + (uint64_t)views.st_size);
    CHECK(result.n_tensors >= made.content.n_weights);
    CHECK_EQ_INT(result.n_damaged, 0);
    CHECK(seen.n[QUIRE_FINDING_UNUSED] > 400); /* each is told, and that they were not all looked at */
    end(place, &made);
}

static const struct test tests[] = {
    {"sound_models_are_sound", sound_models_are_sound},
    {"every_damaged_tensor_is_named", every_damaged_tensor_is_named},
    {"nan_and_infinity_are_counted", nan_and_infinity_are_counted},
    {"missing_and_unused_tensors_are_listed", missing_and_unused_tensors_are_listed},
    {"unsupported_fields_are_listed", unsupported_fields_are_listed},
    {"models_without_checksums_or_tokenizer", models_without_checksums_or_tokenizer},
    {"sentencepiece_vocabularies_are_sound", sentencepiece_vocabularies_are_sound},
    {"shared_bytes_are_not_read_for_each_name", shared_bytes_are_not_read_for_each_name},
    {"views_are_told_or_refused", views_are_told_or_refused},
};
TEST_MAIN(tests)
