/* The configuration of a training run: a YAML file under the names that llm-foundry's users know. One table
 * (train_config_rows) says every key, its range and its default; reading, printing, the log, the comparison with a
 * checkpoint and the check of the man page go by it. The set is closed: an unknown key is an error. */
#ifndef QUIRE_TRAIN_TRAIN_CONFIG_H
#define QUIRE_TRAIN_TRAIN_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/error.h"

/* A stretch of a run: optimiser steps ("500ba") or tokens ("20_000_000tok"). */
struct duration {
    uint64_t n;
    bool is_tokens;
};

enum train_scheduler { SCHEDULE_COSINE, SCHEDULE_INV_SQRT, SCHEDULE_CONSTANT };
enum train_norm { TRAIN_LP_LAYERNORM, TRAIN_LAYERNORM, TRAIN_LP_RMSNORM, TRAIN_RMSNORM };
enum train_gguf { TRAIN_GGUF_NONE, TRAIN_GGUF_F32, TRAIN_GGUF_BF16, TRAIN_GGUF_F16, TRAIN_GGUF_Q8_0 };
enum train_folder { FOLDER_NONE, FOLDER_F32, FOLDER_BF16 };

/* Values that were read or stand by default. Texts belong to it; an empty one: none. */
struct train_config {
    char *run_name;
    uint64_t seed;
    struct {
        uint32_t name;                                                /* of "mpt_causal_lm", the only one */
        uint32_t d_model, n_heads, n_layers, max_seq_len, vocab_size; /* vocab_size 0: as the tokenizer needs */
        double expansion_ratio;
        bool no_bias, learned_pos_emb, tie_word_embeddings;
        uint32_t norm_type; /* enum train_norm */
        double norm_eps;
        double logit_scale; /* 0: none */
        struct {
            bool alibi, qk_ln;
            double alibi_bias_max;
            double clip_qkv, softmax_scale; /* 0: none, 1/sqrt(head_dim) */
            uint32_t kv_n_heads;            /* 0: n_heads */
        } attn_config;
        struct {
            uint32_t name; /* net_init_name */
            double init_std, emb_init_std;
            bool init_div_is_residual;
        } init_config;
    } model;
    char *tokenizer;
    struct {
        char *local;
        char *split;
        bool shuffle;
    } train_data, eval_data;
    struct {
        double fraction;
        char *list;
    } holdout;
    char *data_cache;
    struct {
        uint32_t name; /* optim_type */
        double lr, betas[2], eps, weight_decay;
    } optimizer;
    struct {
        uint32_t name; /* enum train_scheduler */
        struct duration t_warmup;
        double alpha_f;
    } scheduler;
    uint32_t clipping_type;
    double clipping_threshold; /* 0: no clipping */
    double z_loss;
    uint32_t precision; /* train_precision */
    bool activation_checkpointing;
    struct duration max_duration;
    uint32_t global_train_batch_size, device_train_microbatch_size, device_eval_batch_size; /* in sequences */
    struct duration eval_interval, save_interval, log_interval, sample_interval;            /* 0: never */
    uint32_t eval_subset_num_batches;                                                       /* 0: all */
    char *sample_prompt;
    uint32_t sample_tokens;
    double sample_temperature;
    char *save_folder;
    uint32_t save_num_checkpoints_to_keep;
    struct {
        double threshold;                             /* 0: only NaN and infinity */
        uint32_t window, skip_batches, max_rollbacks; /* TRAIN_MAX_ROLLBACKS at most */
    } spike;
    struct {
        uint32_t gguf;        /* enum train_gguf */
        uint32_t huggingface; /* enum train_folder */
    } output;
};

enum train_config_kind {
    CONFIG_COUNT,   /* uint32_t */
    CONFIG_COUNT64, /* uint64_t */
    CONFIG_NUMBER,  /* double */
    CONFIG_PAIR,    /* double[2] */
    CONFIG_FLAG,    /* bool */
    CONFIG_TEXT,    /* char * */
    CONFIG_CHOICE,  /* uint32_t: index of the word in choices */
    CONFIG_DURATION /* struct duration */
};

struct train_config_row {
    const char *key;
    enum train_config_kind kind;
    size_t offset;
    double least, most;         /* of numbers, durations, the length of a text in bytes */
    const char *shown_default;  /* as a file would write it; "null": what `null_is` says; NULL: the key is required */
    const char *null_is;        /* what null means; NULL: null is not allowed */
    const char *const *choices; /* NULL-terminated */
    bool may_change;            /* between a checkpoint and the run that goes on from it */
};

extern const struct train_config_row train_config_rows[];
extern const size_t n_train_config_rows;

/* Which keys a file named. */
enum { TRAIN_CONFIG_MAX_ROWS = 96, TRAIN_MAX_ROLLBACKS = 256 };
struct train_config_given {
    size_t line[TRAIN_CONFIG_MAX_ROWS]; /* by row; 0: the default stands */
};

/* Reads text. ${oc.env:NAME} and ${oc.env:NAME,otherwise} in a value become the environment's value. given: NULL or
 * what the file named. Errors: FORMAT with line and key (unknown: with the nearest that there is; not of its kind; out
 * of range: with the range; missing; two values that contradict each other); NO_MEMORY. */
quire_status train_config_parse(struct train_config *out, struct train_config_given *given, const char *text, size_t n,
                                const char *path, quire_error *err);
quire_status train_config_load(struct train_config *out, struct train_config_given *given, const char *path,
                               quire_error *err);
void train_config_release(struct train_config *config);

/* A row's value as a file would write it, cut to size; a text that YAML could take for something else is quoted. */
void train_config_format(char *text, size_t size, const struct train_config *config,
                         const struct train_config_row *row);

/* All of it as one JSON object, key to text, in the table's order; NULL: no memory. */
json_t *train_config_json(const struct train_config *config);

/* Whether the run that saved this object can go on with config. Errors: MISMATCH, naming every key that differs and may
 * not, with both values. */
quire_status train_config_check_same(const struct train_config *config, const json_t *saved, const char *path,
                                     quire_error *err);

/* Whether the warm-up ends before the run, once max_seq_len is what it will be. Errors: FORMAT. */
quire_status train_config_check_warmup(const struct train_config *c, const char *path, quire_error *err);

/* Optimiser steps that a duration is, rounded up. */
uint64_t train_config_steps(const struct train_config *config, struct duration duration);

#endif
