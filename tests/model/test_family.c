/* The family: a small checkpoint of each member, with its published configuration and tensor names, in safetensors and
 * in the files that it was published in. Every field of the configuration and every tensor is compared with what it is
 * to be. Head counts and vocabularies are scaled down; the width of a head, the heads that share a key and the widths'
 * ratios are the member's own. */
#include <unistd.h>

#include "base/bytes.h"
#include "checkpoint.h"
#include "model/model.h"
#include "test.h"

#define INIT(std)                                                                                                      \
    "\"init_config\":{\"emb_init_std\":null,\"emb_init_uniform_lim\":null,\"fan_mode\":\"fan_in\",\"init_div_is_"      \
    "residual\":true,\"init_gain\":0,\"init_nonlinearity\":\"relu\",\"init_std\":" std                                 \
    ",\"name\":\"kaiming_normal_\",\"verbose\":0},\"init_device\":\"cpu\","
#define ATTENTION(bias_max, clip)                                                                                      \
    "\"attn_config\":{\"alibi\":true,\"alibi_bias_max\":" bias_max ",\"attn_impl\":\"torch\",\"attn_pdrop\":0,"        \
    "\"attn_type\":\"multihead_attention\",\"attn_uses_sequence_id\":false,\"clip_qkv\":" clip                         \
    ",\"prefix_lm\":false,\"qk_ln\":false,\"softmax_scale\":null},"
#define MPT(sizes, tokenizer, std, attention)                                                                          \
    "{\"architectures\":[\"MPTForCausalLM\"]," attention                                                               \
    "\"auto_map\":{\"AutoConfig\":\"configuration_mpt.MPTConfig\",\"AutoModelForCausalLM\":"                           \
    "\"modeling_mpt.MPTForCausalLM\"}," sizes                                                                          \
    "\"emb_pdrop\":0,\"embedding_fraction\":1.0,\"expansion_ratio\":4," INIT(                                          \
        std) "\"learned_pos_emb\":true,\"logit_scale\":null,\"model_type\":\"mpt\",\"no_bias\":true,"                  \
             "\"norm_type\":\"low_precision_layernorm\",\"resid_pdrop\":0,\"tokenizer_name\":\"" tokenizer             \
             "\",\"torch_dtype\":\"bfloat16\",\"transformers_version\":\"4.28.1\",\"use_cache\":false,\"verbose\":0}"
#define NEOX "EleutherAI/gpt-neox-20b"
#define SIZES(d_model, n_heads, n_layers, max_seq_len, vocab_size)                                                     \
    "\"d_model\":" d_model ",\"n_heads\":" n_heads ",\"n_layers\":" n_layers ",\"max_seq_len\":" max_seq_len           \
    ",\"vocab_size\":" vocab_size ","
#define SIZES_7B(max_seq_len) SIZES("256", "2", "2", max_seq_len, "394")
#define SIZES_30B             SIZES("448", "4", "1", "8192", "394")

/* Of the first generation: everything at the top level. */
#define FLAT                                                                                                           \
    "\"alibi\":true,\"alibi_bias_max\":8,\"attn_clip_qkv\":null,\"attn_impl\":\"torch\",\"attn_pdrop\":0,"             \
    "\"attn_uses_sequence_id\":false,\"emb_init_std\":null,\"emb_init_uniform_lim\":null,\"emb_pdrop\":0,"             \
    "\"embedding_fraction\":1.0,\"fan_mode\":\"fan_in\",\"init_device\":\"cpu\",\"init_div_is_residual\":true,"        \
    "\"init_gain\":0,\"init_nonlinearity\":\"relu\",\"init_std\":0.02,\"logit_scale\":null,"                           \
    "\"low_precision_layernorm\":true,\"max_seq_len\":2048,\"mlp_ratio\":4,\"no_bias\":true,"                          \
    "\"param_init_fn\":\"kaiming_normal_\",\"prefix_lm\":false,\"resid_pdrop\":0,\"softmax_scale\":null,"              \
    "\"torch_dtype\":\"float32\",\"use_cache\":false,\"verbose\":0,"

/* What all have but where a member says otherwise. */
#define COMMON                                                                                                         \
    .no_bias = true, .alibi = true, .alibi_bias_max = 8, .logit_scale = 1, .norm_type = QUIRE_NORM_LAYERNORM,          \
    .norm_eps = 1e-5f, .tie_word_embeddings = true
