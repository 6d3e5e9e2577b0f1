/* The ids of HuggingFace `tokenizers` for a small vocabulary (make_golden.py), whole and in pieces, from tokenizer.json
 * and from a GGUF; and that any cut of the text gives the same ids. */
#include "tokenizer_test.h"

static void check_golden(const char *answers, const char *path, size_t piece)
{
    json_t *cases = load_json(answers);
    quire_tokenizer *tokenizer = open_tokenizer(path);
    quire_encoder *encoders[2] = {open_encoder(tokenizer, false), open_encoder(tokenizer, true)};
    size_t i;
    json_t *item;
    CHECK(json_array_size(cases) >= 300);
    json_array_foreach(cases, i, item)
    {
        const json_t *text = json_object_get(item, "text");
        for (int special = 0; special < 2; special++) {
            size_t n_want, n_got;
            const json_t *parsed = json_object_get(item, "special"); /* left out where it is the same */
            int32_t *want = json_ids(special && parsed ? parsed : json_object_get(item, "ids"), &n_want);
            int32_t *got =
                encode_pieces(encoders[special], json_string_value(text), json_string_length(text), piece, &n_got);
            check_ids(json_string_value(text), json_string_length(text), got, n_got, want, n_want);
            free(want);
            free(got);
        }
    }
    quire_encoder_close(encoders[0]);
    quire_encoder_close(encoders[1]);
    quire_tokenizer_close(tokenizer);
    json_decref(cases);
}

static void json_vocabulary(void)
{
    check_golden(DATA "golden.json", DATA "tokenizer.json", SIZE_MAX / 2);
}

static void json_vocabulary_from_its_folder(void)
{
    check_golden(DATA "golden.json", DATA, SIZE_MAX / 2);
}

static void gguf_vocabulary(void)
{
    check_golden(DATA "golden.json", DATA "vocab.gguf", SIZE_MAX / 2);
}

/* What Unicode's normalisation can do, and mixtures of everything (tests/parity). */
static void hard_strings(void)
{
    check_golden(DATA "hard.json", DATA "tokenizer.json", SIZE_MAX / 2);
    check_golden(DATA "hard.json", DATA "vocab.gguf", 1);
}

static void byte_by_byte(void)
{
    check_golden(DATA "golden.json", DATA "tokenizer.json", 1);
}

static void whole_text_at_once(void)
{
    json_t *cases = load_json(DATA "golden.json");
    quire_tokenizer *tokenizer = open_tokenizer(DATA "tokenizer.json");
    quire_error err = {0};
    size_t i;
    json_t *item;
    json_array_foreach(cases, i, item)
    {
        const json_t *text = json_object_get(item, "text");
        size_t n_want, n_got = 0;
        int32_t *want = json_ids(json_object_get(item, "ids"), &n_want), *got = NULL;
        REQUIRE_OK(
            quire_encode(tokenizer, json_string_value(text), json_string_length(text), false, &got, &n_got, &err));
        CHECK(got != NULL);
        check_ids(json_string_value(text), json_string_length(text), got, n_got, want, n_want);
        free(want);
        free(got);
    }
    quire_tokenizer_close(tokenizer);
    json_decref(cases);
}

/* Short texts cut at every place and, between bytes, at every pair of places. */
static void every_cut_of_short_texts(void)
{
    json_t *cases = load_json(DATA "golden.json");
    quire_tokenizer *tokenizer = open_tokenizer(DATA "tokenizer.json");
    quire_encoder *encoder = open_encoder(tokenizer, true);
    quire_error err = {0};
    size_t i;
    json_t *item;
    json_array_foreach(cases, i, item)
    {
        const char *text = json_string_value(json_object_get(item, "text"));
        size_t n = json_string_length(json_object_get(item, "text")), n_want;
        if (n > 48)
            continue;
        int32_t *want = json_ids(json_object_get(item, "special"), &n_want);
        for (size_t first = 0; first <= n; first++) {
            for (size_t second = first; second <= n; second++) {
                int32_t got[256];
                size_t n_got = 0, ends[3] = {first, second, n}, at = 0;
                quire_ids given;
                for (int part = 0; part < 4; part++) {
                    if (part < 3)
                        REQUIRE_OK(quire_encoder_feed(encoder, text + at, ends[part] - at, &given, &err));
                    else
                        REQUIRE_OK(quire_encoder_finish(encoder, &given, &err));
                    at = part < 3 ? ends[part] : at;
                    for (size_t k = 0; k < given.n_ids && n_got < 256; k++)
                        got[n_got++] = given.ids[k];
                }
                check_ids(text, n, got, n_got, want, n_want);
            }
        }
        free(want);
    }
    quire_encoder_close(encoder);
    quire_tokenizer_close(tokenizer);
    json_decref(cases);
}

