/* A tokenizer as HuggingFace reads it. */
#ifndef QUIRE_CONVERT_HF_TOKENIZER_H
#define QUIRE_CONVERT_HF_TOKENIZER_H

#include <jansson.h>

#include "about.h"

/* The content of tokenizer.json: gives the ids that the tokenizer gives. Errors: UNSUPPORTED (a merge of parts with
 * spaces, or a token with a NUL, which the file cannot hold), NO_MEMORY. */
quire_status hf_tokenizer_json(json_t **out, const quire_tokenizer *tokenizer, quire_error *err);

/* tokenizer_config.json, special_tokens_map.json and generation_config.json. NULL: no memory. */
json_t *hf_tokenizer_config(const struct about *about, const quire_tokenizer *tokenizer);
json_t *hf_special_tokens_map(const struct about *about, const quire_tokenizer *tokenizer);
json_t *hf_generation_config(const struct about *about, const quire_tokenizer *tokenizer);

#endif
