#include "quire/sampler.h"

#include "test.h"

/* Probabilities 0.4, 0.3, 0.2, 0.1 and twelve tokens that do not count. */
enum { N = 16 };

static void fill(float logits[N])
{
    static const double p[] = {0.2, 0.4, 0.1, 0.3};
    for (int i = 0; i < N; i++)
        logits[i] = i < 4 ? (float)log(p[i]) : -1e4f;
}

static quire_sampler *open_with(quire_sampler_options opts)
{
    quire_sampler *sampler = NULL;
    quire_error err = {0};
    REQUIRE_OK(quire_sampler_open(&sampler, &opts, N, N, &err));
    return sampler;
}

static quire_sampler_options plain_options(void)
{
    quire_sampler_options opts = quire_sampler_defaults();
    opts.temperature = 1;
    opts.top_p = 1;
    return opts;
}

static int32_t pick(quire_sampler *sampler, const float *logits)
{
    int32_t id = -1;
    quire_error err = {0};
    CHECK_OK(quire_sampler_pick(sampler, logits, &id, &err));
    return id;
}

/* How often each of the first four is drawn in n draws. */
static void count_draws(quire_sampler_options opts, const float *logits, int n, int counts[4])
{
    quire_sampler *sampler = open_with(opts);
    memset(counts, 0, 4 * sizeof *counts);
    for (int i = 0; i < n; i++) {
        int32_t id = pick(sampler, logits);
        CHECK(id >= 0 && id < 4);
        if (id >= 0 && id < 4)
            counts[id]++;
    }
    quire_sampler_close(sampler);
}

static void check_share(int count, int n, double share)
{
    double deviation = sqrt(n * share * (1 - share));
    if (!(fabs(count - n * share) <= 5 * deviation + 1e-9)) {
        fprintf(stderr, "%d of %d draws, expected a share of %g\n", count, n, share);
        CHECK(false);
    }
}

static void greedy_takes_the_largest_and_the_lowest_id_of_equals(void)
{
    float logits[N] = {0};
    quire_sampler_options opts = plain_options();
    opts.temperature = 0;
    quire_sampler *sampler = open_with(opts);
    logits[5] = logits[9] = 3;
    CHECK_EQ_INT(pick(sampler, logits), 5);
    logits[9] = 3.5f;
    CHECK_EQ_INT(pick(sampler, logits), 9);
    quire_sampler_close(sampler);
}

static void draws_follow_the_probabilities(void)
{
    float logits[N];
    int counts[4];
    fill(logits);
    count_draws(plain_options(), logits, 20000, counts);
    check_share(counts[0], 20000, 0.2);
    check_share(counts[1], 20000, 0.4);
    check_share(counts[2], 20000, 0.1);
    check_share(counts[3], 20000, 0.3);
}

static void temperature_sharpens(void)
{
    float logits[N];
    int counts[4];
    quire_sampler_options opts = plain_options();
    opts.temperature = 0.5f; /* probabilities are squared: 4, 16, 1, 9 of 30 */
    fill(logits);
    count_draws(opts, logits, 20000, counts);
    check_share(counts[1], 20000, 16.0 / 30);
    check_share(counts[2], 20000, 1.0 / 30);
}

static void top_k_keeps_k_and_the_lowest_ids_of_equals(void)
{
    float logits[N];
    int counts[4];
    quire_sampler_options opts = plain_options();
    opts.top_k = 2;
    fill(logits);
    count_draws(opts, logits, 7000, counts);
    CHECK_EQ_INT(counts[0] + counts[2], 0);
    check_share(counts[1], 7000, 4.0 / 7);

    float equal[N] = {0};
    count_draws(opts, equal, 1000, counts);
    CHECK_EQ_INT(counts[2] + counts[3], 0);
    CHECK(counts[0] > 400 && counts[1] > 400);
}

/* The smallest set that reaches the probability: 0.4 + 0.3 reach 0.65 but not 0.75. */
static void top_p_keeps_the_smallest_set(void)
{
    float logits[N];
    int counts[4];
    quire_sampler_options opts = plain_options();
    fill(logits);
    opts.top_p = 0.65f;
    count_draws(opts, logits, 2000, counts);
    CHECK_EQ_INT(counts[0] + counts[2], 0);
    CHECK(counts[3] > 0);
    opts.top_p = 0.75f;
    count_draws(opts, logits, 2000, counts);
    CHECK(counts[0] > 0);
    CHECK_EQ_INT(counts[2], 0);
    opts.top_p = 1e-6f; /* one token at least */
    count_draws(opts, logits, 100, counts);
    CHECK_EQ_INT(counts[1], 100);
}

