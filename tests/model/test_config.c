/* Configurations as config.json texts: the released models, what an absent field means, what is refused. */
#include <jansson.h>

#include "model/config.h"
#include "model/json.h"
#include "test.h"

static quire_status parse(quire_config *out, const char *text, quire_error *err)
{
    json_t *root;
    quire_status status = json_object_parse(&root, text, strlen(text), "config.json", err);
    if (status != QUIRE_OK)
        return status;
    status = config_from_json(out, root, "config.json", err);
    json_decref(root);
    return status;
}

/* The published configuration of the family, for printf: d_model, n_heads, n_layers, max_seq_len, clip_qkv,
 * alibi_bias_max. */
#define RELEASED                                                                                                       \
    "{\"architectures\":[\"MPTForCausalLM\"],\"model_type\":\"mpt\",\"torch_dtype\":\"bfloat16\",\"d_model\":%u,"      \
    "\"n_heads\":%u,\"n_layers\":%u,\"max_seq_len\":%u,\"vocab_size\":50432,\"expansion_ratio\":4,\"emb_pdrop\":0,"    \
    "\"resid_pdrop\":0,\"embedding_fraction\":1.0,\"no_bias\":true,\"norm_type\":\"low_precision_layernorm\","         \
    "\"logit_scale\":null,\"use_cache\":false,\"init_device\":\"cpu\",\"verbose\":0,\"learned_pos_emb\":true,"         \
    "\"tokenizer_name\":\"EleutherAI/gpt-neox-20b\",\"attn_config\":{\"attn_type\":\"multihead_attention\","           \
    "\"attn_impl\":\"torch\",\"attn_pdrop\":0,\"alibi\":true,\"clip_qkv\":%s,\"alibi_bias_max\":%u,\"qk_ln\":false,"   \
    "\"softmax_scale\":null,\"prefix_lm\":false,\"attn_uses_sequence_id\":false},"                                     \
    "\"init_config\":{\"name\":\"kaiming_normal_\",\"fan_mode\":\"fan_in\",\"init_std\":0.02}}"

static void reads_the_released_models(void)
{
    static const struct {
        const char *name;
        uint32_t d_model, n_heads, n_layers, max_seq_len;
        const char *clip;
        uint32_t bias_max;
        uint32_t head_dim;
    } models[] = {
        {"mpt-7b", 4096, 32, 32, 2048, "null", 8, 128},
        {"mpt-7b-storywriter", 4096, 32, 32, 65536, "6", 16, 128},
        {"mpt-7b-8k", 4096, 32, 32, 8192, "null", 8, 128},
        {"mpt-30b", 7168, 64, 48, 8192, "null", 8, 112},
    };
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        char text[2048];
        quire_error err = {0};
        quire_config c = {0};
        snprintf(text, sizeof text, RELEASED, models[i].d_model, models[i].n_heads, models[i].n_layers,
                 models[i].max_seq_len, models[i].clip, models[i].bias_max);
        CHECK_OK(parse(&c, text, &err));
        CHECK_EQ_INT(c.d_model, models[i].d_model);
        CHECK_EQ_INT(c.n_heads, models[i].n_heads);
        CHECK_EQ_INT(c.kv_n_heads, models[i].n_heads);
        CHECK_EQ_INT(c.head_dim, models[i].head_dim);
        CHECK_EQ_INT(c.n_layers, models[i].n_layers);
        CHECK_EQ_INT(c.d_ff, 4 * models[i].d_model);
        CHECK_EQ_INT(c.max_seq_len, models[i].max_seq_len);
        CHECK_EQ_INT(c.vocab_size, 50432);
        CHECK(c.no_bias && c.alibi && !c.qk_ln && !c.learned_pos_emb && c.tie_word_embeddings);
        CHECK_EQ_INT(c.norm_type, QUIRE_NORM_LAYERNORM);
        CHECK_NEAR(c.norm_eps, 1e-5, 1e-12);
        CHECK_NEAR(c.alibi_bias_max, models[i].bias_max, 0);
        CHECK_NEAR(c.clip_qkv, atof(models[i].clip), 0); /* atof("null") is 0: no clipping */
        CHECK_NEAR(c.softmax_scale, 1 / sqrt(models[i].head_dim), 1e-8);
        CHECK_NEAR(c.logit_scale, 1, 0);
    }
}

