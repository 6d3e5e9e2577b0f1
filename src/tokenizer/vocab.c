#include "vocab.h"

#include "base/hash.h"
#include "base/printable.h"
#include "base/utf8.h"
#include "code_point.h"
#include "pieces.h"

/* --- the byte alphabet -------------------------------------------------------------------------------------------- */

/* Bytes that are printable in Latin-1 are spelt as themselves; the other 68, in order, as U+0100 and on. */
static bool is_spelt_as_itself(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

#define N_ALPHABET 0x144 /* one more than the last code point of the alphabet */

/* For each code point below N_ALPHABET the byte that it spells, or -1. */
static void make_alphabet(int16_t byte_of[N_ALPHABET])
{
    memset(byte_of, -1, N_ALPHABET * sizeof byte_of[0]);
    uint32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; byte++)
        byte_of[is_spelt_as_itself(byte) ? byte : next++] = (int16_t)byte;
}

/* Bytes that no valid UTF-8 has need no token. */
static bool is_in_utf8(unsigned byte)
{
    return byte != 0xC0 && byte != 0xC1 && byte <= 0xF4;
}

/* --- filling ------------------------------------------------------------------------------------------------------ */

void vocab_release(struct vocab *vocab)
{
    free(vocab->tokens);
    free(vocab->index);
    free(vocab->merges);
    free(vocab->products);
    buffer_release(&vocab->text);
    pieces_close(vocab->pieces);
    *vocab = (struct vocab){0};
}

/* A power of two of at least twice n, so that probes are short. */
static size_t table_size(uint64_t n)
{
    size_t size = 16;
    while (size < 2 * n)
        size *= 2;
    return size;
}

quire_status vocab_reserve(struct vocab *vocab, uint64_t n_tokens, uint64_t n_merges, quire_error *err)
{
    if (n_tokens > VOCAB_MAX_TOKENS || n_merges > VOCAB_MAX_MERGES)
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "tokenizer '%s' has %llu tokens and %llu merges, this build takes %u and %u at most",
                          vocab->path, (unsigned long long)n_tokens, (unsigned long long)n_merges, VOCAB_MAX_TOKENS,
                          VOCAB_MAX_MERGES);
    size_t n_index = table_size(n_tokens), n_slots = table_size(n_merges);
    vocab->index = mem_calloc(n_index, sizeof vocab->index[0], "the vocabulary", err);
    vocab->merges = mem_calloc(n_slots, sizeof vocab->merges[0], "the merges", err);
    vocab->products = mem_calloc(n_merges, sizeof vocab->products[0], "the merges", err);
    if (!vocab->index || !vocab->merges || !vocab->products)
        return QUIRE_ERR_NO_MEMORY;
    vocab->hash_seed = hash_seed();
    vocab->index_mask = n_index - 1;
    vocab->merges_mask = n_slots - 1;
    for (size_t i = 0; i < n_slots; i++)
        vocab->merges[i] = MERGE_FREE;
    return QUIRE_OK;
}

/* The slot of a spelling: its own, or the free one where it belongs. */
static size_t find_slot(const struct vocab *vocab, const void *spelling, size_t n)
{
    size_t slot = (size_t)hash64_seeded(spelling, n, vocab->hash_seed) & vocab->index_mask;
    for (; vocab->index[slot] != 0; slot = (slot + 1) & vocab->index_mask) {
        const struct token *token = &vocab->tokens[vocab->index[slot] - 1];
        if (token->n_spelling == n && memcmp(token_spelling(vocab, token), spelling, n) == 0)
            break;
    }
    return slot;
}

int32_t vocab_find(const struct vocab *vocab, const char *spelling, size_t n)
{
    return (int32_t)vocab->index[find_slot(vocab, spelling, n)] - 1;
}

const struct token *vocab_token(const struct vocab *vocab, int64_t id)
{
    if (id < 0 || (uint64_t)id >= vocab->n_tokens || !(vocab->tokens[id].flags & TOKEN_EXISTS))
        return NULL;
    return &vocab->tokens[id];
}

static struct printable token_name(const struct vocab *vocab, const struct token *token)
{
    return printable((const char *)token_spelling(vocab, token), token->n_spelling);
}

static quire_status grow_tokens(struct vocab *vocab, size_t n, quire_error *err)
{
    quire_status status =
        mem_reserve(&vocab->tokens, &vocab->tokens_capacity, n, sizeof vocab->tokens[0], "tokens", err);
    if (status == QUIRE_OK && n > vocab->n_tokens) {
        memset(vocab->tokens + vocab->n_tokens, 0, (n - vocab->n_tokens) * sizeof vocab->tokens[0]);
        vocab->n_tokens = n;
    }
    return status;
}

static quire_status not_text(const struct vocab *vocab, int64_t id, quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_FORMAT,
                      "tokenizer '%s': token %lld is not a string of UTF-8 of one character or more", vocab->path,
                      (long long)id);
}

