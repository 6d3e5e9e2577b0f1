#include "spaces.h"

/* Spaces that were held are given in stretches of so many. */
#define MANY_HELD 4096

void spaces_init(struct spaces *spaces, const struct pieces *pieces)
{
    *spaces = (struct spaces){.pieces = pieces};
}

void spaces_release(struct spaces *spaces)
{
    buffer_release(&spaces->out);
}

void spaces_reset(struct spaces *spaces)
{
    spaces->has_begun = false;
    spaces->n_held = 0;
}

static quire_status give(struct spaces *spaces, const struct sink *sink, quire_error *err)
{
    quire_status status = QUIRE_OK;
    if (spaces->out.n > 0)
        status = sink->text(sink->context, spaces->out.bytes, spaces->out.n, err);
    spaces->out.n = 0;
    return status;
}

/* Held spaces are followed by something that stays, and so they stay. */
static quire_status give_held(struct spaces *spaces, const struct sink *sink, quire_error *err)
{
    const char *space = spaces->pieces->escapes ? PIECE_SPACE : " ";
    quire_status status = QUIRE_OK;
    for (; spaces->n_held > 0 && status == QUIRE_OK; spaces->n_held--) {
        status = buffer_append(&spaces->out, space, strlen(space), err);
        if (status == QUIRE_OK && spaces->n_held % MANY_HELD == 0)
            status = give(spaces, sink, err);
    }
    return status;
}

/* One of a run, or before the text. */
static bool goes(const struct spaces *spaces)
{
    return spaces->pieces->squeezes && (!spaces->has_begun || spaces->is_after_space);
}

/* The text's first character that does not go: the space before it counts as one that could have been there. */
static void begin(struct spaces *spaces)
{
    spaces->has_begun = true;
    spaces->is_after_space = false;
    spaces->n_held = spaces->pieces->adds_prefix;
}

quire_status spaces_feed(struct spaces *spaces, const uint8_t *text, size_t n, const struct sink *sink,
                         quire_error *err)
{
    bool squeezes = spaces->pieces->squeezes, escapes = spaces->pieces->escapes;
    quire_status status = QUIRE_OK;
    for (size_t at = 0; at < n && status == QUIRE_OK;) {
        bool is_space = text[at] == ' ';
        bool is_escaped = escapes && n - at >= PIECE_SPACE_BYTES && memcmp(text + at, PIECE_SPACE, 3) == 0;
        size_t length = is_escaped ? PIECE_SPACE_BYTES : 1;
        if (is_space && goes(spaces)) {
            at++;
            continue;
        }
        if (!spaces->has_begun)
            begin(spaces);
        if (is_space || is_escaped)
            spaces->n_held++;
        if (!squeezes || !(is_space || is_escaped))
            status = give_held(spaces, sink, err);
        if (status == QUIRE_OK && !(is_space || is_escaped))
            status = buffer_append(&spaces->out, text + at, length, err);
        spaces->is_after_space = is_space;
        at += length;
    }
    return status == QUIRE_OK ? give(spaces, sink, err) : status;
}

void spaces_finish(struct spaces *spaces)
{
    spaces_reset(spaces);
}
