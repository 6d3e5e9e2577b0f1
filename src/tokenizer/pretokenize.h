/* The pre-tokenizer: cuts a text that comes in pieces into words, as GPT-2's pattern does:
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * Each byte is looked at a fixed number of times, however the text is cut. */
#ifndef QUIRE_TOKENIZER_PRETOKENIZE_H
#define QUIRE_TOKENIZER_PRETOKENIZE_H

#include <stdbool.h>

#include "buffer.h"

enum pretokenizer_state {
    WORD_START,             /* nothing of the next word is known */
    WORD_LETTERS,           /* ` ?\p{L}` so far; these three stand in the order of enum unicode_class */
    WORD_NUMBERS,           /* ` ?\p{N}` */
    WORD_SPACES,            /* white space */
    WORD_OTHERS,            /* ` ?[^\s\p{L}\p{N}]` */
    WORD_APOSTROPHE,        /* `'` */
    WORD_APOSTROPHE_LETTER, /* `'r`, `'v` or `'l` */
};

struct pretokenizer {
    const uint8_t *unicode; /* the table of unicode.h */
    struct buffer text;
    size_t start; /* of the word that is being read */
    size_t at;    /* the next byte to look at */
    size_t last;  /* in WORD_SPACES: where the last white space starts */
    enum pretokenizer_state state;
};

void pretokenizer_init(struct pretokenizer *pretokenizer, const uint8_t *unicode);
void pretokenizer_release(struct pretokenizer *pretokenizer);
void pretokenizer_reset(struct pretokenizer *pretokenizer);

/* Takes whole characters. All words that are certain must have been fetched before. Errors: NO_MEMORY. */
quire_status pretokenizer_feed(struct pretokenizer *pretokenizer, const uint8_t *text, size_t n, quire_error *err);

/* The next word, valid until the next feed; false where there is none (yet). is_end: no text follows what was fed; once
 * that has returned false, the next feed starts another text. */
bool pretokenizer_next(struct pretokenizer *pretokenizer, bool is_end, const uint8_t **word, size_t *n);

#endif
