/* config.json of a HuggingFace folder: MPT as llm-foundry and transformers write it, and its ancestors MosaicGPT and
 * ReplitLM, whose attention settings stand at the top level under older names. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config.h"
#include "json.h"

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Reads on after a failure without changing the first message, so that the fields can be read one after another. */
struct reader {
    const json_t *root, *attention, *feed_forward; /* the last two may be NULL */
    const char *path;
    quire_error *err;
    quire_status status;
    const struct config_problems *problems; /* NULL: the first is enough */
};

struct field {
    const json_t *value; /* NULL: absent or null */
    const char *name;
};

static void fail(struct reader *r, quire_status status)
{
    config_tell(r->problems, r->err);
    if (r->status == QUIRE_OK)
        r->status = status;
}

static struct field find(struct reader *r, const json_t *object, const json_t *or_in, const char *const *names)
{
    const struct json_place places[] = {{object, names}, {or_in, names}};
    struct field field = {0};
    quire_status status = json_find(&field.value, &field.name, places, 2, r->path, r->err);
    if (status != QUIRE_OK)
        fail(r, status);
    if (status != QUIRE_OK || json_is_null(field.value))
        field.value = NULL;
    return field;
}

static struct field top(struct reader *r, const char *const *names)
{
    return find(r, r->root, NULL, names);
}

static struct field attention(struct reader *r, const char *const *names)
{
    return find(r, r->attention, r->root, names);
}

static void wrong_kind(struct reader *r, struct field field, const char *expected)
{
    fail(r, quire_fail(r->err, QUIRE_ERR_FORMAT, "'%s': field '%s' is %s, expected %s", r->path, field.name,
                       json_kind(field.value), expected));
}

static uint32_t size_of(struct reader *r, struct field field, uint32_t fallback)
{
    if (!field.value)
        return fallback;
    double value = json_number_value(field.value);
    if (!json_is_number(field.value) || !(value >= 0 && value <= UINT32_MAX) || value != floor(value)) {
        wrong_kind(r, field, "a whole number from 0 to 4294967295");
        return fallback;
    }
    return (uint32_t)value;
}

static double number_of(struct reader *r, struct field field, double fallback)
{
    if (!field.value)
        return fallback;
    if (!json_is_number(field.value)) {
        wrong_kind(r, field, "a number or null");
        return fallback;
    }
    return json_number_value(field.value);
}

static bool flag_of(struct reader *r, struct field field, bool fallback)
{
    if (!field.value)
        return fallback;
    if (!json_is_boolean(field.value)) {
        wrong_kind(r, field, "true or false");
        return fallback;
    }
    return json_is_true(field.value);
}

static const char *text_of(struct reader *r, struct field field, const char *fallback)
{
    if (!field.value)
        return fallback;
    if (!json_is_string(field.value)) {
        wrong_kind(r, field, "a string");
        return fallback;
    }
    return json_string_value(field.value);
}

static void refuse(struct reader *r, struct field field, const char *expected)
{
    char *found = json_dumps(field.value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    fail(r, quire_fail(r->err, QUIRE_ERR_UNSUPPORTED, "'%s': %s is %.80s, this build computes only %s", r->path,
                       field.name, found ? found : "something", expected));
    free(found);
}

/* Settings that must have the one value that this build computes. null always means that the setting is off. */
static const struct {
    enum { TOP, ATTENTION, FEED_FORWARD } place;
    const char *name;
    const char *allowed; /* as JSON */
} fixed[] = {
    {TOP, "block_overrides", "null"},
    {TOP, "residual_modification", "null"},
    {TOP, "final_logit_softcapping", "null"},
    {TOP, "quantization_config", "null"},
    {ATTENTION, "prefix_lm", "false"},
    {ATTENTION, "attn_uses_sequence_id", "false"},
    {ATTENTION, "rope", "false"},
    {ATTENTION, "qk_gn", "false"},
    {ATTENTION, "fused_qkv", "true"},
    {ATTENTION, "sliding_window_size", "-1"},
    {ATTENTION, "attn_logit_softcapping", "null"},
    {ATTENTION, "reuse_kv_layer_idx", "null"},
    {ATTENTION, "kv_dim", "null"},
    {ATTENTION, "flex_attn_mod_list", "[]"},
    {FEED_FORWARD, "ffn_type", "\"mptmlp\""},
};

static void check_fixed(struct reader *r)
{
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        const char *const *names = NAMES(fixed[i].name);
        struct field field = fixed[i].place == ATTENTION ? attention(r, names)
                             : fixed[i].place == TOP     ? top(r, names)
                                                         : find(r, r->feed_forward, NULL, names);
        if (!field.value)
            continue;
        json_t *allowed = json_loads(fixed[i].allowed, JSON_DECODE_ANY, NULL);
        if (!allowed || !json_equal(field.value, allowed))
            refuse(r, field, fixed[i].allowed);
        json_decref(allowed);
    }
    /* The activation: GELU with the error function, which is what an absent setting means. */
    struct field activation = find(r, r->feed_forward, NULL, NAMES("ffn_act_fn"));
    if (activation.value) {
        const char *name = json_string_value(json_object_get(activation.value, "name"));
        const char *form = json_string_value(json_object_get(activation.value, "approximate"));
        if (!name || strcmp(name, "gelu") != 0 || (form && strcmp(form, "none") != 0))
            refuse(r, activation, "{\"name\":\"gelu\",\"approximate\":\"none\"}");
    }
}