#define WANT_7B                                                                                                        \
    .d_model = 256, .n_heads = 2, .kv_n_heads = 2, .head_dim = 128, .n_layers = 2, .d_ff = 1024, .vocab_size = 394,    \
    .softmax_scale = 0.08838834764831845f
#define WANT_30B                                                                                                       \
    .d_model = 448, .n_heads = 4, .kv_n_heads = 4, .head_dim = 112, .n_layers = 1, .d_ff = 1792, .vocab_size = 394,    \
    .max_seq_len = 8192, .softmax_scale = 0.09449111825230680f

static const struct member {
    const char *name, *config;
    size_t n_shards; /* of the PyTorch files */
    bool is_f32, has_old_names;
    quire_config want;
} members[] = {
    {"mpt-7b",
     MPT(SIZES_7B("2048"), NEOX, "0.02", ATTENTION("8", "null")),
     2,
     false,
     false,
     {WANT_7B, COMMON, .max_seq_len = 2048}},
    {"mpt-7b-instruct",
     MPT(SIZES_7B("2048"), NEOX, "0.02", ATTENTION("8", "null")),
     2,
     false,
     false,
     {WANT_7B, COMMON, .max_seq_len = 2048}},
    {"mpt-7b-chat",
     MPT(SIZES_7B("2048"), "sam-mosaic/gpt-neox-20b-chatml", "0.02", ATTENTION("8", "null")),
     2,
     false,
     false,
     {WANT_7B, COMMON, .max_seq_len = 2048}},
    {"mpt-7b-storywriter",
     MPT(SIZES_7B("65536"), NEOX, "0.02", ATTENTION("16", "6")),
     2,
     false,
     false,
     {WANT_7B, .no_bias = true, .alibi = true, .alibi_bias_max = 16, .clip_qkv = 6, .logit_scale = 1,
      .norm_type = QUIRE_NORM_LAYERNORM, .norm_eps = 1e-5f, .tie_word_embeddings = true, .max_seq_len = 65536}},
    {"mpt-7b-8k",
     MPT(SIZES_7B("8192"), NEOX, "null", ATTENTION("8", "null")),
     2,
     false,
     false,
     {WANT_7B, COMMON, .max_seq_len = 8192}},
    {"mpt-30b", MPT(SIZES_30B, NEOX, "null", ATTENTION("8", "null")), 7, false, false, {WANT_30B, COMMON}},
    {"mpt-30b-chat",
     MPT(SIZES_30B, "mosaicml/mpt-30b-chat", "null", ATTENTION("8", "null")),
     7,
     false,
     false,
     {WANT_30B, COMMON}},
    {"mpt-1b-redpajama-200b",
     "{\"architectures\":[\"MosaicGPT\"],\"attn_qk_ln\":true," FLAT
     "\"auto_map\":{\"AutoConfig\":\"configuration_mosaic_gpt.MosaicGPTConfig\",\"AutoModelForCausalLM\":"
     "\"mosaic_gpt.MosaicGPT\"},\"d_model\":256,\"n_heads\":2,\"n_layers\":2,\"hidden_size\":256,"
     "\"model_type\":\"mosaic_gpt\",\"tokenizer_name\":\"" NEOX "\",\"vocab_size\":394}",
     1,
     true,
     true,
     {WANT_7B, COMMON, .qk_ln = true, .max_seq_len = 2048}},
    {"replit-code-v1-3b, first form",
     "{\"architectures\":[\"ReplitLM\"],\"attn_qk_ln\":false," FLAT
     "\"auto_map\":{\"AutoConfig\":\"configuration_replit_lm.ReplitLMConfig\",\"AutoModelForCausalLM\":"
     "\"replit_lm.ReplitLM\"},\"d_model\":320,\"n_heads\":4,\"n_layers\":2,\"model_type\":\"replit_lm\","
     "\"tokenizer_name\":\"replit/replit-code-v1-3b\",\"vocab_size\":256}",
     1,
     true,
     true,
     {COMMON, .d_model = 320, .n_heads = 4, .kv_n_heads = 4, .head_dim = 80, .n_layers = 2, .d_ff = 1280,
      .vocab_size = 256, .max_seq_len = 2048, .softmax_scale = 0.11180339887498948f}},
    {"replit-code-v1-3b, later form",
     MPT(SIZES("320", "4", "2", "2048", "256") "\"eos_token_id\":1,", "replit/replit-code-v1-3b", "0.02",
         ATTENTION("8", "null")),
     1,
     true,
     false,
     {COMMON, .d_model = 320, .n_heads = 4, .kv_n_heads = 4, .head_dim = 80, .n_layers = 2, .d_ff = 1280,
      .vocab_size = 256, .max_seq_len = 2048, .softmax_scale = 0.11180339887498948f}},
    {"replit-code-v1_5-3b",
     MPT(SIZES("768", "6", "1", "4096", "256") "\"fc_type\":\"torch\",\"ffn_config\":{\"fc_type\":\"torch\","
                                               "\"ffn_type\":\"mptmlp\"},",
         "replit/replit-code-v1_5-3b", "0.02",
         "\"attn_config\":{\"alibi\":true,\"alibi_bias_max\":8,\"attn_impl\":\"triton\",\"attn_pdrop\":0,"
         "\"attn_type\":\"grouped_query_attention\",\"attn_uses_sequence_id\":false,\"clip_qkv\":null,"
         "\"kv_n_heads\":2,\"prefix_lm\":false,\"qk_ln\":false,\"softmax_scale\":null},"),
     1,
     false,
     false,
     {COMMON, .d_model = 768, .n_heads = 6, .kv_n_heads = 2, .head_dim = 128, .n_layers = 1, .d_ff = 3072,
      .vocab_size = 256, .max_seq_len = 4096, .softmax_scale = 0.08838834764831845f}},
    {"PhoGPT-4B",
     "{\"architectures\":[\"MPTForCausalLM\"]," ATTENTION("8", "null") SIZES("384", "3", "2", "8192", "160") INIT(
         "0.02") "\"auto_map\":{\"AutoConfig\":\"configuration_mpt.MPTConfig\",\"AutoModelForCausalLM\":"
                 "\"modeling_mpt.MPTForCausalLM\"},\"emb_pdrop\":0.0,\"embedding_fraction\":1.0,\"expansion_ratio\":4,"
                 "\"fc_type\":\"torch\",\"ffn_config\":{\"fc_type\":\"torch\",\"ffn_type\":\"mptmlp\"},"
                 "\"learned_pos_emb\":false,\"logit_scale\":null,\"model_type\":\"mpt\",\"no_bias\":false,"
                 "\"norm_type\":\"low_precision_layernorm\",\"resid_pdrop\":0.0,\"torch_dtype\":\"bfloat16\","
                 "\"transformers_version\":\"4.33.3\",\"use_cache\":false,\"verbose\":0}",
     2,
     false,
     false,
     {.alibi = true,
      .alibi_bias_max = 8,
      .logit_scale = 1,
      .norm_type = QUIRE_NORM_LAYERNORM,
      .norm_eps = 1e-5f,
      .tie_word_embeddings = true,
      .d_model = 384,
      .n_heads = 3,
      .kv_n_heads = 3,
      .head_dim = 128,
      .n_layers = 2,
      .d_ff = 1536,
      .vocab_size = 160,
      .max_seq_len = 8192,
      .softmax_scale = 0.08838834764831845f}},
};
enum { N_MEMBERS = sizeof members / sizeof members[0] };

