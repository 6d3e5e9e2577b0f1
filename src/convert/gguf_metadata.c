#include "gguf_metadata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checksums.h"
#include "gguf_bytes.h"
#include "model/config.h"
#include "model/gguf_file.h"
#include "tokenizer/tokenizer_private.h"
#include "tokenizer/vocab_source.h"

enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5 };
enum { QUANTIZATION_VERSION = 2 };

struct writer {
    struct gguf_bytes bytes;
    uint64_t n_pairs;
};

static void put_key(struct writer *w, const char *key, uint32_t type)
{
    put_string(&w->bytes, key, strlen(key));
    put_u32(&w->bytes, type);
    w->n_pairs++;
}

static void key_u32(struct writer *w, const char *key, uint32_t value)
{
    put_key(w, key, GGUF_U32);
    put_u32(&w->bytes, value);
}

static void key_f32(struct writer *w, const char *key, float value)
{
    put_key(w, key, GGUF_F32);
    put(&w->bytes, &value, sizeof value);
}

static void key_string(struct writer *w, const char *key, const char *value)
{
    put_key(w, key, GGUF_STRING);
    put_string(&w->bytes, value, strlen(value));
}

static void key_array(struct writer *w, const char *key, uint32_t element_type, uint64_t n)
{
    put_key(w, key, GGUF_ARRAY);
    put_u32(&w->bytes, element_type);
    put_u64(&w->bytes, n);
}

/* --- the configuration -------------------------------------------------------------------------------------------- */

/* What llama.cpp has no key for goes under those that it has for other architectures: config_gguf.c reads them. What
 * follows from the tensors (biases, query and key norms, an untied head, learned positions) has no key. */
static void put_config(struct writer *w, const quire_config *c)
{
    key_u32(w, "mpt.context_length", c->max_seq_len);
    key_u32(w, "mpt.embedding_length", c->d_model);
    key_u32(w, "mpt.block_count", c->n_layers);
    key_u32(w, "mpt.feed_forward_length", c->d_ff);
    key_u32(w, "mpt.attention.head_count", c->n_heads);
    key_u32(w, "mpt.attention.head_count_kv", c->kv_n_heads);
    key_f32(w,
            c->norm_type == QUIRE_NORM_RMSNORM ? "mpt.attention.layer_norm_rms_epsilon"
                                               : "mpt.attention.layer_norm_epsilon",
            c->norm_eps);
    key_f32(w, "mpt.attention.max_alibi_bias", c->alibi ? c->alibi_bias_max : 0);
    if (c->clip_qkv != 0)
        key_f32(w, "mpt.attention.clamp_kqv", c->clip_qkv);
    if (c->softmax_scale != config_usual_scale(c->head_dim))
        key_f32(w, "mpt.attention.scale", c->softmax_scale);
    if (c->logit_scale != 1)
        key_f32(w, "mpt.logit_scale", c->logit_scale);
}

/* --- the tokenizer ------------------------------------------------------------------------------------------------ */

/* The embedding's rows beyond the vocabulary, and ids without a token, are padding that is never sampled. */
static void put_tokens(struct writer *w, const struct vocab *vocab, uint32_t n_rows)
{
    key_array(w, "tokenizer.ggml.tokens", GGUF_STRING, n_rows);
    for (uint32_t id = 0; id < n_rows; id++) {
        const struct token *token = vocab_token(vocab, id);
        char padding[32];
        int n = snprintf(padding, sizeof padding, "[PAD%u]", id);
        put_string(&w->bytes, token ? (const void *)token_spelling(vocab, token) : padding,
                   token ? token->n_spelling : (size_t)n);
    }
    key_array(w, "tokenizer.ggml.token_type", GGUF_I32, n_rows);
    for (uint32_t id = 0; id < n_rows; id++) {
        const struct token *token = vocab_token(vocab, id);
        uint32_t flags = token ? token->flags : 0;
        put_u32(&w->bytes, !token                  ? TYPE_UNUSED
                           : flags & TOKEN_SPECIAL ? TYPE_CONTROL
                           : flags & TOKEN_ADDED   ? TYPE_USER_DEFINED
                                                   : TYPE_NORMAL);
    }
}

