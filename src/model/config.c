#include "config.h"

#include <math.h>

/* Far above any model of the family, and low enough that products of two of them fit in 64 bits with room to spare. */
#define MAX_WIDTH  (1u << 20)
#define MAX_LAYERS (1u << 14)
#define MAX_VOCAB  (1u << 24)

static quire_status check_range(const char *path, const char *field, uint32_t value, uint32_t most, quire_error *err)
{
    if (value >= 1 && value <= most)
        return QUIRE_OK;
    return quire_fail(err, value == 0 ? QUIRE_ERR_FORMAT : QUIRE_ERR_UNSUPPORTED, "'%s': %s is %u, expected 1 to %u",
                      path, field, value, most);
}

static quire_status check_positive(const char *path, const char *field, float value, quire_error *err)
{
    if (isfinite(value) && value > 0)
        return QUIRE_OK;
    return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "'%s': %s is %g, expected a number above 0", path, field,
                      (double)value);
}

static quire_status check_sizes(const quire_config *c, const char *path, quire_error *err)
{
    const struct {
        const char *field;
        uint32_t value, most;
    } sizes[] = {
        {"d_model", c->d_model, MAX_WIDTH},
        {"n_heads", c->n_heads, MAX_WIDTH},
        {"kv_n_heads", c->kv_n_heads, MAX_WIDTH},
        {"n_layers", c->n_layers, MAX_LAYERS},
        {"the feed-forward width", c->d_ff, MAX_VOCAB},
        {"max_seq_len", c->max_seq_len, INT32_MAX},
        {"vocab_size", c->vocab_size, MAX_VOCAB},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        quire_status status = check_range(path, sizes[i].field, sizes[i].value, sizes[i].most, err);
        if (status != QUIRE_OK)
            return status;
    }
    if (c->d_model % c->n_heads != 0)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s': d_model %u is not a multiple of n_heads %u", path, c->d_model,
                          c->n_heads);
    if (c->n_heads % c->kv_n_heads != 0)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s': n_heads %u is not a multiple of kv_n_heads %u", path,
                          c->n_heads, c->kv_n_heads);
    return QUIRE_OK;
}

void config_tell(const struct config_problems *problems, quire_error *err)
{
    if (!problems)
        return;
    problems->found(problems->user, err->message);
    quire_error_clear(err);
}

float config_usual_scale(uint32_t head_dim)
{
    return (float)(1.0 / sqrt(head_dim));
}

quire_status config_finish(quire_config *config, const char *path, quire_error *err)
{
    quire_status status = check_sizes(config, path, err);
    if (status != QUIRE_OK)
        return status;
    config->head_dim = config->d_model / config->n_heads;
    if (config->softmax_scale == 0)
        config->softmax_scale = config_usual_scale(config->head_dim);
    if (config->alibi && (status = check_positive(path, "alibi_bias_max", config->alibi_bias_max, err)) != QUIRE_OK)
        return status;
    if (config->clip_qkv != 0 && (status = check_positive(path, "clip_qkv", config->clip_qkv, err)) != QUIRE_OK)
        return status;
    if ((status = check_positive(path, "softmax_scale", config->softmax_scale, err)) != QUIRE_OK)
        return status;
    if ((status = check_positive(path, "the norm's epsilon", config->norm_eps, err)) != QUIRE_OK)
        return status;
    if (!isfinite(config->logit_scale))
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "'%s': logit_scale is not a finite number", path);
    return QUIRE_OK;
}
