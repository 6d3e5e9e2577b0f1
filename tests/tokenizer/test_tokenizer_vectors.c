/* The real vocabularies and their published vectors, where QUIRE_TEST_DATA names the folder. */
#include "tokenizer_test.h"

#define SEPARATOR "\n__ggml_vocab_test__\n"

/* A file of the test data; malloc'ed, or NULL where there is no such folder. */
static char *data_path(const char *name)
{
    char *path = NULL;
    if (test_data_folder() && asprintf(&path, "%s/%s", test_data_folder(), name) < 0)
        exit(1);
    return path;
}

static char *read_data(const char *name, size_t *n)
{
    char *path = data_path(name), *bytes = read_bytes(path, n);
    free(path);
    return bytes;
}

/* The numbers of a line; returns where the next line starts. */
static const char *read_ids(const char *line, int32_t *ids, size_t *n)
{
    char *end;
    for (*n = 0; *line && *line != '\n'; line = end) {
        long id = strtol(line, &end, 10);
        if (end == line)
            break;
        ids[(*n)++] = (int32_t)id;
        while (*end == ' ')
            end++;
    }
    return *line == '\n' ? line + 1 : line;
}

/* The texts of `vectors`.inp give the ids of its .out with the vocabulary of `tokenizer_name`. */
static void check_vectors(const char *vectors, const char *tokenizer_name)
{
    char name[100];
    size_t n_texts, n_lines, n_cases = 0;
    char *tokenizer_path = data_path(tokenizer_name);
    quire_tokenizer *tokenizer = open_tokenizer(tokenizer_path);
    quire_encoder *encoder = open_encoder(tokenizer, false);
    snprintf(name, sizeof name, "%s.inp", vectors);
    char *texts = read_data(name, &n_texts);
    snprintf(name, sizeof name, "%s.out", vectors);
    char *lines = read_data(name, &n_lines);
    const char *line = lines;
    for (char *text = texts, *end; (end = strstr(text, SEPARATOR)); text = end + strlen(SEPARATOR), n_cases++) {
        int32_t want[2000];
        size_t n_want, n_got;
        line = read_ids(line, want, &n_want);
        for (size_t piece = 1; piece < 1000; piece *= 3) {
            int32_t *got = encode_pieces(encoder, text, (size_t)(end - text), piece, &n_got);
            check_ids(text, (size_t)(end - text), got, n_got, want, n_want);
            free(got);
        }
    }
    CHECK_EQ_INT(n_cases, 46);
    free(texts);
    free(lines);
    free(tokenizer_path);
    quire_encoder_close(encoder);
    quire_tokenizer_close(tokenizer);
}

#define SKIP_WITHOUT_DATA()                                                                                            \
    do {                                                                                                               \
        if (!test_data_folder())                                                                                       \
            SKIP("QUIRE_TEST_DATA is not set");                                                                        \
    } while (0)

static void mpt_vectors_from_gguf(void)
{
    SKIP_WITHOUT_DATA();
    check_vectors("tokenizer/ggml-vocab-mpt.gguf", "tokenizer/ggml-vocab-mpt.gguf");
}

static void mpt_vectors_from_json(void)
{
    SKIP_WITHOUT_DATA();
    check_vectors("tokenizer/ggml-vocab-mpt.gguf", "tokenizer/20B_tokenizer.json");
}

static void mpt_vectors_from_the_neox_gguf(void)
{
    SKIP_WITHOUT_DATA();
    check_vectors("tokenizer/ggml-vocab-mpt.gguf", "tokenizer/ggml-vocab-gpt-neox.gguf");
}

static void gpt2_vectors_from_gguf(void)
{
    SKIP_WITHOUT_DATA();
    check_vectors("tokenizer/ggml-vocab-gpt-2.gguf", "tokenizer/ggml-vocab-gpt-2.gguf");
}

static void gpt2_vectors_from_json(void)
{
    SKIP_WITHOUT_DATA();
    check_vectors("tokenizer/ggml-vocab-gpt-2.gguf", "tokenizer/gpt2_tokenizer.json");
}

