/* The documents of one part of a split, and the samples that training and validation take from them.
 *
 * Training: the documents laid end to end; a sample is seq_len tokens and what follows each of them. An epoch cuts that
 * text into samples from an offset of its own, and shuffles them: both from (seed, epoch) alone, so that any position
 * can be returned to. Fewer than two samples' length of text is left out of an epoch at its two ends.
 *
 * Validation: every document by itself, from its first token on, in windows of seq_len tokens that begin anew; the
 * end-of-text id is not predicted. For a document that fits a window this is what `quire score` computes. */
#ifndef QUIRE_TRAIN_TOKEN_SET_H
#define QUIRE_TRAIN_TOKEN_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "token_file.h"

/* Which documents are held out: those of a list, or by a rule, or none. */
struct token_split {
    double fraction; /* of all documents, by a hash of the name */
    char **names;    /* sorted; of the list; NULL: none */
    size_t n_names;
};

/* A list: a document's name and, behind a tab, its part: "train" or "heldout" ("validation" is the same); a first line
 * with the titles "slug" or "name" is passed over. Documents that it does not name are trained on.
 * Errors: FORMAT with line, IO, NO_MEMORY. */
quire_status token_split_load(struct token_split *out, const char *path, quire_error *err);
bool token_split_holds_out(const struct token_split *split, const char *name);
void token_split_release(struct token_split *split);

struct token_set {
    const struct token_file *file;
    size_t *documents; /* in the file */
    uint64_t *firsts;  /* [n_documents + 1]: where each begins in the text laid end to end */
    size_t n_documents;
    uint64_t n_ids;
};

/* The documents that are held out, or the others. split NULL: all. Errors: FORMAT (there is none), NO_MEMORY. */
quire_status token_set_make(struct token_set *out, const struct token_file *file, const struct token_split *split,
                            bool held_out, quire_error *err);
void token_set_release(struct token_set *set);

/* out[0..n) = ids of the text laid end to end, from first on. */
void token_set_copy(const struct token_set *set, uint64_t first, size_t n, uint32_t *out);

/* --- training ---------------------------------------------------------------------------------------------------- */

struct token_order {
    const struct token_set *set;
    uint32_t seq_len;
    uint64_t seed;
    bool shuffles;
    uint64_t n_samples; /* of an epoch */
    uint64_t epoch;     /* that order and offset belong to */
    uint64_t offset;
    uint32_t *order; /* [n_samples] */
};

/* Errors: FORMAT (the set is shorter than one sample), UNSUPPORTED (more samples than 32 bits count), NO_MEMORY. */
quire_status token_order_make(struct token_order *out, const struct token_set *set, uint32_t seq_len, uint64_t seed,
                              bool shuffles, quire_error *err);
void token_order_release(struct token_order *order);

/* The sample at a position that counts on through the epochs. tokens, targets: [seq_len]. */
void token_order_sample(struct token_order *order, uint64_t position, uint32_t *tokens, uint32_t *targets);

/* --- validation -------------------------------------------------------------------------------------------------- */

struct token_window {
    uint64_t first;     /* in the text laid end to end */
    uint32_t n_targets; /* tokens first .. first + n_targets - 1 predict those behind them */
};

/* All windows, or at most `most` of them, evenly spread. *windows is malloc'ed. Errors: FORMAT (no document has two
 * tokens), NO_MEMORY. */
quire_status token_windows(struct token_window **windows, size_t *n, const struct token_set *set, uint32_t seq_len,
                           size_t most, quire_error *err);

#endif
