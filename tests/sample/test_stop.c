#include "quire/stop.h"

#include "test.h"

/* Feeds text in pieces of n bytes and collects what comes out, held-back text at the end included. */
static void run(const char *const *stops, size_t n_stops, const char *text, size_t piece, char *out, bool *is_found)
{
    quire_stop *stop = NULL;
    quire_error err = {0};
    const char *shown;
    size_t n_shown, n_out = 0, n = strlen(text);
    REQUIRE_OK(quire_stop_open(&stop, stops, n_stops, &err));
    for (size_t at = 0; at < n; at += piece) {
        CHECK_OK(quire_stop_feed(stop, text + at, at + piece < n ? piece : n - at, &shown, &n_shown, &err));
        memcpy(out + n_out, shown, n_shown);
        n_out += n_shown;
    }
    *is_found = quire_stop_found(stop);
    quire_stop_finish(stop, &shown, &n_shown);
    memcpy(out + n_out, shown, n_shown);
    out[n_out + n_shown] = '\0';
    quire_stop_close(stop);
}

static const struct {
    const char *stops[3];
    size_t n_stops;
    const char *text;
    const char *shown;
    bool is_found;
} cases[] = {
    {{NULL}, 0, "all of it", "all of it", false},
    {{"STOP"}, 1, "go on STOP here", "go on ", true},
    {{"STOP"}, 1, "STOP", "", true},
    {{"STOP"}, 1, "go on STO", "go on STO", false},
    {{"STOP"}, 1, "STSTSTOP!", "STST", true},
    {{"aab"}, 1, "aaaab", "aa", true},
    {{"\nQ:"}, 1, "an answer\n\nQ: next", "an answer\n", true},
    {{"abcd", "bc"}, 2, "xabcd", "xa", true}, /* the one that is complete first */
    {{"bcd", "abcd"}, 2, "xabcd", "x", true}, /* of two that end together, the longer */
    {{"cd", "x", "abc"}, 3, "ab ac cd", "ab ac ", true},
    {{"\xE2\x80\x94"}, 1, "caf\xC3\xA9 \xE2\x80\x93 no \xE2\x80\x94 yes", "caf\xC3\xA9 \xE2\x80\x93 no ", true},
};

static void every_cut_gives_the_same(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t piece = 1; piece <= 20; piece++) {
            char out[100];
            bool is_found;
            run(cases[i].stops, cases[i].n_stops, cases[i].text, piece, out, &is_found);
            CHECK_EQ_STR(out, cases[i].shown);
            CHECK_EQ_INT(is_found, cases[i].is_found);
        }
}

static void holds_back_no_more_than_it_must(void)
{
    static const char *const stops[] = {"STOP"};
    quire_stop *stop = NULL;
    quire_error err = {0};
    const char *shown;
    size_t n;
    REQUIRE_OK(quire_stop_open(&stop, stops, 1, &err));
    CHECK_OK(quire_stop_feed(stop, "go S", 4, &shown, &n, &err));
    CHECK_EQ_INT(n, 3);
    CHECK_OK(quire_stop_feed(stop, "o", 1, &shown, &n, &err));
    CHECK(n == 2 && memcmp(shown, "So", 2) == 0);
    CHECK_OK(quire_stop_feed(stop, "STOP more", 9, &shown, &n, &err));
    CHECK_EQ_INT(n, 0);
    CHECK_OK(quire_stop_feed(stop, "still more", 10, &shown, &n, &err));
    CHECK_EQ_INT(n, 0);
    quire_stop_finish(stop, &shown, &n);
    CHECK_EQ_INT(n, 0);
    CHECK_OK(quire_stop_feed(stop, "new text", 8, &shown, &n, &err)); /* ready for another one */
    CHECK_EQ_INT(n, 8);
    quire_stop_close(stop);
}

static void an_empty_string_is_refused(void)
{
    static const char *const stops[] = {"a", ""};
    quire_stop *stop = NULL;
    quire_error err = {0};
    CHECK_EQ_INT(quire_stop_open(&stop, stops, 2, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "stop string 2");
    quire_stop_close(NULL);
}

static const struct test tests[] = {
    {"every_cut_gives_the_same", every_cut_gives_the_same},
    {"holds_back_no_more_than_it_must", holds_back_no_more_than_it_must},
    {"an_empty_string_is_refused", an_empty_string_is_refused},
};
TEST_MAIN(tests)