/* All texts in one, larger than the encoder's blocks, in random pieces. */
static void random_cuts_of_a_long_text(void)
{
    json_t *cases = load_json(DATA "golden.json");
    quire_tokenizer *tokenizer = open_tokenizer(DATA "tokenizer.json");
    quire_encoder *encoder = open_encoder(tokenizer, true);
    quire_error err = {0};
    char *text = NULL;
    size_t n = 0, i, n_want;
    json_t *item;
    for (int round = 0; round < 6; round++)
        json_array_foreach(cases, i, item)
        {
            size_t n_more = json_string_length(json_object_get(item, "text"));
            text = realloc(text, n + n_more + 1);
            memcpy(text + n, json_string_value(json_object_get(item, "text")), n_more);
            n += n_more;
        }
    CHECK(n > 100000);
    int32_t *want = encode_pieces(encoder, text, n, n, &n_want);
    uint64_t seed = 7;
    for (int round = 0; round < 20; round++) {
        int32_t *got = malloc(n_want * sizeof got[0] * 2);
        size_t n_got = 0, limit = (size_t)2 << test_random(&seed) % 16;
        for (size_t at = 0, piece; at <= n; at += piece) {
            quire_ids given;
            piece = test_random(&seed) % limit + 1;
            if (at == n)
                REQUIRE_OK(quire_encoder_finish(encoder, &given, &err));
            else {
                piece = piece > n - at ? n - at : piece;
                REQUIRE_OK(quire_encoder_feed(encoder, text + at, piece, &given, &err));
            }
            for (size_t k = 0; k < given.n_ids && n_got < 2 * n_want; k++)
                got[n_got++] = given.ids[k];
        }
        check_ids("all texts", 9, got, n_got, want, n_want);
        free(got);
    }
    free(want);
    free(text);
    quire_encoder_close(encoder);
    quire_tokenizer_close(tokenizer);
    json_decref(cases);
}

/* A finished word is not kept until the text ends. */
static void words_are_given_early(void)
{
    quire_tokenizer *tokenizer = open_tokenizer(DATA "tokenizer.json");
    quire_encoder *encoder = open_encoder(tokenizer, false);
    quire_error err = {0};
    quire_ids given;
    int32_t *want = NULL;
    size_t n_want = 0;
    REQUIRE_OK(quire_encode(tokenizer, "one, two,", 9, false, &want, &n_want, &err));
    REQUIRE_OK(quire_encoder_feed(encoder, "one, two, three", 15, &given, &err));
    check_ids("one, two,", 9, given.ids, given.n_ids, want, n_want);
    REQUIRE_OK(quire_encoder_finish(encoder, &given, &err));
    CHECK(given.n_ids > 0);
    free(want);
    quire_encoder_close(encoder);
    quire_tokenizer_close(tokenizer);
}

static void check_invalid(const char *text, size_t n, size_t piece, const char *message)
{
    quire_tokenizer *tokenizer = open_tokenizer(DATA "tokenizer.json");
    quire_encoder *encoder = open_encoder(tokenizer, false);
    quire_error err = {0};
    quire_ids given;
    quire_status status = QUIRE_OK;
    for (size_t at = 0; at < n && status == QUIRE_OK; at += piece)
        status = quire_encoder_feed(encoder, text + at, n - at < piece ? n - at : piece, &given, &err);
    if (status == QUIRE_OK)
        status = quire_encoder_finish(encoder, &given, &err);
    CHECK_EQ_INT(status, QUIRE_ERR_TEXT);
    CHECK_MESSAGE(err, message);
    /* The encoder is ready for another text. */
    quire_error_clear(&err);
    size_t n_ids;
    int32_t *ids = encode_pieces(encoder, "a", 1, 1, &n_ids);
    CHECK_EQ_INT(n_ids, 1);
    CHECK_EQ_INT(ids[0], quire_tokenizer_find(tokenizer, "a"));
    free(ids);
    quire_encoder_close(encoder);
    quire_tokenizer_close(tokenizer);
}

static void invalid_text_is_an_error_with_its_place(void)
{
    for (size_t piece = 1; piece < 5; piece++) {
        check_invalid("abc\xFF", 4, piece, "at byte 3");
        check_invalid("\xC3\xA9\xC3(", 4, piece, "at byte 2");
        check_invalid("a\xE2\x82", 3, piece, "at byte 1");
        check_invalid("\xED\xA0\x80", 3, piece, "at byte 0");
        check_invalid("x\xC0\x80", 3, piece, "at byte 1");
        check_invalid("xy\xF4\x90\x80\x80", 6, piece, "at byte 2");
    }
}

static const struct test tests[] = {
    {"json_vocabulary", json_vocabulary},
    {"json_vocabulary_from_its_folder", json_vocabulary_from_its_folder},
    {"gguf_vocabulary", gguf_vocabulary},
    {"hard_strings", hard_strings},
    {"byte_by_byte", byte_by_byte},
    {"whole_text_at_once", whole_text_at_once},
    {"every_cut_of_short_texts", every_cut_of_short_texts},
    {"random_cuts_of_a_long_text", random_cuts_of_a_long_text},
    {"words_are_given_early", words_are_given_early},
    {"invalid_text_is_an_error_with_its_place", invalid_text_is_an_error_with_its_place},
};
TEST_MAIN(tests)
