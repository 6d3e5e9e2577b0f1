/* Drafting by lookup: where the text has come to a place that it was at before, what followed then is proposed as what
 * follows now. A draft is for quire_book_append_draft, which computes it together with the token before it: what is
 * written never depends on it, only the time does. */
#ifndef QUIRE_DRAFT_H
#define QUIRE_DRAFT_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quire_draft quire_draft;

/* For a text of up to n_tokens, what is going to be written counted in; `most` tokens at most are proposed at a time.
 * It takes at most 16 bytes for a token. Errors: NO_MEMORY; USAGE (a text of 2^31 tokens or more). */
QUIRE_API quire_status quire_draft_open(quire_draft **out, size_t n_tokens, uint32_t most, quire_error *err);
QUIRE_API void quire_draft_close(quire_draft *draft);

/* The next token of the text, read or written. Tokens beyond n_tokens are not taken. */
QUIRE_API void quire_draft_see(quire_draft *draft, int32_t id);

/* ids[0..most): what may follow the tokens seen so far; returns how many. As many as are worth their cost by how often
 * such guesses came true in this text until now, so often none. The same tokens seen give the same draft. */
QUIRE_API size_t quire_draft_next(const quire_draft *draft, int32_t *ids);

#ifdef __cplusplus
}
#endif
#endif
