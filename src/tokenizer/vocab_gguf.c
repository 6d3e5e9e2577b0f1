/* The vocabulary in a GGUF file. */
#include "vocab_source.h"

#include <stdio.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/printable.h"
#include "code_point.h"
#include "model/gguf.h"
#include "pieces.h"

enum gguf_token_type {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN = 2,
    TYPE_CONTROL = 3,
    TYPE_USER_DEFINED = 4,
    TYPE_UNUSED = 5,
};

static bool is_text(struct gguf_string string, const char *text)
{
    return string.n == strlen(text) && memcmp(string.bytes, text, string.n) == 0;
}

/* A flag that files may have; *value is untouched where this one has not. */
static quire_status get_flag(const struct gguf *gguf, const char *key, bool *value, quire_error *err)
{
    bool found;
    return gguf_get_bool(gguf, key, value, &found, err);
}

static quire_status check_false(const struct vocab *vocab, const struct gguf *gguf, const char *key, quire_error *err)
{
    bool value = false;
    quire_status status = get_flag(gguf, key, &value, err);
    if (status == QUIRE_OK && value)
        status =
            quire_fail(err, QUIRE_ERR_UNSUPPORTED, "'%s': %s true is not supported, expected false", vocab->path, key);
    return status;
}

/* GGUF names no normaliser; `pre` names the tokenizer that the file was made from, and with it the normaliser. */
static quire_status read_bpe_settings(struct vocab *vocab, const struct gguf *gguf, quire_error *err)
{
    struct gguf_string pre = {0};
    bool has_pre = false;
    quire_status status = gguf_get_string(gguf, "tokenizer.ggml.pre", &pre, &has_pre, err);
    if (status != QUIRE_OK)
        return status;
    vocab->is_nfc = !has_pre || is_text(pre, "mpt") || is_text(pre, "gpt-neox");
    if (!vocab->is_nfc && !is_text(pre, "gpt-2"))
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "'%s': tokenizer.ggml.pre '%s' is not supported, expected 'mpt', 'gpt-neox' or 'gpt-2'",
                          vocab->path, printable(pre.bytes, pre.n).text);
    return check_false(vocab, gguf, "tokenizer.ggml.add_space_prefix", err);
}

/* What is absent is as in llama.cpp, which such files are written for. */
static quire_status read_piece_settings(struct vocab *vocab, const struct gguf *gguf, quire_error *err)
{
    struct gguf_array rules = {0};
    bool found = false;
    quire_status status = pieces_open(vocab, err);
    if (status != QUIRE_OK)
        return status;
    vocab->pieces->squeezes = false;
    status = get_flag(gguf, "tokenizer.ggml.add_space_prefix", &vocab->pieces->adds_prefix, err);
    if (status == QUIRE_OK)
        status = get_flag(gguf, "tokenizer.ggml.remove_extra_whitespaces", &vocab->pieces->squeezes, err);
    if (status == QUIRE_OK)
        status = check_false(vocab, gguf, "tokenizer.ggml.treat_whitespace_as_suffix", err);
    if (status == QUIRE_OK)
        status = gguf_get_array(gguf, "tokenizer.ggml.precompiled_charsmap", GGUF_U8, &rules, &found, err);
    if (status == QUIRE_OK && rules.n > 0)
        status = quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                            "'%s': tokenizer.ggml.precompiled_charsmap has %llu bytes of rules, which is not supported",
                            vocab->path, (unsigned long long)rules.n);
    return status;
}

