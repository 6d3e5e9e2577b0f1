#include "pieces.h"

#include <math.h>

#include "base/hash.h"
#include "base/printable.h"

/* Below the score of the least likely piece: what the library that trains these vocabularies takes off. */
#define UNKNOWN_PENALTY 10.0f

quire_status pieces_open(struct vocab *vocab, quire_error *err)
{
    struct pieces *pieces = mem_calloc(1, sizeof *pieces, "the pieces", err);
    if (!pieces)
        return QUIRE_ERR_NO_MEMORY;
    pieces->unknown = -1;
    pieces->hash_seed = hash_seed();
    pieces->adds_prefix = pieces->squeezes = pieces->escapes = true;
    memset(vocab->byte_ids, -1, sizeof vocab->byte_ids);
    vocab->pieces = pieces;
    return QUIRE_OK;
}

void pieces_close(struct pieces *pieces)
{
    if (!pieces)
        return;
    free(pieces->scores);
    free(pieces->types);
    free(pieces->steps);
    free(pieces->ids);
    free(pieces);
}

static quire_status refuse(const struct vocab *vocab, quire_status status, const char *piece, size_t n,
                           const char *what, quire_error *err)
{
    return quire_fail(err, status, "tokenizer '%s': piece %zu, '%s', %s", vocab->path, vocab->pieces->n_scores,
                      printable(piece, n).text, what);
}

/* "<0x0A>"; -1: it is not one. */
static int byte_of(const char *piece, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    const char *high = n == 6 && memcmp(piece, "<0x", 3) == 0 && piece[5] == '>' ? memchr(digits, piece[3], 16) : NULL;
    const char *low = high ? memchr(digits, piece[4], 16) : NULL;
    return low ? (int)(16 * (high - digits) + (low - digits)) : -1;
}

static quire_status append(struct pieces *pieces, float score, uint8_t type, quire_error *err)
{
    size_t n = pieces->n_scores;
    quire_status status =
        mem_reserve(&pieces->scores, &pieces->scores_capacity, n + 1, sizeof *pieces->scores, "pieces", err);
    if (status == QUIRE_OK)
        status = mem_reserve(&pieces->types, &pieces->types_capacity, n + 1, sizeof *pieces->types, "pieces", err);
    if (status != QUIRE_OK)
        return status;
    pieces->scores[n] = score;
    pieces->types[n] = type;
    pieces->n_scores++;
    return QUIRE_OK;
}

quire_status pieces_add(struct vocab *vocab, const char *piece, size_t n, float score, int64_t type, quire_error *err)
{
    struct pieces *pieces = vocab->pieces;
    int32_t id = (int32_t)pieces->n_scores;
    if (!isfinite(score))
        return refuse(vocab, QUIRE_ERR_FORMAT, piece, n, "has a score that is not a number", err);
    if (type < PIECE_NORMAL || type > PIECE_BYTE)
        return refuse(vocab, QUIRE_ERR_UNSUPPORTED, piece, n, "is of a type that is not one of 1 to 6", err);
    if (n > PIECE_MAX_BYTES)
        return refuse(vocab, QUIRE_ERR_UNSUPPORTED, piece, n, "is longer than the 512 bytes that this build takes",
                      err);
    if (type == PIECE_UNKNOWN && pieces->unknown >= 0)
        return refuse(vocab, QUIRE_ERR_FORMAT, piece, n, "is a second piece for what is unknown", err);
    if (type == PIECE_BYTE) {
        int byte = byte_of(piece, n);
        if (byte < 0)
            return refuse(vocab, QUIRE_ERR_FORMAT, piece, n, "stands for a byte, expected such as '<0x0A>'", err);
        vocab->byte_ids[byte] = id;
        pieces->has_bytes = true;
    }
    if (type == PIECE_UNKNOWN)
        pieces->unknown = id;
    if (type == PIECE_UNUSED) /* the id has no token: neither text nor a model gives it */
        return append(pieces, score, (uint8_t)type, err);
    uint32_t flags = type == PIECE_CONTROL ? TOKEN_ADDED | TOKEN_SPECIAL : 0;
    quire_status status = vocab_add_token(vocab, id, piece, n, flags, err);
    return status == QUIRE_OK ? append(pieces, score, (uint8_t)type, err) : status;
}

