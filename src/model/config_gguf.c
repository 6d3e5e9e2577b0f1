/* The keys of a GGUF of architecture mpt.
 *
 * Those that llama.cpp's converter writes, and, for what it has no key for, the ones that other architectures use for
 * the same thing: mpt.attention.scale (softmax_scale), mpt.logit_scale, mpt.attention.layer_norm_rms_epsilon (norms are
 * RMS norms with this epsilon). Any other key that begins with "mpt." is refused, since it may change what the model
 * computes. */
#include <string.h>

#include "base/printable.h"
#include "config.h"

struct reader {
    const struct gguf *gguf;
    quire_error *err;
    quire_status status;                    /* the first failure; the message keeps the first by itself */
    const struct config_problems *problems; /* NULL: the first is enough */
};

static void note(struct reader *r, quire_status status)
{
    if (status != QUIRE_OK)
        config_tell(r->problems, r->err);
    if (r->status == QUIRE_OK)
        r->status = status;
}

static uint32_t number(struct reader *r, const char *key, uint32_t fallback)
{
    uint32_t value = fallback;
    bool found;
    note(r, gguf_get_u32(r->gguf, key, &value, &found, r->err));
    return value;
}

static uint32_t required(struct reader *r, const char *key)
{
    uint32_t value = 0;
    bool found;
    note(r, gguf_get_u32(r->gguf, key, &value, &found, r->err));
    if (!found)
        note(r, quire_fail(r->err, QUIRE_ERR_FORMAT, "'%s' has no key '%s'", gguf_path(r->gguf), key));
    return value;
}

static float real(struct reader *r, const char *key, float fallback, bool *found)
{
    float value = fallback;
    note(r, gguf_get_f32(r->gguf, key, &value, found, r->err));
    return value;
}

static const struct gguf_tensor *tensor_named(const struct gguf *gguf, const char *name)
{
    size_t n = strlen(name);
    for (uint64_t i = 0; i < gguf_n_tensors(gguf); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(gguf, i);
        if (tensor->name.n == n && memcmp(tensor->name.bytes, name, n) == 0)
            return tensor;
    }
    return NULL;
}

static void check_architecture(struct reader *r)
{
    struct gguf_string name = {"", 0};
    bool found;
    note(r, gguf_get_string(r->gguf, "general.architecture", &name, &found, r->err));
    if (name.n != 3 || memcmp(name.bytes, "mpt", 3) != 0)
        note(r, quire_fail(r->err, QUIRE_ERR_UNSUPPORTED, "'%s': the architecture is '%s', this build computes 'mpt'",
                           gguf_path(r->gguf), printable(name.bytes, name.n).text));
    uint32_t n_parts = number(r, "split.count", 1);
    if (n_parts > 1)
        note(r, quire_fail(r->err, QUIRE_ERR_UNSUPPORTED,
                           "'%s' is one of %u parts; this build reads whole files, merge them first",
                           gguf_path(r->gguf), n_parts));
}

static void check_keys(struct reader *r)
{
    static const char *const known[] = {
        "mpt.context_length",
        "mpt.embedding_length",
        "mpt.block_count",
        "mpt.feed_forward_length",
        "mpt.vocab_size",
        "mpt.logit_scale",
        "mpt.attention.head_count",
        "mpt.attention.head_count_kv",
        "mpt.attention.key_length",
        "mpt.attention.value_length",
        "mpt.attention.layer_norm_epsilon",
        "mpt.attention.layer_norm_rms_epsilon",
        "mpt.attention.clamp_kqv",
        "mpt.attention.max_alibi_bias",
        "mpt.attention.scale",
        "mpt.attention.causal",
    };
    for (uint64_t i = 0; i < gguf_n_keys(r->gguf); i++) {
        struct gguf_string key = gguf_key_at(r->gguf, i);
        bool is_known = key.n < 4 || memcmp(key.bytes, "mpt.", 4) != 0;
        for (size_t k = 0; !is_known && k < sizeof known / sizeof known[0]; k++)
            is_known = key.n == strlen(known[k]) && memcmp(key.bytes, known[k], key.n) == 0;
        if (!is_known)
            note(r, quire_fail(r->err, QUIRE_ERR_UNSUPPORTED,
                               "'%s': key '%s' asks for something that this build does not know", gguf_path(r->gguf),
                               printable(key.bytes, key.n).text));
    }
}

/* Keys that state what follows from others. */
static void check_stated(struct reader *r, const char *key, uint32_t expected)
{
    uint32_t stated = number(r, key, expected);
    if (r->status == QUIRE_OK && stated != expected)
        note(r, quire_fail(r->err, QUIRE_ERR_UNSUPPORTED, "'%s': %s is %u, this build computes only %u",
                           gguf_path(r->gguf), key, stated, expected));
}

