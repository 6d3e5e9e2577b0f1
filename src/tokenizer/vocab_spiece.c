/* spiece.model: a vocabulary as SentencePiece stores it, a Protocol Buffers message. What decides ids is honoured, or
 * refused by its name; the rest is passed over. The fields that are read, by their numbers:
 *
 *     1 pieces            1 piece (its text), 2 score, 3 type
 *     2 trainer_spec      3 model_type, 24 treat_whitespace_as_suffix, 35 byte_fallback, 42 eos_id, 44 unk_surface
 *     3 normalizer_spec   1 name, 2 precompiled_charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces,
 *                         5 escape_whitespaces
 *     5 denormalizer_spec 1 name, 2 precompiled_charsmap
 */
#include "vocab_source.h"

#include <stdio.h>

#include "base/printable.h"
#include "pieces.h"
#include "wire.h"

enum { KIND_UNIGRAM = 1, KIND_BPE = 2, KIND_WORD = 3, KIND_CHARACTER = 4 };

struct message {
    struct vocab *vocab;
    uint64_t kind;
    bool wants_bytes;
    int64_t end_of_text;
    const char *surface; /* of the unknown piece */
    size_t n_surface;
    quire_error *err;
};

static quire_status malformed(struct message *m, const char *what)
{
    return quire_fail(m->err, QUIRE_ERR_FORMAT,
                      "tokenizer '%s' is not a SentencePiece model, or is damaged: %s is malformed", m->vocab->path,
                      what);
}

static quire_status unsupported(struct message *m, const char *what, const char *expected)
{
    return quire_fail(m->err, QUIRE_ERR_UNSUPPORTED, "tokenizer '%s': %s is not supported, expected %s", m->vocab->path,
                      what, expected);
}

static struct cursor inside(const struct wire_field *field)
{
    return (struct cursor){field->bytes, (size_t)field->value, 0};
}

static bool has_type(const struct wire_field *field, uint32_t number, enum wire_type type)
{
    return field->number == number && field->type == (uint32_t)type;
}

static quire_status read_piece(struct message *m, const struct wire_field *outer)
{
    struct cursor cursor = inside(outer);
    struct wire_field field, text = {0};
    uint32_t score = 0;
    uint64_t type = PIECE_NORMAL;
    while (wire_next(&cursor, &field)) {
        if (has_type(&field, 1, WIRE_BYTES))
            text = field;
        else if (has_type(&field, 2, WIRE_32))
            score = (uint32_t)field.value;
        else if (has_type(&field, 3, WIRE_VARINT))
            type = field.value;
    }
    if (cursor_left(&cursor) > 0)
        return malformed(m, "a piece");
    return pieces_add(m->vocab, (const char *)text.bytes, (size_t)text.value, f32_from_bits(score),
                      type > INT32_MAX ? -1 : (int64_t)type, m->err);
}

static quire_status read_making(struct message *m, const struct wire_field *outer)
{
    struct cursor cursor = inside(outer);
    struct wire_field field;
    bool is_suffix = false;
    while (wire_next(&cursor, &field)) {
        if (has_type(&field, 3, WIRE_VARINT))
            m->kind = field.value;
        else if (has_type(&field, 24, WIRE_VARINT))
            is_suffix = field.value != 0;
        else if (has_type(&field, 35, WIRE_VARINT))
            m->wants_bytes = field.value != 0;
        else if (has_type(&field, 42, WIRE_VARINT))
            m->end_of_text = (int64_t)field.value;
        else if (has_type(&field, 44, WIRE_BYTES)) {
            m->surface = (const char *)field.bytes;
            m->n_surface = (size_t)field.value;
        }
    }
    if (cursor_left(&cursor) > 0)
        return malformed(m, "trainer_spec");
    return is_suffix ? unsupported(m, "treat_whitespace_as_suffix true", "false") : QUIRE_OK;
}

