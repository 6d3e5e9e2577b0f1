/* One token, or a few that follow each other, through the stack: each layer's weights are read once for all of them,
 * and a block of keys and values once for all that need it. */
#ifndef QUIRE_ENGINE_DECODE_H
#define QUIRE_ENGINE_DECODE_H

#include "engine.h"

struct decode;

/* For positions below n_tokens, engine->n_at_once tokens at a time. Errors: NO_MEMORY. */
quire_status decode_open(struct decode **out, const struct quire_engine *engine, uint64_t n_tokens, quire_error *err);
void decode_close(struct decode *decode);
/* Floats for each of the tokens that go together. */
size_t decode_floats(const quire_config *config, uint64_t n_tokens);

/* Tokens that may go together from a position on, without leaving its KV block or making it whole: what may be taken
 * back has to stay out of files (KV-13). At least 1. */
size_t decode_room(size_t position);

/* Tokens ids[0..n), n <= decode_room, at positions `position`.., the first of which is the book's next: their keys and
 * values are put, and logits[n][vocab_size] are those after each. What a token gives is the same, bit for bit, whatever
 * goes with it. Errors: of kv_book_put; NUMERIC; CANCELLED between layers. */
quire_status decode_tokens(struct quire_engine *engine, struct decode *decode, struct kv_book *kv,
                           const struct plan_residency *residency, const int32_t *ids, size_t n, size_t position,
                           float *logits, quire_error *err);

#endif