static void put_merges(struct writer *w, const struct vocab *vocab)
{
    uint64_t *merges = w->bytes.status == QUIRE_OK ? vocab_merges_by_rank(vocab, w->bytes.err) : NULL;
    struct buffer line = {0};
    uint64_t n = 0;
    if (!merges) {
        w->bytes.status = w->bytes.status == QUIRE_OK ? QUIRE_ERR_NO_MEMORY : w->bytes.status;
        return;
    }
    for (uint32_t rank = 0; rank < vocab->n_merges; rank++)
        n += merges[rank] != MERGE_FREE;
    key_array(w, "tokenizer.ggml.merges", GGUF_STRING, n);
    for (uint32_t rank = 0; rank < vocab->n_merges && w->bytes.status == QUIRE_OK; rank++) {
        if (merges[rank] == MERGE_FREE)
            continue;
        line.n = 0;
        w->bytes.status = vocab_merge_line(vocab, merges[rank], &line, w->bytes.err);
        put_string(&w->bytes, line.bytes, line.n);
    }
    buffer_release(&line);
    free(merges);
}

static bool is_normalized(const struct token *token)
{
    return token && (token->flags & TOKEN_ADDED) && (token->flags & TOKEN_NORMALIZED);
}

/* Only where a reader that goes by the types would take them wrongly: see vocab_gguf.c. */
static void put_normalized(struct writer *w, const struct vocab *vocab)
{
    uint64_t n = 0;
    bool is_usual = true;
    for (size_t id = 0; id < vocab->n_tokens; id++) {
        const struct token *token = vocab_token(vocab, (int64_t)id);
        n += is_normalized(token);
        if (token && (token->flags & TOKEN_ADDED))
            is_usual = is_usual && is_normalized(token) == !(token->flags & TOKEN_SPECIAL);
    }
    if (is_usual)
        return;
    key_array(w, VOCAB_GGUF_NORMALIZED, GGUF_I32, n);
    for (size_t id = 0; id < vocab->n_tokens; id++)
        if (is_normalized(vocab_token(vocab, (int64_t)id)))
            put_u32(&w->bytes, (uint32_t)id);
}

static void put_id(struct writer *w, const char *key, int32_t id)
{
    if (id >= 0)
        key_u32(w, key, (uint32_t)id);
}

static void put_tokenizer(struct writer *w, const struct gguf_metadata *metadata)
{
    const struct vocab *vocab = &metadata->tokenizer->vocab;
    const struct about *about = metadata->about;
    key_string(w, "tokenizer.ggml.model", "gpt2");
    key_string(w, "tokenizer.ggml.pre", vocab->is_nfc ? "mpt" : "gpt-2");
    put_tokens(w, vocab, metadata->config->vocab_size);
    put_merges(w, vocab);
    put_normalized(w, vocab);
    put_id(w, "tokenizer.ggml.bos_token_id", about->begin);
    put_id(w, "tokenizer.ggml.eos_token_id", about->end);
    put_id(w, "tokenizer.ggml.unknown_token_id", about->unknown);
    put_id(w, "tokenizer.ggml.padding_token_id", about->padding);
    if (about->chat_template)
        key_string(w, "tokenizer.chat_template", about->chat_template);
}

/* --- the other keys of the file that the model came from ---------------------------------------------------------- */

static bool begins_with(struct gguf_string key, const char *prefix)
{
    return key.n >= strlen(prefix) && memcmp(key.bytes, prefix, strlen(prefix)) == 0;
}

static bool is_key(struct gguf_string key, const char *name)
{
    return key.n == strlen(name) && begins_with(key, name);
}

