/* The vocabulary: tokens, merges and what each byte starts as. Filled by vocab_json.c, vocab_gguf.c or vocab_spiece.c,
 * then read-only.
 *
 * In byte-level BPE a token is spelt in GPT-2's byte alphabet, one printable character for each byte; an added token is
 * spelt as itself. A SentencePiece vocabulary has no merges, but what pieces.h adds. */
#ifndef QUIRE_TOKENIZER_VOCAB_H
#define QUIRE_TOKENIZER_VOCAB_H

#include <stdbool.h>

#include "buffer.h"

/* Ids are below this: a file of a few bytes cannot make a table of gigabytes. The largest vocabularies have 2^18. */
#define VOCAB_MAX_TOKENS (1u << 21)

/* Bytes of all spellings; those of the largest vocabularies have 3 MB. */
#define VOCAB_MAX_TEXT ((size_t)64 << 20)

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

/* A merge as one number, so that the table of them, which encoding looks into all the time, stays small:
 * left id, 21 bits | right id, 21 bits | rank, 22 bits. */
#define VOCAB_MAX_MERGES ((1u << 22) - 1)
#define MERGE_RANK_BITS  22
#define MERGE_FREE       UINT64_MAX /* a slot of the table without a merge */
#define MERGE_NONE       UINT32_MAX /* instead of a rank: the pair has no merge */

struct pieces;

struct vocab {
    const char *path; /* for messages; not owned, valid while the vocabulary is being filled */
    bool is_nfc;      /* text is normalised to NFC */
    struct token *tokens;
    size_t n_tokens, tokens_capacity; /* one more than the largest id */
    struct buffer text;
    uint32_t *index;   /* id + 1 of each spelling, hashed, open addressing; 0: free */
    uint64_t *merges;  /* hashed by pair, open addressing */
    int32_t *products; /* [n_merges] by rank: what the pair becomes */
    size_t index_mask, merges_mask;
    uint64_t hash_seed;
    uint32_t n_merges;
    int32_t byte_ids[256];
    int64_t end_of_text;   /* its id, as the file says; -1: it says nothing */
    struct pieces *pieces; /* a SentencePiece vocabulary; NULL: byte-level BPE */
};

/* All zero, with path, is an empty vocabulary that has not been reserved. */
void vocab_release(struct vocab *vocab);

/* Room for so many tokens and merges. Called once, before the following. Errors: UNSUPPORTED (too many), NO_MEMORY. */
quire_status vocab_reserve(struct vocab *vocab, uint64_t n_tokens, uint64_t n_merges, quire_error *err);

/* Errors: FORMAT (the id or the spelling is taken, not UTF-8, empty), UNSUPPORTED (the id is too large, or the
 * spellings together), NO_MEMORY. */
quire_status vocab_add_token(struct vocab *vocab, int64_t id, const char *spelling, size_t n, uint32_t flags,
                             quire_error *err);

/* The next merge in order of rank; the same pair again takes the later rank, as in HuggingFace `tokenizers`.
 * Errors: FORMAT where a part or their product is no token. */
quire_status vocab_add_merge(struct vocab *vocab, const char *left, size_t n_left, const char *right, size_t n_right,
                             quire_error *err);

/* As "left right". Errors: also FORMAT where that has not one space. */
quire_status vocab_add_merge_line(struct vocab *vocab, const char *line, size_t n, quire_error *err);

/* After the last token and merge: decodes the spellings and checks that every text can be encoded and that no text
 * makes a special token by merges. Errors: UNSUPPORTED, NO_MEMORY. */
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

/* The slot of a pair: its own, or the free one where it belongs. */
static inline uint64_t *vocab_merge_slot(const struct vocab *vocab, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)left << 21 | (uint64_t)right;
    uint64_t hash = (pair ^ vocab->hash_seed) * 0x9E3779B97F4A7C15u;
    size_t slot = (size_t)(hash >> 32) & vocab->merges_mask;
    while (vocab->merges[slot] != MERGE_FREE && vocab->merges[slot] >> MERGE_RANK_BITS != pair)
        slot = (slot + 1) & vocab->merges_mask;
    return &vocab->merges[slot];
}

static inline int32_t merge_left(uint64_t merge)
{
    return (int32_t)(merge >> (MERGE_RANK_BITS + 21));
}

static inline int32_t merge_right(uint64_t merge)
{
    return (int32_t)(merge >> MERGE_RANK_BITS & 0x1FFFFF);
}

static inline uint32_t merge_rank(uint64_t merge)
{
    return (uint32_t)merge & VOCAB_MAX_MERGES;
}

/* The merges by rank, [n_merges]; MERGE_FREE where a later one of the same pair has taken its place. malloc'ed. NULL:
 * no memory. */
uint64_t *vocab_merges_by_rank(const struct vocab *vocab, quire_error *err);

/* Appends a merge to line, as vocab_add_merge_line reads it. Errors: UNSUPPORTED (a part has a space), NO_MEMORY. */
quire_status vocab_merge_line(const struct vocab *vocab, uint64_t merge, struct buffer *line, quire_error *err);

/* The rank of the merge of a pair, or MERGE_NONE. The lower rank goes first; vocab->products has what it gives. */
static inline uint32_t vocab_merge_rank(const struct vocab *vocab, int32_t left, int32_t right)
{
    uint64_t merge = *vocab_merge_slot(vocab, left, right);
    return merge == MERGE_FREE ? MERGE_NONE : merge_rank(merge);
}

#endif
