/* No text is quadratic: 4 MB of what is worst for each stage, in large pieces and in small ones. The test's time limit
 * is what fails where one is. */
#include "tokenizer_test.h"

#define N_BYTES ((size_t)4 << 20)

/* N_BYTES of the pattern, over and over. */
static char *repeat(const char *pattern)
{
    char *text = malloc(N_BYTES);
    size_t n = strlen(pattern);
    for (size_t i = 0; i < N_BYTES; i++)
        text[i] = pattern[i % n];
    return text;
}

static size_t whole(size_t n, const char *pattern)
{
    return n / strlen(pattern) * strlen(pattern);
}

static void check_pattern(const char *pattern)
{
    quire_tokenizer *tokenizer = open_tokenizer(DATA "tokenizer.json");
    quire_encoder *encoder = open_encoder(tokenizer, true);
    char *text = repeat(pattern);
    size_t n = whole(N_BYTES, pattern), n_want, n_got;
    int32_t *want = encode_pieces(encoder, text, n, n, &n_want);
    int32_t *got = encode_pieces(encoder, text, n, 11, &n_got);
    check_ids(pattern, strlen(pattern), got, n_got, want, n_want);
    CHECK(n_want > 0 && n_want <= n);
    free(got);
    free(want);
    free(text);
    quire_encoder_close(encoder);
    quire_tokenizer_close(tokenizer);
}

static void one_letter(void)
{
    check_pattern("a");
}

static void words_without_a_space(void)
{
    check_pattern("thelighthousekeepercountedthewaves");
}

static void spaces(void)
{
    check_pattern(" ");
}

static void tabs(void)
{
    check_pattern("\t");
}

static void apostrophes(void)
{
    check_pattern("'");
}

static void marks_of_one_class(void)
{
    check_pattern("\xCC\x81");
}

static void marks_in_the_wrong_order(void)
{
    check_pattern("\xCC\x81\xCC\xA3\xCD\x85\xCC\xB8"); /* classes 230, 220, 240, 1 */
}

static void jamo(void)
{
    check_pattern("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8");
}

static void trailing_jamo(void)
{
    check_pattern("\xE1\x86\xA8");
}

static void starts_of_special_tokens(void)
{
    check_pattern("<|endoftext");
}

static void special_tokens(void)
{
    check_pattern("<|endoftext|>");
}

static void ideographs(void)
{
    check_pattern("\xE5\xAE\x88\xE3\x82\x8B\xE4\xBA\xBA\xE3\x81\xAF");
}

static const struct test tests[] = {
    {"one_letter", one_letter},
    {"words_without_a_space", words_without_a_space},
    {"spaces", spaces},
    {"tabs", tabs},
    {"apostrophes", apostrophes},
    {"marks_of_one_class", marks_of_one_class},
    {"marks_in_the_wrong_order", marks_in_the_wrong_order},
    {"jamo", jamo},
    {"trailing_jamo", trailing_jamo},
    {"starts_of_special_tokens", starts_of_special_tokens},
    {"special_tokens", special_tokens},
    {"ideographs", ideographs},
};
TEST_MAIN(tests)
