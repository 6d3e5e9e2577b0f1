/* Which tokens are special to a model, as the settings beside its tokenizer.json say: tokenizer_config.json, or
 * special_tokens_map.json, generation_config.json, config.json. tokenizer.json itself says only that they are special.
 */
#ifndef QUIRE_TOKENIZER_SPECIAL_IDS_H
#define QUIRE_TOKENIZER_SPECIAL_IDS_H

#include "quire/tokenizer.h"

struct special_ids {
    int32_t begin, end, unknown, padding; /* -1: none */
};

/* Overwrites in *ids what is said and is a token of the tokenizer, or, in config.json, a special one: checkpoints carry
 * ids there of the library's defaults. Errors: those of json_settings_load. */
quire_status special_ids_read(struct special_ids *ids, const char *folder, const quire_tokenizer *tokenizer,
                              quire_error *err);

#endif
