/* SentencePiece vocabularies: SentencePiece's own ids and texts (tests/parity/make_spiece_golden.py), whatever pieces a
 * text comes in, and the same from a GGUF. */
#include "tokenizer_test.h"

#include "model/files.h"
#include "tokenizer/tokenizer_private.h"
#include "tokenizer/unigram.h"
#include "tokenizer/vocab_source.h"

#define SPIECE DATA "spiece/"

static const char *const names[] = {"code", "bytes", "squeeze", "plain"};
enum { N_NAMES = sizeof names / sizeof *names };

static quire_tokenizer *open_named(const char *name)
{
    char path[400];
    snprintf(path, sizeof path, SPIECE "%s.model", name);
    return open_tokenizer(path);
}

static char *decode(const quire_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, size_t *n)
{
    quire_error err = {0};
    quire_decoder *decoder = NULL;
    struct bytes text = {0};
    const char *bytes;
    size_t n_bytes;
    REQUIRE_OK(quire_decoder_open(&decoder, tokenizer, false, &err));
    for (size_t i = 0; i < n_ids; i++) {
        REQUIRE_OK(quire_decoder_feed(decoder, ids[i], &bytes, &n_bytes, &err));
        bytes_add(&text, bytes, n_bytes);
    }
    REQUIRE_OK(quire_decoder_finish(decoder, &bytes, &n_bytes, &err));
    bytes_add(&text, bytes, n_bytes);
    quire_decoder_close(decoder);
    *n = text.n;
    bytes_add(&text, "", 1);
    return (char *)text.data;
}

static void check_case(const quire_tokenizer *tokenizer, quire_encoder *encoder, const json_t *entry)
{
    const json_t *text = json_object_get(entry, "text"), *decoded = json_object_get(entry, "decoded");
    const char *bytes = json_string_value(text);
    size_t n = json_string_length(text), n_want, n_decoded;
    int32_t *want = json_ids(json_object_get(entry, "ids"), &n_want);
    static const size_t pieces[] = {1, 2, 7, 100000};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        size_t n_got;
        int32_t *got = encode_pieces(encoder, bytes, n, pieces[i], &n_got);
        check_ids(bytes, n, got, n_got, want, n_want);
        free(got);
    }
    char *back = decode(tokenizer, want, n_want, &n_decoded);
    CHECK(n_decoded == json_string_length(decoded) && memcmp(back, json_string_value(decoded), n_decoded) == 0);
    free(back);
    free(want);
}

static void ids_and_texts_are_sentencepieces(void)
{
    json_t *golden = load_json(SPIECE "golden.json");
    for (int i = 0; i < N_NAMES; i++) {
        quire_tokenizer *tokenizer = open_named(names[i]);
        quire_encoder *encoder = open_encoder(tokenizer, false);
        const json_t *cases = json_object_get(golden, names[i]);
        CHECK(json_array_size(cases) > 100);
        for (size_t k = 0; k < json_array_size(cases); k++)
            check_case(tokenizer, encoder, json_array_get(cases, k));
        quire_encoder_close(encoder);
        quire_tokenizer_close(tokenizer);
    }
    json_decref(golden);
}

/* All texts of the golden file in a row, some hundred kilobytes. */
static struct bytes long_text(void)
{
    json_t *golden = load_json(SPIECE "golden.json");
    struct bytes text = {0};
    for (int round = 0; round < 8; round++)
        for (int i = 0; i < N_NAMES; i++) {
            const json_t *cases = json_object_get(golden, names[i]);
            for (size_t k = 0; k < json_array_size(cases); k++) {
                const json_t *part = json_object_get(json_array_get(cases, k), "text");
                bytes_add(&text, json_string_value(part), json_string_length(part));
            }
        }
    json_decref(golden);
    return text;
}

static void long_texts_do_not_depend_on_pieces(void)
{
    struct bytes text = long_text();
    for (int i = 0; i < N_NAMES; i++) {
        quire_tokenizer *tokenizer = open_named(names[i]);
        quire_encoder *encoder = open_encoder(tokenizer, false);
        size_t n_want, n_got;
        int32_t *want = encode_pieces(encoder, (char *)text.data, text.n, text.n, &n_want);
        static const size_t pieces[] = {13, 5000};
        for (size_t k = 0; k < 2; k++) {
            int32_t *got = encode_pieces(encoder, (char *)text.data, text.n, pieces[k], &n_got);
            check_ids("long", 4, got, n_got, want, n_want);
            free(got);
        }
        free(want);
        quire_encoder_close(encoder);
        quire_tokenizer_close(tokenizer);
    }
    bytes_release(&text);
}

