/* Tokenizers go along: the same ids from what is written, in each format, as HuggingFace gives for the original. */
#include <jansson.h>

#include "base/bytes.h"
#include "convert_test.h"
#include "model/gguf.h"
#include "model/model.h"

enum { TYPE_UNUSED = 5 };

static const char *test_data(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/tokenizer/%s", test_data_folder(), name);
    return path;
}

/* A model with this tokenizer as GGUF, folder, GGUF from the folder, and folder from that. */
static const char *const outputs[] = {"a.gguf", "b", "c.gguf", "d"};
enum { N_OUTPUTS = sizeof outputs / sizeof outputs[0] };

static char *write_outputs(const char *tokenizer)
{
    struct made made;
    quire_error err = {0};
    char *place = place_make();
    quire_config config = made_config(32);
    quire_convert_options options = quire_convert_defaults();
    made_open(&made, &config, tokenizer, 6);
    REQUIRE_OK(model_writer_write(&made.content, place_path(place, outputs[0]), &options, &err));
    for (int i = 1; i < N_OUTPUTS; i++)
        convert(place_path(place, outputs[i - 1]), place_path(place, outputs[i]), NULL);
    made_close(&made);
    return place;
}

static quire_tokenizer *tokenizer_of(const char *path)
{
    quire_error err = {0};
    quire_tokenizer *tokenizer = NULL;
    quire_model *model = model_at(path);
    REQUIRE_OK(quire_tokenizer_open(&tokenizer, model, &err));
    quire_model_close(model);
    return tokenizer;
}

/* The fingerprint covers every token, its flags, every merge and the normaliser. */
static void check_fingerprints(const char *original)
{
    quire_error err = {0};
    quire_tokenizer *tokenizer = NULL;
    char *place = write_outputs(original);
    REQUIRE_OK(quire_tokenizer_open_path(&tokenizer, original, &err));
    for (int i = 0; i < N_OUTPUTS; i++) {
        quire_tokenizer *written = tokenizer_of(place_path(place, outputs[i]));
        CHECK_EQ_INT(quire_tokenizer_n_tokens(written), quire_tokenizer_n_tokens(tokenizer));
        CHECK_EQ_INT(quire_tokenizer_end_of_text(written), quire_tokenizer_end_of_text(tokenizer));
        CHECK_EQ_STR(quire_tokenizer_fingerprint(written), quire_tokenizer_fingerprint(tokenizer));
        quire_tokenizer_close(written);
    }
    quire_tokenizer_close(tokenizer);
    place_remove(place);
}

static void small_vocabulary(void)
{
    check_fingerprints(TOKENIZER_DATA);
    check_fingerprints(QUIRE_SOURCE_DIR "/tests/tokenizer/data/vocab.gguf");
}

static void full_vocabularies(void)
{
    if (!test_data_folder())
        SKIP("QUIRE_TEST_DATA is not set");
    static const char *const names[] = {"20B_tokenizer.json", "gpt2_tokenizer.json", "ggml-vocab-mpt.gguf"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_fingerprints(test_data(names[i]));
}

/* HuggingFace's ids for the small vocabulary's texts (tests/tokenizer/make_golden.py), from each output. */
static void ids_are_those_of_huggingface(void)
{
    char *place = write_outputs(TOKENIZER_DATA);
    json_t *cases = json_load_file(QUIRE_SOURCE_DIR "/tests/tokenizer/data/golden.json", JSON_ALLOW_NUL, NULL);
    CHECK(json_array_size(cases) >= 300);
    for (int o = 0; o < N_OUTPUTS; o++) {
        quire_tokenizer *tokenizer = tokenizer_of(place_path(place, outputs[o]));
        size_t i, k;
        const json_t *item, *id;
        json_array_foreach(cases, i, item)
        {
            const json_t *text = json_object_get(item, "text");
            for (int special = 0; special < 2; special++) {
                const json_t *want = json_object_get(item, special ? "special" : "ids");
                quire_error err = {0};
                int32_t *ids = NULL;
                size_t n = 0;
                REQUIRE_OK(quire_encode(tokenizer, json_string_value(text), json_string_length(text), special != 0,
                                        &ids, &n, &err));
                CHECK_EQ_INT(n, json_array_size(want));
                json_array_foreach(want, k, id) if (k < n) CHECK_EQ_INT(ids[k], json_integer_value(id));
                free(ids);
            }
        }
        quire_tokenizer_close(tokenizer);
    }
    json_decref(cases);
    place_remove(place);
}

/* An added token that is matched in the raw text though it is not special, and a special one behind the normaliser:
 * what GGUF's token types cannot tell. */
static void unusual_added_tokens(void)
{
    char *place = place_make(), path[4096];
    json_t *root = json_load_file(TOKENIZER_DATA, 0, NULL), *added = json_object_get(root, "added_tokens");
    CHECK(json_array_size(added) >= 2);
    size_t i, n_changed = 0;
    json_t *item;
    json_array_foreach(added, i, item)
    {
        bool is_normalized = json_is_true(json_object_get(item, "normalized"));
        if (i % 2 == 0)
            json_object_set_new(item, "normalized", json_boolean(!is_normalized));
        n_changed += i % 2 == 0;
    }
    CHECK(n_changed > 0);
    snprintf(path, sizeof path, "%s/tokenizer.json", place);
    CHECK_EQ_INT(json_dump_file(root, path, 0), 0);
    json_decref(root);
    check_fingerprints(path);
    place_remove(place);
}

/* Rows of the embedding without a token have one of type UNUSED in a GGUF, as llama.cpp wants it. */
static void padding_is_unused(void)
{
    quire_error err = {0};
    char *place = write_outputs(TOKENIZER_DATA);
    quire_model *model = model_at(place_path(place, "c.gguf"));
    quire_tokenizer *tokenizer = tokenizer_of(place_path(place, "c.gguf"));
    uint32_t n_rows = quire_model_config(model)->vocab_size, n_tokens = quire_tokenizer_n_tokens(tokenizer);
    struct gguf_array tokens, types;
    bool found = false;
    CHECK_EQ_INT(n_rows, n_tokens + 5);
    REQUIRE_OK(gguf_get_array(model_gguf(model), "tokenizer.ggml.tokens", GGUF_STRING, &tokens, &found, &err));
    REQUIRE_OK(gguf_get_array(model_gguf(model), "tokenizer.ggml.token_type", GGUF_I32, &types, &found, &err));
    CHECK_EQ_INT(tokens.n, n_rows);
    CHECK_EQ_INT(types.n, n_rows);
    for (uint32_t id = n_tokens; id < n_rows && types.n == n_rows; id++)
        CHECK_EQ_INT(gguf_array_u32(&types, id), TYPE_UNUSED);
    quire_tokenizer_close(tokenizer);
    quire_model_close(model);
    place_remove(place);
}

static const struct test tests[] = {
    {"small_vocabulary", small_vocabulary},
    {"full_vocabularies", full_vocabularies},
    {"ids_are_those_of_huggingface", ids_are_those_of_huggingface},
    {"unusual_added_tokens", unusual_added_tokens},
    {"padding_is_unused", padding_is_unused},
};
TEST_MAIN(tests)
