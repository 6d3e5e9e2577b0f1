/* Layer-major prefill: a span of tokens goes through the stack layer by layer, in chunks within a layer. */
#ifndef QUIRE_ENGINE_PREFILL_H
#define QUIRE_ENGINE_PREFILL_H

#include "engine.h"

/* Reads the book's tokens from its KV's frontier to n_read: fills the KV, commits after each span, leaves the logits
 * after the last token in book->logits. On CANCELLED the store keeps the span in flight, and the same call goes on from
 * there. Errors: as quire_book_read. */
quire_status prefill_read(struct quire_book *book, quire_error *err);

#endif
