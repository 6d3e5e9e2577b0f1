/* The twin: against differences of its own loss in every kind of parameter, and against MosaicML's own code. */
#include "twin.h"

#include "cases.h"

static struct net *open_net(const quire_config *config, uint32_t seq_len)
{
    quire_error err = {0};
    struct net *net = NULL;
    struct net_options options = {.n_sequences = 2, .seq_len = seq_len, .n_threads = 1, .isa = "ref"};
    REQUIRE_OK(net_open(&net, config, &options, &err));
    return net;
}

/* Numbers of a parameter that are moved: some of each, chosen by the seed. */
enum { N_MOVED = 3, N_TOKENS = 6 };

static void check_param(struct twin *twin, struct twin_param *param, const struct net_batch *batch, double scale,
                        const char *name)
{
    uint64_t seed = 7;
    double norm = 0;
    for (size_t i = 0; i < param->n; i++)
        norm += param->grad[i] * param->grad[i];
    norm = sqrt(norm / (double)param->n);
    for (int i = 0; i < N_MOVED; i++) {
        size_t at = (size_t)(test_random(&seed) % param->n);
        double before = param->data[at], h = 1e-5;
        param->data[at] = before + h;
        double above = twin_pass(twin, batch, 0, NULL);
        param->data[at] = before - h;
        double below = twin_pass(twin, batch, 0, NULL);
        param->data[at] = before;
        double found = scale * (above - below) / (2 * h);
        if (!(fabs(found - param->grad[at]) <= 1e-6 * (norm + fabs(found)) + 1e-8)) {
            test_n_failed_checks++;
            fprintf(stderr, "%s: %s[%zu]: gradient %.9g, by differences %.9g\n", name, param->name, at, param->grad[at],
                    found);
        }
    }
}

static void differences(void)
{
    struct train_case c;
    for (size_t i = 0; train_case_at(i, &c); i++) {
        struct net *net = open_net(&c.config, N_TOKENS);
        train_case_fill(net, 11 + i);
        struct twin twin = twin_of(net, c.z_loss);
        uint32_t tokens[2 * N_TOKENS], targets[2 * N_TOKENS];
        train_case_tokens(tokens, targets, 2 * N_TOKENS, c.config.vocab_size, 5 + i);
        struct net_batch batch = {2, N_TOKENS, tokens, targets};
        double scale = 0.125;
        twin_pass(&twin, &batch, scale, NULL);
        for (size_t p = 0; p < twin.n_params; p++)
            check_param(&twin, &twin.params[p], &batch, scale, c.name);
        twin_release(&twin);
        net_close(net);
    }
}

/* --- MosaicML's own code, in float64: losses and gradients of two models whose weights are made by a formula --------
 */

struct golden {
    const char *name;
    double norm;
    double first[3]; /* 0: not told */
};

static double norm_of(const struct twin_param *param)
{
    double sum = 0;
    for (size_t i = 0; i < param->n; i++)
        sum += param->grad[i] * param->grad[i];
    return sqrt(sum);
}

static void check_golden(const quire_config *config, double loss, double norm, const struct golden *golden, size_t n)
{
    static const uint32_t ids[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8};
    struct net *net = open_net(config, 11);
    struct twin twin = twin_of(net, 0);
    for (size_t i = 0; i < twin.n_params; i++)
        for (size_t j = 0; j < twin.params[i].n; j++)
            twin.params[i].data[j] = train_case_formula(twin.params[i].name, j);
    struct net_batch batch = {1, 11, ids, ids + 1};
    CHECK_NEAR(twin_pass(&twin, &batch, 1.0 / 11, NULL) / 11, loss, 2e-8);
    double squares = 0;
    for (size_t i = 0; i < twin.n_params; i++)
        squares += norm_of(&twin.params[i]) * norm_of(&twin.params[i]);
    CHECK_NEAR(sqrt(squares), norm, 1e-7);
    for (size_t i = 0; i < n; i++) {
        char name[96];
        bool is_model = strncmp(golden[i].name, "wte", 3) == 0 || strncmp(golden[i].name, "norm_f", 6) == 0;
        snprintf(name, sizeof name, "transformer.%s%s", is_model ? "" : "blocks.0.", golden[i].name);
        struct twin_param *param = twin_find(&twin, name);
        CHECK_NEAR(norm_of(param), golden[i].norm, 1e-7);
        for (int j = 0; j < 3 && golden[i].first[0] != 0; j++)
            CHECK_NEAR(param->grad[j], golden[i].first[j], 1e-7);
    }
    twin_release(&twin);
    net_close(net);
}

static void mosaic_a(void)
{
    static const struct golden golden[] = {
        {"wte.weight", 3.8179541, {0.0007086, 0.0031989, 0.0011338}},
        {"norm_1.weight", 0.8787368, {0.1222574, 0.2529038, 0.1056395}},
        {"attn.Wqkv.weight", 5.8215744, {-0.0035336, 0.0535496, 0.0351957}},
        {"attn.out_proj.weight", 5.5661498, {0.2049096, 0.4222560, -0.3867962}},
        {"norm_2.weight", 1.1919373, {-0.4399582, 0.0320634, -0.1791700}},
        {"ffn.up_proj.weight", 8.5238654, {0.0632727, 0.0176783, 0.0171145}},
        {"ffn.down_proj.weight", 8.0535915, {0.0986803, 0.1268640, -0.1011159}},
        {"norm_f.weight", 2.2413222, {-0.2154923, 0.5124484, 0.2614580}},
    };
    quire_config config = train_case_base();
    check_golden(&config, 9.15595437, 17.47665737, golden, sizeof golden / sizeof golden[0]);
}

static void mosaic_d(void)
{
    static const struct golden golden[] = {
        {"wte.weight", .4612235, {0}},
        {"norm_1.weight", .1286769, {0}},
        {"norm_1.bias", .1295305, {0}},
        {"attn.Wqkv.weight", .8447474, {0}},
        {"attn.Wqkv.bias", .1742631, {0}},
        {"attn.q_ln.weight", .0374267, {0}},
        {"attn.q_ln.bias", .0455136, {0}},
        {"attn.k_ln.weight", .0409672, {0}},
        {"attn.k_ln.bias", 0, {0}},
        {"attn.out_proj.weight", .5675887, {0}},
        {"attn.out_proj.bias", .3136278, {0}},
        {"norm_2.weight", .1262702, {0}},
        {"norm_2.bias", .1587416, {0}},
        {"ffn.up_proj.weight", .8320507, {0}},
        {"ffn.up_proj.bias", .1616990, {0}},
        {"ffn.down_proj.weight", .7908090, {0}},
        {"ffn.down_proj.bias", .2413898, {0}},
        {"norm_f.weight", .2321951, {0}},
        {"norm_f.bias", .1969530, {0}},
    };
    quire_config config = train_case_base();
    config.no_bias = false;
    config.d_ff = 64;
    config.kv_n_heads = 2;
    config.qk_ln = true;
    config.clip_qkv = 0.75f;
    config.logit_scale = (float)(1 / sqrt(32.0));
    check_golden(&config, 4.28756770, 2.11571149, golden, sizeof golden / sizeof golden[0]);
}

static const struct test tests[] = {
    {"differences", differences},
    {"mosaic_a", mosaic_a},
    {"mosaic_d", mosaic_d},
};

TEST_MAIN(tests)
