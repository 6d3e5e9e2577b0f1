/* What a vocabulary's file may not say, and that the message names it. */
#include "tokenizer_test.h"

#include "model/model.h"
#include "model/source.h"
#include "tokenizer/vocab.h"

/* --- tokenizer.json ----------------------------------------------------------------------------------------------- */

static quire_status open_text(const char *text, size_t n, quire_error *err)
{
    char path[64];
    quire_tokenizer *tokenizer = NULL;
    write_temporary(path, text, n);
    quire_status status = quire_tokenizer_open_path(&tokenizer, path, err);
    unlink(path);
    CHECK((tokenizer != NULL) == (status == QUIRE_OK));
    quire_tokenizer_close(tokenizer);
    return status;
}

/* Sets what `path` ("model.merges.0") leads to; "+" as the last part appends. value NULL: takes it away. */
static void edit(json_t *root, const char *path, const char *value)
{
    char parts[200], *rest = parts, *part;
    snprintf(parts, sizeof parts, "%s", path);
    json_t *at = root, *new_value = value ? json_loads(value, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
    if (value && !new_value) {
        fprintf(stderr, "the test's value is not JSON: %s\n", value);
        exit(1);
    }
    while ((part = strsep(&rest, "."))) {
        if (rest)
            at = json_is_array(at) ? json_array_get(at, (size_t)atoi(part)) : json_object_get(at, part);
        else if (json_is_array(at))
            *part == '+' ? json_array_append_new(at, new_value) : json_array_set_new(at, (size_t)atoi(part), new_value);
        else if (new_value)
            json_object_set_new(at, part, new_value);
        else
            json_object_del(at, part);
    }
}

static quire_status open_edited(const char *path, const char *value, quire_error *err)
{
    json_t *root = load_json(DATA "tokenizer.json");
    edit(root, path, value);
    char *text = json_dumps(root, 0);
    quire_status status = open_text(text, strlen(text), err);
    free(text);
    json_decref(root);
    return status;
}

static void fields_are_refused_by_name(void)
{
    static const struct {
        const char *path, *value;
        quire_status status;
        const char *message;
    } cases[] = {
        {"normalizer", "{\"type\":\"Lowercase\"}", QUIRE_ERR_UNSUPPORTED, "normalizer Lowercase"},
        {"normalizer", "{\"type\":\"NFKC\"}", QUIRE_ERR_UNSUPPORTED, "normalizer NFKC"},
        {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Strip\"}]}",
         QUIRE_ERR_UNSUPPORTED, "normalizer Sequence"},
        {"pre_tokenizer", "null", QUIRE_ERR_UNSUPPORTED, "pre_tokenizer null"},
        {"pre_tokenizer.type", "\"Metaspace\"", QUIRE_ERR_UNSUPPORTED, "pre_tokenizer Metaspace"},
        {"pre_tokenizer.add_prefix_space", "true", QUIRE_ERR_UNSUPPORTED, "pre_tokenizer add_prefix_space true"},
        {"pre_tokenizer.add_prefix_space", "1", QUIRE_ERR_FORMAT, "pre_tokenizer add_prefix_space"},
        {"pre_tokenizer.use_regex", "false", QUIRE_ERR_UNSUPPORTED, "pre_tokenizer use_regex false"},
        {"post_processor", "{\"type\":\"BertProcessing\"}", QUIRE_ERR_UNSUPPORTED, "post_processor BertProcessing"},
        {"post_processor",
         "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}"
         "}]}",
         QUIRE_ERR_UNSUPPORTED, "post_processor TemplateProcessing"},
        {"decoder", "{\"type\":\"WordPiece\"}", QUIRE_ERR_UNSUPPORTED, "decoder WordPiece"},
        {"model", "null", QUIRE_ERR_FORMAT, "model"},
        {"model.type", "\"Unigram\"", QUIRE_ERR_UNSUPPORTED, "model Unigram"},
        {"model.dropout", "0.1", QUIRE_ERR_UNSUPPORTED, "dropout"},
        {"model.continuing_subword_prefix", "\"##\"", QUIRE_ERR_UNSUPPORTED, "continuing_subword_prefix ##"},
        {"model.end_of_word_suffix", "\"</w>\"", QUIRE_ERR_UNSUPPORTED, "end_of_word_suffix </w>"},
        {"model.byte_fallback", "true", QUIRE_ERR_UNSUPPORTED, "byte_fallback true"},
        {"model.ignore_merges", "true", QUIRE_ERR_UNSUPPORTED, "ignore_merges true"},
        {"model.vocab", "[]", QUIRE_ERR_FORMAT, "model vocab"},
        {"model.vocab.zz", "\"5\"", QUIRE_ERR_FORMAT, "id in model vocab"},
        {"model.vocab.zz", "-1", QUIRE_ERR_FORMAT, "'zz' has the id -1"},
        {"model.vocab.zz", "4000000000", QUIRE_ERR_UNSUPPORTED, "'zz' has the id 4000000000"},
        {"model.vocab.zz", "9223372036854775807", QUIRE_ERR_UNSUPPORTED, "'zz' has the id 9223372036854775807"},
        {"model.vocab.zz", "7", QUIRE_ERR_FORMAT, "the same id 7"},
        {"model.vocab.!", NULL, QUIRE_ERR_UNSUPPORTED, "byte 0x21"},
        {"model.merges", "{}", QUIRE_ERR_FORMAT, "model merges"},
        {"model.merges.0", "\"zq zq\"", QUIRE_ERR_FORMAT, "left part of merge 0 is 'zq'"},
        {"model.merges.1", "[\"a\",\"zq\"]", QUIRE_ERR_FORMAT, "right part of merge 1 is 'zq'"},
        {"model.merges.2", "\"# #\"", QUIRE_ERR_FORMAT, "product of merge 2 is '##'"},
        {"model.merges.0", "\"ab\"", QUIRE_ERR_FORMAT, "merge 0 is 'ab'"},
        {"model.merges.0", "\"a b c\"", QUIRE_ERR_FORMAT, "merge 0 is 'a b c'"},
        {"model.merges.0", "\"\"", QUIRE_ERR_FORMAT, "merge 0"},
        {"model.merges.0", "[\"a\"]", QUIRE_ERR_FORMAT, "model merges"},
        {"model.merges.0", "[\"a\",5]", QUIRE_ERR_FORMAT, "model merges"},
        {"added_tokens", "5", QUIRE_ERR_FORMAT, "added_tokens"},
        {"added_tokens.0", "null", QUIRE_ERR_FORMAT, "added_tokens"},
        {"added_tokens.0.special", "null", QUIRE_ERR_FORMAT, "added_tokens"},
        {"added_tokens.0.lstrip", "true", QUIRE_ERR_UNSUPPORTED, "'<|endoftext|>' lstrip true"},
        {"added_tokens.1.rstrip", "true", QUIRE_ERR_UNSUPPORTED, "'<|padding|>' rstrip true"},
        {"added_tokens.2.single_word", "true", QUIRE_ERR_UNSUPPORTED, "single_word true"},
        {"added_tokens.0.id", "3", QUIRE_ERR_FORMAT, "the same id 3"},
        {"added_tokens.0.id", "5000", QUIRE_ERR_FORMAT, "the ids 0 and 5000"},
        {"added_tokens.2.content", "\"\"", QUIRE_ERR_FORMAT, "one character or more"},
        {"added_tokens.2.id", "99999999", QUIRE_ERR_UNSUPPORTED, "99999999"},
        {"added_tokens.+", "{\"id\":1500,\"content\":\"e\",\"special\":true,\"normalized\":false}", QUIRE_ERR_FORMAT,
         "'e' has the ids"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err = {0};
        int n_failed = test_n_failed_checks;
        CHECK_EQ_INT(open_edited(cases[i].path, cases[i].value, &err), cases[i].status);
        CHECK_MESSAGE(err, cases[i].message);
        if (test_n_failed_checks > n_failed)
            fprintf(stderr, "  with %s = %s\n", cases[i].path, cases[i].value ? cases[i].value : "nothing");
    }
}

static void harmless_forms_are_taken(void)
{
    static const struct {
        const char *path, *value;
    } cases[] = {
        {"normalizer", "null"},
        {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}"},
        {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[]}"},
        {"pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\",\"add_prefix_space\":"
                          "false,\"use_regex\":true}]}"},
        {"post_processor", "null"},
        {"post_processor",
         "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]}"},
        {"post_processor",
         "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},{\"type\":\"ByteLevel\"}]}"},
        {"decoder", "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"}]}"},
        {"truncation", "{\"max_length\":5}"},
        {"model.dropout", "0.0"},
        {"model.unk_token", "\"<unk>\""},
        {"model.fuse_unk", "true"},
        {"model.type", NULL},
        {"model.continuing_subword_prefix", "\"\""},
        {"model.end_of_word_suffix", "\"\""},
        {"added_tokens.2.lstrip", "null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err = {0};
        CHECK_OK(open_edited(cases[i].path, cases[i].value, &err));
    }
}

/* A special token that ordinary text could turn into, by its bytes or by merges, would let a document give commands. */
static void special_tokens_that_text_can_become(void)
{
    static const struct {
        const char *spelling, *message;
    } cases[] = {{"e", "a byte's token"}, {"\xC4\xA0the", "the product of a merge"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *root = load_json(DATA "tokenizer.json");
        json_int_t id = json_integer_value(
            json_object_get(json_object_get(json_object_get(root, "model"), "vocab"), cases[i].spelling));
        json_array_append_new(
            json_object_get(root, "added_tokens"),
            json_pack("{s:I, s:s, s:b, s:b}", "id", id, "content", cases[i].spelling, "special", 1, "normalized", 0));
        char *text = json_dumps(root, 0);
        quire_error err = {0};
        CHECK(id > 0);
        CHECK_EQ_INT(open_text(text, strlen(text), &err), QUIRE_ERR_UNSUPPORTED);
        CHECK_MESSAGE(err, cases[i].message);
        free(text);
        json_decref(root);
    }
}

static void an_added_token_that_is_too_long(void)
{
    char value[700];
    quire_error err = {0};
    snprintf(value, sizeof value, "{\"id\":2000,\"content\":\"%0*d\",\"special\":false,\"normalized\":true}", 257, 5);
    CHECK_EQ_INT(open_edited("added_tokens.+", value, &err), QUIRE_ERR_UNSUPPORTED);
    CHECK_MESSAGE(err, "257 bytes");
    quire_error_clear(&err);
    snprintf(value, sizeof value, "{\"id\":2000,\"content\":\"%0*d\",\"special\":false,\"normalized\":true}", 256, 5);
    CHECK_OK(open_edited("added_tokens.+", value, &err));
}

static void malformed_files(void)
{
    static const char *const texts[] = {
        "",    "{",    "null",        "[]", "{}", "{\"model\":{}}", "{\"model\":{\"type\":\"BPE\"}} x",
        "GGU", "GGUF", "GGUF\3\0\0\0"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        quire_error err = {0};
        quire_status status = open_text(texts[i], strlen(texts[i]), &err);
        CHECK(status == QUIRE_ERR_FORMAT || status == QUIRE_ERR_UNSUPPORTED);
        CHECK(err.message[0] != '\0');
    }
    size_t n;
    char *whole = read_bytes(DATA "tokenizer.json", &n);
    for (size_t cut = 0; cut < n - 3; cut += 1009) {
        quire_error err = {0};
        CHECK_EQ_INT(open_text(whole, cut, &err), QUIRE_ERR_FORMAT);
    }
    free(whole);
}

static void paths_that_lead_nowhere(void)
{
    quire_tokenizer *tokenizer = NULL;
    quire_error err = {0};
    CHECK_EQ_INT(quire_tokenizer_open_path(&tokenizer, "/nowhere/tokenizer.json", &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, "/nowhere/tokenizer.json");
    quire_error_clear(&err);
    CHECK_EQ_INT(quire_tokenizer_open_path(&tokenizer, QUIRE_SOURCE_DIR "/tests", &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, "/tests/tokenizer.json");
    quire_error_clear(&err);
    char path[64];
    write_temporary(path, "", 0);
    CHECK(unlink(path) == 0 && mkfifo(path, 0600) == 0);
    alarm(60);
    CHECK_EQ_INT(quire_tokenizer_open_path(&tokenizer, path, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "is a FIFO, expected a regular file");
    alarm(0);
    unlink(path);
    CHECK(tokenizer == NULL);
}

/* --- GGUF --------------------------------------------------------------------------------------------------------- */

/* The test's GGUF with `old` replaced by `new`, of the same length, where it stands first. */
static quire_status open_patched(const char *old, const char *new, size_t n_pattern, quire_error *err)
{
    size_t n;
    char *bytes = read_bytes(DATA "vocab.gguf", &n);
    char *place = memmem(bytes, n, old, n_pattern);
    CHECK(place != NULL);
    if (place)
        memcpy(place, new, n_pattern);
    quire_status status = open_text(bytes, n, err);
    free(bytes);
    return status;
}

static void gguf_fields_are_refused_by_name(void)
{
    static const struct {
        const char *old, *new;
        size_t n;
        quire_status status;
        const char *message;
    } cases[] = {
        {"gpt2", "bert", 4, QUIRE_ERR_UNSUPPORTED, "tokenizer.ggml.model 'bert'"},
        {"\3\0\0\0\0\0\0\0mpt\x15", "\3\0\0\0\0\0\0\0dbx\x15", 12, QUIRE_ERR_UNSUPPORTED, "tokenizer.ggml.pre 'dbx'"},
        {"ggml.model", "ggml.modem", 10, QUIRE_ERR_FORMAT, "no tokenizer.ggml.model"},
        {"ggml.tokens", "ggml.tokans", 11, QUIRE_ERR_FORMAT, "no tokenizer.ggml.tokens"},
        {"ggml.token_type", "ggml.token_tyqe", 15, QUIRE_ERR_FORMAT, "no tokenizer.ggml.token_type"},
        {"ggml.merges", "ggml.mergas", 11, QUIRE_ERR_FORMAT, "no tokenizer.ggml.merges"},
        {"\3\0\0\0\3\0\0\0\1\0\0\0", "\3\0\0\0\6\0\0\0\1\0\0\0", 12, QUIRE_ERR_UNSUPPORTED,
         "token_type of token 1 is 6"},
        {"<|im_end|>", "<|im_end\xC0\x80", 10, QUIRE_ERR_FORMAT, "UTF-8"},
        {"<|endoftext|>", "<|im_start|>x", 13, QUIRE_OK, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err = {0};
        CHECK_EQ_INT(open_patched(cases[i].old, cases[i].new, cases[i].n, &err), cases[i].status);
        CHECK_MESSAGE(err, cases[i].message);
    }
}

/* As the first converter wrote them: every token is called normal, padding too. */
static void types_that_say_nothing(void)
{
    static const char key[] = "tokenizer.ggml.token_type";
    enum { TYPES = 4 + 4 + 8 }; /* behind the key: array, of i32, and how many */
    size_t n;
    uint64_t n_types = 0;
    char path[64], *bytes = read_bytes(DATA "vocab.gguf", &n);
    char *place = memmem(bytes, n, key, sizeof key - 1);
    CHECK(place != NULL);
    if (place)
        place += sizeof key - 1;
    if (place)
        memcpy(&n_types, place + 8, sizeof n_types);
    CHECK(n_types > 700 && n_types < 1000);
    for (uint64_t i = 0; i < n_types; i++) {
        const int32_t normal = 1;
        memcpy(place + TYPES + i * sizeof normal, &normal, sizeof normal);
    }
    write_temporary(path, bytes, n);
    quire_tokenizer *json = open_tokenizer(DATA "tokenizer.json"), *gguf = open_tokenizer(path);
    CHECK_EQ_INT(quire_tokenizer_n_tokens(gguf), quire_tokenizer_n_tokens(json));
    CHECK_EQ_INT(quire_tokenizer_end_of_text(gguf), quire_tokenizer_end_of_text(json));
    CHECK_EQ_STR(quire_tokenizer_fingerprint(gguf), quire_tokenizer_fingerprint(json));
    quire_tokenizer_close(json);
    quire_tokenizer_close(gguf);
    unlink(path);
    free(bytes);
}

static void cut_short_gguf(void)
{
    size_t n;
    char *whole = read_bytes(DATA "vocab.gguf", &n);
    for (size_t cut = 0; cut < n; cut += 499) {
        quire_error err = {0};
        CHECK_EQ_INT(open_text(whole, cut, &err), QUIRE_ERR_FORMAT);
    }
    free(whole);
}

/* --- with a model ------------------------------------------------------------------------------------------------- */

static void more_tokens_than_the_model_has_rows(void)
{
    char json_path[] = DATA "tokenizer.json", model_path[] = "folder";
    struct model_source source = {.tokenizer_path = json_path};
    quire_model model = {.path = model_path, .source = &source, .config.vocab_size = 727};
    quire_tokenizer *tokenizer = NULL;
    quire_error err = {0};
    REQUIRE_OK(quire_tokenizer_open(&tokenizer, &model, &err));
    CHECK_EQ_INT(quire_tokenizer_n_tokens(tokenizer), 727);
    quire_tokenizer_close(tokenizer);
    tokenizer = NULL;
    model.config.vocab_size--;
    CHECK_EQ_INT(quire_tokenizer_open(&tokenizer, &model, &err), QUIRE_ERR_MISMATCH);
    CHECK_MESSAGE(err, "727 tokens");
    CHECK_MESSAGE(err, "726 embedding rows");
    CHECK(tokenizer == NULL);
}

/* --- what a vocabulary is ----------------------------------------------------------------------------------------- */

/* Rows of padding are no tokens: not in the vocabulary, not in the text. */
static void padding_is_no_token(void)
{
    quire_tokenizer *json = open_tokenizer(DATA "tokenizer.json"), *gguf = open_tokenizer(DATA "vocab.gguf");
    quire_error err = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    const char *bytes;
    CHECK_EQ_INT(quire_tokenizer_n_tokens(gguf), quire_tokenizer_n_tokens(json));
    CHECK_EQ_STR(quire_tokenizer_fingerprint(gguf), quire_tokenizer_fingerprint(json));
    CHECK_EQ_INT(quire_tokenizer_find(gguf, "[PAD727]"), -1);
    CHECK(!quire_tokenizer_bytes(gguf, 727, &bytes, &n));
    REQUIRE_OK(quire_encode(gguf, "[PAD727]", 8, true, &ids, &n, &err));
    CHECK(n > 1);
    free(ids);
    quire_tokenizer_close(json);
    quire_tokenizer_close(gguf);
}

static void fingerprints_tell_vocabularies_apart(void)
{
    static const struct {
        const char *path, *value;
    } cases[] = {{"normalizer", "null"},
                 {"added_tokens.0.special", "false"},
                 {"added_tokens.3.normalized", "false"},
                 {"model.vocab.zz", "2000"}};
    quire_tokenizer *original = open_tokenizer(DATA "tokenizer.json");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *root = load_json(DATA "tokenizer.json");
        edit(root, cases[i].path, cases[i].value);
        char *text = json_dumps(root, 0), path[64];
        write_temporary(path, text, strlen(text));
        quire_tokenizer *edited = open_tokenizer(path);
        CHECK(strcmp(quire_tokenizer_fingerprint(edited), quire_tokenizer_fingerprint(original)) != 0);
        quire_tokenizer_close(edited);
        unlink(path);
        free(text);
        json_decref(root);
    }
    quire_tokenizer_close(original);
}

/* --- files that change -------------------------------------------------------------------------------------------- */

/* A token's bytes in a mapped file: somebody overwrites them between one step of adding it and the next. */
static char *overwritten;

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_realloc(void *p, size_t n)
{
    if (overwritten)
        memset(overwritten, 0xFF, strlen(overwritten));
    return __real_realloc(p, n);
}

static void a_token_is_what_was_checked(void)
{
    struct vocab vocab = {.path = "changing"};
    quire_error err = {0};
    char text[] = "abc";
    REQUIRE_OK(vocab_reserve(&vocab, 4, 0, &err));
    overwritten = text;
    quire_status status = vocab_add_token(&vocab, 0, text, 3, 0, &err);
    overwritten = NULL;
    CHECK_EQ_INT(status, QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "token 0 is not a string of UTF-8");
    CHECK(vocab.n_tokens == 0 && vocab.text.n == 0 && vocab_find(&vocab, "abc", 3) == -1);
    quire_error_clear(&err);
    CHECK_OK(vocab_add_token(&vocab, 0, "abc", 3, 0, &err));
    CHECK_EQ_INT(vocab_find(&vocab, "abc", 3), 0);
    vocab_release(&vocab);
}

static const struct test tests[] = {
    {"fields_are_refused_by_name", fields_are_refused_by_name},
    {"harmless_forms_are_taken", harmless_forms_are_taken},
    {"special_tokens_that_text_can_become", special_tokens_that_text_can_become},
    {"an_added_token_that_is_too_long", an_added_token_that_is_too_long},
    {"malformed_files", malformed_files},
    {"paths_that_lead_nowhere", paths_that_lead_nowhere},
    {"gguf_fields_are_refused_by_name", gguf_fields_are_refused_by_name},
    {"types_that_say_nothing", types_that_say_nothing},
    {"cut_short_gguf", cut_short_gguf},
    {"more_tokens_than_the_model_has_rows", more_tokens_than_the_model_has_rows},
    {"padding_is_no_token", padding_is_no_token},
    {"a_token_is_what_was_checked", a_token_is_what_was_checked},
    {"fingerprints_tell_vocabularies_apart", fingerprints_tell_vocabularies_apart},
};
TEST_MAIN(tests)