/* Sums of scores are rounded, and counted afresh now and then, as SentencePiece does it. */
static void a_long_story_has_sentencepieces_ids(void)
{
    json_t *golden = load_json(SPIECE "golden.json");
    struct bytes story = file_read(QUIRE_SOURCE_DIR "/corpora/sample/the-lamplighter.txt"), text = {0};
    for (int i = 0; i < 12; i++)
        bytes_add(&text, story.data, story.n);
    for (int i = 0; i < N_NAMES; i++) {
        const json_t *want = json_object_get(json_object_get(golden, "long"), names[i]);
        quire_tokenizer *tokenizer = open_named(names[i]);
        quire_encoder *encoder = open_encoder(tokenizer, false);
        size_t n_ids;
        uint32_t hash = 0;
        int32_t *ids = encode_pieces(encoder, (char *)text.data, text.n, 10000, &n_ids);
        for (size_t k = 0; k < n_ids; k++)
            hash = hash * 31 + (uint32_t)ids[k] + 1;
        CHECK_EQ_INT(n_ids, json_integer_value(json_object_get(want, "n")));
        CHECK_EQ_INT(hash, json_integer_value(json_object_get(want, "hash")));
        free(ids);
        quire_encoder_close(encoder);
        quire_tokenizer_close(tokenizer);
    }
    bytes_release(&story);
    bytes_release(&text);
    json_decref(golden);
}

/* What is not decided stays small, also where pieces go across spaces. */
static void little_is_held(void)
{
    struct bytes text = long_text();
    quire_tokenizer *tokenizer = open_named("code");
    struct unigram unigram;
    struct id_list ids = {0};
    quire_error err = {0};
    size_t most = 0;
    unigram_init(&unigram, &tokenizer->vocab);
    for (size_t at = 0; at < text.n; at++) {
        if ((text.data[at] & 0xC0) == 0x80)
            continue;
        size_t length = 1;
        while (at + length < text.n && (text.data[at + length] & 0xC0) == 0x80)
            length++;
        REQUIRE_OK(unigram_feed(&unigram, text.data + at, length, &ids, &err));
        most = size_max(most, unigram.text.n);
    }
    CHECK(most < 3 * 4096);
    unigram_release(&unigram);
    free(ids.ids);
    quire_tokenizer_close(tokenizer);
    bytes_release(&text);
}

/* --- hand-made models --------------------------------------------------------------------------------------------- */

static void add_varint(struct bytes *to, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        bytes_add(to, &(uint8_t){(uint8_t)(value | 0x80)}, 1);
    bytes_add(to, &(uint8_t){(uint8_t)value}, 1);
}

static void add_number(struct bytes *to, uint32_t field, uint64_t value)
{
    add_varint(to, field << 3);
    add_varint(to, value);
}

static void add_field(struct bytes *to, uint32_t field, const void *data, size_t n)
{
    add_varint(to, field << 3 | 2);
    add_varint(to, n);
    bytes_add(to, data, n);
}

static void add_piece(struct bytes *to, const char *text, float score, int type)
{
    struct bytes piece = {0};
    add_field(&piece, 1, text, strlen(text));
    add_varint(&piece, 2 << 3 | 5);
    bytes_add_f32(&piece, score);
    if (type != PIECE_NORMAL)
        add_number(&piece, 3, (uint64_t)type);
    add_field(to, 1, piece.data, piece.n);
    bytes_release(&piece);
}

/* A message of one number. */
static void add_setting(struct bytes *to, uint32_t message, uint32_t field, uint64_t value)
{
    struct bytes inner = {0};
    add_number(&inner, field, value);
    add_field(to, message, inner.data, inner.n);
    bytes_release(&inner);
}

/* <unk>, </s>, a, aa; nothing before the text. */
static struct bytes small_model(void)
{
    struct bytes model = {0};
    add_piece(&model, "<unk>", 0, PIECE_UNKNOWN);
    add_piece(&model, "</s>", 0, PIECE_CONTROL);
    add_piece(&model, "a", -2, PIECE_NORMAL);
    add_piece(&model, "aa", -3, PIECE_NORMAL);
    add_setting(&model, 3, 3, false);
    add_setting(&model, 3, 4, false);
    return model;
}