static quire_status read_settings(struct vocab *vocab, const struct gguf *gguf, quire_error *err)
{
    struct gguf_string model = {0};
    uint32_t end_of_text = 0;
    bool found = false, has_end = false;
    quire_status status = gguf_get_string(gguf, "tokenizer.ggml.model", &model, &found, err);
    if (status == QUIRE_OK)
        status = gguf_get_u32(gguf, "tokenizer.ggml.eos_token_id", &end_of_text, &has_end, err);
    if (status != QUIRE_OK)
        return status;
    if (!found)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has no tokenizer.ggml.model", vocab->path);
    if (has_end)
        vocab->end_of_text = end_of_text;
    if (is_text(model, "gpt2"))
        status = read_bpe_settings(vocab, gguf, err);
    else if (is_text(model, "llama") || is_text(model, "t5"))
        status = read_piece_settings(vocab, gguf, err);
    else
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "'%s': tokenizer.ggml.model '%s' is not supported, expected 'gpt2', 'llama' or 't5'",
                          vocab->path, printable(model.bytes, model.n).text);
    if (status == QUIRE_OK)
        status = check_false(vocab, gguf, "tokenizer.ggml.add_bos_token", err);
    if (status == QUIRE_OK)
        status = check_false(vocab, gguf, "tokenizer.ggml.add_eos_token", err);
    return status;
}

/* Old converters filled the embedding's spare rows with tokens "[PAD<id>]" of other types; no text means them. */
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
    quire_status status = gguf_get_array(gguf, VOCAB_GGUF_NORMALIZED, GGUF_I32, &ids, &found, err);
    if (status != QUIRE_OK || !found)
        return status;
    for (size_t id = 0; id < vocab->n_tokens; id++)
        vocab->tokens[id].flags &= ~(uint32_t)TOKEN_NORMALIZED;
    for (uint64_t i = 0; i < ids.n; i++) {
        int32_t id = (int32_t)gguf_array_u32(&ids, i);
        const struct token *token = vocab_token(vocab, id);
        if (!token || !(token->flags & TOKEN_ADDED))
            return quire_fail(err, QUIRE_ERR_FORMAT, "'%s': %s names the id %d, which is no added token", vocab->path,
                              VOCAB_GGUF_NORMALIZED, id);
        vocab->tokens[id].flags |= TOKEN_NORMALIZED;
    }
    return QUIRE_OK;
}

/* The first converter for this family (October 2023) called every token normal. */
static bool are_all_normal(const struct gguf_array *types)
{
    for (uint64_t id = 0; id < types->n; id++)
        if (gguf_array_u32(types, id) != TYPE_NORMAL)
            return false;
    return true;
}

/* Then what makes no merge and is no byte was added to the vocabulary, and special tokens stand in <|...|>. */
static quire_status tell_added(struct vocab *vocab, quire_error *err)
{
    bool *is_product = mem_calloc(vocab->n_tokens, sizeof *is_product, "the products of merges", err);
    if (!is_product)
        return QUIRE_ERR_NO_MEMORY;
    for (uint32_t rank = 0; rank < vocab->n_merges; rank++)
        is_product[vocab->products[rank]] = true;
    for (size_t id = 0; id < vocab->n_tokens; id++) {
        struct token *token = &vocab->tokens[id];
        const uint8_t *spelling = token_spelling(vocab, token);
        size_t n = token->n_spelling, n_character = 0;
        if (!(token->flags & TOKEN_EXISTS) || is_product[id])
            continue;
        code_point_read(spelling, &n_character);
        bool is_special = n > 4 && memcmp(spelling, "<|", 2) == 0 && memcmp(spelling + n - 2, "|>", 2) == 0;
        if (n > n_character)
            token->flags |= TOKEN_ADDED | (is_special ? TOKEN_SPECIAL : TOKEN_NORMALIZED);
    }
    free(is_product);
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

/* Merges that SentencePiece keeps as pieces are scored by their rank: 0, -1, -2 and so on. 'llama' is written for both
 * kinds, and nothing else tells them apart. */
static bool are_ranks(const struct gguf_array *scores, const struct gguf_array *types)
{
    float before = 0;
    size_t n_normal = 0;
    for (uint64_t id = 0; id < scores->n; id++) {
        float score = f32_from_bits(gguf_array_u32(scores, id));
        if (gguf_array_u32(types, id) != TYPE_NORMAL)
            continue;
        if (n_normal++ > 0 && score != before - 1)
            return false;
        before = score;
    }
    return n_normal > 1;
}

static quire_status check_length(const struct vocab *vocab, const char *key, const struct gguf_array *array,
                                 const struct gguf_array *tokens, quire_error *err)
{
    if (array->n == tokens->n)
        return QUIRE_OK;
    return quire_fail(err, QUIRE_ERR_FORMAT,
                      "'%s' has %llu elements in %s, expected as many as in tokenizer.ggml.tokens, %llu", vocab->path,
                      (unsigned long long)array->n, key, (unsigned long long)tokens->n);
}

static quire_status read_pieces(struct vocab *vocab, const struct gguf *gguf, const struct gguf_array *tokens,
                                const struct gguf_array *types, quire_error *err)
{
    struct gguf_array scores = {0};
    struct gguf_place place = {0};
    quire_status status = get_array(vocab, gguf, "tokenizer.ggml.scores", GGUF_F32, &scores, err);
    if (status == QUIRE_OK)
        status = check_length(vocab, "tokenizer.ggml.scores", &scores, tokens, err);
    if (status == QUIRE_OK && are_ranks(&scores, types))
        status =
            quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                       "'%s': its SentencePiece vocabulary is of the kind BPE (the scores are ranks), which is not "
                       "supported, expected UNIGRAM",
                       vocab->path);
    if (status == QUIRE_OK)
        status = vocab_reserve(vocab, tokens->n, 0, err);
    for (uint64_t id = 0; status == QUIRE_OK && id < tokens->n; id++) {
        struct gguf_string token = gguf_array_string(tokens, &place);
        int32_t type = (int32_t)gguf_array_u32(types, id);
        status = pieces_add(vocab, token.bytes, token.n, f32_from_bits(gguf_array_u32(&scores, id)),
                            is_padding(token, id) ? PIECE_UNUSED : type, err);
    }
    return status;
}

