/* What a KV store knows a model by. */
#ifndef QUIRE_MODEL_FINGERPRINT_H
#define QUIRE_MODEL_FINGERPRINT_H

#include "base/hash.h"
#include "quire/model.h"
#include "tensors.h"

/* 128 bits over the configuration and over every tensor of the (sorted) directory: name, type, shape and contents, the
 * latter in samples where a tensor is large. Does not depend on paths or on how tensors are spread over files.
 * Errors: NO_MEMORY. */
quire_status fingerprint(char hex[HASH_HEX_SIZE], const quire_config *config, const struct tensors *tensors,
                         quire_error *err);

/* 128 bits over what the model's files say of its tokenizer: the GGUF's keys of that name, or the tokenizer.json (or
 * spiece.model), byte by byte; "none" where there is nothing. It stands in for the tokenizer's own fingerprint, which
 * only a whole vocabulary gives: two that differ may still give the same ids, two that are the same do. Errors: IO,
 * NO_MEMORY. */
struct model_source;
quire_status fingerprint_tokenizer(char hex[HASH_HEX_SIZE], const struct model_source *source, quire_error *err);

#endif