static quire_status open_model(quire_tokenizer **out, const struct bytes *model, quire_error *err)
{
    char *folder = folder_make();
    *out = NULL;
    quire_status status =
        quire_tokenizer_open_path(out, file_write(folder, "spiece.model", model->data, model->n), err);
    CHECK((*out != NULL) == (status == QUIRE_OK));
    folder_remove(folder);
    return status;
}

/* Whether a row of "a" starts with the single one depends on its end: nothing can be given before that, nor is it. */
static void a_row_whose_start_depends_on_its_end(void)
{
    enum { N = 5 << 20 };
    struct bytes model = small_model();
    quire_tokenizer *tokenizer;
    quire_error err = {0};
    REQUIRE_OK(open_model(&tokenizer, &model, &err));
    char *row = malloc(N);
    CHECK(row != NULL);
    memset(row, 'a', N);
    for (size_t n = 20001; n < 20003; n++) {
        int32_t *ids;
        size_t n_ids;
        REQUIRE_OK(quire_encode(tokenizer, row, n, false, &ids, &n_ids, &err));
        CHECK_EQ_INT(n_ids, (n + 1) / 2);
        CHECK_EQ_INT(ids[0], n % 2 ? 2 : 3);
        CHECK_EQ_INT(ids[n_ids - 1], 3);
        free(ids);
    }
    quire_encoder *encoder = open_encoder(tokenizer, false);
    quire_ids given;
    CHECK_EQ_INT(quire_encoder_feed(encoder, row, N, &given, &err), QUIRE_ERR_TEXT);
    CHECK_MESSAGE(err, "depend on what follows");
    quire_error_clear(&err);
    CHECK_OK(quire_encoder_feed(encoder, row, 2, &given, &err)); /* ready for another text */
    REQUIRE_OK(quire_encoder_finish(encoder, &given, &err));
    CHECK(given.n_ids == 1 && given.ids[0] == 3);
    quire_encoder_close(encoder);
    quire_tokenizer_close(tokenizer);
    bytes_release(&model);
    free(row);
}

static void control_pieces_are_text_unless_asked_for(void)
{
    quire_tokenizer *tokenizer = open_named("code");
    quire_error err = {0};
    const char text[] = "a<|endoftext|>a";
    int32_t *ids, end = quire_tokenizer_end_of_text(tokenizer);
    size_t n;
    CHECK_EQ_INT(end, 1);
    CHECK(quire_tokenizer_is_special(tokenizer, 1) && !quire_tokenizer_is_special(tokenizer, 0));
    for (int special = 0; special < 2; special++) {
        size_t n_found = 0;
        REQUIRE_OK(quire_encode(tokenizer, text, sizeof text - 1, special, &ids, &n, &err));
        for (size_t i = 0; i < n; i++)
            n_found += ids[i] == end;
        CHECK_EQ_INT(n_found, special);
        free(ids);
    }
    quire_tokenizer_close(tokenizer);
    tokenizer = open_named("bytes");
    CHECK_EQ_INT(quire_tokenizer_end_of_text(tokenizer), 2); /* </s>: named in the file */
    quire_tokenizer_close(tokenizer);
}

/* bos_id, 41, is the beginning. */
static void the_end_of_text_is_eos_id(void)
{
    static const struct {
        uint32_t field;
        uint64_t value;
        int32_t end;
    } cases[] = {{42, 1, 1}, {41, 1, -1}, {42, (uint64_t)-1, -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes model = small_model();
        quire_tokenizer *tokenizer;
        quire_error err = {0};
        add_setting(&model, 2, cases[i].field, cases[i].value);
        REQUIRE_OK(open_model(&tokenizer, &model, &err));
        CHECK_EQ_INT(quire_tokenizer_end_of_text(tokenizer), cases[i].end);
        quire_tokenizer_close(tokenizer);
        bytes_release(&model);
    }
}

static void fields_are_refused_by_name(void)
{
    static const struct {
        uint32_t message, field;
        uint64_t value;
        const char *found;
    } settings[] = {
        {2, 3, 2, "model_type BPE is not supported"},          {2, 3, 4, "model_type CHAR is not supported"},
        {2, 3, 99, "model_type 99 is not supported"},          {2, 24, 1, "treat_whitespace_as_suffix true"},
        {2, 35, 1, "byte_fallback is true, but there are no"},
    };
    static const struct {
        const char *text;
        float score;
        int type;
        const char *found;
    } pieces[] = {
        {"b", NAN, PIECE_NORMAL, "piece 4, 'b', has a score that is not a number"},
        {"b", -INFINITY, PIECE_NORMAL, "has a score that is not a number"},
        {"b", 0, 7, "is of a type that is not one of 1 to 6"},
        {"b", 0, PIECE_UNKNOWN, "second piece for what is unknown"},
        {"<0xGG>", 0, PIECE_BYTE, "expected such as '<0x0A>'"},
        {"<0x41>", 0, PIECE_BYTE, "some pieces of bytes"},
        {"a", 0, PIECE_NORMAL, "'a' has the ids 2 and 4"},
        {"\xC3", 0, PIECE_NORMAL, "UTF-8"},
        {"", 0, PIECE_NORMAL, "UTF-8 of one character or more"},
    };
    quire_tokenizer *tokenizer;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        struct bytes model = small_model();
        quire_error err = {0};
        add_setting(&model, settings[i].message, settings[i].field, settings[i].value);
        CHECK(open_model(&tokenizer, &model, &err) != QUIRE_OK);
        CHECK_MESSAGE(err, settings[i].found);
        bytes_release(&model);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct bytes model = small_model();
        quire_error err = {0};
        add_piece(&model, pieces[i].text, pieces[i].score, pieces[i].type);
        CHECK(open_model(&tokenizer, &model, &err) != QUIRE_OK);
        CHECK_MESSAGE(err, pieces[i].found);
        bytes_release(&model);
    }
}

