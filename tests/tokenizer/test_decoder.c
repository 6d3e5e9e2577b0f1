/* Decoding: whole characters only, and U+FFFD for what can be none, as Rust's from_utf8_lossy has it. */
#include "tokenizer_test.h"

/* The id of the token that stands for one byte. */
static int32_t byte_id(const quire_tokenizer *tokenizer, uint8_t byte)
{
    for (int32_t id = 0; id < (int32_t)quire_tokenizer_n_tokens(tokenizer); id++) {
        const char *bytes;
        size_t n;
        if (quire_tokenizer_bytes(tokenizer, id, &bytes, &n) && n == 1 && (uint8_t)bytes[0] == byte)
            return id;
    }
    return -1;
}

/* The text of ids and of the end; at each step what comes must be whole characters. */
static void decode(const quire_tokenizer *tokenizer, bool keep_special, const int32_t *ids, size_t n_ids, char *text)
{
    quire_error err = {0};
    quire_decoder *decoder = NULL;
    size_t n_text = 0;
    REQUIRE_OK(quire_decoder_open(&decoder, tokenizer, keep_special, &err));
    for (size_t i = 0; i <= n_ids; i++) {
        const char *bytes;
        size_t n;
        if (i < n_ids)
            REQUIRE_OK(quire_decoder_feed(decoder, ids[i], &bytes, &n, &err));
        else
            REQUIRE_OK(quire_decoder_finish(decoder, &bytes, &n, &err));
        if (n > 0) {
            CHECK(((uint8_t)bytes[0] & 0xC0) != 0x80);
            json_t *checked = json_stringn(bytes, n); /* jansson takes valid UTF-8 only */
            CHECK(checked != NULL);
            json_decref(checked);
        }
        memcpy(text + n_text, bytes, n);
        n_text += n;
    }
    text[n_text] = '\0';
    quire_decoder_close(decoder);
}

static void bytes_that_are_no_character(void)
{
#define R "\xEF\xBF\xBD"
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"abc", "abc"},
        {"\xC3\xA9", "\xC3\xA9"},
        {"\xE2\x82\xAC", "\xE2\x82\xAC"},
        {"\xF0\x9F\xA6\x99!", "\xF0\x9F\xA6\x99!"},
        {"\x80", R},
        {"\xE2\x82", R},
        {"\xE2\x82"
         "a",
         R "a"},
        {"\xE2(\xA1", R "(" R},
        {"\xF0\x9F\xA6", R},
        {"\xF0\x9F\xA6\xC3\xA9", R "\xC3\xA9"},
        {"\xED\xA0\x80", R R R},
        {"\xC0\xAF", R R},
        {"\xF4\x90\x80\x80", R R R R},
        {"\xE0\x80\xAF", R R R},
        {"\xC3\xC3\xA9", R "\xC3\xA9"},
        {"a\xFF\xFE"
         "b",
         "a" R R "b"},
    };
    quire_tokenizer *tokenizer = open_tokenizer(DATA "tokenizer.json");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int32_t ids[16];
        char text[100];
        size_t n = strlen(cases[i].bytes);
        for (size_t k = 0; k < n; k++)
            ids[k] = byte_id(tokenizer, (uint8_t)cases[i].bytes[k]);
        decode(tokenizer, false, ids, n, text);
        CHECK_EQ_STR(text, cases[i].text);
    }
    quire_tokenizer_close(tokenizer);
#undef R
}

static void special_tokens_by_name_or_not_at_all(void)
{
    quire_tokenizer *tokenizer = open_tokenizer(DATA "tokenizer.json");
    int32_t start = quire_tokenizer_find(tokenizer, "<|im_start|>"), end = quire_tokenizer_end_of_text(tokenizer);
    /* A character that a special token stands in: put together when it is left out, broken when it is kept. */
    int32_t ids[] = {byte_id(tokenizer, 'a'),  start,
                     byte_id(tokenizer, 0xC3), end,
                     byte_id(tokenizer, 0xA9), quire_tokenizer_find(tokenizer, "    ")};
    char text[200];
    CHECK(quire_tokenizer_is_special(tokenizer, start));
    CHECK(quire_tokenizer_is_special(tokenizer, end));
    CHECK(!quire_tokenizer_is_special(tokenizer, ids[5]));
    CHECK(!quire_tokenizer_is_special(tokenizer, -1));
    decode(tokenizer, false, ids, 6, text);
    CHECK_EQ_STR(text, "a\xC3\xA9    ");
    decode(tokenizer, true, ids, 6, text);
    CHECK_EQ_STR(text, "a<|im_start|>\xEF\xBF\xBD<|endoftext|>\xEF\xBF\xBD    ");
    quire_tokenizer_close(tokenizer);
}

