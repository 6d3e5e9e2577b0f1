/* The optimisers, against vectors that were computed with MosaicML's own, and formulas in double. */
#include "cases.h"
#include "train/optim.h"

static struct net *open_net(void)
{
    quire_error err = {0};
    struct net *net = NULL;
    quire_config config = train_case_base();
    struct net_options options = {.n_sequences = 1, .seq_len = 8, .n_threads = 2};
    REQUIRE_OK(net_open(&net, &config, &options, &err));
    return net;
}

static struct optim *open_optim(struct net *net, const struct optim_options *options)
{
    quire_error err = {0};
    struct optim *optim = NULL;
    REQUIRE_OK(optim_open(&optim, net, options, &err));
    return optim;
}

static const struct param *param_named(struct net *net, const char *name)
{
    size_t n;
    const struct param *params = net_params(net, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(params[i].name, name) == 0)
            return &params[i];
    return NULL;
}

/* DecoupledLionW, lr 0.1, betas 0.9 and 0.99, decay 0.01. */
static void lion(void)
{
    static const float gradients[3][4] = {{.3f, -.2f, 0, 1}, {-3, .1f, 0, -1}, {0, 0, 0, 0}};
    static const double want[3][4] = {
        {.89, -1.88, .495, -.1}, {.9811, -1.9612, .49005, .001}, {1.071289, -1.841588, .4851495, .10099}};
    static const double want_m[2][4] = {{.003, -.002, 0, .01}, {-.02703, -.00098, 0, -.0001}};
    struct net *net = open_net();
    const struct param *p = param_named(net, "transformer.blocks.1.ffn.down_proj.weight");
    memcpy(p->data, (const float[]){1, -2, .5f, 0}, 4 * sizeof(float));
    struct optim_options options = optim_defaults(OPTIM_LION);
    options.lr = 0.1;
    options.weight_decay = 0.01;
    struct optim *optim = open_optim(net, &options);
    struct optim_state states[2];
    CHECK_EQ_INT(optim_states(optim, states), 1);
    size_t n;
    const float *m = states[0].data + (p->data - net_weights(net, &n));
    CHECK_EQ_INT(states[0].n, n);
    for (int step = 0; step < 3; step++) {
        memcpy(p->grad, gradients[step], sizeof gradients[step]);
        optim_step(optim, 0.1);
        for (int i = 0; i < 4; i++) {
            CHECK_NEAR(p->data[i], want[step][i], 2e-7);
            if (step < 2)
                CHECK_NEAR(m[i], want_m[step][i], 1e-8);
        }
    }
    CHECK_EQ_INT(optim_n_steps(optim), 3);
    optim_close(optim);
    net_close(net);
}

/* Against the formula in double, with a rate that changes; norms do not decay. */
static void adamw(void)
{
    struct net *net = open_net();
    train_case_fill(net, 4);
    struct optim_options options = optim_defaults(OPTIM_ADAMW);
    options.lr = 0.01;
    options.weight_decay = 0.1;
    struct optim *optim = open_optim(net, &options);
    const char *names[] = {"transformer.blocks.0.attn.Wqkv.weight", "transformer.norm_f.weight"};
    double p[2][8], m[2][8] = {{0}}, v[2][8] = {{0}};
    uint64_t seed = 8;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 8; i++)
            p[k][i] = (double)param_named(net, names[k])->data[i];
    for (int step = 1; step <= 5; step++) {
        double lr = 0.01 / step;
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < 8; i++) {
                double g = (double)(param_named(net, names[k])->grad[i] = test_random_float(&seed));
                p[k][i] *= k == 0 ? 1 - lr / 0.01 * 0.1 : 1;
                m[k][i] = 0.9 * m[k][i] + 0.1 * g;
                v[k][i] = 0.95 * v[k][i] + 0.05 * g * g;
                p[k][i] -= lr / (1 - pow(0.9, step)) * m[k][i] / (sqrt(v[k][i]) / sqrt(1 - pow(0.95, step)) + 1e-8);
            }
        optim_step(optim, lr);
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < 8; i++)
                CHECK_NEAR(param_named(net, names[k])->data[i], p[k][i], 1e-6);
    }
    struct optim_state states[2];
    CHECK_EQ_INT(optim_states(optim, states), 2);
    optim_close(optim);
    net_close(net);
}

static void clips(void)
{
    struct net *net = open_net();
    struct optim_options options = optim_defaults(OPTIM_LION);
    struct optim *optim = open_optim(net, &options);
    size_t n;
    float *g = net_gradients(net, &n);
    uint64_t seed = 3;
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        g[i] = test_random_float(&seed);
        squares += (double)g[i] * (double)g[i];
    }
    float first = g[0];
    CHECK_NEAR(optim_clip_gradients(optim, 0), sqrt(squares), 1e-9);
    CHECK(g[0] == first);
    CHECK_NEAR(optim_clip_gradients(optim, 2), sqrt(squares), 1e-9);
    CHECK_NEAR(g[0], (double)first * 2 / sqrt(squares), 1e-8);
    CHECK_NEAR(optim_clip_gradients(optim, 2), 2, 1e-6);
    first = g[0];
    g[1] = NAN;
    CHECK(isnan(optim_clip_gradients(optim, 1)));
    CHECK(g[0] == first);
    optim_close(optim);
    net_close(net);
}

static void refuses(void)
{
    struct net *net = open_net();
    struct optim *optim = NULL;
    struct optim_options options = optim_defaults(OPTIM_ADAMW);
    quire_error err = {0};
    options.lr = 0;
    CHECK_EQ_INT(optim_open(&optim, net, &options, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "learning rate is 0");
    options.lr = 1;
    options.beta2 = 1;
    quire_error_clear(&err);
    CHECK_EQ_INT(optim_open(&optim, net, &options, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "betas");
    CHECK(optim == NULL);
    net_close(net);
}

static const struct test tests[] = {
    {"lion", lion},
    {"adamw", adamw},
    {"clips", clips},
    {"refuses", refuses},
};

TEST_MAIN(tests)
