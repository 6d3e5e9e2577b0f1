/* Drafts: the guess is the place with the longest common past, found here by looking at all of them; what is proposed
 * follows from the tokens seen alone, and only guesses that come true are proposed for long. */
#include "quire/draft.h"

#include "test.h"

enum { MOST = 15, N = 3000 };

static quire_draft *open_draft(size_t n, uint32_t most)
{
    quire_error err = {0};
    quire_draft *draft = NULL;
    REQUIRE_OK(quire_draft_open(&draft, n, most, &err));
    return draft;
}

/* A text that comes back to itself: pieces of it are copied, others are new. */
static void make_text(int32_t ids[N], uint32_t n_ids, uint64_t *seed)
{
    for (size_t n = 0; n < N;) {
        size_t length = 1 + test_random(seed) % 60, from = n > 100 ? test_random(seed) % (n - 60) : 0;
        bool is_copy = n > 100 && test_random(seed) % 4 != 0;
        for (size_t i = 0; i < length && n < N; i++, n++)
            ids[n] = is_copy ? ids[from + i] : (int32_t)(test_random(seed) % n_ids);
    }
}

static size_t common_length(const int32_t *ids, size_t n, size_t place)
{
    size_t length = 0;
    while (length < place && length < n && ids[place - 1 - length] == ids[n - 1 - length])
        length++;
    return length;
}

/* Whether what is proposed after ids[0..n) follows there at a place that no other place beats. Few places share three
 * tokens in such a text, so that all of them are within reach. */
static bool is_best_guess(const int32_t *ids, size_t n, const int32_t *draft, size_t n_draft)
{
    size_t longest = 0;
    for (size_t place = 1; place < n; place++) {
        size_t length = common_length(ids, n, place);
        longest = length > longest ? length : longest;
    }
    longest = longest < 24 ? longest : 24; /* longer ones are as good */
    for (size_t place = 1; place < n; place++) {
        bool is_it = longest >= 3 && common_length(ids, n, place) >= longest;
        for (size_t i = 0; i < n_draft && is_it; i++)
            is_it = draft[i] == (place + i < n ? ids[place + i] : draft[place + i - n]);
        if (is_it)
            return true;
    }
    return false;
}

static void the_longest_past_decides(void)
{
    static int32_t ids[N];
    uint64_t seed = 3;
    make_text(ids, 5000, &seed);
    quire_draft *draft = open_draft(N, MOST);
    size_t n_drafted = 0, n_true = 0;
    for (size_t n = 1; n <= N; n++) {
        int32_t got[MOST + 1];
        quire_draft_see(draft, ids[n - 1]);
        got[MOST] = 12345;
        size_t n_got = quire_draft_next(draft, got);
        CHECK(n_got <= MOST && got[MOST] == 12345);
        if (n_got > 0)
            CHECK(is_best_guess(ids, n, got, n_got));
        n_drafted += n_got > 0;
        n_true += n_got > 0 && n < N && got[0] == ids[n];
    }
    CHECK(n_drafted > N / 2);
    CHECK(n_true > n_drafted * 8 / 10);
    quire_draft_close(draft);
}

/* Guesses that never come true are given up; in a text that repeats itself they grow to the limit. */
static void drafts_follow_success(void)
{
    int32_t got[MOST];
    for (uint32_t most = 0; most <= MOST; most += 5) {
        quire_draft *draft = open_draft(4000, most);
        size_t n_got = 0;
        for (int32_t i = 0; i < 1000; i++) { /* three tokens that come back, and then always another one */
            for (int32_t j = 0; j < 3; j++)
                quire_draft_see(draft, j);
            n_got += i > 100 ? quire_draft_next(draft, got) : 0;
            quire_draft_see(draft, 10 + i);
        }
        CHECK_EQ_INT(n_got, 0);
        quire_draft_close(draft);
        draft = open_draft(4000, most);
        for (int32_t i = 0; i < 1000; i++)
            quire_draft_see(draft, i % 7);
        CHECK_EQ_INT(quire_draft_next(draft, got), most);
        for (size_t i = 0; i < most; i++)
            CHECK_EQ_INT(got[i], (1000 + i) % 7);
        quire_draft_close(draft);
    }
}

static void the_same_text_gives_the_same_drafts(void)
{
    static int32_t ids[N];
    uint64_t seed = 5;
    make_text(ids, 50, &seed);
    quire_draft *a = open_draft(N, MOST), *b = open_draft(N, MOST);
    for (size_t n = 0; n < N; n++) {
        int32_t x[MOST], y[MOST];
        quire_draft_see(a, ids[n]);
        for (size_t i = 0; i < test_random(&seed) % 3; i++)
            quire_draft_next(a, x); /* asking changes nothing */
        quire_draft_see(b, ids[n]);
        size_t n_x = quire_draft_next(a, x);
        CHECK_EQ_INT(n_x, quire_draft_next(b, y));
        CHECK_EQ_INT(memcmp(x, y, n_x * sizeof *x), 0);
    }
    quire_draft_close(a);
    quire_draft_close(b);
}

static void edges(void)
{
    quire_error err = {0};
    quire_draft *draft = NULL;
    int32_t got[MOST];
    for (size_t room = 0; room < 6; room++) {
        draft = open_draft(room, MOST);
        for (int i = 0; i < 20; i++) {
            quire_draft_see(draft, 7);
            CHECK(quire_draft_next(draft, got) <= MOST);
        }
        quire_draft_close(draft);
    }
    quire_draft_close(NULL);
    CHECK_EQ_INT(quire_draft_open(&draft, (size_t)1 << 31, MOST, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "2147483648 tokens");
}

static const struct test tests[] = {
    {"the_longest_past_decides", the_longest_past_decides},
    {"drafts_follow_success", drafts_follow_success},
    {"the_same_text_gives_the_same_drafts", the_same_text_gives_the_same_drafts},
    {"edges", edges},
};

TEST_MAIN(tests)
