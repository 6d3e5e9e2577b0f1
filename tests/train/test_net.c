/* The trainer against its twin, on every table of kernels; and what must be the same bit for bit. */
#include "cases.h"
#include "kernels/kernels.h"
#include "twin.h"

enum { MOST_TOKENS = 600 };

/* Under the thread sanitizer one table is enough: threads are the same for all. */
#ifdef __SANITIZE_THREAD__
static const bool EVERY_TABLE = false;
#else
static const bool EVERY_TABLE = true;
#endif

static uint32_t tokens[MOST_TOKENS], targets[MOST_TOKENS];

static struct net *open_net(const struct train_case *c, const struct net_options *options)
{
    quire_error err = {0};
    struct net *net = NULL;
    struct net_options o = *options;
    o.z_loss = c->z_loss;
    REQUIRE_OK(net_open(&net, &c->config, &o, &err));
    train_case_fill(net, 23);
    return net;
}

/* The gradients' distance from the twin's, over the twin's norm: each parameter's, where that is not nothing beside the
 * others'. */
static void check_gradients(const struct net *net, const struct twin *twin, double tolerance, const char *name)
{
    size_t n_params;
    const struct param *params = net_params(net, &n_params);
    double all = 0;
    for (size_t i = 0; i < n_params; i++)
        for (size_t j = 0; j < params[i].n; j++)
            all += twin->params[i].grad[j] * twin->params[i].grad[j];
    double least = sqrt(all) * 1e-3;
    for (size_t i = 0; i < n_params; i++) {
        double distance = 0, norm = 0;
        for (size_t j = 0; j < params[i].n; j++) {
            double want = twin->params[i].grad[j], d = (double)params[i].grad[j] - want;
            distance += d * d;
            norm += want * want;
        }
        double bound = tolerance * (sqrt(norm) + least);
        if (!(sqrt(distance) <= bound)) {
            test_n_failed_checks++;
            fprintf(stderr, "%s, %s, %s: gradient of %s is %.3g away, expected %.3g at most (its norm is %.3g)\n", name,
                    net_isa(net), net_factors(net), params[i].name, sqrt(distance), bound, sqrt(norm));
        }
    }
}

/* A case, its micro-batch, and what the twin says of it. */
struct wanted {
    struct train_case c;
    struct net_batch batch;
    size_t n; /* tokens */
    struct twin twin;
    double loss;
    double nll[MOST_TOKENS];
};

static void check_table(const struct wanted *w, const char *isa, train_precision precision, double tolerance)
{
    quire_error err = {0};
    struct net *net = open_net(&w->c, &(struct net_options){.n_sequences = w->batch.n_sequences,
                                                            .seq_len = w->batch.n_tokens,
                                                            .n_threads = 2,
                                                            .isa = isa,
                                                            .precision = precision});
    struct net_loss loss, again;
    static float nll[MOST_TOKENS];
    CHECK_OK(net_backward(net, &w->batch, 1.0 / (double)w->n, &loss, &err));
    CHECK_NEAR((loss.nll + loss.z_loss) / w->loss, 1, tolerance);
    CHECK_OK(net_forward(net, &w->batch, &again, nll, &err));
    CHECK(again.nll == loss.nll && again.z_loss == loss.z_loss && again.n_targets == loss.n_targets);
    for (size_t i = 0; i < w->n; i++)
        CHECK_NEAR(nll[i], w->nll[i], 10 * tolerance * (1 + w->nll[i]));
    check_gradients(net, &w->twin, tolerance, w->c.name);
    net_close(net);
}

/* Losses and gradients of a micro-batch, by every table and precision. */
static void check_case(const struct train_case *c, uint32_t n_sequences, uint32_t n_tokens)
{
    static struct wanted w;
    int runs;
    const struct kernels *kernels;
    struct net *net = open_net(c, &(struct net_options){.n_sequences = 1, .seq_len = 1, .n_threads = 1});
    w = (struct wanted){
        *c, {n_sequences, n_tokens, tokens, targets}, (size_t)n_sequences * n_tokens, .twin = twin_of(net, c->z_loss)};
    net_close(net);
    train_case_tokens(tokens, targets, w.n, c->config.vocab_size, 31);
    w.loss = twin_pass(&w.twin, &w.batch, 1.0 / (double)w.n, w.nll);
    /* Rounding to bfloat16 changes on which side of the clip some numbers are. */
    double narrow_tolerance = c->config.clip_qkv > 0 ? 0.1 : 0.02;
    for (size_t i = 0; (kernels = kernels_at(i, &runs)) != NULL; i++) {
        if (!runs || (!EVERY_TABLE && strcmp(kernels->name, "base") != 0))
            continue;
        check_table(&w, kernels->name, TRAIN_F32, 1e-5);
        if (kernels->gemm != kernels->gemm_exact)
            check_table(&w, kernels->name, TRAIN_BF16, narrow_tolerance);
    }
    twin_release(&w.twin);
}