/* The parts of a block under both sets of names. */
static const struct part {
    const char *name, *old_name;
    bool is_norm;
    char rows, cols; /* d: d_model, f: d_ff, q: queries, keys and values, k: keys; a norm has only cols */
    bool is_qk;
    size_t weight, bias; /* in struct layer */
} parts[] = {
    {"norm_1", "ln_1", true, 0, 'd', false, offsetof(struct layer, norm_1_weight), offsetof(struct layer, norm_1_bias)},
    {"attn.Wqkv", "attn.Wqkv", false, 'q', 'd', false, offsetof(struct layer, Wqkv), offsetof(struct layer, Wqkv_bias)},
    {"attn.q_ln", "attn.q_ln", true, 0, 'd', true, offsetof(struct layer, q_ln_weight),
     offsetof(struct layer, q_ln_bias)},
    {"attn.k_ln", "attn.k_ln", true, 0, 'k', true, offsetof(struct layer, k_ln_weight),
     offsetof(struct layer, k_ln_bias)},
    {"attn.out_proj", "attn.out_proj", false, 'd', 'd', false, offsetof(struct layer, out_proj),
     offsetof(struct layer, out_proj_bias)},
    {"norm_2", "ln_2", true, 0, 'd', false, offsetof(struct layer, norm_2_weight), offsetof(struct layer, norm_2_bias)},
    {"ffn.up_proj", "mlp.mlp_up", false, 'f', 'd', false, offsetof(struct layer, up_proj),
     offsetof(struct layer, up_proj_bias)},
    {"ffn.down_proj", "mlp.mlp_down", false, 'd', 'f', false, offsetof(struct layer, down_proj),
     offsetof(struct layer, down_proj_bias)},
};
enum { N_PARTS = sizeof parts / sizeof parts[0] };