static void rules_and_long_pieces_are_refused(void)
{
    static const uint32_t normalizers[] = {3, 5};
    char piece[514];
    quire_tokenizer *tokenizer;
    for (int i = 0; i < 2; i++) {
        struct bytes model = small_model(), inner = {0};
        quire_error err = {0};
        add_field(&inner, 1, "nmt_nfkc", 8);
        add_field(&inner, 2, "\4\0\0\0abcd", 8);
        add_field(&model, normalizers[i], inner.data, inner.n);
        CHECK_EQ_INT(open_model(&tokenizer, &model, &err), QUIRE_ERR_UNSUPPORTED);
        CHECK_MESSAGE(err, "normalizer 'nmt_nfkc' has 8 bytes of rules in precompiled_charsmap");
        bytes_release(&inner);
        bytes_release(&model);
    }
    for (int n = 512; n < 514; n++) {
        struct bytes model = small_model();
        quire_error err = {0};
        snprintf(piece, sizeof piece, "%0*d", n, 0);
        add_piece(&model, piece, -1, PIECE_NORMAL);
        CHECK_EQ_INT(open_model(&tokenizer, &model, &err), n == 512 ? QUIRE_OK : QUIRE_ERR_UNSUPPORTED);
        quire_tokenizer_close(tokenizer);
        bytes_release(&model);
    }
}

/* Lengths near 2^63 and varints that do not end, at every place of a model; and every cut. */
static void damaged_models(void)
{
    struct bytes model = small_model();
    quire_tokenizer *tokenizer;
    size_t n_refused = 0;
    for (size_t at = 0; at < model.n; at++) {
        struct bytes damaged = {0};
        quire_error err = {0};
        bytes_add(&damaged, model.data, at);
        bytes_add(&damaged, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 9);
        bytes_add(&damaged, model.data + at, model.n - at);
        n_refused += open_model(&tokenizer, &damaged, &err) != QUIRE_OK;
        quire_tokenizer_close(tokenizer);
        damaged.n = at;
        quire_error_clear(&err);
        if (open_model(&tokenizer, &damaged, &err) != QUIRE_OK)
            CHECK(err.message[0] != '\0');
        quire_tokenizer_close(tokenizer);
        bytes_release(&damaged);
    }
    CHECK(n_refused > model.n / 2);
    bytes_release(&model);
}

/* --- GGUF --------------------------------------------------------------------------------------------------------- */

static void add_text(struct bytes *to, const char *key, const char *value)
{
    bytes_add_string(to, key);
    bytes_add_u32(to, 8);
    bytes_add_string(to, value);
}

static void add_flag(struct bytes *to, const char *key, bool value)
{
    bytes_add_string(to, key);
    bytes_add_u32(to, 7);
    bytes_add(to, &(uint8_t){value}, 1);
}

static void add_array(struct bytes *to, const char *key, uint32_t type, size_t n)
{
    bytes_add_string(to, key);
    bytes_add_u32(to, 9);
    bytes_add_u32(to, type);
    bytes_add_u64(to, n);
}