static void all_cases(void)
{
    struct train_case c;
    for (size_t i = 0; train_case_at(i, &c); i++)
        check_case(&c, 2, 70);
}

/* Long enough for segments of keys, and for blocks that are left out. */
static void long_sequence(void)
{
    struct train_case c;
    train_case_at(13, &c); /* head_dim 32 */
    check_case(&c, 1, MOST_TOKENS);
}

/* --- bit for bit ------------------------------------------------------------------------------------------------- */

static void run(struct net *net, const struct net_batch *batch)
{
    quire_error err = {0};
    struct net_loss loss;
    CHECK_OK(net_backward(net, batch, 0.01, &loss, &err));
}

static void check_equal(struct net *a, struct net *b)
{
    size_t n, m;
    const float *ga = net_gradients(a, &n), *gb = net_gradients(b, &m);
    CHECK_EQ_INT(n, m);
    CHECK(memcmp(ga, gb, n * sizeof *ga) == 0);
}

/* Threads, recomputation, and room for more than comes do not change a bit. */
static void same_bits(void)
{
    struct train_case c;
    for (int precision = TRAIN_F32; precision <= TRAIN_BF16; precision++)
        for (size_t i = 3; i < 14; i += 5) {
            train_case_at(i, &c);
            struct net_options options = {
                .n_sequences = 3, .seq_len = 130, .n_threads = 1, .precision = (train_precision)precision};
            struct net *one = open_net(&c, &options);
            options.n_threads = 3;
            struct net *three = open_net(&c, &options);
            options.recomputes = true;
            options.n_sequences = 4;
            struct net *again = open_net(&c, &options);
            train_case_tokens(tokens, targets, 390, c.config.vocab_size, 3);
            struct net_batch batch = {3, 130, tokens, targets};
            run(one, &batch);
            run(three, &batch);
            run(again, &batch);
            check_equal(one, three);
            check_equal(one, again);
            net_close(one);
            net_close(three);
            net_close(again);
        }
}

/* Gradients add up over micro-batches. */
static void accumulates(void)
{
    struct train_case c;
    train_case_at(0, &c);
    struct net_options options = {.n_sequences = 2, .seq_len = 70, .n_threads = 1};
    struct net *both = open_net(&c, &options), *parts = open_net(&c, &options);
    train_case_tokens(tokens, targets, 140, c.config.vocab_size, 3);
    run(both, &(struct net_batch){2, 70, tokens, targets});
    run(parts, &(struct net_batch){1, 70, tokens, targets});
    run(parts, &(struct net_batch){1, 70, tokens + 70, targets + 70});
    size_t n;
    const float *a = net_gradients(both, &n), *b = net_gradients(parts, &n);
    for (size_t i = 0; i < n; i++)
        CHECK_NEAR(a[i], b[i], 1e-5);
    net_clear_gradients(both);
    for (size_t i = 0; i < n; i++)
        CHECK(a[i] == 0);
    net_close(both);
    net_close(parts);
}

/* --- the rest ---------------------------------------------------------------------------------------------------- */

