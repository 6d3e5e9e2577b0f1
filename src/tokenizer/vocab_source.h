/* Where a vocabulary comes from. Each fills a vocabulary that has only its path, up to and with vocab_finish; on
 * failure the caller releases it. Errors: FORMAT, UNSUPPORTED (names the field), NO_MEMORY. */
#ifndef QUIRE_TOKENIZER_VOCAB_SOURCE_H
#define QUIRE_TOKENIZER_VOCAB_SOURCE_H

#include "vocab.h"

struct gguf;

/* The text of a tokenizer.json. */
quire_status vocab_read_json(struct vocab *vocab, const char *text, size_t n, quire_error *err);

/* The metadata of a GGUF file; beside the usual keys one of Quire's own, an array of i32. */
#define VOCAB_GGUF_NORMALIZED "quire.tokenizer.normalized"
quire_status vocab_read_gguf(struct vocab *vocab, const struct gguf *gguf, quire_error *err);

#endif