static void reads_mosaic_gpt(void) /* mpt-1b-redpajama-200b */
{
    quire_error err = {0};
    quire_config c = {0};
    CHECK_OK(parse(&c,
                   "{\"alibi\":true,\"alibi_bias_max\":8,\"architectures\":[\"MosaicGPT\"],\"attn_clip_qkv\":null,"
                   "\"attn_impl\":\"torch\",\"attn_pdrop\":0,\"attn_qk_ln\":true,\"attn_uses_sequence_id\":false,"
                   "\"d_model\":2048,\"hidden_size\":2048,\"emb_init_std\":null,\"emb_pdrop\":0,"
                   "\"embedding_fraction\":1.0,\"low_precision_layernorm\":true,\"max_seq_len\":2048,\"mlp_ratio\":4,"
                   "\"model_type\":\"mosaic_gpt\",\"n_heads\":16,\"n_layers\":24,\"no_bias\":true,"
                   "\"param_init_fn\":\"kaiming_normal_\",\"prefix_lm\":false,\"resid_pdrop\":0,"
                   "\"softmax_scale\":null,\"torch_dtype\":\"float32\",\"vocab_size\":50432}",
                   &err));
    CHECK(c.qk_ln && c.alibi && c.no_bias);
    CHECK_EQ_INT(c.d_ff, 8192);
    CHECK_EQ_INT(c.head_dim, 128);
    CHECK_NEAR(c.clip_qkv, 0, 0);
}

static void reads_relatives(void)
{
    quire_error err = {0};
    quire_config c = {0};
    /* replit-code-v1-3b, first form */
    CHECK_OK(parse(&c,
                   "{\"model_type\":\"replit_lm\",\"architectures\":[\"ReplitLM\"],\"d_model\":2560,\"n_heads\":32,"
                   "\"n_layers\":32,\"mlp_ratio\":4,\"max_seq_len\":2048,\"vocab_size\":32768,\"no_bias\":true,"
                   "\"alibi\":true,\"alibi_bias_max\":8,\"attn_clip_qkv\":null,\"attn_qk_ln\":false}",
                   &err));
    CHECK_EQ_INT(c.head_dim, 80);
    /* replit-code-v1_5-3b */
    CHECK_OK(
        parse(&c,
              "{\"model_type\":\"mpt\",\"d_model\":3072,\"n_heads\":24,\"n_layers\":32,\"max_seq_len\":4096,"
              "\"vocab_size\":32768,\"no_bias\":true,\"expansion_ratio\":4,\"ffn_config\":{\"ffn_type\":\"mptmlp\","
              "\"fc_type\":\"torch\"},\"attn_config\":{\"alibi\":true,\"alibi_bias_max\":8,"
              "\"attn_type\":\"grouped_query_attention\",\"kv_n_heads\":8,\"clip_qkv\":null,\"qk_ln\":false,"
              "\"rope\":false,\"sliding_window_size\":-1}}",
              &err));
    CHECK_EQ_INT(c.kv_n_heads, 8);
    CHECK_EQ_INT(c.head_dim, 128);
    /* PhoGPT-4B */
    CHECK_OK(parse(&c,
                   "{\"model_type\":\"mpt\",\"d_model\":3072,\"n_heads\":24,\"n_layers\":32,\"max_seq_len\":8192,"
                   "\"vocab_size\":20480,\"no_bias\":false,\"attn_config\":{\"alibi\":true}}",
                   &err));
    CHECK(!c.no_bias);
    /* SEA-LION-7B */
    CHECK_OK(parse(&c,
                   "{\"model_type\":\"mpt\",\"d_model\":4096,\"n_heads\":32,\"n_layers\":32,\"max_seq_len\":2048,"
                   "\"vocab_size\":256000,\"no_bias\":true,\"attn_config\":{\"alibi\":true}}",
                   &err));
    CHECK_EQ_INT(c.vocab_size, 256000);
}