static const char *first_architecture(const json_t *root)
{
    const char *name = json_string_value(json_array_get(json_object_get(root, "architectures"), 0));
    return name ? name : "";
}

static void check_model_type(struct reader *r)
{
    const char *architecture = first_architecture(r->root);
    const char *type = text_of(r, top(r, NAMES("model_type")), NULL);
    static const char *const known[] = {"mpt", "mosaic_gpt", "replit_lm"};
    static const char *const classes[] = {"MPTForCausalLM", "MptForCausalLM", "MosaicGPT", "ReplitLM"};
    for (size_t i = 0; type && i < sizeof known / sizeof known[0]; i++)
        if (strcmp(type, known[i]) == 0)
            return;
    for (size_t i = 0; !type && i < sizeof classes / sizeof classes[0]; i++)
        if (strcmp(architecture, classes[i]) == 0)
            return;
    fail(r, quire_fail(r->err, QUIRE_ERR_UNSUPPORTED,
                       "'%s': the model type is '%.60s', this build computes MPT ('mpt', 'mosaic_gpt', 'replit_lm')",
                       r->path, type ? type : architecture));
}

static uint32_t kv_heads(struct reader *r, uint32_t n_heads)
{
    struct field count = attention(r, NAMES("kv_n_heads")), type_field = attention(r, NAMES("attn_type"));
    const char *type = text_of(r, type_field, "multihead_attention");
    uint32_t fixed_count;
    if (strcmp(type, "grouped_query_attention") == 0) {
        if (!count.value)
            fail(r, quire_fail(r->err, QUIRE_ERR_FORMAT,
                               "'%s': attn_type is grouped_query_attention, but there is no kv_n_heads", r->path));
        return size_of(r, count, 1);
    } else if (strcmp(type, "multihead_attention") == 0) {
        fixed_count = n_heads;
    } else if (strcmp(type, "multiquery_attention") == 0) {
        fixed_count = 1;
    } else {
        refuse(r, type_field, "multihead_attention, grouped_query_attention and multiquery_attention");
        return 1;
    }
    uint32_t given = size_of(r, count, fixed_count);
    if (given != fixed_count)
        fail(r, quire_fail(r->err, QUIRE_ERR_FORMAT, "'%s': kv_n_heads is %u, but attn_type %s means %u", r->path,
                           given, type, fixed_count));
    return fixed_count;
}

static uint32_t feed_forward_width(struct reader *r, uint32_t d_model)
{
    struct field width = find(r, r->feed_forward, NULL, NAMES("ffn_hidden_size"));
    if (width.value)
        return size_of(r, width, 0);
    double ratio = number_of(r, top(r, NAMES("expansion_ratio", "mlp_ratio")), 4);
    double product = d_model * ratio;
    /* A ratio such as 2/7 is written in decimal: its product may miss the whole number by rounding. */
    if (!(product >= 1 && product < UINT32_MAX) || fabs(product - round(product)) > 1e-6 * product) {
        fail(r, quire_fail(r->err, QUIRE_ERR_FORMAT,
                           "'%s': expansion_ratio %g of d_model %u is %g, expected a whole number above 0", r->path,
                           ratio, d_model, product));
        return 0;
    }
    return (uint32_t)round(product);
}

