/* Every key of a configuration. */
#include "train_config.h"

#include "net.h"
#include "optim.h"

#define FIELD(name) offsetof(struct train_config, name)
#define MOST_COUNT  2147483647.0
#define MOST_TEXT   4096.0

static const char *const model_names[] = {"mpt_causal_lm", NULL};
static const char *const norm_types[] = {"low_precision_layernorm", "layernorm", "low_precision_rmsnorm", "rmsnorm",
                                         NULL};
static const char *const optimizers[] = {
    [OPTIM_LION] = "decoupled_lionw", [OPTIM_ADAMW] = "decoupled_adamw", [OPTIM_MUON] = "muon", NULL};
static const char *const schedulers[] = {"cosine_with_warmup", "inv_sqrt_with_warmup", "constant_with_warmup", NULL};
static const char *const clippings[] = {"norm", NULL};
static const char *const precisions[] = {[TRAIN_F32] = "fp32", [TRAIN_BF16] = "amp_bf16", NULL};
static const char *const ggufs[] = {"none", "f32", "bf16", "f16", "q8_0", NULL};
static const char *const folders[] = {"none", "f32", "bf16", NULL};

#define COUNT(key, field, least, most, otherwise, may)                                                                 \
    {                                                                                                                  \
        key, CONFIG_COUNT, FIELD(field), least, most, otherwise, NULL, NULL, may                                       \
    }
#define NUMBER(key, field, least, most, otherwise, may)                                                                \
    {                                                                                                                  \
        key, CONFIG_NUMBER, FIELD(field), least, most, otherwise, NULL, NULL, may                                      \
    }
#define NULLABLE(key, field, least, most, null_is)                                                                     \
    {                                                                                                                  \
        key, CONFIG_NUMBER, FIELD(field), least, most, "null", null_is, NULL, false                                    \
    }
#define FLAG(key, field, otherwise, may)                                                                               \
    {                                                                                                                  \
        key, CONFIG_FLAG, FIELD(field), 0, 0, otherwise, NULL, NULL, may                                               \
    }
#define TEXT(key, field, least, otherwise, may)                                                                        \
    {                                                                                                                  \
        key, CONFIG_TEXT, FIELD(field), least, MOST_TEXT, otherwise, NULL, NULL, may                                   \
    }
#define CHOICE(key, field, names, otherwise, may)                                                                      \
    {                                                                                                                  \
        key, CONFIG_CHOICE, FIELD(field), 0, 0, otherwise, NULL, names, may                                            \
    }
#define DURATION(key, field, least, otherwise, may)                                                                    \
    {                                                                                                                  \
        key, CONFIG_DURATION, FIELD(field), least, 0x1p53, otherwise, NULL, NULL, may                                  \
    }

