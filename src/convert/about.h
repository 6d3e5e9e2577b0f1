/* What a model's files say of it beside configuration, tensors and vocabulary. */
#ifndef QUIRE_CONVERT_ABOUT_H
#define QUIRE_CONVERT_ABOUT_H

#include "quire/model.h"
#include "quire/tokenizer.h"

struct about {
    char *name;
    quire_prompt_format prompt_format;
    char *chat_template;                  /* Jinja; NULL: none */
    char *license;                        /* as general.license of a GGUF has it; NULL: not stated */
    int32_t begin, end, unknown, padding; /* ids of special tokens, -1: none */
    int64_t model_max_length;             /* of the tokenizer's settings; 0: not stated */
};

/* Of a model made here: texts begin and end with the vocabulary's end of text. tokenizer may be NULL. Errors:
 * NO_MEMORY.
 */
quire_status about_init(struct about *about, const char *name, quire_prompt_format format,
                        const quire_tokenizer *tokenizer, quire_error *err);

/* Of a model that was opened, from its GGUF's keys or its folder's tokenizer_config.json, special_tokens_map.json,
 * generation_config.json and chat_template.jinja. Errors: FORMAT (a file that is no JSON, a key of another type), IO,
 * NO_MEMORY. */
quire_status about_of_model(struct about *about, const quire_model *model, const quire_tokenizer *tokenizer,
                            quire_error *err);

/* Of a model that is made out of a model: as above, but under a name of its own, and with a length that is not stated.
 */
quire_status about_of_base(struct about *about, const quire_model *base, const char *name,
                           const quire_tokenizer *tokenizer, quire_error *err);

void about_release(struct about *about);

#endif