/* --- what a piece decodes to -------------------------------------------------------------------------------------- */

static quire_status decode_as(struct vocab *vocab, struct token *token, const void *bytes, size_t n, quire_error *err)
{
    token->bytes_at = vocab->text.n;
    token->n_bytes = (uint32_t)n;
    return buffer_append(&vocab->text, bytes, n, err);
}

static quire_status decode_spaces(struct vocab *vocab, struct token *token, quire_error *err)
{
    uint8_t bytes[PIECE_MAX_BYTES];
    const uint8_t *spelling = token_spelling(vocab, token);
    size_t n = 0;
    for (size_t at = 0; at < token->n_spelling;) {
        bool is_space = token->n_spelling - at >= PIECE_SPACE_BYTES && memcmp(spelling + at, PIECE_SPACE, 3) == 0;
        bytes[n++] = is_space ? ' ' : spelling[at];
        at += is_space ? PIECE_SPACE_BYTES : 1;
    }
    return decode_as(vocab, token, bytes, n, err);
}

static quire_status decode_pieces(struct vocab *vocab, const char *unknown_surface, size_t n_surface, quire_error *err)
{
    const struct pieces *pieces = vocab->pieces;
    quire_status status = QUIRE_OK;
    for (size_t id = 0; id < pieces->n_scores && status == QUIRE_OK; id++) {
        if (pieces->types[id] == PIECE_UNUSED)
            continue;
        struct token *token = &vocab->tokens[id];
        const uint8_t *spelling = token_spelling(vocab, token);
        if (pieces->types[id] == PIECE_UNKNOWN) {
            status = decode_as(vocab, token, unknown_surface, n_surface, err);
        } else if (pieces->types[id] == PIECE_BYTE) {
            uint8_t byte = (uint8_t)byte_of((const char *)spelling, token->n_spelling);
            status = decode_as(vocab, token, &byte, 1, err);
        } else if (pieces->types[id] == PIECE_CONTROL) {
            token->bytes_at = token->spelling_at;
            token->n_bytes = token->n_spelling;
        } else {
            status = decode_spaces(vocab, token, err);
        }
    }
    return status;
}

/* --- the tree ----------------------------------------------------------------------------------------------------- */

static bool is_in_tree(const struct pieces *pieces, size_t id)
{
    return pieces->types[id] == PIECE_NORMAL || pieces->types[id] == PIECE_USER_DEFINED;
}

static quire_status reserve_tree(struct vocab *vocab, quire_error *err)
{
    struct pieces *pieces = vocab->pieces;
    size_t n_most = 1, n_slots = 16;
    for (size_t id = 0; id < pieces->n_scores; id++)
        n_most += is_in_tree(pieces, id) ? vocab->tokens[id].n_spelling : 0;
    n_most = size_min(n_most, PIECES_MAX_NODES);
    while (n_slots < 2 * n_most)
        n_slots *= 2;
    pieces->ids = mem_calloc(n_most, sizeof *pieces->ids, "the tree of pieces", err);
    pieces->steps = mem_calloc(n_slots, sizeof *pieces->steps, "the tree of pieces", err);
    if (!pieces->ids || !pieces->steps)
        return QUIRE_ERR_NO_MEMORY;
    pieces->steps_mask = n_slots - 1;
    pieces->ids[0] = -1;
    pieces->n_nodes = 1;
    return QUIRE_OK;
}

/* The node one byte further, made where it is not there; 0: there are too many. */
static uint32_t make_step(struct pieces *pieces, uint32_t parent, uint8_t byte)
{
    struct piece_step *step = pieces_slot(pieces, parent, byte);
    if (step->child != 0 || pieces->n_nodes == PIECES_MAX_NODES)
        return step->child;
    uint32_t child = pieces->n_nodes++;
    *step = (struct piece_step){.parent = parent, .child = child & 0xFFFFFF, .byte = byte};
    pieces->ids[child] = -1;
    return child;
}