static void no_such_id(void)
{
    quire_tokenizer *tokenizer = open_tokenizer(DATA "tokenizer.json");
    quire_decoder *decoder = NULL;
    quire_error err = {0};
    const char *bytes;
    size_t n;
    int32_t wrong[] = {-1, INT32_MIN, INT32_MAX, (int32_t)quire_tokenizer_n_tokens(tokenizer)};
    REQUIRE_OK(quire_decoder_open(&decoder, tokenizer, false, &err));
    REQUIRE_OK(quire_decoder_feed(decoder, byte_id(tokenizer, 0xC3), &bytes, &n, &err));
    CHECK_EQ_INT(n, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        quire_error_clear(&err);
        CHECK_EQ_INT(quire_decoder_feed(decoder, wrong[i], &bytes, &n, &err), QUIRE_ERR_USAGE);
        CHECK(!quire_tokenizer_bytes(tokenizer, wrong[i], &bytes, &n));
    }
    quire_error_clear(&err);
    REQUIRE_OK(
        quire_decoder_feed(decoder, byte_id(tokenizer, 0xA9), &bytes, &n, &err)); /* what was held is still there */
    CHECK(n == 2 && memcmp(bytes, "\xC3\xA9", 2) == 0);
    /* After the end, another text. */
    REQUIRE_OK(quire_decoder_feed(decoder, byte_id(tokenizer, 0xE2), &bytes, &n, &err));
    REQUIRE_OK(quire_decoder_finish(decoder, &bytes, &n, &err));
    CHECK_EQ_INT(n, 3);
    REQUIRE_OK(quire_decoder_feed(decoder, byte_id(tokenizer, 'x'), &bytes, &n, &err));
    CHECK(n == 1 && bytes[0] == 'x');
    REQUIRE_OK(quire_decoder_finish(decoder, &bytes, &n, &err));
    CHECK_EQ_INT(n, 0);
    quire_decoder_close(decoder);
    quire_tokenizer_close(tokenizer);
}

/* Every text of the golden file that is in NFC comes back as it was; the ids of the others give the same ids again. */
static void there_and_back(void)
{
    json_t *cases = load_json(DATA "golden.json");
    quire_tokenizer *tokenizer = open_tokenizer(DATA "tokenizer.json");
    quire_encoder *encoder = open_encoder(tokenizer, false);
    size_t i, n_same = 0;
    json_t *item;
    json_array_foreach(cases, i, item)
    {
        const json_t *text = json_object_get(item, "text");
        size_t n_ids, n_again;
        int32_t *ids = json_ids(json_object_get(item, "ids"), &n_ids);
        char *back = malloc(json_string_length(text) * 3 + 100);
        decode(tokenizer, false, ids, n_ids, back);
        if (strlen(json_string_value(text)) == json_string_length(text)) { /* no NUL in it */
            int32_t *again = encode_pieces(encoder, back, strlen(back), 100, &n_again);
            check_ids(back, strlen(back), again, n_again, ids, n_ids);
            n_same += strcmp(back, json_string_value(text)) == 0;
            free(again);
        }
        free(ids);
        free(back);
    }
    CHECK(n_same > json_array_size(cases) / 4);
    quire_encoder_close(encoder);
    quire_tokenizer_close(tokenizer);
    json_decref(cases);
}

static const struct test tests[] = {
    {"bytes_that_are_no_character", bytes_that_are_no_character},
    {"special_tokens_by_name_or_not_at_all", special_tokens_by_name_or_not_at_all},
    {"no_such_id", no_such_id},
    {"there_and_back", there_and_back},
};
TEST_MAIN(tests)