static void refuses(void)
{
    struct train_case c;
    quire_error err = {0};
    struct net_loss loss = {.nll = 7};
    train_case_at(5, &c); /* learned positions, 512 of them */
    struct net_options options = {.n_sequences = 2, .seq_len = 513, .n_threads = 1};
    struct net_memory memory;
    struct net *net = NULL;
    CHECK_EQ_INT(net_open(&net, &c.config, &options, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "max_seq_len 512");
    CHECK(net == NULL);
    options.seq_len = 0;
    quire_error_clear(&err);
    CHECK_EQ_INT(net_plan(&memory, &c.config, &options, &err), QUIRE_ERR_USAGE);
    options.seq_len = UINT32_MAX;
    options.n_sequences = UINT32_MAX;
    c.config.learned_pos_emb = false;
    quire_error_clear(&err);
    CHECK_EQ_INT(net_plan(&memory, &c.config, &options, &err), QUIRE_ERR_NO_MEMORY);
    options.seq_len = 8;
    options.n_sequences = 1;
    net = open_net(&c, &options);
    train_case_tokens(tokens, targets, 8, c.config.vocab_size, 3);
    tokens[5] = 48;
    quire_error_clear(&err);
    CHECK_EQ_INT(net_backward(net, &(struct net_batch){1, 8, tokens, targets}, 1, &loss, &err), QUIRE_ERR_MISMATCH);
    CHECK_MESSAGE(err, "token 5 of the micro-batch is 48");
    quire_error_clear(&err);
    CHECK_EQ_INT(net_forward(net, &(struct net_batch){1, 9, tokens, targets}, &loss, NULL, &err), QUIRE_ERR_USAGE);
    CHECK(loss.nll == 7);
    net_close(net);
}

static void plans(void)
{
    struct train_case c;
    quire_error err = {0};
    struct net_memory all, less;
    struct net_options options = {.n_sequences = 2, .seq_len = 200, .n_threads = 1};
    train_case_at(0, &c);
    CHECK_OK(net_plan(&all, &c.config, &options, &err));
    options.recomputes = true;
    CHECK_OK(net_plan(&less, &c.config, &options, &err));
    /* 48 x 32 for the embedding, 12 x 32 x 32 and two norms for each block, and one more norm */
    CHECK_EQ_INT(all.parameters, 4 * (48 * 32 + 2 * (12 * 32 * 32 + 2 * 32) + 32));
    CHECK_EQ_INT(all.gradients, all.parameters);
    CHECK(less.activations < all.activations);
    CHECK_EQ_INT(all.total, all.parameters + all.gradients + all.activations + all.scratch);
}

/* A NaN is found in the loss. */
static void not_a_number(void)
{
    struct train_case c;
    quire_error err = {0};
    struct net_loss loss;
    train_case_at(0, &c);
    struct net_options options = {.n_sequences = 1, .seq_len = 70, .n_threads = 1};
    struct net *net = open_net(&c, &options);
    size_t n;
    net_weights(net, &n)[40] = NAN;
    train_case_tokens(tokens, targets, 70, c.config.vocab_size, 3);
    CHECK_OK(net_backward(net, &(struct net_batch){1, 70, tokens, targets}, 1, &loss, &err));
    CHECK(isnan(loss.nll));
    net_close(net);
}

static void initialises(void)
{
    struct train_case c;
    train_case_at(11, &c); /* untied */
    c.config.no_bias = false;
    struct net_options options = {.n_sequences = 1, .seq_len = 8, .n_threads = 2};
    struct net *net = open_net(&c, &options);
    struct net_init_options init = {.name = NET_INIT_KAIMING_NORMAL, .seed = 5};
    net_init(net, &init);
    size_t n_params;
    const struct param *params = net_params(net, &n_params);
    for (size_t i = 0; i < n_params; i++) {
        const struct param *p = &params[i];
        double sum = 0, squares = 0, std = 0;
        for (size_t j = 0; j < p->n; j++) {
            sum += (double)p->data[j];
            squares += (double)p->data[j] * (double)p->data[j];
        }
        double mean = sum / (double)p->n;
        if (p->n_dims == 2) {
            std = sqrt(2.0 / (double)p->dims[1]);
            if (strstr(p->name, "out_proj") || strstr(p->name, "down_proj"))
                std /= 2; /* sqrt(2 * 2 layers) */
        }
        CHECK_NEAR(mean, p->n_dims == 1 && !strstr(p->name, ".bias") ? 1 : 0, 4 * std / sqrt((double)p->n));
        CHECK_NEAR(sqrt(squares / (double)p->n - mean * mean), std, 4 * std / sqrt(2.0 * (double)p->n));
        CHECK_EQ_INT(p->decays, p->n_dims == 2);
    }
    struct net *other = open_net(&c, &options);
    net_init(other, &init);
    size_t n;
    const float *a = net_weights(net, &n), *b = net_weights(other, &n);
    CHECK(memcmp(a, b, n * sizeof *a) == 0);
    init.seed = 6;
    net_init(other, &init);
    CHECK(memcmp(a, b, n * sizeof *a) != 0);
    net_close(net);
    net_close(other);
}

static const struct test tests[] = {
    {"all_cases", all_cases},       {"long_sequence", long_sequence},
    {"same_bits", same_bits},       {"accumulates", accumulates},
    {"refuses", refuses},           {"plans", plans},
    {"not_a_number", not_a_number}, {"initialises", initialises},
};

TEST_MAIN(tests)