static quire_status build_tree(struct vocab *vocab, quire_error *err)
{
    struct pieces *pieces = vocab->pieces;
    quire_status status = reserve_tree(vocab, err);
    for (size_t id = 0; id < pieces->n_scores && status == QUIRE_OK; id++) {
        if (!is_in_tree(pieces, id))
            continue;
        const struct token *token = &vocab->tokens[id];
        const uint8_t *spelling = token_spelling(vocab, token);
        uint32_t node = 0;
        for (size_t i = 0; i < token->n_spelling && (i == 0 || node != 0); i++)
            node = make_step(pieces, node, spelling[i]);
        if (node == 0)
            return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                              "tokenizer '%s': its pieces have more than the %u beginnings that this build takes",
                              vocab->path, PIECES_MAX_NODES);
        pieces->ids[node] = (int32_t)id;
        pieces->longest = size_max(pieces->longest, token->n_spelling);
    }
    return status;
}

/* --- finishing ---------------------------------------------------------------------------------------------------- */

/* A piece that somebody defined is worth more the longer it is, and more than what any other cut of the same text could
 * be, since scores are logarithms. The figure is that of SentencePiece 0.2; older versions took -0.1 for all, which
 * makes a difference only where several cuts have the same pieces in another order. */
static void set_scores(struct vocab *vocab)
{
    struct pieces *pieces = vocab->pieces;
    float least = 0;
    bool has_least = false;
    for (size_t id = 0; id < pieces->n_scores; id++) {
        if (pieces->types[id] == PIECE_USER_DEFINED) {
            float bonus = 0.1f * (float)vocab->tokens[id].n_spelling; /* on its own: it is rounded before it is used */
            pieces->scores[id] = bonus - 0.1f;
        }
        if (pieces->types[id] != PIECE_NORMAL)
            continue;
        float score = pieces->scores[id];
        least = has_least && least < score ? least : score;
        has_least = true;
    }
    pieces->unknown_score = least - UNKNOWN_PENALTY;
}

static quire_status check_bytes(const struct vocab *vocab, quire_error *err)
{
    for (unsigned byte = 0; vocab->pieces->has_bytes && byte < 256; byte++)
        if (vocab->byte_ids[byte] < 0)
            return quire_fail(err, QUIRE_ERR_FORMAT,
                              "tokenizer '%s' has pieces for some bytes, but none for the byte 0x%02X", vocab->path,
                              byte);
    return QUIRE_OK;
}

/* Spaces within a defined piece would be squeezed only outside of it. */
static quire_status check_defined(const struct vocab *vocab, quire_error *err)
{
    const struct pieces *pieces = vocab->pieces;
    for (size_t id = 0; id < pieces->n_scores && pieces->squeezes; id++) {
        if (pieces->types[id] != PIECE_USER_DEFINED)
            continue;
        const struct token *token = &vocab->tokens[id];
        if (memchr(token_spelling(vocab, token), ' ', token->n_spelling))
            return quire_fail(
                err, QUIRE_ERR_UNSUPPORTED,
                "tokenizer '%s': piece %zu is user-defined and has a space, which is not supported together "
                "with remove_extra_whitespaces",
                vocab->path, id);
    }
    return QUIRE_OK;
}

quire_status pieces_finish(struct vocab *vocab, const char *unknown_surface, size_t n_surface, quire_error *err)
{
    if (vocab->pieces->unknown < 0)
        return quire_fail(err, QUIRE_ERR_FORMAT, "tokenizer '%s' has no piece for what is unknown", vocab->path);
    quire_status status = check_bytes(vocab, err);
    if (status == QUIRE_OK)
        status = check_defined(vocab, err);
    if (status == QUIRE_OK)
        status = decode_pieces(vocab, unknown_surface, n_surface, err);
    if (status == QUIRE_OK)
        status = build_tree(vocab, err);
    set_scores(vocab);
    return status;
}
