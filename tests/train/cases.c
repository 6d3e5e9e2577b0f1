#include "cases.h"

quire_config train_case_base(void)
{
    return (quire_config){
        .d_model = 32,
        .n_heads = 4,
        .kv_n_heads = 4,
        .n_layers = 2,
        .d_ff = 128,
        .max_seq_len = 512,
        .vocab_size = 48,
        .no_bias = true,
        .alibi = true,
        .alibi_bias_max = 8,
        .logit_scale = 1,
        .norm_eps = 1e-5f,
        .tie_word_embeddings = true,
    };
}

static void clipped(struct train_case *c)
{
    c->config.clip_qkv = 0.75f;
    c->config.alibi_bias_max = 16;
}

static void biases(struct train_case *c)
{
    c->config.no_bias = false;
}

static void everything(struct train_case *c)
{
    c->config.no_bias = false;
    c->config.qk_ln = true;
    c->config.kv_n_heads = 2;
    c->config.clip_qkv = 0.75f;
    c->config.d_ff = 64;
}

static void qk_ln_one_kv_head(struct train_case *c)
{
    c->config.qk_ln = true;
    c->config.kv_n_heads = 1;
}

static void learned_positions(struct train_case *c)
{
    c->config.alibi = false;
    c->config.learned_pos_emb = true;
}

static void no_positions(struct train_case *c)
{
    c->config.alibi = false;
}

static void six_heads(struct train_case *c)
{
    c->config.d_model = 48;
    c->config.n_heads = c->config.kv_n_heads = 6;
    c->config.d_ff = 144;
}

static void scales(struct train_case *c)
{
    c->config.softmax_scale = 0.25f;
    c->config.logit_scale = 0.5f;
}

static void rmsnorm_biases(struct train_case *c)
{
    c->config.norm_type = QUIRE_NORM_RMSNORM;
    c->config.no_bias = false;
}

static void rmsnorm_qk_ln(struct train_case *c)
{
    c->config.norm_type = QUIRE_NORM_RMSNORM;
    c->config.qk_ln = true;
}

static void untied_z_loss(struct train_case *c)
{
    c->config.tie_word_embeddings = false;
    c->z_loss = 0.01;
}

static void head_dim_20(struct train_case *c)
{
    c->config.d_model = 60;
    c->config.n_heads = c->config.kv_n_heads = 3;
    c->config.d_ff = 100;
}

static void head_dim_32(struct train_case *c)
{
    c->config.d_model = 64;
    c->config.n_heads = c->config.kv_n_heads = 2;
    c->config.n_layers = 1;
    c->z_loss = 0.001;
}

static const struct {
    const char *name;
    void (*change)(struct train_case *);
} cases[] = {
    {"base", NULL},
    {"clipped, bias_max 16", clipped},
    {"biases", biases},
    {"qk_ln, biases, clipped, grouped", everything},
    {"qk_ln, one kv head", qk_ln_one_kv_head},
    {"learned positions", learned_positions},
    {"no positions", no_positions},
    {"six heads, ratio 3", six_heads},
    {"softmax_scale, logit_scale", scales},
    {"rmsnorm, biases", rmsnorm_biases},
    {"rmsnorm, qk_ln", rmsnorm_qk_ln},
    {"untied head, z-loss", untied_z_loss},
    {"head_dim 20", head_dim_20},
    {"head_dim 32, one layer, z-loss", head_dim_32},
};

bool train_case_at(size_t index, struct train_case *out)
{
    if (index >= sizeof cases / sizeof cases[0])
        return false;
    *out = (struct train_case){.name = cases[index].name, .config = train_case_base()};
    if (cases[index].change)
        cases[index].change(out);
    return true;
}

void train_case_fill(struct net *net, uint64_t seed)
{
    size_t n_params;
    const struct param *params = net_params(net, &n_params);
    for (size_t i = 0; i < n_params; i++)
        for (size_t j = 0; j < params[i].n; j++) {
            float x = test_random_float(&seed);
            bool is_norm = params[i].n_dims == 1 && !strstr(params[i].name, ".bias");
            params[i].data[j] = is_norm ? 1 + 0.25f * x : 0.3f * x;
        }
}

uint32_t train_case_mix(uint32_t u)
{
    u ^= u >> 16;
    u *= 0x85EBCA6Bu;
    u ^= u >> 13;
    u *= 0xC2B2AE35u;
    return u ^ u >> 16;
}

double train_case_formula(const char *name, size_t index)
{
    bool is_norm = strstr(name, ".norm") || strstr(name, "q_ln") || strstr(name, "k_ln");
    uint32_t hash = 0x811C9DC5u;
    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x01000193u;
    uint32_t u = train_case_mix((uint32_t)index * 0x9E3779B1u + hash);
    double b = (double)(u >> 24) - 128;
    if (is_norm)
        return strstr(name, ".bias") ? b / 1024 : 0.75 + (double)(u >> 27) / 64;
    return strstr(name, "wte") ? b / 128 : strstr(name, "wpe") ? b / 256 : b / 512;
}

void train_case_tokens(uint32_t *tokens, uint32_t *targets, size_t n, uint32_t vocab_size, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        tokens[i] = (uint32_t)(test_random(&seed) % vocab_size);
        targets[i] = test_random(&seed) % 7 == 0 ? NET_IGNORE : (uint32_t)(test_random(&seed) % vocab_size);
    }
}
