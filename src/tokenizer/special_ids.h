/* Which tokens are special to a model, as the settings beside its tokenizer.json say: tokenizer_config.json, or
 * special_tokens_map.json, generation_config.json, config.json. tokenizer.json itself says only that they are special.
 */
#ifndef QUIRE_TOKENIZER_SPECIAL_IDS_H
#define QUIRE_TOKENIZER_SPECIAL_IDS_H

#include "quire/tokenizer.h"

struct special_ids {
    int32_t begin, end, unknown, padding; /* -1: not said, or no token of the tokenizer */
};

/* tokenizer may be NULL: then only ids are read, not names. Errors: those of json_settings_load. */
quire_status special_ids_read(struct special_ids *out, const char *folder, const quire_tokenizer *tokenizer,
                              quire_error *err);

#endif