static uint64_t width(const quire_config *c, char dim)
{
    uint64_t kv = (uint64_t)c->d_model / c->n_heads * c->kv_n_heads;
    return dim == 'd' ? c->d_model : dim == 'f' ? c->d_ff : dim == 'k' ? kv : dim == 'q' ? c->d_model + 2 * kv : 0;
}

static bool is_there(const struct member *m, const struct part *part)
{
    return !part->is_qk || m->want.qk_ln;
}

static const char *name_of(const struct member *m, const struct part *part)
{
    return m->has_old_names ? part->old_name : part->name;
}

static struct checkpoint make(const struct member *m)
{
    struct checkpoint c = {.is_f32 = m->is_f32};
    const quire_config *w = &m->want;
    checkpoint_add(&c, w->vocab_size, w->d_model, "transformer.wte.weight");
    for (uint32_t layer = 0; layer < w->n_layers; layer++)
        for (size_t i = 0; i < N_PARTS; i++) {
            if (!is_there(m, &parts[i]))
                continue;
            uint64_t rows = width(w, parts[i].rows), cols = width(w, parts[i].cols);
            checkpoint_add(&c, rows, cols, "transformer.blocks.%u.%s.weight", layer, name_of(m, &parts[i]));
            if (!w->no_bias)
                checkpoint_add(&c, 0, rows ? rows : cols, "transformer.blocks.%u.%s.bias", layer,
                               name_of(m, &parts[i]));
        }
    checkpoint_add(&c, 0, w->d_model, "transformer.%s.weight", m->has_old_names ? "ln_f" : "norm_f");
    if (!w->no_bias)
        checkpoint_add(&c, 0, w->d_model, "transformer.%s.bias", m->has_old_names ? "ln_f" : "norm_f");
    return c;
}

static void check_config(const quire_config *got, const quire_config *want)
{
    CHECK_EQ_INT(got->d_model, want->d_model);
    CHECK_EQ_INT(got->n_heads, want->n_heads);
    CHECK_EQ_INT(got->kv_n_heads, want->kv_n_heads);
    CHECK_EQ_INT(got->head_dim, want->head_dim);
    CHECK_EQ_INT(got->n_layers, want->n_layers);
    CHECK_EQ_INT(got->d_ff, want->d_ff);
    CHECK_EQ_INT(got->max_seq_len, want->max_seq_len);
    CHECK_EQ_INT(got->vocab_size, want->vocab_size);
    CHECK_EQ_INT(got->no_bias, want->no_bias);
    CHECK_EQ_INT(got->alibi, want->alibi);
    CHECK_NEAR((double)got->alibi_bias_max, (double)want->alibi_bias_max, 0);
    CHECK_NEAR((double)got->clip_qkv, (double)want->clip_qkv, 0);
    CHECK_EQ_INT(got->qk_ln, want->qk_ln);
    CHECK_NEAR((double)got->softmax_scale, (double)want->softmax_scale, 1e-8);
    CHECK_NEAR((double)got->logit_scale, (double)want->logit_scale, 0);
    CHECK_EQ_INT(got->learned_pos_emb, want->learned_pos_emb);
    CHECK_EQ_INT(got->norm_type, want->norm_type);
    CHECK_NEAR((double)got->norm_eps, (double)want->norm_eps, 0);
    CHECK_EQ_INT(got->tie_word_embeddings, want->tie_word_embeddings);
}

/* A matrix is the file's bytes as they are. */
static void check_matrix(const struct checkpoint *c, const char *name, const struct matrix *got)
{
    const struct torch_tensor *t = checkpoint_find(c, name);
    CHECK(t && got->data && got->rows == t->dims[0] && got->cols == t->dims[1]);
    CHECK(t && got->type == (c->is_f32 ? QUIRE_DTYPE_F32 : QUIRE_DTYPE_BF16));
    CHECK(t && got->data && got->rows * got->row_bytes == t->n_bytes && memcmp(got->data, t->data, t->n_bytes) == 0);
}