static void absent_fields_have_mosaicmls_defaults(void)
{
    quire_error err = {0};
    quire_config c = {0};
    CHECK_OK(parse(&c, "{\"model_type\":\"mpt\"}", &err));
    CHECK_EQ_INT(c.d_model, 2048);
    CHECK_EQ_INT(c.n_heads, 16);
    CHECK_EQ_INT(c.n_layers, 24);
    CHECK_EQ_INT(c.d_ff, 8192);
    CHECK_EQ_INT(c.max_seq_len, 2048);
    CHECK_EQ_INT(c.vocab_size, 50368);
    CHECK(!c.no_bias && !c.alibi && c.learned_pos_emb && c.tie_word_embeddings && !c.qk_ln);
    /* transformers' own class has two other defaults and leaves out what equals them. */
    CHECK_OK(
        parse(&c,
              "{\"model_type\":\"mpt\",\"architectures\":[\"MptForCausalLM\"],\"attn_config\":{\"model_type\":\"\"},"
              "\"layer_norm_epsilon\":0.001}",
              &err));
    CHECK(c.no_bias && c.alibi && !c.learned_pos_emb);
    CHECK_NEAR(c.norm_eps, 0.001, 1e-9);
}

static void reads_every_option(void)
{
    quire_error err = {0};
    quire_config c = {0};
    CHECK_OK(parse(&c,
                   "{\"model_type\":\"mpt\",\"d_model\":64,\"n_heads\":4,\"n_layers\":2,\"expansion_ratio\":2.5,"
                   "\"max_seq_len\":128.0,\"vocab_size\":100,\"no_bias\":false,\"norm_type\":\"low_precision_rmsnorm\","
                   "\"norm_eps\":1e-6,\"logit_scale\":\"inv_sqrt_d_model\",\"learned_pos_emb\":false,"
                   "\"tie_word_embeddings\":false,\"attn_config\":{\"attn_type\":\"multiquery_attention\","
                   "\"alibi\":false,\"clip_qkv\":0.5,\"qk_ln\":true,\"softmax_scale\":0.25},"
                   "\"ffn_config\":{\"ffn_act_fn\":{\"name\":\"gelu\",\"approximate\":\"none\"}}}",
                   &err));
    CHECK_EQ_INT(c.d_ff, 160);
    CHECK_EQ_INT(c.kv_n_heads, 1);
    CHECK_EQ_INT(c.norm_type, QUIRE_NORM_RMSNORM);
    CHECK_NEAR(c.norm_eps, 1e-6, 1e-12);
    CHECK_NEAR(c.logit_scale, 0.125, 0);
    CHECK_NEAR(c.softmax_scale, 0.25, 0);
    CHECK_NEAR(c.clip_qkv, 0.5, 0);
    CHECK(!c.no_bias && !c.alibi && !c.learned_pos_emb && !c.tie_word_embeddings && c.qk_ln);
    CHECK_OK(parse(&c, "{\"model_type\":\"mpt\",\"ffn_config\":{\"ffn_hidden_size\":1000}}", &err));
    CHECK_EQ_INT(c.d_ff, 1000);
    CHECK_OK(parse(&c, "{\"model_type\":\"mpt\",\"d_model\":224,\"n_heads\":2,\"expansion_ratio\":0.2857142857142857}",
                   &err));
    CHECK_EQ_INT(c.d_ff, 64);
    CHECK_OK(parse(&c, "{\"model_type\":\"mpt\",\"attn_config\":{\"clip_qkv\":0}}", &err));
    CHECK_NEAR(c.clip_qkv, 0, 0);
}

