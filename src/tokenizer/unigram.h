/* Unigram segmentation: a text, in pieces that come one after the other, is cut so that the sum of the scores of its
 * tokens is the greatest. Characters that no token spells are unknown: bytes where the vocabulary has them, else one
 * token for each run. */
#ifndef QUIRE_TOKENIZER_UNIGRAM_H
#define QUIRE_TOKENIZER_UNIGRAM_H

#include "pieces.h"

struct unigram_end;

struct unigram {
    const struct vocab *vocab;
    struct buffer text;       /* what is not decided */
    struct unigram_end *ends; /* [text.n + 1] the best way to each place */
    size_t ends_capacity;
    size_t n_ends;         /* that were set up */
    size_t at;             /* the next place to go on from: a character's first byte, or text.n */
    size_t next_look;      /* when at is here, whether something is decided is looked at again */
    bool is_after_unknown; /* the last token given was unknown */
};

void unigram_init(struct unigram *unigram, const struct vocab *vocab);
void unigram_release(struct unigram *unigram);
void unigram_reset(struct unigram *unigram);

/* Takes whole characters and appends the ids of the tokens that no later text can change. Errors: NO_MEMORY; TEXT where
 * 4 MiB in a row stay undecided. */
quire_status unigram_feed(struct unigram *unigram, const uint8_t *text, size_t n, struct id_list *out,
                          quire_error *err);

/* The text ends: appends what is left. The next feed starts another text. Errors: NO_MEMORY. */
quire_status unigram_finish(struct unigram *unigram, struct id_list *out, quire_error *err);

#endif
