#include "hf_tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tokenizer/tokenizer_private.h"

#define END_OF_TURN "<|im_end|>"

static json_t *spelling_of(const struct vocab *vocab, const struct token *token)
{
    return json_stringn((const char *)token_spelling(vocab, token), token->n_spelling);
}

/* --- tokenizer.json ----------------------------------------------------------------------------------------------- */

static json_t *byte_level(void)
{
    return json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                     1);
}

/* All tokens, the added ones too: HuggingFace gives an added token the id that its text has here, and counts on from
 * the end where it has none. */
static quire_status add_vocabulary(json_t *to, const struct vocab *vocab, quire_error *err)
{
    for (size_t id = 0; id < vocab->n_tokens; id++) {
        const struct token *token = vocab_token(vocab, (int64_t)id);
        if (!token)
            continue;
        char *spelling = mem_calloc(token->n_spelling + (size_t)1, 1, "a token", err);
        if (!spelling)
            return QUIRE_ERR_NO_MEMORY;
        memcpy(spelling, token_spelling(vocab, token), token->n_spelling);
        bool has_nul = strlen(spelling) != token->n_spelling;
        int result = has_nul ? 0 : json_object_set_new(to, spelling, json_integer((json_int_t)id));
        free(spelling);
        if (has_nul)
            return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                              "token %zu has a NUL character, which tokenizer.json cannot hold", id);
        if (result != 0)
            return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for tokenizer.json");
    }
    return QUIRE_OK;
}

static quire_status add_merges(json_t *to, const struct vocab *vocab, quire_error *err)
{
    uint64_t *merges = vocab_merges_by_rank(vocab, err);
    struct buffer line = {0};
    quire_status status = merges ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    for (uint32_t rank = 0; status == QUIRE_OK && rank < vocab->n_merges; rank++) {
        if (merges[rank] == MERGE_FREE)
            continue;
        line.n = 0;
        status = vocab_merge_line(vocab, merges[rank], &line, err);
        if (status == QUIRE_OK && json_array_append_new(to, json_stringn((char *)line.bytes, line.n)) != 0)
            status = quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for tokenizer.json");
    }
    buffer_release(&line);
    free(merges);
    return status;
}

static json_t *added_tokens(const struct vocab *vocab)
{
    json_t *list = json_array();
    for (size_t id = 0; id < vocab->n_tokens; id++) {
        const struct token *token = vocab_token(vocab, (int64_t)id);
        if (token && (token->flags & TOKEN_ADDED))
            json_array_append_new(list, json_pack("{s:I,s:o,s:b,s:b,s:b,s:b,s:b}", "id", (json_int_t)id, "content",
                                                  spelling_of(vocab, token), "single_word", 0, "lstrip", 0, "rstrip", 0,
                                                  "normalized", (token->flags & TOKEN_NORMALIZED) != 0, "special",
                                                  (token->flags & TOKEN_SPECIAL) != 0));
    }
    return list;
}

quire_status hf_tokenizer_json(json_t **out, const quire_tokenizer *tokenizer, quire_error *err)
{
    const struct vocab *vocab = &tokenizer->vocab;
    json_t *tokens = json_object(), *merges = json_array();
    quire_status status = add_vocabulary(tokens, vocab, err);
    if (status == QUIRE_OK)
        status = add_merges(merges, vocab, err);
    if (status != QUIRE_OK) {
        json_decref(tokens);
        json_decref(merges);
        return status;
    }
    json_t *model = json_pack("{s:s,s:n,s:n,s:n,s:n,s:b,s:b,s:b,s:o,s:o}", "type", "BPE", "dropout", "unk_token",
                              "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                              "ignore_merges", 0, "vocab", tokens, "merges", merges);
    json_t *root = json_pack("{s:s,s:n,s:n,s:o,s:o,s:o,s:o,s:o,s:o}", "version", "1.0", "truncation", "padding",
                             "added_tokens", added_tokens(vocab), "normalizer",
                             vocab->is_nfc ? json_pack("{s:s}", "type", "NFC") : json_null(), "pre_tokenizer",
                             byte_level(), "post_processor", byte_level(), "decoder", byte_level(), "model", model);
    if (!root)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for tokenizer.json");
    *out = root;
    return QUIRE_OK;
}

/* --- settings ----------------------------------------------------------------------------------------------------- */

static void set_token(json_t *to, const char *field, int32_t id, const quire_tokenizer *tokenizer)
{
    const struct token *token = vocab_token(&tokenizer->vocab, id);
    if (token)
        json_object_set_new(to, field, spelling_of(&tokenizer->vocab, token));
}

json_t *hf_special_tokens_map(const struct about *about, const quire_tokenizer *tokenizer)
{
    json_t *map = json_object();
    set_token(map, "bos_token", about->begin, tokenizer);
    set_token(map, "eos_token", about->end, tokenizer);
    set_token(map, "unk_token", about->unknown, tokenizer);
    set_token(map, "pad_token", about->padding, tokenizer);
    return map;
}

/* The class that takes tokenizer.json as it is. Without clean-up, decoding gives back what was encoded. */
json_t *hf_tokenizer_config(const struct about *about, const quire_tokenizer *tokenizer)
{
    json_t *config = hf_special_tokens_map(about, tokenizer);
    json_object_set_new(config, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    json_object_set_new(config, "add_prefix_space", json_false());
    json_object_set_new(config, "clean_up_tokenization_spaces", json_false());
    if (about->model_max_length > 0)
        json_object_set_new(config, "model_max_length", json_integer(about->model_max_length));
    if (about->chat_template)
        json_object_set_new(config, "chat_template", json_string(about->chat_template));
    return config;
}

json_t *hf_generation_config(const struct about *about, const quire_tokenizer *tokenizer)
{
    json_t *config = json_object();
    int32_t end_of_turn = quire_tokenizer_find(tokenizer, END_OF_TURN);
    if (about->begin >= 0)
        json_object_set_new(config, "bos_token_id", json_integer(about->begin));
    if (about->end >= 0 && about->prompt_format == QUIRE_PROMPT_CHATML && end_of_turn >= 0 && end_of_turn != about->end)
        json_object_set_new(config, "eos_token_id", json_pack("[i,i]", (int)about->end, (int)end_of_turn));
    else if (about->end >= 0)
        json_object_set_new(config, "eos_token_id", json_integer(about->end));
    if (about->padding >= 0)
        json_object_set_new(config, "pad_token_id", json_integer(about->padding));
    return config;
}