const struct train_config_row train_config_rows[] = {
    TEXT("run_name", run_name, 1, "quire-model", true),
    {"seed", CONFIG_COUNT64, FIELD(seed), 0, 0x1p53, "17", NULL, NULL, false},

    CHOICE("model.name", model.name, model_names, "mpt_causal_lm", false),
    COUNT("model.d_model", model.d_model, 8, 65536, "2048", false),
    COUNT("model.n_heads", model.n_heads, 1, 1024, "16", false),
    COUNT("model.n_layers", model.n_layers, 1, 1024, "24", false),
    NUMBER("model.expansion_ratio", model.expansion_ratio, 0.125, 64, "4", false),
    COUNT("model.max_seq_len", model.max_seq_len, 2, 16777216, "2048", false),
    {"model.vocab_size", CONFIG_COUNT, FIELD(model.vocab_size), 1, 16777216, "null",
     "the tokenizer's entries, rounded up to a multiple of 128", NULL, false},
    FLAG("model.no_bias", model.no_bias, "true", false),
    FLAG("model.learned_pos_emb", model.learned_pos_emb, "false", false),
    FLAG("model.tie_word_embeddings", model.tie_word_embeddings, "true", false),
    CHOICE("model.norm_type", model.norm_type, norm_types, "low_precision_layernorm", false),
    NUMBER("model.norm_eps", model.norm_eps, 1e-12, 1, "1e-05", false),
    NULLABLE("model.logit_scale", model.logit_scale, 1e-6, 1e6, "1"),
    FLAG("model.attn_config.alibi", model.attn_config.alibi, "true", false),
    NUMBER("model.attn_config.alibi_bias_max", model.attn_config.alibi_bias_max, 0.1, 64, "8", false),
    NULLABLE("model.attn_config.clip_qkv", model.attn_config.clip_qkv, 1e-3, 1e6, "no clipping"),
    FLAG("model.attn_config.qk_ln", model.attn_config.qk_ln, "false", false),
    NULLABLE("model.attn_config.softmax_scale", model.attn_config.softmax_scale, 1e-6, 1e6, "1/sqrt(head_dim)"),
    {"model.attn_config.kv_n_heads", CONFIG_COUNT, FIELD(model.attn_config.kv_n_heads), 1, 1024, "null", "n_heads",
     NULL, false},
    CHOICE("model.init_config.name", model.init_config.name, net_init_names, "kaiming_normal_", false),
    NUMBER("model.init_config.init_std", model.init_config.init_std, 1e-6, 10, "0.02", false),
    NULLABLE("model.init_config.emb_init_std", model.init_config.emb_init_std, 1e-6, 10, "as init_config.name has it"),
    FLAG("model.init_config.init_div_is_residual", model.init_config.init_div_is_residual, "true", false),

    TEXT("tokenizer.name", tokenizer, 0, "''", true),

    TEXT("train_loader.dataset.local", train_data.local, 1, NULL, true),
    TEXT("train_loader.dataset.split", train_data.split, 0, "''", true),
    FLAG("train_loader.dataset.shuffle", train_data.shuffle, "true", false),
    TEXT("eval_loader.dataset.local", eval_data.local, 0, "''", true),
    TEXT("eval_loader.dataset.split", eval_data.split, 0, "''", true),
    NUMBER("holdout.fraction", holdout.fraction, 0, 0.9, "0", false),
    TEXT("holdout.list", holdout.list, 0, "''", true),
    TEXT("data_cache", data_cache, 0, "''", true),

    CHOICE("optimizer.name", optimizer.name, optimizers, "decoupled_lionw", false),
    NUMBER("optimizer.lr", optimizer.lr, 1e-12, 10, "0.0001", false),
    {"optimizer.betas", CONFIG_PAIR, FIELD(optimizer.betas), 0, 0.999999, "[0.9, 0.99]", NULL, NULL, false},
    NUMBER("optimizer.eps", optimizer.eps, 1e-20, 1, "1e-08", false),
    NUMBER("optimizer.weight_decay", optimizer.weight_decay, 0, 1, "0", false),
    CHOICE("scheduler.name", scheduler.name, schedulers, "cosine_with_warmup", false),
    DURATION("scheduler.t_warmup", scheduler.t_warmup, 0, "100ba", false),
    NUMBER("scheduler.alpha_f", scheduler.alpha_f, 0, 1, "0.1", false),
    CHOICE("algorithms.gradient_clipping.clipping_type", clipping_type, clippings, "norm", false),
    NUMBER("algorithms.gradient_clipping.clipping_threshold", clipping_threshold, 0, 1e6, "1", false),
    NUMBER("z_loss", z_loss, 0, 1, "0", false),
    CHOICE("precision", precision, precisions, "amp_bf16", false),
    FLAG("activation_checkpointing", activation_checkpointing, "false", true),

    DURATION("max_duration", max_duration, 1, NULL, true),
    COUNT("global_train_batch_size", global_train_batch_size, 1, 1048576, NULL, false),
    COUNT("device_train_microbatch_size", device_train_microbatch_size, 1, 65536, "1", false),
    {"device_eval_batch_size", CONFIG_COUNT, FIELD(device_eval_batch_size), 1, 65536, "null",
     "device_train_microbatch_size", NULL, true},
    DURATION("eval_interval", eval_interval, 0, "500ba", true),
    {"eval_subset_num_batches", CONFIG_COUNT, FIELD(eval_subset_num_batches), 1, MOST_COUNT, "null", "all", NULL, true},
    DURATION("log_interval", log_interval, 1, "1ba", true),
    DURATION("sample_interval", sample_interval, 0, "0ba", true),
    TEXT("sample_prompt", sample_prompt, 1, "Once upon a time", true),
    COUNT("sample_tokens", sample_tokens, 1, 4096, "100", true),
    NUMBER("sample_temperature", sample_temperature, 0, 100, "0.8", true),
    TEXT("save_folder", save_folder, 1, NULL, true),
    DURATION("save_interval", save_interval, 1, "500ba", true),
    COUNT("save_num_checkpoints_to_keep", save_num_checkpoints_to_keep, 1, 1000, "2", true),
    NUMBER("spike.threshold", spike.threshold, 0, 1e6, "10", true),
    COUNT("spike.window", spike.window, 8, 1024, "64", true),
    COUNT("spike.skip_batches", spike.skip_batches, 1, 10000, "1", true),
    COUNT("spike.max_rollbacks", spike.max_rollbacks, 0, TRAIN_MAX_ROLLBACKS, "10", true),
    CHOICE("output.gguf", output.gguf, ggufs, "q8_0", true),
    CHOICE("output.huggingface", output.huggingface, folders, "bf16", true),
};
const size_t n_train_config_rows = sizeof train_config_rows / sizeof train_config_rows[0];
_Static_assert(sizeof train_config_rows / sizeof train_config_rows[0] <= TRAIN_CONFIG_MAX_ROWS, "more keys than room");