/* mpt-facts.md 5.5, second block: prompts and what normalisation does. */
static void neox_facts(void)
{
    SKIP_WITHOUT_DATA();
    static const struct {
        const char *text;
        bool parse_special;
        int32_t ids[12]; /* ended by -1 */
    } facts[] = {
        {"Question: What?\nAnswer:", false, {23433, 27, 1737, 32, 187, 32869, 27, -1}},
        {" Answer", false, {37741, -1}},
        {"EPILOGUE", false, {13801, 3077, 11840, 6028, -1}},
        {"Epilogue", false, {22098, 300, 14873, -1}},
        {"def f(x):\n    return x\n", false, {1545, 269, 9, 89, 2262, 187, 50274, 2309, 1269, 187, -1}},
        {"Hello my name is", false, {12092, 619, 1416, 310, -1}},
        {"\r\n", false, {2379, -1}},
        {"a  b", false, {66, 50276, 67, -1}},
        {"a   b", false, {66, 50275, 67, -1}},
        {" \n ", false, {4928, -1}},
        {"  \n", false, {50276, 187, -1}},
        {"x\xCC\x81", false, {89, 136, 212, -1}},
        {"e\xCC\x81", false, {860, -1}},
        {"\xE2\x84\xAB", false, {18221, -1}},
        {"\xEF\xAC\x81", false, {46992, 212, -1}},
        {"\xE2\x80\x83\xE2\x80\x83x", false, {3930, 3930, 89, -1}},
        {"\xC2\xA0 x", false, {575, 1269, -1}},
        {"<|endoftext|><|padding|>", true, {0, 1, -1}},
    };
    char *path = data_path("tokenizer/20B_tokenizer.json");
    quire_tokenizer *tokenizer = open_tokenizer(path);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        quire_error err = {0};
        int32_t *got = NULL;
        size_t n_got = 0, n_want = 0;
        while (facts[i].ids[n_want] >= 0)
            n_want++;
        REQUIRE_OK(
            quire_encode(tokenizer, facts[i].text, strlen(facts[i].text), facts[i].parse_special, &got, &n_got, &err));
        check_ids(facts[i].text, strlen(facts[i].text), got, n_got, facts[i].ids, n_want);
        free(got);
    }
    CHECK_EQ_INT(quire_tokenizer_n_tokens(tokenizer), 50277);
    CHECK_EQ_INT(quire_tokenizer_end_of_text(tokenizer), 0);
    CHECK_EQ_INT(quire_tokenizer_find(tokenizer, "<|padding|>"), 1);
    quire_tokenizer_close(tokenizer);
    free(path);
}

static void both_files_of_a_vocabulary_have_one_fingerprint(void)
{
    SKIP_WITHOUT_DATA();
    char *json = data_path("tokenizer/20B_tokenizer.json"), *gguf = data_path("tokenizer/ggml-vocab-mpt.gguf");
    quire_tokenizer *from_json = open_tokenizer(json), *from_gguf = open_tokenizer(gguf);
    CHECK_EQ_STR(quire_tokenizer_fingerprint(from_gguf), quire_tokenizer_fingerprint(from_json));
    CHECK_EQ_INT(quire_tokenizer_n_tokens(from_gguf), quire_tokenizer_n_tokens(from_json));
    CHECK_EQ_INT(quire_tokenizer_find(from_gguf, "[PAD50277]"), -1);
    quire_tokenizer_close(from_json);
    quire_tokenizer_close(from_gguf);
    free(json);
    free(gguf);
}

