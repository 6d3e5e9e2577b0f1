/* The vocabulary in a GGUF file. */
#include "vocab_source.h"

#include <stdio.h>

#include "base/bytes.h"
#include "model/gguf.h"
#include "model/printable.h"

enum gguf_token_type {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN = 2,
    TYPE_CONTROL = 3,
    TYPE_USER_DEFINED = 4,
    TYPE_UNUSED = 5,
};

enum { GGUF_TYPE_INT32 = 5, GGUF_TYPE_STRING = 8 };

static bool is_text(struct gguf_string string, const char *text)
{
    return string.n == strlen(text) && memcmp(string.bytes, text, string.n) == 0;
}

/* GGUF names no normaliser; `pre` names the tokenizer that the file was made from, and with it the normaliser. */
static quire_status read_kind(struct vocab *vocab, const struct gguf *gguf, quire_error *err)
{
    struct gguf_string model = {0}, pre = {0};
    bool found = false, has_pre = false;
    quire_status status = gguf_get_string(gguf, "tokenizer.ggml.model", &model, &found, err);
    if (status == QUIRE_OK)
        status = gguf_get_string(gguf, "tokenizer.ggml.pre", &pre, &has_pre, err);
    if (status != QUIRE_OK)
        return status;
    if (!found)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has no tokenizer.ggml.model", vocab->path);
    if (!is_text(model, "gpt2"))
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "'%s': tokenizer.ggml.model '%s' is not supported, expected 'gpt2'", vocab->path,
                          printable(model.bytes, model.n).text);
    vocab->is_nfc = !has_pre || is_text(pre, "mpt") || is_text(pre, "gpt-neox");
    if (!vocab->is_nfc && !is_text(pre, "gpt-2"))
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "'%s': tokenizer.ggml.pre '%s' is not supported, expected 'mpt', 'gpt-neox' or 'gpt-2'",
                          vocab->path, printable(pre.bytes, pre.n).text);
    static const char *const additions[] = {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token",
                                            "tokenizer.ggml.add_space_prefix"};
    for (size_t i = 0; i < sizeof additions / sizeof additions[0]; i++) {
        bool value = false;
        status = gguf_get_bool(gguf, additions[i], &value, &found, err);
        if (status != QUIRE_OK)
            return status;
        if (found && value)
            return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "'%s': %s true is not supported, expected false", vocab->path,
                              additions[i]);
    }
    return QUIRE_OK;
}

/* Old converters filled the embedding's spare rows with user-defined tokens "[PAD<id>]"; no text means them. */
static bool is_padding(struct gguf_string token, uint64_t id)
{
    char name[40];
    snprintf(name, sizeof name, "[PAD%llu]", (unsigned long long)id);
    return is_text(token, name);
}

static quire_status read_token(struct vocab *vocab, uint64_t id, struct gguf_string token, int32_t type,
                               quire_error *err)
{
    switch (type) {
    case TYPE_NORMAL: return vocab_add_token(vocab, (int64_t)id, token.bytes, token.n, 0, err);
    case TYPE_UNKNOWN:
    case TYPE_CONTROL:
        return vocab_add_token(vocab, (int64_t)id, token.bytes, token.n, TOKEN_ADDED | TOKEN_SPECIAL, err);
    case TYPE_USER_DEFINED:
        if (is_padding(token, id))
            return QUIRE_OK;
        return vocab_add_token(vocab, (int64_t)id, token.bytes, token.n, TOKEN_ADDED | TOKEN_NORMALIZED, err);
    case TYPE_UNUSED: return QUIRE_OK;
    default:
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "'%s': tokenizer.ggml.token_type of token %llu is %d, expected 1 to 5", vocab->path,
                          (unsigned long long)id, type);
    }
}

/* GGUF's types do not tell whether an added token is matched before the normaliser or behind it. Where that is not what
 * read_token takes them for, Quire writes the ids of all that are matched behind it. */
static quire_status read_normalized(struct vocab *vocab, const struct gguf *gguf, quire_error *err)
{
    struct gguf_array ids;
    bool found = false;
    quire_status status = gguf_get_array(gguf, VOCAB_GGUF_NORMALIZED, GGUF_TYPE_INT32, &ids, &found, err);
    if (status != QUIRE_OK || !found)
        return status;
    for (size_t id = 0; id < vocab->n_tokens; id++)
        vocab->tokens[id].flags &= ~(uint32_t)TOKEN_NORMALIZED;
    for (uint64_t i = 0; i < ids.n; i++) {
        int32_t id = (int32_t)load_u32(ids.data + 4 * i);
        const struct token *token = vocab_token(vocab, id);
        if (!token || !(token->flags & TOKEN_ADDED))
            return quire_fail(err, QUIRE_ERR_FORMAT, "'%s': %s names the id %d, which is no added token", vocab->path,
                              VOCAB_GGUF_NORMALIZED, id);
        vocab->tokens[id].flags |= TOKEN_NORMALIZED;
    }
    return QUIRE_OK;
}

static quire_status get_array(const struct vocab *vocab, const struct gguf *gguf, const char *key, uint32_t type,
                              struct gguf_array *array, quire_error *err)
{
    bool found = false;
    quire_status status = gguf_get_array(gguf, key, type, array, &found, err);
    if (status == QUIRE_OK && !found)
        status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has no %s", vocab->path, key);
    return status;
}

quire_status vocab_read_gguf(struct vocab *vocab, const struct gguf *gguf, quire_error *err)
{
    struct gguf_array tokens = {0}, types = {0}, merges = {0};
    quire_status status = read_kind(vocab, gguf, err);
    if (status == QUIRE_OK)
        status = get_array(vocab, gguf, "tokenizer.ggml.tokens", GGUF_TYPE_STRING, &tokens, err);
    if (status == QUIRE_OK)
        status = get_array(vocab, gguf, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, &types, err);
    if (status == QUIRE_OK)
        status = get_array(vocab, gguf, "tokenizer.ggml.merges", GGUF_TYPE_STRING, &merges, err);
    if (status == QUIRE_OK && types.n != tokens.n)
        status = quire_fail(
            err, QUIRE_ERR_FORMAT,
            "'%s' has %llu elements in tokenizer.ggml.token_type, expected as many as in tokenizer.ggml.tokens, %llu",
            vocab->path, (unsigned long long)types.n, (unsigned long long)tokens.n);
    if (status == QUIRE_OK)
        status = vocab_reserve(vocab, tokens.n, merges.n, err);
    size_t cursor = 0;
    for (uint64_t id = 0; status == QUIRE_OK && id < tokens.n; id++) {
        struct gguf_string token = gguf_array_string(&tokens, &cursor);
        status = read_token(vocab, id, token, (int32_t)load_u32(types.data + 4 * id), err);
    }
    if (status == QUIRE_OK)
        status = read_normalized(vocab, gguf, err);
    cursor = 0;
    for (uint64_t i = 0; status == QUIRE_OK && i < merges.n; i++) {
        struct gguf_string merge = gguf_array_string(&merges, &cursor);
        status = vocab_add_merge_line(vocab, merge.bytes, merge.n, err);
    }
    if (status == QUIRE_OK)
        status = gguf_check(gguf, err);
    return status == QUIRE_OK ? vocab_finish(vocab, err) : status;
}