/* A field that is wrong, beside a model type; what the message must name. */
static void refuses_by_name(void)
{
    static const struct {
        const char *field;
        quire_status status;
        const char *message;
    } cases[] = {
        {"\"attn_config\":{\"prefix_lm\":true}", QUIRE_ERR_UNSUPPORTED, "prefix_lm is true"},
        {"\"attn_config\":{\"rope\":true}", QUIRE_ERR_UNSUPPORTED, "rope is true"},
        {"\"attn_config\":{\"attn_uses_sequence_id\":true}", QUIRE_ERR_UNSUPPORTED, "attn_uses_sequence_id is true"},
        {"\"attn_config\":{\"sliding_window_size\":1024}", QUIRE_ERR_UNSUPPORTED, "sliding_window_size is 1024"},
        {"\"attn_config\":{\"attn_logit_softcapping\":30.0}", QUIRE_ERR_UNSUPPORTED, "attn_logit_softcapping is 30.0"},
        {"\"attn_config\":{\"qk_gn\":true}", QUIRE_ERR_UNSUPPORTED, "qk_gn is true"},
        {"\"attn_config\":{\"fused_qkv\":false}", QUIRE_ERR_UNSUPPORTED, "fused_qkv is false"},
        {"\"attn_config\":{\"reuse_kv_layer_idx\":-1}", QUIRE_ERR_UNSUPPORTED, "reuse_kv_layer_idx is -1"},
        {"\"attn_config\":{\"flex_attn_mod_list\":[{\"mod_name\":\"x\"}]}", QUIRE_ERR_UNSUPPORTED,
         "flex_attn_mod_list"},
        {"\"attn_config\":{\"attn_type\":\"linear_attention\"}", QUIRE_ERR_UNSUPPORTED, "attn_type is \"linear"},
        {"\"attn_config\":{\"softmax_scale\":0}", QUIRE_ERR_UNSUPPORTED, "softmax_scale is 0"},
        {"\"logit_scale\":0", QUIRE_ERR_UNSUPPORTED, "logit_scale is 0"},
        {"\"attn_config\":{\"clip_qkv\":-1}", QUIRE_ERR_UNSUPPORTED, "clip_qkv is -1"},
        {"\"attn_config\":{\"alibi\":true,\"alibi_bias_max\":0}", QUIRE_ERR_UNSUPPORTED, "alibi_bias_max is 0"},
        {"\"final_logit_softcapping\":30", QUIRE_ERR_UNSUPPORTED, "final_logit_softcapping is 30"},
        {"\"block_overrides\":{\"order\":[]}", QUIRE_ERR_UNSUPPORTED, "block_overrides"},
        {"\"residual_modification\":\"layer\"", QUIRE_ERR_UNSUPPORTED, "residual_modification"},
        {"\"quantization_config\":{\"bits\":4}", QUIRE_ERR_UNSUPPORTED, "quantization_config"},
        {"\"ffn_config\":{\"ffn_type\":\"mb_dmoe\"}", QUIRE_ERR_UNSUPPORTED, "ffn_type is \"mb_dmoe\""},
        {"\"ffn_config\":{\"ffn_act_fn\":{\"name\":\"gelu\",\"approximate\":\"tanh\"}}", QUIRE_ERR_UNSUPPORTED,
         "ffn_act_fn"},
        {"\"norm_type\":\"batchnorm\"", QUIRE_ERR_UNSUPPORTED, "norm_type is \"batchnorm\""},
        {"\"logit_scale\":\"sqrt\"", QUIRE_ERR_UNSUPPORTED, "logit_scale is \"sqrt\""},
        {"\"norm_eps\":0", QUIRE_ERR_UNSUPPORTED, "epsilon is 0"},
        {"\"d_model\":2097152", QUIRE_ERR_UNSUPPORTED, "d_model is 2097152"},
        {"\"n_layers\":1000000", QUIRE_ERR_UNSUPPORTED, "n_layers is 1000000"},
        {"\"d_model\":0", QUIRE_ERR_FORMAT, "d_model 0"},
        {"\"n_heads\":0", QUIRE_ERR_FORMAT, "n_heads is 0"},
        {"\"n_heads\":3", QUIRE_ERR_FORMAT, "d_model 2048 is not a multiple of n_heads 3"},
        {"\"d_model\":-5", QUIRE_ERR_FORMAT, "'d_model' is a whole number, expected"},
        {"\"d_model\":\"big\"", QUIRE_ERR_FORMAT, "'d_model' is a string"},
        {"\"no_bias\":1", QUIRE_ERR_FORMAT, "'no_bias' is a whole number"},
        {"\"attn_config\":[]", QUIRE_ERR_FORMAT, "'attn_config' is an array"},
        {"\"expansion_ratio\":1.0001", QUIRE_ERR_FORMAT, "expansion_ratio 1.0001"},
        {"\"attn_config\":{\"attn_type\":\"grouped_query_attention\"}", QUIRE_ERR_FORMAT, "no kv_n_heads"},
        {"\"attn_config\":{\"attn_type\":\"grouped_query_attention\",\"kv_n_heads\":5}", QUIRE_ERR_FORMAT,
         "not a multiple of kv_n_heads 5"},
        {"\"attn_config\":{\"kv_n_heads\":2}", QUIRE_ERR_FORMAT, "kv_n_heads is 2"},
        {"\"d_model\":64,\"hidden_size\":32", QUIRE_ERR_FORMAT, "'d_model' and 'hidden_size' mean the same and differ"},
        {"\"alibi\":true,\"attn_config\":{\"alibi\":false}", QUIRE_ERR_FORMAT, "'alibi' and 'alibi'"},
        {"\"norm_eps\":1e-5,\"layer_norm_epsilon\":1e-6", QUIRE_ERR_FORMAT, "layer_norm_epsilon"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        quire_error err = {0};
        quire_config c = {.d_model = 7};
        snprintf(text, sizeof text, "{\"model_type\":\"mpt\",%s}", cases[i].field);
        CHECK_EQ_INT(parse(&c, text, &err), cases[i].status);
        CHECK_EQ_INT(err.status, cases[i].status);
        CHECK_MESSAGE(err, cases[i].message);
        CHECK_MESSAGE(err, "config.json");
        CHECK_EQ_INT(c.d_model, 7); /* untouched */
    }
}

static void refuses_other_models_and_other_files(void)
{
    static const struct {
        const char *text;
        quire_status status;
        const char *message;
    } cases[] = {
        {"{\"model_type\":\"llama\"}", QUIRE_ERR_UNSUPPORTED, "'llama'"},
        {"{\"architectures\":[\"GPT2LMHeadModel\"]}", QUIRE_ERR_UNSUPPORTED, "'GPT2LMHeadModel'"},
        {"{}", QUIRE_ERR_UNSUPPORTED, "model type"},
        {"{\"model_type\":\"mpt\",\"d_model\":64,\"d_model\":64}", QUIRE_ERR_FORMAT, "duplicate"},
        {"{\"model_type\":\"mpt\"", QUIRE_ERR_FORMAT, "not valid JSON: line 1"},
        {"[1]", QUIRE_ERR_FORMAT, "holds an array"},
        {"", QUIRE_ERR_FORMAT, "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err = {0};
        quire_config c;
        CHECK_EQ_INT(parse(&c, cases[i].text, &err), cases[i].status);
        CHECK_MESSAGE(err, cases[i].message);
    }
    quire_error err = {0};
    quire_config c;
    CHECK_OK(parse(&c, "{\"architectures\":[\"MPTForCausalLM\"]}", &err)); /* the class alone says enough */
}

static const struct test tests[] = {
    {"reads_the_released_models", reads_the_released_models},
    {"reads_mosaic_gpt", reads_mosaic_gpt},
    {"reads_relatives", reads_relatives},
    {"absent_fields_have_mosaicmls_defaults", absent_fields_have_mosaicmls_defaults},
    {"reads_every_option", reads_every_option},
    {"refuses_by_name", refuses_by_name},
    {"refuses_other_models_and_other_files", refuses_other_models_and_other_files},
};
TEST_MAIN(tests)
