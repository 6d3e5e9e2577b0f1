/* Normalisation form C of a text that comes in pieces.
 *
 * Time and memory are linear in the text, whatever it is: a long run of combining marks is ordered by counting, since
 * utf8proc's own ordering is an insertion sort. */
#ifndef QUIRE_TOKENIZER_NFC_H
#define QUIRE_TOKENIZER_NFC_H

#include <stdbool.h>

#include "buffer.h"

struct nfc {
    const uint8_t *unicode; /* the table of unicode.h */
    struct buffer held;     /* characters whose form the next ones may change */
    bool is_held_plain;     /* held is one boundary character and nothing else: its own form if a boundary follows */
    int32_t *points;        /* a piece, decomposed */
    int32_t *ordered;       /* a run of marks, being ordered */
    size_t points_capacity, ordered_capacity;
    struct buffer out;
};

void nfc_init(struct nfc *nfc, const uint8_t *unicode);
void nfc_release(struct nfc *nfc);

/* Takes whole characters and gives to sink->text what later ones cannot change. Errors: NO_MEMORY, the sink's. */
quire_status nfc_feed(struct nfc *nfc, const uint8_t *text, size_t n, const struct sink *sink, quire_error *err);

/* The text ends: gives what is left. The next feed starts another text. */
quire_status nfc_finish(struct nfc *nfc, const struct sink *sink, quire_error *err);

/* Forgets what is held. */
void nfc_reset(struct nfc *nfc);

#endif