static void gatsby(void)
{
    SKIP_WITHOUT_DATA();
    size_t n_text, n_bytes, n_got;
    char *path = data_path("tokenizer/20B_tokenizer.json");
    char *text = read_data("corpora/gatsby.txt", &n_text), *bytes = read_data("tokenizer/gatsby.neox.u16", &n_bytes);
    size_t n_want = n_bytes / 2;
    int32_t *want = malloc(n_want * sizeof want[0]);
    for (size_t i = 0; i < n_want; i++)
        want[i] = (uint8_t)bytes[2 * i] | (uint8_t)bytes[2 * i + 1] << 8;
    quire_tokenizer *tokenizer = open_tokenizer(path);
    quire_encoder *encoder = open_encoder(tokenizer, false);
    CHECK_EQ_INT(n_want, 71899);
    for (size_t piece = 1; piece < 1000000; piece *= 997) {
        int32_t *got = encode_pieces(encoder, text, n_text, piece, &n_got);
        check_ids("gatsby", 6, got, n_got, want, n_want);
        free(got);
    }
    quire_encoder_close(encoder);
    quire_tokenizer_close(tokenizer);
    free(want);
    free(text);
    free(bytes);
    free(path);
}

/* A book in NFC, to ids and back, byte by byte the same. */
static void check_round_trip(const quire_tokenizer *tokenizer, const char *name)
{
    quire_error err = {0};
    quire_decoder *decoder = NULL;
    size_t n_text, n_ids, at = 0;
    char *text = read_data(name, &n_text);
    quire_encoder *encoder = open_encoder(tokenizer, false);
    int32_t *ids = encode_pieces(encoder, text, n_text, 65536, &n_ids);
    REQUIRE_OK(quire_decoder_open(&decoder, tokenizer, false, &err));
    bool is_same = true;
    for (size_t i = 0; i <= n_ids; i++) {
        const char *bytes;
        size_t n;
        if (i < n_ids)
            REQUIRE_OK(quire_decoder_feed(decoder, ids[i], &bytes, &n, &err));
        else
            REQUIRE_OK(quire_decoder_finish(decoder, &bytes, &n, &err));
        is_same = is_same && n <= n_text - at && (n == 0 || memcmp(text + at, bytes, n) == 0);
        at += is_same ? n : 0;
    }
    CHECK(is_same);
    CHECK_EQ_INT(at, n_text);
    quire_decoder_close(decoder);
    quire_encoder_close(encoder);
    free(ids);
    free(text);
}

static void books_there_and_back(void)
{
    SKIP_WITHOUT_DATA();
    size_t n;
    char *manifest = read_data("corpora/books/MANIFEST.tsv", &n), *rest = manifest;
    char *json = data_path("tokenizer/20B_tokenizer.json"), *gpt2 = data_path("tokenizer/ggml-vocab-gpt-2.gguf");
    quire_tokenizer *tokenizers[2] = {open_tokenizer(json), open_tokenizer(gpt2)};
    int n_books = 0;
    strsep(&rest, "\n"); /* the names of the columns */
    for (char *line; n_books < 5 && (line = strsep(&rest, "\n"));) {
        char name[300];
        snprintf(name, sizeof name, "corpora/books/%.*s.txt", (int)strcspn(line, "\t"), line);
        check_round_trip(tokenizers[n_books++ % 2], name);
    }
    CHECK_EQ_INT(n_books, 5);
    check_round_trip(tokenizers[0], "corpora/gatsby.txt");
    quire_tokenizer_close(tokenizers[0]);
    quire_tokenizer_close(tokenizers[1]);
    free(json);
    free(gpt2);
    free(manifest);
}

static const struct test tests[] = {
    {"mpt_vectors_from_gguf", mpt_vectors_from_gguf},
    {"mpt_vectors_from_json", mpt_vectors_from_json},
    {"mpt_vectors_from_the_neox_gguf", mpt_vectors_from_the_neox_gguf},
    {"gpt2_vectors_from_gguf", gpt2_vectors_from_gguf},
    {"gpt2_vectors_from_json", gpt2_vectors_from_json},
    {"neox_facts", neox_facts},
    {"both_files_of_a_vocabulary_have_one_fingerprint", both_files_of_a_vocabulary_have_one_fingerprint},
    {"gatsby", gatsby},
    {"books_there_and_back", books_there_and_back},
};
TEST_MAIN(tests)
