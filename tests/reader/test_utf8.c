#include "base/utf8.h"
#include "reader/utf8_reference.h"
#include "test.h"

static size_t encode(unsigned char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (unsigned char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, c >>= 6)
        out[i] = (unsigned char)(0x80 | (c & 0x3F));
    out[0] = (unsigned char)((0xF00u >> length) | c);
    return length;
}

static void every_character_is_valid_whole_and_incomplete_cut(void)
{
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        unsigned char bytes[4];
        size_t n = encode(bytes, c);
        bool is_surrogate = c >= 0xD800 && c <= 0xDFFF;
        struct utf8_scan whole = utf8_scan(bytes, n);
        CHECK_EQ_INT(whole.n_valid, is_surrogate ? 0 : n);
        CHECK_EQ_INT(whole.n_invalid, is_surrogate ? 1 : 0);
        for (size_t k = 1; k < n && !is_surrogate; k++) {
            struct utf8_scan cut = utf8_scan(bytes, k);
            CHECK_EQ_INT(cut.n_valid, 0);
            CHECK_EQ_INT(cut.n_invalid, 0);
        }
        if (test_n_failed_checks > 10)
            return;
    }
}

/* Every first two bytes, and behind them every byte at which a rule changes, whole and cut. */
static void agrees_with_the_reference_on_four_bytes(void)
{
    static const unsigned char edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xFF};
    size_t n_edges = sizeof edges;
    for (uint32_t i = 0x8000; i < 0x10000; i++) {
        for (size_t k = 0; k < n_edges * n_edges * 3; k++) {
            unsigned char bytes[] = {(unsigned char)(i >> 8), (unsigned char)i, edges[k / n_edges % n_edges],
                                     edges[k % n_edges]};
            size_t n = 4 - k / (n_edges * n_edges);
            bool is_valid;
            size_t n_unit = reference_unit(bytes, n, &is_valid);
            bool may_go_on = !is_valid && n_unit == n && reference_is_beginning(bytes, n);
            struct utf8_scan scan = utf8_scan(bytes, n);
            if (is_valid ? scan.n_valid < n_unit : scan.n_valid != 0 || scan.n_invalid != (may_go_on ? 0 : n_unit)) {
                fprintf(stderr, "bytes %02x %02x %02x %02x: expected %zu of %zu bytes, valid %d\n", bytes[0], bytes[1],
                        bytes[2], bytes[3], n_unit, n, is_valid);
                CHECK(false);
                return;
            }
        }
    }
}

/* The examples of the standard's section on maximal subparts (tables 3-8 to 3-11). */
static void replaces_as_the_standard_shows(void)
{
    static const struct {
        const char *bytes, *want;
        size_t n_replaced;
    } cases[] = {
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "########A", 8},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "########A", 8},
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "#####A##B", 7},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "####A", 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char out[64];
        char marked[64];
        size_t n = strlen(cases[i].bytes), n_marked = 0;
        struct utf8_copy copy = utf8_copy_lossy(out, (const unsigned char *)cases[i].bytes, n);
        CHECK_EQ_INT(copy.n_taken, n);
        CHECK_EQ_INT(copy.n_replaced, cases[i].n_replaced);
        for (size_t k = 0; k < copy.n_out; k++)
            if (k + 3 <= copy.n_out && memcmp(out + k, UTF8_REPLACEMENT, 3) == 0)
                marked[n_marked++] = '#', k += 2;
            else
                marked[n_marked++] = (char)out[k];
        marked[n_marked] = '\0';
        CHECK_EQ_STR(marked, cases[i].want);
    }
}

static void finds_a_byte_at_every_place_and_alignment(void)
{
    unsigned char bytes[128 + 16];
    for (size_t start = 0; start < 16; start++) {
        for (size_t n = 0; n <= 100; n++) {
            memset(bytes, 'a', sizeof bytes);
            bytes[start + n] = 0xFF; /* outside: must not be seen */
            CHECK_EQ_INT(utf8_scan(bytes + start, n).n_valid, n);
            for (size_t at = 0; at < n; at++) {
                bytes[start + at] = 0x80;
                struct utf8_scan scan = utf8_scan(bytes + start, n);
                CHECK_EQ_INT(scan.n_valid, at);
                CHECK_EQ_INT(scan.n_invalid, 1);
                bytes[start + at] = 'a';
            }
        }
    }
}

/* Bytes that are often nearly right: characters whole and cut, edges of ranges, and anything. */
static size_t random_bytes(unsigned char *out, size_t n_max, uint64_t *seed)
{
    size_t n_wanted = test_random(seed) % (n_max - 4), n = 0;
    while (n < n_wanted) {
        uint64_t random = test_random(seed);
        switch (random % 4) {
        case 0: out[n++] = (unsigned char)(random >> 8); break;
        case 1: out[n++] = (unsigned char)('a' + (random >> 8) % 26); break;
        case 2: n += encode(out + n, (uint32_t)(random >> 8) % 0x110000); break;
        default: n += encode(out + n, (uint32_t)(random >> 8) % 0x110000) - ((random >> 40) % 2); break;
        }
    }
    return n;
}

/* Scans and copies in pieces cut at random, as the reader does, against the reference on the whole. */
static void lossy_agrees_with_the_reference_in_any_pieces(void)
{
    uint64_t seed = 7;
    for (int round = 0; round < 100000; round++) {
        unsigned char bytes[64], want[192], got[192];
        size_t n = random_bytes(bytes, sizeof bytes, &seed), n_got = 0, n_taken = 0, n_seen = 0;
        uint64_t n_want_replaced, n_replaced = 0;
        size_t n_want = reference_lossy(want, bytes, n, &n_want_replaced);
        while (n_seen < n) {
            n_seen += 1 + test_random(&seed) % (n - n_seen);
            struct utf8_copy copy = utf8_copy_lossy(got + n_got, bytes + n_taken, n_seen - n_taken);
            CHECK(n_seen - n_taken - copy.n_taken < UTF8_MAX);
            n_taken += copy.n_taken;
            n_got += copy.n_out;
            n_replaced += copy.n_replaced;
        }
        if (n_taken < n) {
            memcpy(got + n_got, UTF8_REPLACEMENT, UTF8_REPLACEMENT_BYTES);
            n_got += UTF8_REPLACEMENT_BYTES;
            n_replaced++;
        }
        CHECK_EQ_INT(n_replaced, n_want_replaced);
        CHECK(n_got == n_want && memcmp(got, want, n_got) == 0);
        if (test_n_failed_checks > 0) {
            fprintf(stderr, "round %d\n", round);
            return;
        }
    }
}

static const struct test tests[] = {
    {"every_character_is_valid_whole_and_incomplete_cut", every_character_is_valid_whole_and_incomplete_cut},
    {"agrees_with_the_reference_on_four_bytes", agrees_with_the_reference_on_four_bytes},
    {"replaces_as_the_standard_shows", replaces_as_the_standard_shows},
    {"finds_a_byte_at_every_place_and_alignment", finds_a_byte_at_every_place_and_alignment},
    {"lossy_agrees_with_the_reference_in_any_pieces", lossy_agrees_with_the_reference_in_any_pieces},
};

TEST_MAIN(tests)