static void read_positions(struct reader *r, quire_config *c)
{
    bool found;
    float bias_max = real(r, "mpt.attention.max_alibi_bias", 0, &found);
    c->alibi = bias_max != 0;
    c->alibi_bias_max = c->alibi ? bias_max : 8;
    c->learned_pos_emb = tensor_named(r->gguf, "position_embd.weight") != NULL;
    if (c->alibi && c->learned_pos_emb)
        note(r, quire_fail(r->err, QUIRE_ERR_UNSUPPORTED,
                           "'%s' has both ALiBi (max_alibi_bias %g) and tensor 'position_embd.weight', expected one",
                           gguf_path(r->gguf), (double)bias_max));
}

static void read_norm(struct reader *r, quire_config *c)
{
    bool is_rms, is_layer;
    float rms_eps = real(r, "mpt.attention.layer_norm_rms_epsilon", 1e-5f, &is_rms);
    float eps = real(r, "mpt.attention.layer_norm_epsilon", 1e-5f, &is_layer);
    c->norm_type = is_rms ? QUIRE_NORM_RMSNORM : QUIRE_NORM_LAYERNORM;
    c->norm_eps = is_rms ? rms_eps : eps;
    if (is_rms && is_layer)
        note(r, quire_fail(r->err, QUIRE_ERR_FORMAT,
                           "'%s' has both layer_norm_epsilon and layer_norm_rms_epsilon, expected one",
                           gguf_path(r->gguf)));
}

static quire_status read_config(struct reader *r, quire_config *out)
{
    const struct gguf *gguf = r->gguf;
    check_architecture(r);
    check_keys(r);
    const struct gguf_tensor *wte = tensor_named(gguf, "token_embd.weight");
    if (r->status == QUIRE_OK && (!wte || wte->n_dims != 2 || wte->dims[1] > UINT32_MAX))
        note(r, quire_fail(r->err, QUIRE_ERR_FORMAT, "'%s' has no tensor 'token_embd.weight' of two dimensions",
                           gguf_path(gguf)));
    if (r->status != QUIRE_OK)
        return r->status;

    quire_config c = {0};
    bool found, is_causal = true;
    c.d_model = required(r, "mpt.embedding_length");
    c.n_heads = required(r, "mpt.attention.head_count");
    c.n_layers = required(r, "mpt.block_count");
    c.max_seq_len = required(r, "mpt.context_length");
    c.kv_n_heads = number(r, "mpt.attention.head_count_kv", c.n_heads);
    c.d_ff = number(r, "mpt.feed_forward_length", c.d_model <= UINT32_MAX / 4 ? 4 * c.d_model : 0);
    c.vocab_size = (uint32_t)wte->dims[1];
    c.clip_qkv = real(r, "mpt.attention.clamp_kqv", 0, &found);
    c.softmax_scale = real(r, "mpt.attention.scale", 0, &found);
    c.logit_scale = real(r, "mpt.logit_scale", 1, &found);
    if (c.logit_scale == 0) /* means "none" to other readers of this key */
        c.logit_scale = 1;
    c.no_bias = tensor_named(gguf, "blk.0.attn_qkv.bias") == NULL;
    c.qk_ln = tensor_named(gguf, "blk.0.attn_q_norm.weight") != NULL;
    c.tie_word_embeddings = tensor_named(gguf, "output.weight") == NULL;
    read_positions(r, &c);
    read_norm(r, &c);
    check_stated(r, "mpt.vocab_size", c.vocab_size);
    check_stated(r, "mpt.attention.key_length", c.n_heads ? c.d_model / c.n_heads : 0);
    check_stated(r, "mpt.attention.value_length", c.n_heads ? c.d_model / c.n_heads : 0);
    note(r, gguf_get_bool(gguf, "mpt.attention.causal", &is_causal, &found, r->err));
    if (!is_causal)
        note(r, quire_fail(r->err, QUIRE_ERR_UNSUPPORTED,
                           "'%s': mpt.attention.causal is false, this build computes only true", gguf_path(gguf)));
    if (r->status != QUIRE_OK)
        return r->status;
    quire_status status = config_finish(&c, gguf_path(gguf), r->err);
    if (status == QUIRE_OK)
        *out = c;
    note(r, status);
    return status;
}

quire_status config_from_gguf(quire_config *out, const struct gguf *gguf, quire_error *err)
{
    struct reader reader = {.gguf = gguf, .err = err};
    return read_config(&reader, out);
}

void config_report_gguf(const struct gguf *gguf, const struct config_problems *problems)
{
    quire_config config;
    quire_error err = {0};
    struct reader reader = {.gguf = gguf, .err = &err, .problems = problems};
    (void)read_config(&reader, &config);
}
