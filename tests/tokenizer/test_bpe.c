/* Joining by windows gives what joining step by step gives, for merges of any kind, also such as no training makes. */
#include "tokenizer_test.h"

#include "tokenizer/bpe.h"

/* An empty vocabulary with all bytes as tokens. Returns the next id. */
static int64_t start_vocab(struct vocab *vocab, size_t n_merges)
{
    quire_error err = {0};
    *vocab = (struct vocab){.path = "test"};
    REQUIRE_OK(vocab_reserve(vocab, 256 + n_merges, n_merges, &err));
    int64_t id = 0;
    for (uint32_t byte = 0, next = 0x100; byte < 256; byte++) {
        bool is_itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
        uint32_t point = is_itself ? byte : next++;
        char one[1] = {(char)point}, two[2] = {(char)(0xC0 | point >> 6), (char)(0x80 | (point & 0x3F))};
        REQUIRE_OK(vocab_add_token(vocab, id++, point < 0x80 ? one : two, point < 0x80 ? 1 : 2, 0, &err));
    }
    return id;
}

#define MAX_MERGES 400
#define MAX_TOKEN  30

/* Merges of random tokens, ranked in random order: a merge may rank before those that make its parts. */
static void make_random_vocab(struct vocab *vocab, uint64_t *seed, const char *alphabet, size_t n_merges)
{
    quire_error err = {0};
    int64_t id = start_vocab(vocab, n_merges);
    char tokens[MAX_MERGES + 10][MAX_TOKEN + 1];
    size_t merges[MAX_MERGES][2], n_tokens = strlen(alphabet);
    for (size_t i = 0; i < n_tokens; i++)
        snprintf(tokens[i], sizeof tokens[i], "%c", alphabet[i]);
    for (size_t n = 0; n < n_merges;) {
        size_t left = test_random(seed) % n_tokens, right = test_random(seed) % n_tokens;
        if (strlen(tokens[left]) + strlen(tokens[right]) > MAX_TOKEN)
            continue;
        char product[2 * MAX_TOKEN + 1];
        int length = snprintf(product, sizeof product, "%s%s", tokens[left], tokens[right]);
        if (vocab_find(vocab, product, (size_t)length) < 0) {
            REQUIRE_OK(vocab_add_token(vocab, id++, product, (size_t)length, 0, &err));
            memcpy(tokens[n_tokens++], product, (size_t)length + 1);
        }
        merges[n][0] = left;
        merges[n++][1] = right;
    }
    for (size_t n_left = n_merges; n_left > 0; n_left--) {
        size_t pick = test_random(seed) % n_left;
        const char *left = tokens[merges[pick][0]], *right = tokens[merges[pick][1]];
        REQUIRE_OK(vocab_add_merge(vocab, left, strlen(left), right, strlen(right), &err));
        memcpy(merges[pick], merges[n_left - 1], sizeof merges[0]);
    }
    REQUIRE_OK(vocab_finish(vocab, &err));
}

/* The definition, one merge at a time. Returns how many ids. */
static size_t encode_naively(const struct vocab *vocab, const uint8_t *word, size_t n, int32_t *ids)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = vocab->byte_ids[word[i]];
    for (;;) {
        uint32_t best = MERGE_NONE;
        size_t place = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            uint32_t rank = vocab_merge_rank(vocab, ids[i], ids[i + 1]);
            if (rank < best) {
                best = rank;
                place = i;
            }
        }
        if (best == MERGE_NONE)
            return n;
        ids[place] = vocab->products[best];
        memmove(ids + place + 1, ids + place + 2, (n - place - 2) * sizeof ids[0]);
        n--;
    }
}