static float logit_scale(struct reader *r, uint32_t d_model)
{
    struct field field = top(r, NAMES("logit_scale"));
    if (!json_is_string(field.value)) {
        float scale = (float)number_of(r, field, 1);
        if (scale == 0) /* all logits the same; in a GGUF 0 stands for none */
            refuse(r, field, "a number other than 0, null or \"inv_sqrt_d_model\"");
        return scale;
    }
    if (strcmp(json_string_value(field.value), "inv_sqrt_d_model") != 0)
        refuse(r, field, "a number, null or \"inv_sqrt_d_model\"");
    return (float)(1.0 / sqrt(d_model));
}

static float softmax_scale(struct reader *r)
{
    struct field field = attention(r, NAMES("softmax_scale"));
    double scale = number_of(r, field, 0);
    if (field.value && !(scale > 0)) /* 0 stands for the default below */
        refuse(r, field, "a number above 0 or null");
    return (float)scale;
}

static quire_norm_type norm_type(struct reader *r)
{
    struct field field = top(r, NAMES("norm_type"));
    const char *type = text_of(r, field, "low_precision_layernorm");
    /* The low-precision forms differ in the number format of mixed-precision training only. */
    if (strcasecmp(type, "layernorm") == 0 || strcasecmp(type, "low_precision_layernorm") == 0)
        return QUIRE_NORM_LAYERNORM;
    if (strcasecmp(type, "rmsnorm") != 0 && strcasecmp(type, "low_precision_rmsnorm") != 0 &&
        strcasecmp(type, "triton_rmsnorm") != 0)
        refuse(r, field, "layernorm, low_precision_layernorm, rmsnorm and low_precision_rmsnorm");
    return QUIRE_NORM_RMSNORM;
}

static const json_t *object_at(struct reader *r, const char *name)
{
    struct field field = top(r, NAMES(name));
    if (field.value && !json_is_object(field.value)) {
        wrong_kind(r, field, "an object");
        return NULL;
    }
    return field.value;
}

static quire_status read_config(struct reader *r, quire_config *out)
{
    const json_t *root = r->root;
    check_model_type(r);
    r->attention = object_at(r, "attn_config");
    r->feed_forward = object_at(r, "ffn_config");
    check_fixed(r);
    /* transformers' own class leaves out what equals its defaults, and two of them are not MosaicML's. */
    bool is_native = strcmp(first_architecture(root), "MptForCausalLM") == 0;

    quire_config c = {0};
    c.d_model = size_of(r, top(r, NAMES("d_model", "hidden_size")), 2048);
    c.n_heads = size_of(r, top(r, NAMES("n_heads", "num_attention_heads")), 16);
    c.n_layers = size_of(r, top(r, NAMES("n_layers", "num_hidden_layers")), 24);
    c.max_seq_len = size_of(r, top(r, NAMES("max_seq_len")), 2048);
    c.vocab_size = size_of(r, top(r, NAMES("vocab_size")), 50368);
    c.kv_n_heads = kv_heads(r, c.n_heads);
    c.d_ff = feed_forward_width(r, c.d_model);
    c.no_bias = flag_of(r, top(r, NAMES("no_bias")), is_native);
    c.alibi = flag_of(r, attention(r, NAMES("alibi")), is_native);
    c.alibi_bias_max = (float)number_of(r, attention(r, NAMES("alibi_bias_max")), 8);
    c.clip_qkv = (float)number_of(r, attention(r, NAMES("clip_qkv", "attn_clip_qkv")), 0);
    c.qk_ln = flag_of(r, attention(r, NAMES("qk_ln", "attn_qk_ln")), false);
    c.softmax_scale = softmax_scale(r);
    c.logit_scale = logit_scale(r, c.d_model);
    c.learned_pos_emb = flag_of(r, top(r, NAMES("learned_pos_emb")), true) && !c.alibi;
    c.norm_type = norm_type(r);
    c.norm_eps = (float)number_of(r, top(r, NAMES("norm_eps", "layer_norm_epsilon")), 1e-5);
    c.tie_word_embeddings = flag_of(r, top(r, NAMES("tie_word_embeddings")), true);
    if (r->status != QUIRE_OK)
        return r->status;
    quire_status status = config_finish(&c, r->path, r->err);
    if (status == QUIRE_OK)
        *out = c;
    else
        fail(r, status);
    return status;
}

quire_status config_from_json(quire_config *out, const json_t *root, const char *path, quire_error *err)
{
    struct reader reader = {.root = root, .path = path, .err = err};
    return read_config(&reader, out);
}

void config_report_json(const json_t *root, const char *path, const struct config_problems *problems)
{
    quire_config config;
    quire_error err = {0};
    struct reader reader = {.root = root, .path = path, .err = &err, .problems = problems};
    (void)read_config(&reader, &config);
}
