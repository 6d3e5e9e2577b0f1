/* Text out of files: what a terminal may be given of it. */
#include "base/printable.h"

#include "base/utf8.h"
#include "test.h"

static void check_shown(const char *text, const char *want)
{
    char out[200];
    CHECK_EQ_INT(quire_printable(out, sizeof out, text, strlen(text)), strlen(text));
    CHECK_EQ_STR(out, want);
    /* Printable text is left alone: a message may be part of another. */
    CHECK_EQ_INT(quire_printable(out, sizeof out, want, strlen(want)), strlen(want));
    CHECK_EQ_STR(out, want);
}

static void what_a_terminal_acts_on_is_spelt_out(void)
{
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"blk.0.attn_qkv.weight", "blk.0.attn_qkv.weight"},
        {"caf\xC3\xA9 \xE2\x80\x9Cna\xC3\xAFve\xE2\x80\x9D \xF0\x9F\x93\x96 \xE6\x96\x87", /* letters, quotes, a picture
                                                                                            */
         "caf\xC3\xA9 \xE2\x80\x9Cna\xC3\xAFve\xE2\x80\x9D \xF0\x9F\x93\x96 \xE6\x96\x87"},
        {"\x1B[2J\x1B]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"},
        {"a\nquire: all is sound\r\t\b\x7F", "a\\x0aquire: all is sound\\x0d\\x09\\x08\\x7f"},
        {"\xC2\x9B"
         "31m\xC2\x80\xC2\x9F\xC2\xA0",
         "\\u009b31m\\u0080\\u009f\xC2\xA0"},
        {"\xE2\x80\xAE"
         "fugg.\xE2\x80\xAC",
         "\\u202efugg.\\u202c"},
        {"\xE2\x81\xA6\xE2\x81\xA9\xE2\x80\x8E\xE2\x80\x8F\xD8\x9C", "\\u2066\\u2069\\u200e\\u200f\\u061c"},
        {"\xE2\x80\xA8\xE2\x80\xA9", "\\u2028\\u2029"},
        {"\xFF\xC3(\xC0\xAF\xED\xA0\x80\x9B", "\\xff\\xc3(\\xc0\\xaf\\xed\\xa0\\x80\\x9b"}, /* no UTF-8 */
        {"\xF0\x9F\x93", "\\xf0\\x9f\\x93"},
        {"back\\slash", "back\\slash"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_shown(cases[i].text, cases[i].shown);
    char out[16];
    CHECK_EQ_INT(quire_printable(out, sizeof out, "a\0b", 3), 3);
    CHECK_EQ_STR(out, "a\\x00b");
}

/* Any bytes, any room: what comes out is UTF-8 without controls, ends where a character does, and stays in its room. */
static void any_bytes_fit_any_room(void)
{
    uint64_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        unsigned char text[24];
        char out[64];
        size_t n = test_random(&seed) % sizeof text, size = 1 + test_random(&seed) % (sizeof out - 1);
        for (size_t i = 0; i < n; i++)
            text[i] = test_random(&seed) % 3 == 0 ? (unsigned char)(test_random(&seed) % 0x40)
                                                  : (unsigned char)test_random(&seed);
        memset(out, 0x55, sizeof out);
        size_t n_taken = quire_printable(out, size, (const char *)text, n), n_out = strlen(out);
        CHECK(n_taken <= n && n_out < size && out[size] == 0x55);
        CHECK(n_taken == n || n_out + 7 > size);
        CHECK_EQ_INT(utf8_scan((const unsigned char *)out, n_out).n_valid, n_out);
        for (size_t i = 0; i < n_out; i++)
            CHECK((unsigned char)out[i] >= 0x20 && out[i] != 0x7F);
    }
}

static void QUIRE_PRINTF(3, 4) printable_message(char *out, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printable_vprint(out, size, format, args);
    va_end(args);
}

static void messages_are_one_printable_line(void)
{
    quire_error err = {0};
    char name[3000];
    quire_fail(&err, QUIRE_ERR_FORMAT, "tensor '%s' is there twice", "a\x1B[31m\n\xE2\x80\xAE");
    CHECK_EQ_STR(err.message, "tensor 'a\\x1b[31m\\x0a\\u202e' is there twice");
    quire_error outer = {0};
    quire_fail(&outer, err.status, "%s", err.message);
    CHECK_EQ_STR(outer.message, err.message);
    /* Cut at a whole character, also where the first copy was cut within one. */
    for (size_t shift = 0; shift < 3; shift++) {
        memset(name, 'a', shift);
        for (size_t i = shift; i + 3 < sizeof name; i += 3)
            memcpy(name + i, "\xE2\x82\xAC", 4);
        quire_error_clear(&err);
        quire_fail(&err, QUIRE_ERR_FORMAT, "%s", name);
        CHECK(strlen(err.message) > sizeof err.message - 4);
        CHECK(strncmp(err.message, name, strlen(err.message)) == 0);
        char shown[8192];
        printable_message(shown, sizeof shown, "%s", name);
        CHECK(strlen(shown) > 2000 && strncmp(shown, name, strlen(shown)) == 0);
    }
}

static void long_names_end_in_dots(void)
{
    char name[200];
    memset(name, 'n', sizeof name);
    struct printable shown = printable(name, sizeof name);
    CHECK_EQ_INT(strlen(shown.text), sizeof shown.text - 1);
    CHECK_EQ_STR(shown.text + sizeof shown.text - 4, "...");
    CHECK_EQ_STR(printable("\x1B", 1).text, "\\x1b");
    memset(name, 0x1B, sizeof name);
    shown = printable(name, sizeof name);
    CHECK(strlen(shown.text) > 90 && strcmp(shown.text + strlen(shown.text) - 7, "\\x1b...") == 0);
}

static const struct test tests[] = {
    {"what_a_terminal_acts_on_is_spelt_out", what_a_terminal_acts_on_is_spelt_out},
    {"any_bytes_fit_any_room", any_bytes_fit_any_room},
    {"messages_are_one_printable_line", messages_are_one_printable_line},
    {"long_names_end_in_dots", long_names_end_in_dots},
};

TEST_MAIN(tests)