static quire_status read_merges(struct vocab *vocab, const struct gguf *gguf, const struct gguf_array *tokens,
                                const struct gguf_array *types, quire_error *err)
{
    struct gguf_array merges = {0};
    struct gguf_place place = {0};
    bool is_untyped = are_all_normal(types);
    quire_status status = get_array(vocab, gguf, "tokenizer.ggml.merges", GGUF_STRING, &merges, err);
    if (status == QUIRE_OK)
        status = vocab_reserve(vocab, tokens->n, merges.n, err);
    for (uint64_t id = 0; status == QUIRE_OK && id < tokens->n; id++) {
        struct gguf_string token = gguf_array_string(tokens, &place);
        bool is_spare = is_untyped && is_padding(token, id);
        status = read_token(vocab, id, token, is_spare ? TYPE_UNUSED : (int32_t)gguf_array_u32(types, id), err);
    }
    if (status == QUIRE_OK)
        status = read_normalized(vocab, gguf, err);
    place = (struct gguf_place){0};
    for (uint64_t i = 0; status == QUIRE_OK && i < merges.n; i++) {
        struct gguf_string merge = gguf_array_string(&merges, &place);
        status = vocab_add_merge_line(vocab, merge.bytes, merge.n, err);
    }
    return status == QUIRE_OK && is_untyped ? tell_added(vocab, err) : status;
}

quire_status vocab_read_gguf(struct vocab *vocab, const struct gguf *gguf, quire_error *err)
{
    struct gguf_array tokens = {0}, types = {0};
    quire_status status = read_settings(vocab, gguf, err);
    if (status == QUIRE_OK)
        status = get_array(vocab, gguf, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, err);
    if (status == QUIRE_OK)
        status = get_array(vocab, gguf, "tokenizer.ggml.token_type", GGUF_I32, &types, err);
    if (status == QUIRE_OK)
        status = check_length(vocab, "tokenizer.ggml.token_type", &types, &tokens, err);
    if (status == QUIRE_OK)
        status = vocab->pieces ? read_pieces(vocab, gguf, &tokens, &types, err)
                               : read_merges(vocab, gguf, &tokens, &types, err);
    if (status == QUIRE_OK)
        status = gguf_check(gguf, err);
    if (status != QUIRE_OK)
        return status;
    return vocab->pieces ? pieces_finish(vocab, PIECE_UNKNOWN_SURFACE, strlen(PIECE_UNKNOWN_SURFACE), err)
                         : vocab_finish(vocab, err);
}
