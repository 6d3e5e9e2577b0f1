/* Against PyTorch: losses, gradients and steps in tests/train/golden/steps.txt, made by
 * tests/parity/make_train_golden.py in float64. */
#include "cases.h"
#include "train/optim.h"

enum { N_SEQUENCES = 2, N_TOKENS = 20, N_ALL = N_SEQUENCES * N_TOKENS };
static const double LR = 0.01, DECAY = 0.1;

/* Two nets of the same weights and gradients, behind a step of AdamW and of Lion. */
struct trained {
    struct net *net[2];
    size_t n_params;
    const struct param *params[2];
};

static void set_key(struct net_options *options, quire_config *c, const char *key, double value)
{
    const struct {
        const char *key;
        uint32_t *number;
    } numbers[] = {
        {"d_model", &c->d_model}, {"n_heads", &c->n_heads}, {"kv_n_heads", &c->kv_n_heads}, {"d_ff", &c->d_ff}};
    const struct {
        const char *key;
        bool *flag;
    } flags[] = {{"no_bias", &c->no_bias},
                 {"alibi", &c->alibi},
                 {"qk_ln", &c->qk_ln},
                 {"learned_pos_emb", &c->learned_pos_emb},
                 {"tied", &c->tie_word_embeddings}};
    const struct {
        const char *key;
        float *number;
    } floats[] = {{"alibi_bias_max", &c->alibi_bias_max},
                  {"clip_qkv", &c->clip_qkv},
                  {"softmax_scale", &c->softmax_scale},
                  {"logit_scale", &c->logit_scale}};
    bool is_known = strcmp(key, "rmsnorm") == 0 || strcmp(key, "z_loss") == 0;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(key, numbers[i].key) == 0) {
            *numbers[i].number = (uint32_t)value;
            is_known = true;
        }
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (strcmp(key, flags[i].key) == 0) {
            *flags[i].flag = value != 0;
            is_known = true;
        }
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++)
        if (strcmp(key, floats[i].key) == 0) {
            *floats[i].number = (float)value;
            is_known = true;
        }
    if (strcmp(key, "rmsnorm") == 0)
        c->norm_type = value != 0 ? QUIRE_NORM_RMSNORM : QUIRE_NORM_LAYERNORM;
    if (strcmp(key, "z_loss") == 0)
        options->z_loss = value;
    CHECK(is_known);
}

/* "NAME KEY=VALUE ..." to a configuration. */
static void read_case(char *line, struct net_options *options, quire_config *config)
{
    *config = train_case_base();
    config->max_seq_len = 64;
    *options = (struct net_options){.n_sequences = N_SEQUENCES, .seq_len = N_TOKENS, .n_threads = 2};
    strtok(line, " \n");
    for (char *word; (word = strtok(NULL, " \n")) != NULL;) {
        char *value = strchr(word, '=');
        *value = '\0';
        set_key(options, config, word, strtod(value + 1, NULL));
    }
}

static double run_case(struct trained *t, const quire_config *config, const struct net_options *options)
{
    quire_error err = {0};
    struct net_loss loss = {0};
    uint32_t ids[N_ALL], targets[N_ALL];
    for (uint32_t i = 0; i < N_ALL; i++) {
        ids[i] = train_case_mix(7919 * i + 1) % config->vocab_size;
        targets[i] = train_case_mix(7919 * (i + N_ALL) + 1) % config->vocab_size;
    }
    targets[3] = targets[N_TOKENS + 19] = NET_IGNORE;
    for (int i = 0; i < 2; i++) {
        struct optim *optim = NULL;
        struct optim_options o = optim_defaults(i == 0 ? OPTIM_ADAMW : OPTIM_LION);
        o.lr = LR;
        o.weight_decay = DECAY;
        REQUIRE_OK(net_open(&t->net[i], config, options, &err));
        t->params[i] = net_params(t->net[i], &t->n_params);
        for (size_t p = 0; p < t->n_params; p++)
            for (size_t j = 0; j < t->params[i][p].n; j++)
                t->params[i][p].data[j] = (float)train_case_formula(t->params[i][p].name, j);
        CHECK_OK(net_backward(t->net[i], &(struct net_batch){N_SEQUENCES, N_TOKENS, ids, targets}, 1.0 / (N_ALL - 2),
                              &loss, &err));
        CHECK_EQ_INT(loss.n_targets, N_ALL - 2);
        REQUIRE_OK(optim_open(&optim, t->net[i], &o, &err));
        optim_step(optim, LR);
        optim_close(optim);
    }
    return (loss.nll + loss.z_loss) / (N_ALL - 2);
}

static void release(struct trained *t)
{
    net_close(t->net[0]);
    net_close(t->net[1]);
    *t = (struct trained){0};
}

static size_t find(const struct trained *t, const char *name)
{
    for (size_t i = 0; i < t->n_params; i++)
        if (strcmp(t->params[0][i].name, name) == 0)
            return i;
    return t->n_params;
}

static void check_number(const struct trained *t, size_t tensor, double norm, const char *line)
{
    size_t at = 0;
    double gradient, adamw, lion;
    CHECK(sscanf(line, "%zu %lf %lf %lf", &at, &gradient, &adamw, &lion) == 4);
    CHECK_NEAR(t->params[0][tensor].grad[at], gradient, 1e-5 * norm + 1e-7);
    if (fabs(gradient) < 1e-4 * norm + 1e-7)
        return; /* a first step is as long whatever the gradient, and goes where rounding says */
    CHECK_NEAR(t->params[0][tensor].data[at], adamw, 1e-6);
    CHECK_NEAR(t->params[1][tensor].data[at], lion, 1e-6);
}

static void pytorch(void)
{
    struct trained t = {0};
    struct net_options options;
    quire_config config;
    double norm = 0, loss = 0;
    size_t tensor = 0, n_tensors = 0, n_cases = 0;
    char line[512], name[128];
    FILE *f = fopen(QUIRE_SOURCE_DIR "/tests/train/golden/steps.txt", "re");
    CHECK(f != NULL);
    while (f && fgets(line, sizeof line, f)) {
        double value;
        if (strncmp(line, "case ", 5) == 0) {
            CHECK_EQ_INT(n_tensors, t.n_params);
            release(&t);
            read_case(line + 5, &options, &config);
            loss = run_case(&t, &config, &options);
            n_tensors = 0;
            n_cases++;
        } else if (sscanf(line, "loss %lf", &value) == 1) {
            CHECK_NEAR(loss, value, 1e-5);
        } else if (sscanf(line, "tensor %127s %lf", name, &norm) == 2) {
            tensor = find(&t, name);
            n_tensors++;
            CHECK(tensor < t.n_params);
            if (tensor == t.n_params)
                break;
            double squares = 0;
            for (size_t i = 0; i < t.params[0][tensor].n; i++)
                squares += (double)t.params[0][tensor].grad[i] * (double)t.params[0][tensor].grad[i];
            CHECK_NEAR(sqrt(squares), norm, 1e-5 * norm + 1e-7);
        } else if (strncmp(line, "number ", 7) == 0) {
            check_number(&t, tensor, norm, line + 7);
        }
    }
    CHECK_EQ_INT(n_cases, 4);
    CHECK_EQ_INT(n_tensors, t.n_params);
    release(&t);
    if (f)
        fclose(f);
}

static const struct test tests[] = {{"pytorch", pytorch}};

TEST_MAIN(tests)