/* A vector is its numbers. */
static void check_vector(const struct checkpoint *c, const char *name, const float *got)
{
    const struct torch_tensor *t = checkpoint_find(c, name);
    CHECK((t != NULL) == (got != NULL));
    for (size_t i = 0; t && got && i < t->dims[0]; i++) {
        const unsigned char *p = t->data;
        float want = c->is_f32 ? f32_from_bits(load_u32(p + 4 * i)) : bf16_to_f32(load_u16(p + 2 * i));
        CHECK_NEAR((double)got[i], (double)want, 0);
    }
}

static void check_weights(const struct member *m, const struct checkpoint *c, const quire_model *model)
{
    char name[128];
    check_matrix(c, "transformer.wte.weight", &model->wte);
    CHECK(model->lm_head.data == model->wte.data && model->wpe.rows == 0);
    check_vector(c, m->has_old_names ? "transformer.ln_f.weight" : "transformer.norm_f.weight", model->norm_f_weight);
    check_vector(c, m->has_old_names ? "transformer.ln_f.bias" : "transformer.norm_f.bias", model->norm_f_bias);
    for (uint32_t layer = 0; layer < m->want.n_layers; layer++)
        for (size_t i = 0; i < N_PARTS; i++) {
            const char *fields = (const char *)&model->layers[layer];
            snprintf(name, sizeof name, "transformer.blocks.%u.%s.weight", layer, name_of(m, &parts[i]));
            if (parts[i].is_norm)
                check_vector(c, name, *(const float *const *)(fields + parts[i].weight));
            else
                check_matrix(c, name, (const struct matrix *)(fields + parts[i].weight));
            snprintf(name, sizeof name, "transformer.blocks.%u.%s.bias", layer, name_of(m, &parts[i]));
            check_vector(c, name, *(const float *const *)(fields + parts[i].bias));
        }
    CHECK_EQ_INT(quire_model_n_tensors(model), c->n);
    CHECK_EQ_INT(quire_model_n_unused_tensors(model), 0);
}

static void check_folder(const struct member *m, const struct checkpoint *c, const char *folder, const char *format,
                         char fingerprint[33])
{
    quire_error err = {0};
    quire_model *model;
    int n_failed_before = test_n_failed_checks;
    REQUIRE_OK(quire_model_open(&model, folder, &err));
    check_config(quire_model_config(model), &m->want);
    check_weights(m, c, model);
    CHECK_EQ_STR(quire_model_format_name(model), format);
    strcpy(fingerprint, quire_model_fingerprint(model));
    quire_model_close(model);
    if (test_n_failed_checks > n_failed_before)
        fprintf(stderr, "in %s, %s\n", m->name, format);
}

static void reads_each_member(void)
{
    for (size_t i = 0; i < N_MEMBERS; i++) {
        const struct member *m = &members[i];
        struct checkpoint c = make(m);
        char *folder = folder_make(), fingerprints[3][33], path[4096];
        file_write(folder, "config.json", m->config, strlen(m->config));
        if (m->n_shards > 1)
            checkpoint_write_bin_shards(&c, folder, m->n_shards);
        else
            checkpoint_write_bin(&c, folder);
        check_folder(m, &c, folder, "huggingface pytorch", fingerprints[0]);
        checkpoint_write_safetensors(&c, folder); /* which comes first where both are there */
        check_folder(m, &c, folder, "huggingface safetensors", fingerprints[1]);
        CHECK_EQ_STR(fingerprints[1], fingerprints[0]); /* the same weights are the same model */
        snprintf(path, sizeof path, "%s/model.safetensors", folder);
        unlink(path);
        check_folder(m, &c, folder, "huggingface pytorch", fingerprints[2]);
        CHECK_EQ_STR(fingerprints[2], fingerprints[0]);
        checkpoint_release(&c);
        folder_remove(folder);
    }
}

/* An early revision of mpt-30b-chat asked for what its successors do not. */
static void names_what_an_early_chat_model_asks_for(void)
{
    quire_error err = {0};
    quire_model *model;
    static const char config[] = MPT(
        SIZES_30B, "mosaicml/mpt-30b-chat", "null",
        "\"attn_config\":{\"alibi\":true,\"alibi_bias_max\":8,\"attn_impl\":\"torch\",\"attn_pdrop\":0,\"attn_type\":"
        "\"multihead_attention\",\"attn_uses_sequence_id\":true,\"clip_qkv\":6,\"prefix_lm\":false,\"qk_ln\":false,"
        "\"softmax_scale\":null},");
    char *folder = folder_make();
    file_write(folder, "config.json", config, sizeof config - 1);
    CHECK_EQ_INT(quire_model_open(&model, folder, &err), QUIRE_ERR_UNSUPPORTED);
    CHECK_MESSAGE(err, "attn_uses_sequence_id is true");
    folder_remove(folder);
}

