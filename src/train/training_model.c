/* From the keys of a configuration to a model's, and back to compare them with a model that is there. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/config.h"
#include "training.h"

enum { VOCAB_MULTIPLE = 128 };

static quire_status config_of_file(struct quire_training *t, quire_config *out, quire_error *err)
{
    const struct train_config *c = &t->config;
    uint32_t n_tokens = quire_tokenizer_n_tokens(t->tokenizer);
    double d_ff = c->model.expansion_ratio * c->model.d_model;
    if (d_ff != floor(d_ff))
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "'%s': model.expansion_ratio %g x model.d_model %u is not a whole number", t->config_path,
                          c->model.expansion_ratio, c->model.d_model);
    quire_config config = {
        .d_model = c->model.d_model,
        .n_heads = c->model.n_heads,
        .kv_n_heads = c->model.attn_config.kv_n_heads ? c->model.attn_config.kv_n_heads : c->model.n_heads,
        .n_layers = c->model.n_layers,
        .d_ff = (uint32_t)d_ff,
        .max_seq_len = c->model.max_seq_len,
        .vocab_size = c->model.vocab_size ? c->model.vocab_size
                                          : (n_tokens + VOCAB_MULTIPLE - 1) / VOCAB_MULTIPLE * VOCAB_MULTIPLE,
        .no_bias = c->model.no_bias,
        .alibi = c->model.attn_config.alibi,
        .alibi_bias_max = (float)c->model.attn_config.alibi_bias_max,
        .clip_qkv = (float)c->model.attn_config.clip_qkv,
        .qk_ln = c->model.attn_config.qk_ln,
        .softmax_scale = (float)c->model.attn_config.softmax_scale,
        .logit_scale = c->model.logit_scale > 0 ? (float)c->model.logit_scale : 1,
        .learned_pos_emb = c->model.learned_pos_emb && !c->model.attn_config.alibi,
        .norm_type = c->model.norm_type >= TRAIN_LP_RMSNORM ? QUIRE_NORM_RMSNORM : QUIRE_NORM_LAYERNORM,
        .norm_eps = (float)c->model.norm_eps,
        .tie_word_embeddings = c->model.tie_word_embeddings,
    };
    if (config.vocab_size < n_tokens)
        return quire_fail(err, QUIRE_ERR_MISMATCH, "'%s': model.vocab_size is %u, and the tokenizer has %u entries",
                          t->config_path, config.vocab_size, n_tokens);
    quire_status status = config_finish(&config, t->config_path, err);
    if (status == QUIRE_OK)
        *out = config;
    return status;
}

/* One way to say what can be said in two: null, which is 0, where a value is what null means. */
static void use_nulls(struct train_config *c, const quire_config *m)
{
    if (c->model.logit_scale == 1)
        c->model.logit_scale = 0;
    if (fabs(c->model.attn_config.softmax_scale * sqrt(m->head_dim) - 1) < 1e-6)
        c->model.attn_config.softmax_scale = 0;
    if (c->model.attn_config.kv_n_heads == m->n_heads)
        c->model.attn_config.kv_n_heads = 0;
    if (m->alibi) /* it takes their place, as in published configurations */
        c->model.learned_pos_emb = false;
}

/* The keys that a model's configuration has, from it. */
static void config_to_keys(struct train_config *c, const quire_config *m)
{
    c->model.d_model = m->d_model;
    c->model.n_heads = m->n_heads;
    c->model.n_layers = m->n_layers;
    c->model.max_seq_len = m->max_seq_len;
    c->model.vocab_size = m->vocab_size;
    c->model.expansion_ratio = (double)m->d_ff / m->d_model;
    c->model.no_bias = m->no_bias;
    c->model.learned_pos_emb = m->learned_pos_emb;
    c->model.tie_word_embeddings = m->tie_word_embeddings;
    c->model.norm_type = m->norm_type == QUIRE_NORM_RMSNORM ? TRAIN_LP_RMSNORM : TRAIN_LP_LAYERNORM;
    c->model.norm_eps = m->norm_eps;
    c->model.logit_scale = m->logit_scale;
    c->model.attn_config.alibi = m->alibi;
    c->model.attn_config.alibi_bias_max = m->alibi_bias_max;
    c->model.attn_config.clip_qkv = m->clip_qkv;
    c->model.attn_config.qk_ln = m->qk_ln;
    c->model.attn_config.softmax_scale = m->softmax_scale;
    c->model.attn_config.kv_n_heads = m->kv_n_heads;
    use_nulls(c, m);
}

