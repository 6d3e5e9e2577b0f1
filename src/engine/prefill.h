/* Layer-major prefill: a span of tokens goes through the stack layer by layer, in chunks within a layer. */
#ifndef QUIRE_ENGINE_PREFILL_H
#define QUIRE_ENGINE_PREFILL_H

#include "engine.h"

/* The span that an interruption left in the store, where the reading can go on with it: only its place counts, not its
 * length. False: there is none. */
bool prefill_flight(const struct quire_book *book, struct kv_flight *out);

/* A span in flight is gone on with in one piece, however long this run's spans are: where it is longer, book->plan is
 * made anew for it, under the same budget; where that budget is the engine's own choice, under as much as is needed and
 * available. Before space is taken, and before prefill_read. Errors: NO_MEMORY, with the figures: the store keeps the
 * span as it is. */
quire_status prefill_plan_flight(struct quire_book *book, quire_error *err);

/* Reads the book's tokens from its KV's frontier to n_read: fills the KV, commits after each span, leaves the logits
 * after the last token in book->logits. On CANCELLED the store keeps the span in flight, and the same call goes on from
 * there. Errors: as quire_book_read. */
quire_status prefill_read(struct quire_book *book, quire_error *err);

#endif
