#include "hf_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/config.h"

/* A float as the shortest decimal that gives it back: 1e-05, not 9.99999975e-06. With a point, for transformers refuses
 * integers where it has floats; and the other way round where a field is usually whole. */
static json_t *number(float value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return json_real(strtod(text, NULL));
}

static json_t *usually_whole(float value)
{
    return value == truncf(value) && fabsf(value) < 0x1p24f ? json_integer((json_int_t)value) : number(value);
}

static json_t *number_or_null(float value, float null_value)
{
    return value == null_value ? json_null() : number(value);
}

static const char *attention_type(const quire_config *c)
{
    if (c->kv_n_heads == c->n_heads)
        return "multihead_attention";
    return c->kv_n_heads == 1 ? "multiquery_attention" : "grouped_query_attention";
}

static json_t *expansion_ratio(const quire_config *c)
{
    if (c->d_ff % c->d_model == 0)
        return json_integer(c->d_ff / c->d_model);
    return json_real((double)c->d_ff / c->d_model);
}

/* The object under name in `from`, copied, or an empty one. */
static json_t *copy_object(const json_t *from, const char *name)
{
    const json_t *object = json_object_get(from, name);
    json_t *copy = json_is_object(object) ? json_deep_copy(object) : NULL;
    return copy ? copy : json_object();
}

static json_t *attention(const quire_config *c, const json_t *from)
{
    json_t *to = copy_object(from, "attn_config");
    json_object_set_new(to, "attn_type", json_string(attention_type(c)));
    if (c->kv_n_heads == c->n_heads || c->kv_n_heads == 1)
        json_object_del(to, "kv_n_heads"); /* follows from attn_type, and HuggingFace's class does not know it */
    else
        json_object_set_new(to, "kv_n_heads", json_integer(c->kv_n_heads));
    if (!json_object_get(to, "attn_impl"))
        json_object_set_new(to, "attn_impl", json_string("torch"));
    if (!json_object_get(to, "attn_pdrop"))
        json_object_set_new(to, "attn_pdrop", json_integer(0));
    json_object_set_new(to, "prefix_lm", json_false());
    json_object_set_new(to, "attn_uses_sequence_id", json_false());
    json_object_set_new(to, "alibi", json_boolean(c->alibi));
    json_object_set_new(to, "alibi_bias_max", usually_whole(c->alibi_bias_max));
    json_object_set_new(to, "clip_qkv", number_or_null(c->clip_qkv, 0));
    json_object_set_new(to, "qk_ln", json_boolean(c->qk_ln));
    json_object_set_new(to, "softmax_scale", number_or_null(c->softmax_scale, config_usual_scale(c->head_dim)));
    return to;
}

/* Flat names that older files have for what stands in its place below. */
static const char *const replaced[] = {
    "hidden_size",
    "num_attention_heads",
    "num_hidden_layers",
    "mlp_ratio",
    "alibi",
    "alibi_bias_max",
    "clip_qkv",
    "attn_clip_qkv",
    "qk_ln",
    "attn_qk_ln",
    "attn_pdrop",
    "attn_impl",
    "attn_type",
    "softmax_scale",
    "kv_n_heads",
    "dtype",
    "prefix_lm",
    "attn_uses_sequence_id",
};

quire_status hf_config(json_t **out, const quire_config *c, quire_dtype type, const struct about *about,
                       const json_t *from, quire_error *err)
{
    static const char *const type_names[] = {
        [QUIRE_DTYPE_F32] = "float32", [QUIRE_DTYPE_F16] = "float16", [QUIRE_DTYPE_BF16] = "bfloat16"};
    const char *model_type = json_string_value(json_object_get(from, "model_type"));
    const char *class = json_string_value(json_array_get(json_object_get(from, "architectures"), 0));
    bool is_mpt = model_type ? strcmp(model_type, "mpt") == 0 : class && strcmp(class, "MPTForCausalLM") == 0;
    json_t *to = is_mpt ? json_deep_copy(from) : json_object();
    if (!is_mpt) /* another generation's code does not read these names */
        from = NULL;
    for (size_t i = 0; i < sizeof replaced / sizeof replaced[0]; i++)
        json_object_del(to, replaced[i]);
    if (!json_object_get(to, "architectures"))
        json_object_set_new(to, "architectures", json_pack("[s]", "MPTForCausalLM"));
    json_object_set_new(to, "model_type", json_string("mpt"));
    json_object_set_new(to, "torch_dtype", json_string(type_names[type]));
    json_object_set_new(to, "d_model", json_integer(c->d_model));
    json_object_set_new(to, "n_heads", json_integer(c->n_heads));
    json_object_set_new(to, "n_layers", json_integer(c->n_layers));
    json_object_set_new(to, "expansion_ratio", expansion_ratio(c));
    json_object_set_new(to, "max_seq_len", json_integer(c->max_seq_len));
    json_object_set_new(to, "vocab_size", json_integer(c->vocab_size));
    json_object_set_new(to, "no_bias", json_boolean(c->no_bias));
    json_object_set_new(to, "learned_pos_emb", json_boolean(c->learned_pos_emb));
    json_object_set_new(to, "attn_config", attention(c, from));
    json_object_set_new(to, "logit_scale", number_or_null(c->logit_scale, 1));
    json_object_set_new(to, "norm_type",
                        json_string(c->norm_type == QUIRE_NORM_RMSNORM ? "rmsnorm" : "low_precision_layernorm"));
    json_object_set_new(to, "norm_eps", number(c->norm_eps));           /* MosaicML's name */
    json_object_set_new(to, "layer_norm_epsilon", number(c->norm_eps)); /* HuggingFace's */
    json_object_set_new(to, "tie_word_embeddings", json_boolean(c->tie_word_embeddings));
    if (about->begin >= 0)
        json_object_set_new(to, "bos_token_id", json_integer(about->begin));
    if (about->end >= 0)
        json_object_set_new(to, "eos_token_id", json_integer(about->end));
    json_object_set_new(
        to, "quire",
        json_pack("{s:s,s:s}", "name", about->name, "prompt_format", quire_prompt_format_name(about->prompt_format)));
    if (!json_object_get(to, "quire"))
        return json_decref(to), quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for config.json");
    *out = to;
    return QUIRE_OK;
}