/* The GGUF that has what a .model file has. */
static quire_status open_as_gguf(quire_tokenizer **out, const char *name, const char *model_key, quire_error *err)
{
    char path[400];
    snprintf(path, sizeof path, SPIECE "%s.model", name);
    struct bytes spiece = file_read(path), gguf = {0};
    struct vocab vocab = {.path = path};
    CHECK(vocab_read_spiece(&vocab, spiece.data, spiece.n, err) == QUIRE_OK);
    const struct pieces *pieces = vocab.pieces;
    bytes_add(&gguf, "GGUF\3\0\0\0\0\0\0\0\0\0\0\0", 16);
    bytes_add_u64(&gguf, 7);
    add_text(&gguf, "general.architecture", "mpt");
    add_text(&gguf, "tokenizer.ggml.model", model_key);
    add_flag(&gguf, "tokenizer.ggml.add_space_prefix", pieces->adds_prefix);
    add_flag(&gguf, "tokenizer.ggml.remove_extra_whitespaces", pieces->squeezes);
    add_array(&gguf, "tokenizer.ggml.tokens", 8, pieces->n_scores);
    for (size_t id = 0; id < pieces->n_scores; id++) {
        char text[600] = "[unused]";
        const struct token *token = vocab_token(&vocab, (int64_t)id);
        if (token)
            snprintf(text, sizeof text, "%.*s", (int)token->n_spelling, (const char *)token_spelling(&vocab, token));
        bytes_add_string(&gguf, text);
    }
    add_array(&gguf, "tokenizer.ggml.scores", 6, pieces->n_scores);
    for (size_t id = 0; id < pieces->n_scores; id++)
        bytes_add_f32(&gguf, pieces->scores[id]);
    add_array(&gguf, "tokenizer.ggml.token_type", 5, pieces->n_scores);
    for (size_t id = 0; id < pieces->n_scores; id++)
        bytes_add_u32(&gguf, pieces->types[id]);
    char *folder = folder_make();
    *out = NULL;
    quire_status status = quire_tokenizer_open_path(out, file_write(folder, "v.gguf", gguf.data, gguf.n), err);
    folder_remove(folder);
    bytes_release(&gguf);
    bytes_release(&spiece);
    vocab_release(&vocab);
    return status;
}

static void a_gguf_has_the_same(void)
{
    json_t *golden = load_json(SPIECE "golden.json");
    for (int i = 0; i < N_NAMES; i++) {
        quire_tokenizer *gguf, *spiece = open_named(names[i]);
        quire_error err = {0};
        REQUIRE_OK(open_as_gguf(&gguf, names[i], i % 2 ? "llama" : "t5", &err));
        CHECK_EQ_STR(quire_tokenizer_fingerprint(gguf), quire_tokenizer_fingerprint(spiece));
        quire_encoder *encoder = open_encoder(gguf, false);
        const json_t *cases = json_object_get(golden, names[i]);
        for (size_t k = 0; k < json_array_size(cases); k += 10) {
            const json_t *text = json_object_get(json_array_get(cases, k), "text");
            size_t n = json_string_length(text), n_want, n_got;
            int32_t *want = json_ids(json_object_get(json_array_get(cases, k), "ids"), &n_want);
            int32_t *got = encode_pieces(encoder, json_string_value(text), n, 64, &n_got);
            check_ids(json_string_value(text), n, got, n_got, want, n_want);
            free(got);
            free(want);
        }
        quire_encoder_close(encoder);
        quire_tokenizer_close(gguf);
        quire_tokenizer_close(spiece);
    }
    json_decref(golden);
}

static const struct test tests[] = {
    {"ids_and_texts_are_sentencepieces", ids_and_texts_are_sentencepieces},
    {"long_texts_do_not_depend_on_pieces", long_texts_do_not_depend_on_pieces},
    {"a_long_story_has_sentencepieces_ids", a_long_story_has_sentencepieces_ids},
    {"little_is_held", little_is_held},
    {"a_row_whose_start_depends_on_its_end", a_row_whose_start_depends_on_its_end},
    {"control_pieces_are_text_unless_asked_for", control_pieces_are_text_unless_asked_for},
    {"the_end_of_text_is_eos_id", the_end_of_text_is_eos_id},
    {"fields_are_refused_by_name", fields_are_refused_by_name},
    {"rules_and_long_pieces_are_refused", rules_and_long_pieces_are_refused},
    {"damaged_models", damaged_models},
    {"a_gguf_has_the_same", a_gguf_has_the_same},
};
TEST_MAIN(tests)