/* top-p is a share of what top-k left: of 4/7 and 3/7, 0.5 keeps the first alone. */
static void top_p_counts_what_top_k_left(void)
{
    float logits[N];
    int counts[4];
    quire_sampler_options opts = plain_options();
    opts.top_k = 2;
    opts.top_p = 0.5f;
    fill(logits);
    count_draws(opts, logits, 500, counts);
    CHECK_EQ_INT(counts[1], 500);
}

static void min_p_is_relative_to_the_best(void)
{
    float logits[N];
    int counts[4];
    quire_sampler_options opts = plain_options();
    fill(logits);
    opts.min_p = 0.6f; /* at least 0.24 */
    count_draws(opts, logits, 2000, counts);
    CHECK_EQ_INT(counts[0] + counts[2], 0);
    CHECK(counts[3] > 0);
}

static void repetition_penalty_counts_a_token_once(void)
{
    float logits[N] = {0};
    quire_sampler_options opts = plain_options();
    opts.temperature = 0;
    opts.repetition_penalty = 2;
    quire_sampler *sampler = open_with(opts);
    quire_sampler_see(sampler, 1);
    quire_sampler_see(sampler, 1);
    logits[0] = 1;
    logits[1] = 2.5f; /* halved once: 1.25, twice would be less than 1 */
    CHECK_EQ_INT(pick(sampler, logits), 1);
    logits[1] = 1.9f;
    CHECK_EQ_INT(pick(sampler, logits), 0);
    CHECK_EQ_INT(pick(sampler, logits), 1); /* 0 was picked, so it counts as seen: 0.5 against 0.95 */
    quire_sampler_close(sampler);

    float negative[N];
    for (int i = 0; i < N; i++)
        negative[i] = -3;
    sampler = open_with(opts);
    quire_sampler_see(sampler, 4);
    negative[4] = -1; /* doubled: -2, still the best */
    CHECK_EQ_INT(pick(sampler, negative), 4);
    negative[4] = -1.6f;
    CHECK_EQ_INT(pick(sampler, negative), 0);
    quire_sampler_close(sampler);
}

static void bans_and_padding_rows_are_never_picked(void)
{
    float logits[N] = {0};
    quire_error err = {0};
    quire_sampler *sampler = NULL;
    quire_sampler_options opts = plain_options();
    REQUIRE_OK(quire_sampler_open(&sampler, &opts, N, 3, &err));
    logits[10] = 50;
    quire_sampler_ban(sampler, 1);
    quire_sampler_ban(sampler, 99); /* no such id: nothing happens */
    quire_sampler_see(sampler, -1);
    for (int i = 0; i < 200; i++) {
        int32_t id = pick(sampler, logits);
        CHECK(id == 0 || id == 2);
    }
    quire_sampler_close(sampler);
}

static void the_same_seed_makes_the_same_choices(void)
{
    float logits[N];
    uint64_t random = 7;
    quire_sampler_options opts = quire_sampler_defaults();
    opts.seed = 42;
    quire_sampler *a = open_with(opts), *b = open_with(opts);
    opts.seed = 43;
    quire_sampler *c = open_with(opts);
    int n_different = 0;
    for (int i = 0; i < 500; i++) {
        for (int j = 0; j < N; j++)
            logits[j] = 3 * test_random_float(&random);
        int32_t id = pick(a, logits);
        CHECK_EQ_INT(pick(b, logits), id);
        n_different += pick(c, logits) != id;
    }
    CHECK(n_different > 50);
    quire_sampler_close(a);
    quire_sampler_close(b);
    quire_sampler_close(c);
}