/* Whether the vocabulary can take it, and the slot of the index where it belongs. */
static quire_status check_new(const struct vocab *vocab, int64_t id, const char *spelling, size_t n, size_t *slot,
                              quire_error *err)
{
    if (utf8_scan((const uint8_t *)spelling, n).n_valid < n)
        return not_text(vocab, id, err);
    if (id < 0 || id >= VOCAB_MAX_TOKENS)
        return quire_fail(err, id < 0 ? QUIRE_ERR_FORMAT : QUIRE_ERR_UNSUPPORTED,
                          "tokenizer '%s': token '%s' has the id %lld, expected 0 to %u", vocab->path,
                          printable(spelling, n).text, (long long)id, VOCAB_MAX_TOKENS - 1);
    const struct token *other = vocab_token(vocab, id);
    if (other)
        return quire_fail(err, QUIRE_ERR_FORMAT, "tokenizer '%s': '%s' and '%s' have the same id %lld", vocab->path,
                          token_name(vocab, other).text, printable(spelling, n).text, (long long)id);
    *slot = find_slot(vocab, spelling, n);
    if (vocab->index[*slot] != 0)
        return quire_fail(err, QUIRE_ERR_FORMAT, "tokenizer '%s': token '%s' has the ids %u and %lld", vocab->path,
                          printable(spelling, n).text, vocab->index[*slot] - 1, (long long)id);
    return QUIRE_OK;
}

/* The spelling may lie in a mapped file, which somebody may change: the vocabulary's own copy is what is checked. */
quire_status vocab_add_token(struct vocab *vocab, int64_t id, const char *spelling, size_t n, uint32_t flags,
                             quire_error *err)
{
    size_t at = vocab->text.n, slot = 0;
    if (n == 0 || n > UINT32_MAX)
        return not_text(vocab, id, err);
    if (n > VOCAB_MAX_TEXT - at)
        return quire_fail(
            err, QUIRE_ERR_UNSUPPORTED,
            "tokenizer '%s': its tokens up to %lld have more than the %zu MiB of text that this build takes",
            vocab->path, (long long)id, VOCAB_MAX_TEXT >> 20);
    quire_status status = buffer_append(&vocab->text, spelling, n, err);
    if (status != QUIRE_OK)
        return status;
    status = check_new(vocab, id, (const char *)vocab->text.bytes + at, n, &slot, err);
    if (status == QUIRE_OK)
        status = grow_tokens(vocab, (size_t)id + 1, err);
    if (status != QUIRE_OK) {
        vocab->text.n = at;
        return status;
    }
    vocab->tokens[id] = (struct token){.spelling_at = at, .n_spelling = (uint32_t)n, .flags = flags | TOKEN_EXISTS};
    vocab->index[slot] = (uint32_t)id + 1;
    return QUIRE_OK;
}

static quire_status find_part(const struct vocab *vocab, const char *spelling, size_t n, const char *role, int32_t *id,
                              quire_error *err)
{
    *id = vocab_find(vocab, spelling, n);
    if (*id < 0)
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "tokenizer '%s': the %s of merge %u is '%s', which is not in the vocabulary", vocab->path,
                          role, vocab->n_merges, printable(spelling, n).text);
    return QUIRE_OK;
}

quire_status vocab_add_merge(struct vocab *vocab, const char *left, size_t n_left, const char *right, size_t n_right,
                             quire_error *err)
{
    int32_t left_id = -1, right_id = -1, product_id = -1;
    struct buffer product = {0};
    quire_status status = find_part(vocab, left, n_left, "left part", &left_id, err);
    if (status == QUIRE_OK)
        status = find_part(vocab, right, n_right, "right part", &right_id, err);
    if (status == QUIRE_OK)
        status = buffer_append(&product, left, n_left, err);
    if (status == QUIRE_OK)
        status = buffer_append(&product, right, n_right, err);
    if (status == QUIRE_OK)
        status = find_part(vocab, (const char *)product.bytes, product.n, "product", &product_id, err);
    buffer_release(&product);
    if (status != QUIRE_OK)
        return status;
    vocab->products[vocab->n_merges] = product_id;
    *vocab_merge_slot(vocab, left_id, right_id) =
        ((uint64_t)left_id << 21 | (uint64_t)right_id) << MERGE_RANK_BITS | vocab->n_merges++;
    return QUIRE_OK;
}

quire_status vocab_add_merge_line(struct vocab *vocab, const char *line, size_t n, quire_error *err)
{
    const char *space = memchr(line, ' ', n);
    size_t n_left = space ? (size_t)(space - line) : n;
    if (!space || memchr(space + 1, ' ', n - n_left - 1))
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "tokenizer '%s': merge %u is '%s', expected two parts with one space between them",
                          vocab->path, vocab->n_merges, printable(line, n).text);
    return vocab_add_merge(vocab, line, n_left, space + 1, n - n_left - 1, err);
}