/* What the file says of the shape of a model that is there. */
static quire_status check_key(const struct quire_training *t, const struct train_config *of_model,
                              const struct train_config_row *row, size_t line, quire_error *err)
{
    char given[256], found[256], meant[256];
    struct train_config same_words = t->config;
    use_nulls(&same_words, quire_model_config(t->model));
    train_config_format(given, sizeof given, &t->config, row);
    train_config_format(meant, sizeof meant, &same_words, row);
    train_config_format(found, sizeof found, of_model, row);
    if (strcmp(meant, found) == 0)
        return QUIRE_OK;
    if (row->kind == CONFIG_NUMBER) { /* the model has it as float32 */
        double x = *(const double *)(const void *)((const char *)&t->config + row->offset);
        double y = *(const double *)(const void *)((const char *)of_model + row->offset);
        if ((float)x == (float)y)
            return QUIRE_OK;
    }
    return quire_fail(err, QUIRE_ERR_MISMATCH, "'%s', line %zu: %s is %s, and the model '%s' has %s; leave the key out",
                      t->config_path, line, row->key, given, quire_model_path(t->model), found);
}

/* What a fine-tune may change: StoryWriter has a longer context than its base, flatter slopes, and clips. None of it
 * has weights, where positions are not learned. */
static const char *const changeable[] = {"model.max_seq_len", "model.attn_config.alibi_bias_max",
                                         "model.attn_config.clip_qkv", NULL};

static bool is_changeable(const char *key)
{
    for (const char *const *name = changeable; *name; name++)
        if (strcmp(*name, key) == 0)
            return true;
    return false;
}

/* Whether a key has to agree with the model's configuration. */
static bool is_shape(const struct train_config_row *row, const struct train_config *given,
                     const struct train_config *of_model)
{
    if (strncmp(row->key, "model.", 6) != 0 || strncmp(row->key, "model.init_config.", 18) == 0 ||
        strcmp(row->key, "model.name") == 0 || is_changeable(row->key))
        return false;
    if (strcmp(row->key, "model.norm_type") == 0) /* the same numbers, with or without low_precision_ */
        return (given->model.norm_type >= TRAIN_LP_RMSNORM) != (of_model->model.norm_type >= TRAIN_LP_RMSNORM);
    return true;
}

/* Takes a changed key over; false where the model's positions do not let it. */
static bool change(quire_config *config, const char *key, const struct train_config *given)
{
    if (strcmp(key, changeable[0]) == 0) {
        if (config->learned_pos_emb && given->model.max_seq_len != config->max_seq_len)
            return false;
        config->max_seq_len = given->model.max_seq_len;
    } else if (strcmp(key, changeable[1]) == 0) {
        config->alibi_bias_max = (float)given->model.attn_config.alibi_bias_max;
    } else if (strcmp(key, changeable[2]) == 0) {
        config->clip_qkv = (float)given->model.attn_config.clip_qkv;
    }
    return true;
}

static quire_status config_of_model(struct quire_training *t, const struct train_config_given *given, quire_config *out,
                                    quire_error *err)
{
    quire_config config = *quire_model_config(t->model);
    struct train_config of_model = t->config;
    config_to_keys(&of_model, &config);
    for (size_t i = 0; i < n_train_config_rows; i++) {
        const struct train_config_row *row = &train_config_rows[i];
        if (!given->line[i])
            continue;
        if (is_shape(row, &t->config, &of_model)) {
            quire_status status = check_key(t, &of_model, row, given->line[i], err);
            if (status != QUIRE_OK)
                return status;
        }
        if (!change(&config, row->key, &t->config))
            return quire_fail(
                err, QUIRE_ERR_MISMATCH,
                "'%s', line %zu: model.max_seq_len is %u, and the positions that '%s' has learned are %u; "
                "only a model with ALiBi can change it",
                t->config_path, given->line[i], t->config.model.max_seq_len, quire_model_path(t->model),
                config.max_seq_len);
    }
    config_to_keys(&of_model, &config);
    t->config.model = of_model.model;
    *out = config;
    return QUIRE_OK;
}

quire_status training_model_config(struct quire_training *t, const struct train_config_given *given, quire_error *err)
{
    quire_config config = {0};
    quire_status status = t->model ? config_of_model(t, given, &config, err) : config_of_file(t, &config, err);
    if (status == QUIRE_OK)
        t->model_config = config;
    return status;
}
