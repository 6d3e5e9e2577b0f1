/* What is done to spaces before a text is cut into pieces: one goes before it, those at its ends go, of a run one
 * stays, and they become U+2581; each where the vocabulary says so. Nothing else is changed. */
#ifndef QUIRE_TOKENIZER_SPACES_H
#define QUIRE_TOKENIZER_SPACES_H

#include "pieces.h"

struct spaces {
    const struct pieces *pieces;
    bool has_begun;      /* something but spaces that go was there */
    bool is_after_space; /* a space would be one of a run */
    uint64_t n_held;     /* spaces that go if the text ends here */
    struct buffer out;
};

void spaces_init(struct spaces *spaces, const struct pieces *pieces);
void spaces_release(struct spaces *spaces);
void spaces_reset(struct spaces *spaces);

/* Takes whole characters, at most one block of the encoder's, and gives the text that it becomes to sink->text, apart
 * from spaces that may go. The next feed after an end starts another text. Errors: NO_MEMORY, the sink's. */
quire_status spaces_feed(struct spaces *spaces, const uint8_t *text, size_t n, const struct sink *sink,
                         quire_error *err);

/* The text ends: what is held goes. */
void spaces_finish(struct spaces *spaces);

#endif