/* A view that a checkpoint does not need does not stop it; one that it needs is named, with the way out. */
static void asks_for_contiguous_tensors(void)
{
    quire_error err = {0};
    quire_model *model;
    const struct member *m = &members[0];
    struct checkpoint c = make(m);
    char *folder = folder_make();
    file_write(folder, "config.json", m->config, strlen(m->config));
    checkpoint_add(&c, 256, 256, "transformer.mask");
    for (int round = 0; round < 2; round++) {
        struct bytes pickle = torch_pickle(c.tensors, c.n);
        /* 256 x 256 are the mask's and the output projections' sizes: the last, or the first, is transposed. */
        static const char square[] = "(\x8a\10\0\1\0\0\0\0\0\0\x8a\10\0\1\0\0\0\0\0\0"
                                     "t(\x8a\10\0\1\0\0\0\0\0\0\x8a\10\1\0\0\0\0\0\0\0t";
        unsigned char *at = memmem(pickle.data, pickle.n, square, sizeof square - 1);
        for (unsigned char *next = at; next && round == 0;) {
            at = next;
            next = memmem(at + 1, pickle.n - (size_t)(at + 1 - pickle.data), square, sizeof square - 1);
        }
        CHECK(at != NULL);
        if (at) {
            memcpy(at + 25, &(uint64_t){1}, 8);
            memcpy(at + 35, &(uint64_t){256}, 8);
        }
        struct bytes file = torch_archive(pickle, c.tensors, c.n);
        file_write(folder, "pytorch_model.bin", file.data, file.n);
        bytes_release(&file);
        quire_status status = quire_model_open(&model, folder, &err);
        CHECK_EQ_INT(status, round == 0 ? QUIRE_OK : QUIRE_ERR_UNSUPPORTED);
        if (status == QUIRE_OK) {
            CHECK_EQ_INT(quire_model_n_unused_tensors(model), 1);
            quire_model_close(model);
        } else {
            CHECK_MESSAGE(err, "out_proj.weight' is a view that does not lie in one piece");
            CHECK_MESSAGE(err, "contiguous()");
        }
    }
    checkpoint_release(&c);
    folder_remove(folder);
}

/* 64 layers whose biases are all one storage of 4,096 numbers: in memory they would be many. */
static void does_not_multiply_shared_storages(void)
{
    quire_error err = {0};
    quire_model *model;
    static const char config[] = "{\"model_type\":\"mpt\",\"d_model\":1,\"n_heads\":1,\"n_layers\":64,\"vocab_size\":1,"
                                 "\"expansion_ratio\":4096,\"attn_config\":{\"alibi\":true}}";
    const struct member m = {
        .want = {.d_model = 1, .n_heads = 1, .kv_n_heads = 1, .n_layers = 64, .d_ff = 4096, .vocab_size = 1}};
    struct checkpoint c = make(&m);
    size_t largest = 0;
    for (size_t i = 1; i < c.n; i++)
        if (c.tensors[i].n_bytes > c.tensors[largest].n_bytes)
            largest = i;
    char *folder = folder_make();
    file_write(folder, "config.json", config, sizeof config - 1);
    checkpoint_write_bin(&c, folder);
    REQUIRE_OK(quire_model_open(&model, folder, &err)); /* each its own: as large as it says */
    quire_model_close(model);
    for (size_t i = largest + 1; i < c.n; i++)
        c.tensors[i].shares = largest + 1;
    checkpoint_write_bin(&c, folder);
    CHECK_EQ_INT(quire_model_open(&model, folder, &err), QUIRE_ERR_UNSUPPORTED);
    CHECK_MESSAGE(err, "more than its files of");
    CHECK_MESSAGE(err, "they share their storage");
    checkpoint_release(&c);
    folder_remove(folder);
}

static const struct test tests[] = {
    {"reads_each_member", reads_each_member},
    {"names_what_an_early_chat_model_asks_for", names_what_an_early_chat_model_asks_for},
    {"asks_for_contiguous_tensors", asks_for_contiguous_tensors},
    {"does_not_multiply_shared_storages", does_not_multiply_shared_storages},
};
TEST_MAIN(tests)