/* The heap against sorting by hand, on many random cases with ties: the kept set must be the same. */
static void cuts_agree_with_a_sorted_reference(void)
{
    uint64_t random = 11;
    for (int round = 0; round < 300; round++) {
        float logits[N];
        bool may[N] = {false};
        int order[N], counts[N] = {0};
        double weight[N], total = 0, reached = 0;
        quire_sampler_options opts = plain_options();
        opts.top_k = (uint32_t)(test_random(&random) % N);
        opts.top_p = 0.05f + 0.95f * (float)(test_random(&random) % 100) / 100;
        opts.min_p = (float)(test_random(&random) % 50) / 100;
        for (int i = 0; i < N; i++) {
            logits[i] = (float)(test_random(&random) % 5);
            order[i] = i;
        }
        for (int i = 1; i < N; i++) /* stable, so equals stay in the order of ids */
            for (int j = i; j > 0 && logits[order[j]] > logits[order[j - 1]]; j--) {
                int swapped = order[j];
                order[j] = order[j - 1];
                order[j - 1] = swapped;
            }
        int limit = opts.top_k ? (int)opts.top_k : N;
        for (int i = 0; i < N; i++)
            weight[i] = exp((double)logits[order[i]] - (double)logits[order[0]]);
        for (int i = 0; i < limit; i++)
            total += weight[i];
        for (int i = 0; i < limit && (i == 0 || reached < (double)opts.top_p * total - 1e-12); i++) {
            reached += weight[i];
            may[order[i]] = weight[i] >= (double)opts.min_p;
        }
        quire_sampler *sampler = open_with(opts);
        for (int i = 0; i < 300; i++)
            counts[pick(sampler, logits)]++;
        for (int i = 0; i < N; i++)
            CHECK(may[i] || counts[i] == 0);
        quire_sampler_close(sampler);
    }
}

static void a_nan_is_an_error(void)
{
    float logits[N] = {0};
    int32_t id = -5;
    quire_error err = {0};
    quire_sampler *sampler = open_with(plain_options());
    logits[7] = NAN;
    CHECK_EQ_INT(quire_sampler_pick(sampler, logits, &id, &err), QUIRE_ERR_NUMERIC);
    CHECK_MESSAGE(err, "token 7");
    CHECK_EQ_INT(id, -5);
    quire_error_clear(&err);
    for (int i = 0; i < N; i++)
        logits[i] = -INFINITY;
    CHECK_EQ_INT(quire_sampler_pick(sampler, logits, &id, &err), QUIRE_ERR_NUMERIC);
    CHECK_MESSAGE(err, "no token is left");
    quire_sampler_close(sampler);
}

static void options_out_of_range_are_named(void)
{
    static const struct {
        const char *name;
        quire_sampler_options opts;
    } cases[] = {
        {"temperature", {.temperature = -1, .top_p = 1, .repetition_penalty = 1}},
        {"temperature", {.temperature = NAN, .top_p = 1, .repetition_penalty = 1}},
        {"top_p", {.temperature = 1, .top_p = 0, .repetition_penalty = 1}},
        {"top_p", {.temperature = 1, .top_p = 1.5f, .repetition_penalty = 1}},
        {"min_p", {.temperature = 1, .top_p = 1, .min_p = 2, .repetition_penalty = 1}},
        {"repetition_penalty", {.temperature = 1, .top_p = 1, .repetition_penalty = 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err = {0};
        quire_sampler *sampler = NULL;
        CHECK_EQ_INT(quire_sampler_open(&sampler, &cases[i].opts, N, N, &err), QUIRE_ERR_USAGE);
        CHECK_MESSAGE(err, cases[i].name);
        CHECK(sampler == NULL);
    }
}

static const struct test tests[] = {
    {"greedy_takes_the_largest_and_the_lowest_id_of_equals", greedy_takes_the_largest_and_the_lowest_id_of_equals},
    {"draws_follow_the_probabilities", draws_follow_the_probabilities},
    {"temperature_sharpens", temperature_sharpens},
    {"top_k_keeps_k_and_the_lowest_ids_of_equals", top_k_keeps_k_and_the_lowest_ids_of_equals},
    {"top_p_keeps_the_smallest_set", top_p_keeps_the_smallest_set},
    {"top_p_counts_what_top_k_left", top_p_counts_what_top_k_left},
    {"min_p_is_relative_to_the_best", min_p_is_relative_to_the_best},
    {"repetition_penalty_counts_a_token_once", repetition_penalty_counts_a_token_once},
    {"bans_and_padding_rows_are_never_picked", bans_and_padding_rows_are_never_picked},
    {"the_same_seed_makes_the_same_choices", the_same_seed_makes_the_same_choices},
    {"cuts_agree_with_a_sorted_reference", cuts_agree_with_a_sorted_reference},
    {"a_nan_is_an_error", a_nan_is_an_error},
    {"options_out_of_range_are_named", options_out_of_range_are_named},
};
TEST_MAIN(tests)