uint64_t *vocab_merges_by_rank(const struct vocab *vocab, quire_error *err)
{
    uint64_t *by_rank = mem_calloc(vocab->n_merges, sizeof *by_rank, "the merges in order", err);
    if (!by_rank)
        return NULL;
    for (uint32_t rank = 0; rank < vocab->n_merges; rank++)
        by_rank[rank] = MERGE_FREE;
    for (size_t slot = 0; slot <= vocab->merges_mask; slot++)
        if (vocab->merges[slot] != MERGE_FREE)
            by_rank[merge_rank(vocab->merges[slot])] = vocab->merges[slot];
    return by_rank;
}

quire_status vocab_merge_line(const struct vocab *vocab, uint64_t merge, struct buffer *line, quire_error *err)
{
    const struct token *parts[] = {&vocab->tokens[merge_left(merge)], &vocab->tokens[merge_right(merge)]};
    quire_status status = QUIRE_OK;
    for (int i = 0; i < 2 && status == QUIRE_OK; i++) {
        const uint8_t *spelling = token_spelling(vocab, parts[i]);
        if (memchr(spelling, ' ', parts[i]->n_spelling))
            return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                              "merge %u of the tokenizer has the part '%s' with a space, which a line cannot hold",
                              merge_rank(merge), token_name(vocab, parts[i]).text);
        if (i == 1)
            status = buffer_append(line, " ", 1, err);
        if (status == QUIRE_OK)
            status = buffer_append(line, spelling, parts[i]->n_spelling, err);
    }
    return status;
}

/* --- finishing ---------------------------------------------------------------------------------------------------- */

/* The bytes that a token stands for: its spelling read in the alphabet. An added token, or one with a character that is
 * not in the alphabet, stands for its spelling. */
static quire_status decode_token(struct vocab *vocab, struct token *token, const int16_t byte_of[N_ALPHABET],
                                 quire_error *err)
{
    token->bytes_at = token->spelling_at;
    token->n_bytes = token->n_spelling;
    if (token->flags & TOKEN_ADDED)
        return QUIRE_OK;
    quire_status status = buffer_reserve(&vocab->text, token->n_spelling, err);
    if (status != QUIRE_OK)
        return status;
    const uint8_t *spelling = token_spelling(vocab, token);
    uint8_t *bytes = vocab->text.bytes + vocab->text.n;
    size_t n = 0, length;
    for (size_t at = 0; at < token->n_spelling; at += length) {
        uint32_t c = code_point_read(spelling + at, &length);
        if (c >= N_ALPHABET || byte_of[c] < 0)
            return QUIRE_OK;
        bytes[n++] = (uint8_t)byte_of[c];
    }
    token->bytes_at = vocab->text.n;
    token->n_bytes = (uint32_t)n;
    vocab->text.n += n;
    return QUIRE_OK;
}

static quire_status find_byte_ids(struct vocab *vocab, const int16_t byte_of[N_ALPHABET], quire_error *err)
{
    memset(vocab->byte_ids, -1, sizeof vocab->byte_ids);
    for (uint32_t c = 0; c < N_ALPHABET; c++) {
        if (byte_of[c] < 0)
            continue;
        unsigned byte = (unsigned)byte_of[c];
        uint8_t spelling[4];
        vocab->byte_ids[byte] = vocab_find(vocab, (char *)spelling, code_point_write(spelling, c));
        if (vocab->byte_ids[byte] < 0 && is_in_utf8(byte))
            return quire_fail(
                err, QUIRE_ERR_UNSUPPORTED,
                "tokenizer '%s' has no token for the byte 0x%02X, so that some texts could not be encoded", vocab->path,
                byte);
    }
    return QUIRE_OK;
}

static quire_status check_reachable(const struct vocab *vocab, int32_t id, const char *how, quire_error *err)
{
    const struct token *token = id < 0 ? NULL : &vocab->tokens[id];
    if (!token || !(token->flags & TOKEN_SPECIAL))
        return QUIRE_OK;
    return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                      "tokenizer '%s': the special token '%s' is also %s, so that ordinary text could become a command",
                      vocab->path, token_name(vocab, token).text, how);
}

quire_status vocab_finish(struct vocab *vocab, quire_error *err)
{
    int16_t byte_of[N_ALPHABET];
    make_alphabet(byte_of);
    quire_status status = find_byte_ids(vocab, byte_of, err);
    for (size_t id = 0; status == QUIRE_OK && id < vocab->n_tokens; id++)
        if (vocab->tokens[id].flags & TOKEN_EXISTS)
            status = decode_token(vocab, &vocab->tokens[id], byte_of, err);
    for (unsigned byte = 0; status == QUIRE_OK && byte < 256; byte++)
        status = check_reachable(vocab, vocab->byte_ids[byte], "a byte's token", err);
    for (uint32_t rank = 0; status == QUIRE_OK && rank < vocab->n_merges; rank++)
        status = check_reachable(vocab, vocab->products[rank], "the product of a merge", err);
    return status;
}