/* Rules that change characters would have to be followed; vocabularies of this family have none. */
static quire_status read_normalizer(struct message *m, const struct wire_field *outer, bool is_of_decoding)
{
    struct cursor cursor = inside(outer);
    struct wire_field field;
    struct pieces *pieces = m->vocab->pieces;
    struct printable name = {"without a name"};
    uint64_t n_rules = 0;
    while (wire_next(&cursor, &field)) {
        if (has_type(&field, 1, WIRE_BYTES))
            name = printable((const char *)field.bytes, (size_t)field.value);
        else if (has_type(&field, 2, WIRE_BYTES))
            n_rules = field.value;
        else if (is_of_decoding || field.type != WIRE_VARINT)
            continue;
        else if (field.number == 3)
            pieces->adds_prefix = field.value != 0;
        else if (field.number == 4)
            pieces->squeezes = field.value != 0;
        else if (field.number == 5)
            pieces->escapes = field.value != 0;
    }
    if (cursor_left(&cursor) > 0)
        return malformed(m, is_of_decoding ? "denormalizer_spec" : "normalizer_spec");
    if (n_rules > 0)
        return quire_fail(m->err, QUIRE_ERR_UNSUPPORTED,
                          "tokenizer '%s': the %s '%s' has %llu bytes of rules in precompiled_charsmap, which is not "
                          "supported, expected 'identity', without rules",
                          m->vocab->path, is_of_decoding ? "denormalizer" : "normalizer", name.text,
                          (unsigned long long)n_rules);
    return QUIRE_OK;
}

static quire_status check_kind(struct message *m)
{
    static const char *const kinds[] = {"0", "UNIGRAM", "BPE", "WORD", "CHAR"};
    char what[40];
    if (m->kind == KIND_UNIGRAM)
        return QUIRE_OK;
    if (m->kind <= KIND_CHARACTER)
        snprintf(what, sizeof what, "model_type %s", kinds[m->kind]);
    else
        snprintf(what, sizeof what, "model_type %llu", (unsigned long long)m->kind);
    return unsupported(m, what, "UNIGRAM");
}

/* All but the pieces: they are counted, and read when it is known that they can be. */
static quire_status read_settings(struct message *m, const unsigned char *bytes, size_t n, uint64_t *n_pieces)
{
    struct cursor cursor = {bytes, n, 0};
    struct wire_field field;
    quire_status status = QUIRE_OK;
    *n_pieces = 0;
    while (status == QUIRE_OK && wire_next(&cursor, &field)) {
        if (has_type(&field, 1, WIRE_BYTES))
            ++*n_pieces;
        else if (has_type(&field, 2, WIRE_BYTES))
            status = read_making(m, &field);
        else if (has_type(&field, 3, WIRE_BYTES))
            status = read_normalizer(m, &field, false);
        else if (has_type(&field, 5, WIRE_BYTES))
            status = read_normalizer(m, &field, true);
    }
    if (status == QUIRE_OK && (cursor_left(&cursor) > 0 || *n_pieces == 0)) {
        char what[60];
        snprintf(what, sizeof what, "what stands at byte %zu of %zu", cursor.at, n);
        status = malformed(m, what);
    }
    return status == QUIRE_OK ? check_kind(m) : status;
}

static quire_status read_pieces(struct message *m, const unsigned char *bytes, size_t n)
{
    struct cursor cursor = {bytes, n, 0};
    struct wire_field field;
    quire_status status = QUIRE_OK;
    while (status == QUIRE_OK && wire_next(&cursor, &field))
        if (has_type(&field, 1, WIRE_BYTES))
            status = read_piece(m, &field);
    return status;
}

quire_status vocab_read_spiece(struct vocab *vocab, const unsigned char *bytes, size_t n, quire_error *err)
{
    struct message m = {.vocab = vocab,
                        .kind = KIND_UNIGRAM,
                        .end_of_text = 2,
                        .surface = PIECE_UNKNOWN_SURFACE,
                        .n_surface = strlen(PIECE_UNKNOWN_SURFACE),
                        .err = err};
    uint64_t n_pieces;
    quire_status status = pieces_open(vocab, err);
    if (status == QUIRE_OK)
        status = read_settings(&m, bytes, n, &n_pieces);
    if (status == QUIRE_OK)
        status = vocab_reserve(vocab, n_pieces, 0, err);
    if (status == QUIRE_OK)
        status = read_pieces(&m, bytes, n);
    if (status == QUIRE_OK && m.wants_bytes != vocab->pieces->has_bytes)
        status =
            quire_fail(err, QUIRE_ERR_FORMAT, "tokenizer '%s': byte_fallback is %s, but there are %s pieces of bytes",
                       vocab->path, m.wants_bytes ? "true" : "false", m.wants_bytes ? "no" : "some");
    if (status == QUIRE_OK)
        status = pieces_finish(vocab, m.surface, m.n_surface, err);
    vocab->end_of_text = m.end_of_text;
    return status;
}
