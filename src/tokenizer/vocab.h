/* The vocabulary: tokens, merges and what each byte starts as. Filled by vocab_json.c or vocab_gguf.c, then read-only.
 *
 * A token is spelt in GPT-2's byte alphabet, one printable character for each byte; an added token is spelt as itself. */
#ifndef QUIRE_TOKENIZER_VOCAB_H
#define QUIRE_TOKENIZER_VOCAB_H

#include <stdbool.h>

#include "buffer.h"

/* Ids are below this: a file of a few bytes cannot make a table of gigabytes. The largest vocabularies have 2^18. */
#define VOCAB_MAX_TOKENS (1u << 21)

enum token_flags {
    TOKEN_EXISTS = 1,
    TOKEN_ADDED = 2,      /* matched literally in the text, before the pre-tokenizer */
    TOKEN_SPECIAL = 4,    /* a control token; added */
    TOKEN_NORMALIZED = 8, /* added, and matched behind the normaliser instead of before it */
};

struct token {
    size_t spelling_at, bytes_at; /* in vocab->text */
    uint32_t n_spelling, n_bytes;
    uint32_t flags;
};

/* left and right become product. The lower rank goes first. left < 0: the slot is free. */
struct merge {
    int32_t left, right, product;
    uint32_t rank;
};

struct vocab {
    const char *path; /* for messages; not owned, valid while the vocabulary is being filled */
    bool is_nfc;      /* text is normalised to NFC */
    struct token *tokens;
    size_t n_tokens, tokens_capacity; /* one more than the largest id */
    struct buffer text;
    uint32_t *index; /* id + 1 of each spelling, hashed, open addressing; 0: free */
    struct merge *merges;
    size_t index_mask, merges_mask;
    uint32_t n_merges;
    int32_t byte_ids[256];
};

/* All zero, with path, is an empty vocabulary that has not been reserved. */
void vocab_release(struct vocab *vocab);

/* Room for so many tokens and merges. Called once, before the following. Errors: UNSUPPORTED (too many), NO_MEMORY. */
quire_status vocab_reserve(struct vocab *vocab, uint64_t n_tokens, uint64_t n_merges, quire_error *err);

/* Errors: FORMAT (the id or the spelling is taken, not UTF-8, empty), UNSUPPORTED (the id is too large), NO_MEMORY. */
quire_status vocab_add_token(struct vocab *vocab, int64_t id, const char *spelling, size_t n, uint32_t flags,
                             quire_error *err);

/* The next merge in order of rank; the same pair again takes the later rank, as in HuggingFace `tokenizers`.
 * Errors: FORMAT where a part or their product is no token. */
quire_status vocab_add_merge(struct vocab *vocab, const char *left, size_t n_left, const char *right, size_t n_right,
                             quire_error *err);

/* As "left right". Errors: also FORMAT where that has not one space. */
quire_status vocab_add_merge_line(struct vocab *vocab, const char *line, size_t n, quire_error *err);

/* After the last token and merge: decodes the spellings and checks that every text can be encoded and that no text makes a
 * special token by merges. Errors: UNSUPPORTED, NO_MEMORY. */
quire_status vocab_finish(struct vocab *vocab, quire_error *err);

/* The id of a spelling, or -1. */
int32_t vocab_find(const struct vocab *vocab, const char *spelling, size_t n);

/* The token of id, or NULL where there is none. */
const struct token *vocab_token(const struct vocab *vocab, int64_t id);

static inline const uint8_t *token_bytes(const struct vocab *vocab, const struct token *token)
{
    return vocab->text.bytes + token->bytes_at;
}

static inline const uint8_t *token_spelling(const struct vocab *vocab, const struct token *token)
{
    return vocab->text.bytes + token->spelling_at;
}

static inline size_t merge_hash(int32_t left, int32_t right)
{
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return (size_t)(key ^ key >> 32);
}

/* The merge of a pair, or NULL. */
static inline const struct merge *vocab_merge(const struct vocab *vocab, int32_t left, int32_t right)
{
    for (size_t slot = merge_hash(left, right) & vocab->merges_mask;; slot = (slot + 1) & vocab->merges_mask) {
        const struct merge *merge = &vocab->merges[slot];
        if (merge->left < 0)
            return NULL;
        if (merge->left == left && merge->right == right)
            return merge;
    }
}

#endif
