/* The optimisers, against vectors that were computed with MosaicML's own, and formulas in double. */
#include "base/mem.h"
#include "cases.h"
#include "train/optim.h"

static struct net *open_net_with(train_precision precision, uint32_t n_threads)
{
    quire_error err = {0};
    struct net *net = NULL;
    quire_config config = train_case_base();
    struct net_options options = {.n_sequences = 1, .seq_len = 8, .precision = precision, .n_threads = n_threads};
    REQUIRE_OK(net_open(&net, &config, &options, &err));
    return net;
}

static struct net *open_net(void)
{
    return open_net_with(TRAIN_F32, 2);
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

/* x <- (a + b x x^T + c (x x^T)^2) x five times from u over its norm, in double; u: [rows][cols], of 32 by 128 or
 * less. */
static void newton_schulz(double *x, size_t rows, size_t cols)
{
    double squares = 0;
    for (size_t i = 0; i < rows * cols; i++)
        squares += x[i] * x[i];
    for (size_t i = 0; i < rows * cols; i++)
        x[i] /= sqrt(squares);
    for (int round = 0; round < 5; round++) {
        double gram[128][128] = {{0}}, poly[128][128] = {{0}}, next[32 * 128] = {0};
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < rows; j++)
                for (size_t k = 0; k < cols; k++)
                    gram[i][j] += x[i * cols + k] * x[j * cols + k];
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < rows; j++) {
                for (size_t k = 0; k < rows; k++)
                    poly[i][j] += 2.0315 * gram[i][k] * gram[k][j];
                poly[i][j] += -4.7750 * gram[i][j] + (i == j ? 3.4445 : 0);
            }
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < cols; j++)
                for (size_t k = 0; k < rows; k++)
                    next[i * cols + j] += poly[i][k] * x[k * cols + j];
        memcpy(x, next, rows * cols * sizeof *x);
    }
}

/* Two steps of a wide, a square and a tall matrix; in exact arithmetic rows may be taken for columns. Norms go by Lion.
 */
static void muon(void)
{
    static const char *const names[] = {"transformer.blocks.0.ffn.down_proj.weight",
                                        "transformer.blocks.1.attn.out_proj.weight",
                                        "transformer.blocks.1.ffn.up_proj.weight"};
    struct net *net = open_net();
    train_case_fill(net, 4);
    struct optim_options options = optim_defaults(OPTIM_MUON);
    options.weight_decay = 0.1;
    struct optim *optim = open_optim(net, &options);
    uint64_t seed = 5;
    size_t n_all;
    float *gradients = net_gradients(net, &n_all);
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        static double p[32 * 128], m[32 * 128], u[32 * 128];
        const struct param *param = param_named(net, names[k]);
        size_t rows = param->dims[0], cols = param->dims[1];
        CHECK(param->n <= 32 * 128);
        memset(m, 0, sizeof m);
        for (size_t i = 0; i < param->n; i++)
            p[i] = (double)param->data[i];
        for (int step = 1; step <= 2; step++) {
            double lr = options.lr / step, squares = 0;
            for (size_t i = 0; i < n_all; i++)
                gradients[i] = 0;
            for (size_t i = 0; i < param->n; i++) {
                double g = (double)(param->grad[i] = test_random_float(&seed));
                u[i] = 0.9 * m[i] + 0.1 * g;
                m[i] = 0.95 * m[i] + 0.05 * g;
            }
            newton_schulz(u, rows, cols);
            optim_step(optim, lr);
            for (size_t i = 0; i < param->n; i++) {
                double move = lr * sqrt((double)size_max(rows, cols)) * u[i];
                p[i] = p[i] * (1 - lr / options.lr * 0.1) - move;
                squares += move * move;
                CHECK_NEAR(param->data[i], p[i], 2e-6);
            }
            double size = sqrt(squares / (double)param->n) / lr; /* a number moves by lr */
            CHECK(size > 0.6 && size < 1.3);
        }
    }
    const struct param *norm = param_named(net, "transformer.norm_f.weight");
    float before = norm->data[0];
    norm->grad[0] = 1e-6f;
    optim_step(optim, options.lr);
    CHECK_NEAR(norm->data[0], (double)before - options.lr, 1e-7);
    struct optim_state states[2];
    CHECK_EQ_INT(optim_states(optim, states), 1);
    optim_close(optim);
    net_close(net);
}

static void muon_does_not_depend_on_threads(void)
{
    struct net *nets[2];
    struct optim_options options = optim_defaults(OPTIM_MUON);
    size_t n;
    for (int i = 0; i < 2; i++) {
        nets[i] = open_net_with(TRAIN_BF16, i == 0 ? 1 : 3);
        train_case_fill(nets[i], 4);
        struct optim *optim = open_optim(nets[i], &options);
        float *gradients = net_gradients(nets[i], &n);
        uint64_t seed = 6;
        for (int step = 0; step < 3; step++) {
            for (size_t j = 0; j < n; j++)
                gradients[j] = test_random_float(&seed);
            optim_step(optim, options.lr);
        }
        optim_close(optim);
    }
    CHECK(memcmp(net_weights(nets[0], &n), net_weights(nets[1], &n), n * sizeof(float)) == 0);
    net_close(nets[0]);
    net_close(nets[1]);
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
    {"lion", lion},   {"adamw", adamw},
    {"muon", muon},   {"Muon does not depend on threads", muon_does_not_depend_on_threads},
    {"clips", clips}, {"refuses", refuses},
};

TEST_MAIN(tests)
