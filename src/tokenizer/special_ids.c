#include "special_ids.h"

#include <math.h>

#include "model/json.h"

/* A token stands in the settings as its text, or as an object with its "content". */
static void find_token(int32_t *id, const json_t *settings, const char *field, const quire_tokenizer *tokenizer)
{
    const json_t *value = json_object_get(settings, field);
    const char *text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    int32_t found = text ? quire_tokenizer_find(tokenizer, text) : -1;
    if (found >= 0)
        *id = found;
}

static void find_tokens(struct special_ids *ids, const json_t *settings, const quire_tokenizer *tokenizer)
{
    find_token(&ids->begin, settings, "bos_token", tokenizer);
    find_token(&ids->end, settings, "eos_token", tokenizer);
    find_token(&ids->unknown, settings, "unk_token", tokenizer);
    find_token(&ids->padding, settings, "pad_token", tokenizer);
}

/* A number, or the first of several. */
static void find_id(int32_t *id, const json_t *settings, const char *field, const quire_tokenizer *tokenizer,
                    bool must_be_special)
{
    const json_t *value = json_object_get(settings, field);
    const char *bytes;
    size_t n;
    if (json_is_array(value))
        value = json_array_get(value, 0);
    double number = json_is_number(value) ? json_number_value(value) : -1;
    if (number < 0 || number > INT32_MAX || number != floor(number))
        return;
    int32_t found = (int32_t)number;
    if (must_be_special ? quire_tokenizer_is_special(tokenizer, found)
                        : quire_tokenizer_bytes(tokenizer, found, &bytes, &n))
        *id = found;
}

static void find_ids(struct special_ids *ids, const json_t *settings, const quire_tokenizer *tokenizer,
                     bool must_be_special)
{
    find_id(&ids->begin, settings, "bos_token_id", tokenizer, must_be_special);
    find_id(&ids->end, settings, "eos_token_id", tokenizer, must_be_special);
    find_id(&ids->padding, settings, "pad_token_id", tokenizer, must_be_special);
}

quire_status special_ids_read(struct special_ids *ids, const char *folder, const quire_tokenizer *tokenizer,
                              quire_error *err)
{
    /* From what is believed least to what HuggingFace believes. */
    static const char *const files[] = {"config.json", "generation_config.json", "special_tokens_map.json",
                                        "tokenizer_config.json"};
    struct special_ids found = *ids;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        json_t *settings = NULL;
        quire_status status = json_settings_load(&settings, folder, files[i], err);
        if (status != QUIRE_OK)
            return status;
        if (i < 2)
            find_ids(&found, settings, tokenizer, i == 0);
        else
            find_tokens(&found, settings, tokenizer);
        json_decref(settings);
    }
    *ids = found;
    return QUIRE_OK;
}
