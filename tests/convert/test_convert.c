/* Models go from each format to each, and nothing is lost on the way; what is in the way is not overwritten. */
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/blocks.h"
#include "base/bytes.h"
#include "convert_test.h"
#include "model/gguf.h"
#include "model/model.h"

static const quire_dtype plain_types[] = {QUIRE_DTYPE_F32, QUIRE_DTYPE_F16, QUIRE_DTYPE_BF16};

/* --- round trips -------------------------------------------------------------------------------------------------- */

/* Every configuration of the family: folder, GGUF, folder, in each type that both have; and folder to folder. */
static void folder_to_gguf_and_back(void)
{
    static const char *const names[] = {"random-alibi-16-clip",
                                        "random-biases",
                                        "random-heads-12-single",
                                        "random-heads-6-grouped",
                                        "random-learned-positions",
                                        "random-logit-scale-name",
                                        "random-mosaic-gpt",
                                        "random-no-positions",
                                        "random-qk-ln",
                                        "random-qk-ln-grouped-biases",
                                        "random-rmsnorm",
                                        "random-sharded",
                                        "random-softmax-scale-ratio-3",
                                        "random-untied"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (size_t t = 0; t < sizeof plain_types / sizeof plain_types[0]; t++) {
            quire_convert_options options = type_options(plain_types[t]);
            char *place = place_make(), golden[4096];
            snprintf(golden, sizeof golden, "%s/tests/golden/%s", QUIRE_SOURCE_DIR, names[i]);
            convert(golden, place_path(place, "first"), &options);
            if (plain_types[t] == QUIRE_DTYPE_F32) /* holds whatever the others do */
                CHECK(is_same(golden, place_path(place, "first"), false));
            convert(place_path(place, "first"), place_path(place, "a.gguf"), NULL);
            convert(place_path(place, "a.gguf"), place_path(place, "b.gguf"), NULL);
            convert(place_path(place, "b.gguf"), place_path(place, "second"), NULL);
            CHECK(is_same(place_path(place, "first"), place_path(place, "a.gguf"), true));
            CHECK(is_same(place_path(place, "a.gguf"), place_path(place, "b.gguf"), true));
            CHECK(is_same(place_path(place, "first"), place_path(place, "second"), true));
            CHECK_EQ_INT(place_count(place), 4);
            place_remove(place);
        }
}

/* Quantised matrices pass from GGUF to GGUF as they are, and to a folder as the numbers that they stand for. */
static void quantised_as_they_are(void)
{
    static const char *const names[] = {"gguf-everything-q4_0", "gguf-everything-q8_0", "gguf-head-dim-112-q4_0"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *place = place_make(), golden[4096];
        snprintf(golden, sizeof golden, "%s/tests/golden/%s/model.gguf", QUIRE_SOURCE_DIR, names[i]);
        convert(golden, place_path(place, "a.gguf"), NULL);
        convert(golden, place_path(place, "folder"), NULL);
        CHECK(is_same(golden, place_path(place, "a.gguf"), true));
        CHECK(is_same(golden, place_path(place, "folder"), false));
        place_remove(place);
    }
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

/* Every matrix is what base/blocks.h makes of it, whatever the threads; vectors stay f32. */
static void matrices_are_packed_as_asked(void)
{
    static const quire_dtype types[] = {QUIRE_DTYPE_F32,  QUIRE_DTYPE_F16,  QUIRE_DTYPE_BF16, QUIRE_DTYPE_Q8_0,
                                        QUIRE_DTYPE_Q4_0, QUIRE_DTYPE_Q4_K, QUIRE_DTYPE_Q6_K};
    struct made made;
    quire_error err = {0};
    quire_config config = made_config(256);
    made_open(&made, &config, TOKENIZER_DATA, 1);
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        char *place = place_make();
        quire_convert_options options = type_options(types[t]);
        options.n_threads = 1 + (uint32_t)t % 3;
        REQUIRE_OK(model_writer_write(&made.content, place_path(place, "m.gguf"), &options, &err));
        quire_model *model = model_at(place_path(place, "m.gguf"));
        struct weight *weights;
        size_t n;
        REQUIRE_OK(weights_list_of(&weights, &n, model, &err));
        CHECK_EQ_INT(n, made.content.n_weights);
        for (size_t i = 0; i < n; i++) {
            const struct tensor *tensor = weights[i].tensor;
            size_t n_numbers = (size_t)weights[i].rows * weights[i].cols;
            unsigned char *packed = malloc(n_numbers * sizeof(float));
            quire_dtype type = weights[i].is_vector ? QUIRE_DTYPE_F32 : types[t];
            CHECK(blocks_pack(type, packed, made.data[i].data, n_numbers));
            CHECK_EQ_INT(tensor->type, type);
            CHECK(memcmp(tensor->data, packed, tensor->n_bytes) == 0);
            free(packed);
        }
        free(weights);
        quire_model_close(model);
        place_remove(place);
    }
    made_close(&made);
}

static unsigned n_notices;

static void count_notice(void *user, const char *text)
{
    (void)user;
    n_notices += strstr(text, "whole blocks") != NULL;
}

/* Rows of 96 are no whole blocks of 256. */
static void rows_that_do_not_fit_get_a_finer_type(void)
{
    struct made made;
    quire_error err = {0};
    char *place = place_make();
    quire_config config = made_config(96);
    made_open(&made, &config, TOKENIZER_DATA, 2);
    quire_convert_options options = type_options(QUIRE_DTYPE_Q4_K);
    options.notice = count_notice;
    n_notices = 0;
    REQUIRE_OK(model_writer_write(&made.content, place_path(place, "m.gguf"), &options, &err));
    CHECK_EQ_INT(n_notices, 1);
    quire_model *model = model_at(place_path(place, "m.gguf"));
    CHECK_EQ_INT(model->wte.type, QUIRE_DTYPE_Q8_0);
    quire_model_close(model);
    made_close(&made);
    place_remove(place);
}

static void number_without_a_place(void)
{
    struct made made;
    char *place = place_make();
    quire_config config = made_config(64);
    made_open(&made, &config, TOKENIZER_DATA, 3);
    ((float *)(uintptr_t)made.data[0].data)[77] = 1e6f;
    for (int is_folder = 0; is_folder < 2; is_folder++) {
        quire_error err = {0};
        quire_convert_options options = type_options(QUIRE_DTYPE_F16);
        CHECK_EQ_INT(model_writer_write(&made.content, place_path(place, is_folder ? "m" : "m.gguf"), &options, &err),
                     QUIRE_ERR_NUMERIC);
        CHECK_MESSAGE(err, is_folder ? made.weights[0].hf_name : made.weights[0].gguf_name);
        CHECK_MESSAGE(err, "f16");
        CHECK_EQ_INT(place_count(place), 0);
    }
    made_close(&made);
    place_remove(place);
}

static void types_that_a_folder_or_this_build_lacks(void)
{
    char *place = place_make();
    quire_model *model = model_at(QUIRE_SOURCE_DIR "/tests/golden/random-biases");
    quire_error err = {0};
    quire_convert_options options = type_options(QUIRE_DTYPE_Q8_0);
    CHECK_EQ_INT(quire_convert(model, place_path(place, "folder"), &options, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "f32, f16 or bf16");
    quire_error_clear(&err);
    options = type_options(QUIRE_DTYPE_Q5_0);
    CHECK_EQ_INT(quire_convert(model, place_path(place, "m.gguf"), &options, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "q5_0");
    CHECK_EQ_INT(place_count(place), 0);
    quire_model_close(model);
    place_remove(place);
}

/* --- shards ------------------------------------------------------------------------------------------------------- */

static void shards_with_an_index(void)
{
    struct made made;
    struct stat st;
    quire_error err = {0};
    char *place = place_make(), name[64];
    quire_config config = made_config(64);
    made_open(&made, &config, TOKENIZER_DATA, 4);
    quire_convert_options options = type_options(QUIRE_DTYPE_BF16);
    REQUIRE_OK(model_writer_write(&made.content, place_path(place, "whole"), &options, &err));
    options.shard_bytes = 100000;
    REQUIRE_OK(model_writer_write(&made.content, place_path(place, "cut"), &options, &err));
    CHECK(stat(place_path(place, "cut/model.safetensors.index.json"), &st) == 0);
    CHECK(stat(place_path(place, "cut/model.safetensors"), &st) != 0);
    size_t n_shards = place_count(place_path(place, "cut")) - place_count(place_path(place, "whole"));
    CHECK(n_shards >= 3); /* a shard instead of the one file, and the index */
    for (size_t i = 1; i <= n_shards; i++) {
        snprintf(name, sizeof name, "cut/model-%05zu-of-%05zu.safetensors", i, n_shards);
        CHECK(stat(place_path(place, name), &st) == 0 && st.st_size < 105000);
    }
    CHECK(is_same(place_path(place, "whole"), place_path(place, "cut"), true));
    made_close(&made);
    place_remove(place);
}

/* --- what else is known of a model -------------------------------------------------------------------------------- */

static void name_format_template_and_ids_go_along(void)
{
    struct made made;
    quire_error err = {0};
    char *place = place_make();
    quire_config config = made_config(64);
    made_open(&made, &config, TOKENIZER_DATA, 5);
    made.about.chat_template = strdup("{% for m in messages %}\xE2\x98\x83 \"{{ m }}\"{% endfor %}");
    made.about.padding = 1;
    made.about.begin = -1;
    quire_convert_options options = quire_convert_defaults();
    REQUIRE_OK(model_writer_write(&made.content, place_path(place, "a"), &options, &err));
    convert(place_path(place, "a"), place_path(place, "b.gguf"), NULL);
    convert(place_path(place, "b.gguf"), place_path(place, "c"), NULL);
    static const char *const outputs[] = {"a", "b.gguf", "c"};
    for (size_t i = 0; i < 3; i++) {
        struct about about;
        quire_model *model = model_at(place_path(place, outputs[i]));
        REQUIRE_OK(about_of_model(&about, model, made.tokenizer, &err));
        CHECK_EQ_STR(about.name, "test-model");
        CHECK_EQ_INT(about.prompt_format, QUIRE_PROMPT_INSTRUCT);
        CHECK(about.chat_template && strcmp(about.chat_template, made.about.chat_template) == 0);
        CHECK_EQ_INT(about.end, made.about.end);
        CHECK_EQ_INT(about.padding, 1);
        about_release(&about);
        quire_model_close(model);
    }
    made_close(&made);
    place_remove(place);
}

/* A model with its tokenizer, and the folder "a" that it was written to in a new place. */
static char *write_folder(struct made *made)
{
    quire_error err = {0};
    char *place = place_make();
    quire_config config = made_config(64);
    quire_convert_options options = quire_convert_defaults();
    made_open(made, &config, TOKENIZER_DATA, 5);
    REQUIRE_OK(model_writer_write(&made->content, place_path(place, "a"), &options, &err));
    return place;
}

/* A length without a limit is 10^30 to HuggingFace, which is no 64-bit number. And a token of any name may end a text.
 */
static void settings_of_others_are_read(void)
{
    struct made made;
    quire_error err = {0};
    char *place = write_folder(&made);
    json_t *root = json_load_file(place_path(place, "a/tokenizer.json"), 0, NULL), *token;
    size_t i;
    json_array_foreach(json_object_get(root, "added_tokens"), i, token)
    {
        if (strcmp(json_string_value(json_object_get(token, "content")), "<|endoftext|>") == 0)
            json_object_set_new(token, "content", json_string("</s>"));
    }
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    json_t *id = json_incref(json_object_get(vocab, "<|endoftext|>"));
    json_object_del(vocab, "<|endoftext|>");
    if (id)
        json_object_set_new(vocab, "</s>", id);
    CHECK(json_dump_file(root, place_path(place, "a/tokenizer.json"), 0) == 0);
    json_decref(root);
    FILE *f = fopen(place_path(place, "a/tokenizer_config.json"), "w");
    fputs("{\"model_max_length\": 1000000000000000019884624838656, \"eos_token\": \"</s>\"}", f);
    fclose(f);
    convert(place_path(place, "a"), place_path(place, "b.gguf"), NULL);
    quire_tokenizer *folder, *gguf;
    REQUIRE_OK(quire_tokenizer_open_path(&folder, place_path(place, "a"), &err));
    REQUIRE_OK(quire_tokenizer_open_path(&gguf, place_path(place, "b.gguf"), &err));
    CHECK(quire_tokenizer_end_of_text(folder) >= 0);
    CHECK_EQ_INT(quire_tokenizer_end_of_text(folder), quire_tokenizer_find(folder, "</s>"));
    CHECK_EQ_INT(quire_tokenizer_end_of_text(gguf), quire_tokenizer_end_of_text(folder));
    quire_tokenizer_close(folder);
    quire_tokenizer_close(gguf);
    made_close(&made);
    place_remove(place);
}

/* Ids in config.json may be a library's defaults: they count where they are special tokens of the tokenizer. */
static void ids_that_are_no_tokens_say_nothing(void)
{
    struct made made;
    struct about about;
    quire_error err = {0};
    char *place = write_folder(&made);
    static const char *const others[] = {"a/generation_config.json", "a/special_tokens_map.json",
                                         "a/tokenizer_config.json"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        CHECK(unlink(place_path(place, others[i])) == 0);
    json_t *root = json_load_file(place_path(place, "a/config.json"), 0, NULL);
    json_object_set_new(root, "eos_token_id", json_integer(99999));
    json_object_set_new(root, "bos_token_id", json_integer(5));
    CHECK(json_dump_file(root, place_path(place, "a/config.json"), 0) == 0);
    json_decref(root);
    quire_model *model = model_at(place_path(place, "a"));
    REQUIRE_OK(about_of_model(&about, model, made.tokenizer, &err));
    CHECK_EQ_INT(about.end, quire_tokenizer_end_of_text(made.tokenizer));
    CHECK_EQ_INT(about.begin, quire_tokenizer_end_of_text(made.tokenizer));
    about_release(&about);
    quire_model_close(model);
    made_close(&made);
    place_remove(place);
}

/* Norms and biases in float32 beside matrices in half precision: without a type nothing is rounded. */
static void vectors_stay_as_they_are(void)
{
    struct made made;
    quire_error err = {0};
    char *place = place_make();
    quire_config config = made_config(64);
    quire_convert_options options = type_options(QUIRE_DTYPE_F16);
    made_open(&made, &config, TOKENIZER_DATA, 6);
    REQUIRE_OK(model_writer_write(&made.content, place_path(place, "a.gguf"), &options, &err));
    convert(place_path(place, "a.gguf"), place_path(place, "b"), NULL);
    convert(place_path(place, "b"), place_path(place, "c"), NULL);
    CHECK(is_same(place_path(place, "a.gguf"), place_path(place, "c"), true));
    made_close(&made);
    place_remove(place);
}

/* A chat model ends its turns with a token of its own, which HuggingFace's generation has to know. */
static void chat_models_end_their_turns(void)
{
    struct made made;
    quire_error err = {0};
    char *place = place_make();
    quire_config config = made_config(64);
    quire_convert_options options = quire_convert_defaults();
    made_open(&made, &config, TOKENIZER_DATA, 8);
    made.about.prompt_format = QUIRE_PROMPT_CHATML;
    REQUIRE_OK(model_writer_write(&made.content, place_path(place, "a"), &options, &err));
    json_t *root = json_load_file(place_path(place, "a/generation_config.json"), 0, NULL);
    const json_t *ends = json_object_get(root, "eos_token_id");
    CHECK_EQ_INT(json_array_size(ends), 2);
    CHECK_EQ_INT(json_integer_value(json_array_get(ends, 0)), made.about.end);
    CHECK_EQ_INT(json_integer_value(json_array_get(ends, 1)), quire_tokenizer_find(made.tokenizer, "<|im_end|>"));
    json_decref(root);
    made_close(&made);
    place_remove(place);
}

/* What a GGUF says beside what is written anew; the file type follows the type. */
static void other_keys_are_kept(void)
{
    char *place = place_make();
    quire_error err = {0};
    quire_convert_options to_f16 = type_options(QUIRE_DTYPE_F16);
    for (int i = 0; i < 2; i++) {
        const char *out = place_path(place, i ? "b.gguf" : "a.gguf");
        convert(QUIRE_SOURCE_DIR "/models/storyteller-7m/storyteller.gguf", out, i ? &to_f16 : NULL);
        struct gguf *gguf;
        struct gguf_string license = {0};
        uint32_t type = 0;
        bool found = false;
        REQUIRE_OK(gguf_open(&gguf, out, &err));
        CHECK_OK(gguf_get_string(gguf, "general.license", &license, &found, &err));
        CHECK(found && license.n == 10 && memcmp(license.bytes, "Apache-2.0", 10) == 0);
        CHECK_OK(gguf_get_u32(gguf, "general.file_type", &type, &found, &err));
        CHECK_EQ_INT(type, i ? 1 : 7);
        gguf_close(gguf);
    }
    CHECK(is_same(QUIRE_SOURCE_DIR "/models/storyteller-7m/storyteller.gguf", place_path(place, "a.gguf"), true));
    place_remove(place);
}

/* Files of a folder that are neither configuration nor weights, and fields that mean nothing to what is computed. */
static void other_files_and_fields_are_kept(void)
{
    char *place = place_make(), text[64];
    quire_convert_options options = type_options(QUIRE_DTYPE_BF16);
    convert(QUIRE_SOURCE_DIR "/tests/golden/random-biases", place_path(place, "a"), NULL);
    FILE *f = fopen(place_path(place, "a/README.md"), "w");
    fputs("a card\n", f);
    fclose(f);
    f = fopen(place_path(place, "a/training_state.pt"), "w");
    fclose(f);
    mkdir(place_path(place, "a/sub"), 0777);
    f = fopen(place_path(place, "a/huge.txt"), "w");
    CHECK(f && ftruncate(fileno(f), 65 << 20) == 0);
    fclose(f);
    f = fopen(place_path(place, "a/.gitattributes"), "w");
    fclose(f);
    json_t *config = json_load_file(place_path(place, "a/config.json"), 0, NULL);
    json_object_del(config, "model_type"); /* the class says it, too */
    json_object_set_new(config, "my_field", json_string("mine"));
    CHECK(json_dump_file(config, place_path(place, "a/config.json"), 0) == 0);
    json_decref(config);
    convert(place_path(place, "a"), place_path(place, "b"), &options);
    config = json_load_file(place_path(place, "b/config.json"), 0, NULL);
    CHECK_EQ_STR(json_string_value(json_object_get(config, "my_field")), "mine");
    json_decref(config);
    f = fopen(place_path(place, "b/README.md"), "r");
    CHECK(f && fgets(text, sizeof text, f) && strcmp(text, "a card\n") == 0);
    if (f)
        fclose(f);
    struct stat st;
    CHECK(stat(place_path(place, "b/training_state.pt"), &st) != 0);
    CHECK(stat(place_path(place, "b/sub"), &st) != 0);
    CHECK(stat(place_path(place, "b/huge.txt"), &st) == 0 && st.st_size == 65 << 20);
    CHECK(stat(place_path(place, "b/.gitattributes"), &st) == 0);
    place_remove(place);
}

/* --- what is in the way ------------------------------------------------------------------------------------------- */

static quire_status try(const char *to, bool replaces, quire_error *err)
{
    quire_model *model = model_at(QUIRE_SOURCE_DIR "/tests/golden/random-biases");
    quire_convert_options options = quire_convert_defaults();
    options.replaces = replaces;
    quire_error_clear(err);
    quire_status status = quire_convert(model, to, &options, err);
    quire_model_close(model);
    return status;
}

static void outputs_are_replaced_only_when_asked(void)
{
    static const char *const names[] = {"m.gguf", "folder"};
    const char *source = QUIRE_SOURCE_DIR "/tests/golden/random-biases";
    char *place = place_make();
    quire_error err = {0};
    for (size_t i = 0; i < 2; i++) {
        convert(QUIRE_SOURCE_DIR "/tests/golden/random-untied", place_path(place, names[i]), NULL);
        CHECK_EQ_INT(try(place_path(place, names[i]), false, &err), QUIRE_ERR_USAGE);
        CHECK_MESSAGE(err, "--force");
        CHECK(is_same(QUIRE_SOURCE_DIR "/tests/golden/random-untied", place_path(place, names[i]), true));
        CHECK_OK(try(place_path(place, names[i]), true, &err));
        CHECK(is_same(source, place_path(place, names[i]), true));
    }
    /* Also the model that is being read. */
    quire_convert_options options = type_options(QUIRE_DTYPE_F32);
    options.replaces = true;
    convert(place_path(place, "m.gguf"), place_path(place, "m.gguf"), &options);
    convert(place_path(place, "folder"), place_path(place, "folder/"), &options);
    CHECK(is_same(source, place_path(place, "m.gguf"), false));
    CHECK(is_same(source, place_path(place, "folder"), false));
    CHECK_EQ_INT(place_count(place), 2);
    place_remove(place);
}

static void nothing_but_a_model_is_replaced(void)
{
    char *place = place_make();
    quire_error err = {0};
    mkdir(place_path(place, "m.gguf"), 0777);
    mkdir(place_path(place, "letters"), 0777);
    mkdir(place_path(place, "deep"), 0777);
    mkdir(place_path(place, "deep/inner"), 0777);
    fclose(fopen(place_path(place, "deep/config.json"), "w"));
    fclose(fopen(place_path(place, "file"), "w"));
    CHECK_EQ_INT(try(place_path(place, "m.gguf"), true, &err), QUIRE_ERR_USAGE);
    CHECK_EQ_INT(try(place_path(place, "letters"), true, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "config.json");
    CHECK_EQ_INT(try(place_path(place, "deep"), true, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "inner");
    CHECK_EQ_INT(try(place_path(place, "file"), true, &err), QUIRE_ERR_USAGE);
    CHECK_EQ_INT(try(place_path(place, "no/such/m.gguf"), false, &err), QUIRE_ERR_IO);
    CHECK_EQ_INT(place_count(place), 4);
    place_remove(place);
}

static int stop_at_once(void *user, uint64_t n_bytes, uint64_t n_bytes_total)
{
    CHECK(n_bytes <= n_bytes_total);
    return ++*(int *)user == 3;
}

static void stopped_work_leaves_nothing(void)
{
    static const char *const names[] = {"m.gguf", "folder"};
    char *place = place_make();
    quire_model *model = model_at(QUIRE_SOURCE_DIR "/tests/golden/random-biases");
    for (size_t i = 0; i < 2; i++) {
        quire_error err = {0};
        int n_calls = 0;
        quire_convert_options options = {.progress = stop_at_once, .user = &n_calls};
        CHECK_EQ_INT(quire_convert(model, place_path(place, names[i]), &options, &err), QUIRE_ERR_CANCELLED);
        CHECK_EQ_INT(n_calls, 3);
        CHECK_EQ_INT(place_count(place), 0);
    }
    quire_model_close(model);
    place_remove(place);
}

static const struct test tests[] = {
    {"folder_to_gguf_and_back", folder_to_gguf_and_back},
    {"quantised_as_they_are", quantised_as_they_are},
    {"matrices_are_packed_as_asked", matrices_are_packed_as_asked},
    {"rows_that_do_not_fit_get_a_finer_type", rows_that_do_not_fit_get_a_finer_type},
    {"number_without_a_place", number_without_a_place},
    {"types_that_a_folder_or_this_build_lacks", types_that_a_folder_or_this_build_lacks},
    {"shards_with_an_index", shards_with_an_index},
    {"name_format_template_and_ids_go_along", name_format_template_and_ids_go_along},
    {"settings_of_others_are_read", settings_of_others_are_read},
    {"ids_that_are_no_tokens_say_nothing", ids_that_are_no_tokens_say_nothing},
    {"vectors_stay_as_they_are", vectors_stay_as_they_are},
    {"chat_models_end_their_turns", chat_models_end_their_turns},
    {"other_keys_are_kept", other_keys_are_kept},
    {"other_files_and_fields_are_kept", other_files_and_fields_are_kept},
    {"outputs_are_replaced_only_when_asked", outputs_are_replaced_only_when_asked},
    {"nothing_but_a_model_is_replaced", nothing_but_a_model_is_replaced},
    {"stopped_work_leaves_nothing", stopped_work_leaves_nothing},
};
TEST_MAIN(tests)