static void check_word(struct bpe *bpe, const uint8_t *word, size_t n)
{
    quire_error err = {0};
    struct id_list got = {0};
    int32_t *want = malloc(n * sizeof want[0]);
    size_t n_want = encode_naively(bpe->vocab, word, n, want);
    for (int again = 0; again < 2; again++) { /* the second time from the cache */
        got.n = 0;
        REQUIRE_OK(bpe_encode(bpe, word, n, &got, &err));
        check_ids((const char *)word, n, got.ids, got.n, want, n_want);
    }
    free(got.ids);
    free(want);
}

static void short_words(void)
{
    uint64_t seed = 11;
    quire_error err = {0};
    for (int round = 0; round < 20; round++) {
        struct vocab vocab;
        struct bpe bpe;
        make_random_vocab(&vocab, &seed, round % 2 ? "ab" : "abcde", 5 + (size_t)round * 10);
        REQUIRE_OK(bpe_init(&bpe, &vocab, &err));
        for (int i = 0; i < 500; i++) {
            uint8_t word[80];
            size_t n = test_random(&seed) % 80 + 1;
            for (size_t k = 0; k < n; k++)
                word[k] = (uint8_t)('a' + test_random(&seed) % (round % 2 ? 2 : 5));
            check_word(&bpe, word, n);
        }
        bpe_release(&bpe);
        vocab_release(&vocab);
    }
}

/* Longer than some windows: random, periodic, and one letter. */
static void long_words(void)
{
    uint64_t seed = 12;
    quire_error err = {0};
    enum { LENGTH = 9001 };
    static uint8_t word[LENGTH];
    for (int round = 0; round < 12; round++) {
        struct vocab vocab;
        struct bpe bpe;
        size_t period = test_random(&seed) % 40 + 1;
        make_random_vocab(&vocab, &seed, round % 3 ? "ab" : "a", round % 3 ? 60 : 25);
        REQUIRE_OK(bpe_init(&bpe, &vocab, &err));
        for (size_t k = 0; k < LENGTH; k++)
            word[k] = k < period || round % 3 == 1 ? (uint8_t)('a' + (round % 3 ? test_random(&seed) % 2 : 0))
                                                   : word[k - period];
        check_word(&bpe, word, LENGTH - test_random(&seed) % 100);
        bpe_release(&bpe);
        vocab_release(&vocab);
    }
}

/* A word whose pairs are all different and rank from its end to its start. The last pair joins first, so the one before
 * it cannot, so the one before that does, and on to the start: an even number of bytes pairs up otherwise than an odd
 * one. No window but the whole is enough, and that is found out. */
static void a_choice_that_runs_through_the_whole_word(void)
{
    enum { FIRST = 0x21, N = 94, LENGTH = N * N };
    quire_error err = {0};
    struct vocab vocab;
    struct bpe bpe;
    static char word[LENGTH + 1];
    size_t n = 0;
    for (int i = 0; i < N; i++) { /* de Bruijn's sequence of order 2 */
        word[n++] = (char)(FIRST + i);
        for (int j = i + 1; j < N; j++) {
            word[n++] = (char)(FIRST + i);
            word[n++] = (char)(FIRST + j);
        }
    }
    CHECK_EQ_INT(n, LENGTH);
    int64_t id = start_vocab(&vocab, LENGTH);
    for (size_t i = LENGTH - 1; i-- > 0;) {
        REQUIRE_OK(vocab_add_token(&vocab, id++, word + i, 2, 0, &err));
        REQUIRE_OK(vocab_add_merge(&vocab, word + i, 1, word + i + 1, 1, &err));
    }
    REQUIRE_OK(vocab_finish(&vocab, &err));
    REQUIRE_OK(bpe_init(&bpe, &vocab, &err));
    for (size_t cut = 0; cut < 4; cut++)
        check_word(&bpe, (uint8_t *)word, LENGTH - cut);
    bpe_release(&bpe);
    vocab_release(&vocab);
}

static const struct test tests[] = {
    {"short_words", short_words},
    {"long_words", long_words},
    {"a_choice_that_runs_through_the_whole_word", a_choice_that_runs_through_the_whole_word},
};
TEST_MAIN(tests)