static bool is_written(const struct gguf_metadata *metadata, struct gguf_string key)
{
    static const char *const always[] = {"general.architecture", "general.name", "general.alignment",
                                         "quire.prompt_format",  CHECKSUMS_KEY,  "mpt."};
    static const char *const typed[] = {"general.file_type", "general.quantization_version"};
    static const char *const tokens[] = {"tokenizer.ggml.model",
                                         "tokenizer.ggml.pre",
                                         "tokenizer.ggml.tokens",
                                         "tokenizer.ggml.token_type",
                                         "tokenizer.ggml.merges",
                                         "tokenizer.ggml.bos_token_id",
                                         "tokenizer.ggml.eos_token_id",
                                         "tokenizer.ggml.unknown_token_id",
                                         "tokenizer.ggml.padding_token_id",
                                         "tokenizer.chat_template",
                                         VOCAB_GGUF_NORMALIZED};
    bool found = metadata->about->license && is_key(key, "general.license");
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
        found = found || begins_with(key, always[i]);
    for (size_t i = 0; metadata->file_type >= 0 && i < sizeof typed / sizeof typed[0]; i++)
        found = found || begins_with(key, typed[i]);
    for (size_t i = 0; metadata->tokenizer && i < sizeof tokens / sizeof tokens[0]; i++)
        found = found || is_key(key, tokens[i]);
    return found;
}

static void copy_array(struct writer *w, const struct gguf_array *array)
{
    put_u32(&w->bytes, array->element_type);
    put_u64(&w->bytes, array->n);
    put(&w->bytes, array->data, array->n * gguf_value_type_bytes(array->element_type));
    struct gguf_place place = {0};
    for (uint64_t i = 0; array->element_type == GGUF_STRING && i < array->n; i++) {
        struct gguf_string string = gguf_array_string(array, &place);
        put_string(&w->bytes, string.bytes, string.n);
    }
}

static void copy_others(struct writer *w, const struct gguf_metadata *metadata)
{
    const struct gguf *from = metadata->from;
    for (uint64_t i = 0; from && i < from->n_pairs && w->bytes.status == QUIRE_OK; i++) {
        const struct gguf_pair *pair = &from->pairs[i];
        if (is_written(metadata, pair->key))
            continue;
        put_string(&w->bytes, pair->key.bytes, pair->key.n);
        put_u32(&w->bytes, pair->type);
        w->n_pairs++;
        if (pair->type == GGUF_STRING)
            put_string(&w->bytes, pair->value.string.bytes, pair->value.string.n);
        else if (pair->type == GGUF_ARRAY)
            copy_array(w, &pair->value.array);
        else
            put(&w->bytes, pair->value.number, gguf_value_type_bytes(pair->type));
    }
}

quire_status gguf_metadata_make(struct gguf_pairs *pairs, const struct gguf_metadata *metadata, quire_error *err)
{
    struct gguf_pairs made = {0};
    struct writer writer = {.bytes = {.to = &made.bytes, .err = err}}, *w = &writer;
    key_string(w, "general.architecture", "mpt");
    key_string(w, "general.name", metadata->about->name);
    if (metadata->about->license)
        key_string(w, "general.license", metadata->about->license);
    if (metadata->file_type >= 0) {
        key_u32(w, "general.file_type", (uint32_t)metadata->file_type);
        key_u32(w, "general.quantization_version", QUANTIZATION_VERSION);
    }
    put_config(w, metadata->config);
    if (metadata->tokenizer)
        put_tokenizer(w, metadata);
    key_string(w, "quire.prompt_format", quire_prompt_format_name(metadata->about->prompt_format));
    copy_others(w, metadata);
    put_key(w, CHECKSUMS_KEY, GGUF_STRING);
    put_u64(&w->bytes, metadata->n_checksum_bytes);
    made.checksums_at = made.bytes.n;
    for (size_t i = 0; i < metadata->n_checksum_bytes; i++)
        put(&w->bytes, " ", 1);
    made.n = w->n_pairs;
    if (w->bytes.status == QUIRE_OK)
        *pairs = made;
    else
        buffer_release(&made.bytes);
    return w->bytes.status;
}
