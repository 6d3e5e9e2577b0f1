/* One token through the stack. */
#ifndef QUIRE_ENGINE_DECODE_H
#define QUIRE_ENGINE_DECODE_H

#include "engine.h"

struct decode;

/* For positions below n_tokens. Errors: NO_MEMORY. */
quire_status decode_open(struct decode **out, const struct quire_engine *engine, uint64_t n_tokens, quire_error *err);
void decode_close(struct decode *decode);
size_t decode_floats(const quire_config *config, uint64_t n_tokens);

/* Token `id` at position `position`, which is the book's next: its keys and values are put, and logits are those after
 * it. Errors: of kv_book_put; NUMERIC; CANCELLED between layers. */
quire_status decode_token(struct quire_engine *engine, struct decode *decode, struct kv_book *kv,
                          const struct plan_residency *residency, int32_t id, size_t position, float *logits,
                          quire_error *err);

#endif
