#include "about.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "base/utf8.h"
#include "model/gguf.h"
#include "model/json.h"
#include "model/model.h"
#include "model/source.h"
#include "tokenizer/special_ids.h"

#define MAX_TEMPLATE_BYTES ((size_t)16 << 20)

quire_status about_init(struct about *about, const char *name, quire_prompt_format format,
                        const quire_tokenizer *tokenizer, quire_error *err)
{
    int32_t end = tokenizer ? quire_tokenizer_end_of_text(tokenizer) : -1;
    *about = (struct about){.prompt_format = format, .begin = end, .end = end, .unknown = end, .padding = -1};
    about->name = mem_strdup(name, err);
    return about->name ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
}

void about_release(struct about *about)
{
    free(about->name);
    free(about->chat_template);
    free(about->license);
    *about = (struct about){0};
}

/* --- from a GGUF -------------------------------------------------------------------------------------------------- */

static quire_status read_id(int32_t *id, const struct gguf *gguf, const char *key, quire_error *err)
{
    uint32_t value;
    bool found;
    quire_status status = gguf_get_u32(gguf, key, &value, &found, err);
    if (status == QUIRE_OK && found && value <= INT32_MAX)
        *id = (int32_t)value;
    return status;
}

/* A copy, which is what is looked at: the file may change. NULL where there is none. */
static quire_status read_text(char **out, const struct gguf *gguf, const char *key, quire_error *err)
{
    struct gguf_string text;
    bool found = false;
    quire_status status = gguf_get_string(gguf, key, &text, &found, err);
    if (status != QUIRE_OK || !found)
        return status;
    *out = mem_calloc(text.n + 1, 1, key, err);
    if (!*out)
        return QUIRE_ERR_NO_MEMORY;
    memcpy(*out, text.bytes, text.n);
    if (utf8_scan((const unsigned char *)*out, text.n).n_valid < text.n)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s': %s is not UTF-8", gguf_path(gguf), key);
    return QUIRE_OK;
}

static quire_status read_gguf(struct about *about, const struct gguf *gguf, quire_error *err)
{
    quire_status status = read_id(&about->begin, gguf, "tokenizer.ggml.bos_token_id", err);
    if (status == QUIRE_OK)
        status = read_id(&about->end, gguf, "tokenizer.ggml.eos_token_id", err);
    if (status == QUIRE_OK)
        status = read_id(&about->unknown, gguf, "tokenizer.ggml.unknown_token_id", err);
    if (status == QUIRE_OK)
        status = read_id(&about->padding, gguf, "tokenizer.ggml.padding_token_id", err);
    if (status == QUIRE_OK)
        status = read_text(&about->chat_template, gguf, "tokenizer.chat_template", err);
    if (status == QUIRE_OK)
        status = read_text(&about->license, gguf, "general.license", err);
    return status;
}

/* --- from a folder ------------------------------------------------------------------------------------------------ */

/* The template of a list of named ones is that named "default". */
static const char *find_template(const json_t *settings)
{
    const json_t *value = json_object_get(settings, "chat_template");
    size_t i;
    const json_t *item;
    json_array_foreach(value, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(item, "template"));
    }
    return json_string_value(value);
}

static quire_status read_template(struct about *about, const char *folder, const json_t *settings, quire_error *err)
{
    const char *text = find_template(settings);
    char *path = path_join(folder, "chat_template.jinja", err);
    size_t n;
    if (!path)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = QUIRE_OK;
    if (sys_exists(path))
        status = sys_read_file(&about->chat_template, &n, path, MAX_TEMPLATE_BYTES, err);
    else if (text && !(about->chat_template = mem_strdup(text, err)))
        status = QUIRE_ERR_NO_MEMORY;
    free(path);
    return status;
}

static quire_status read_folder(struct about *about, const char *folder, const quire_tokenizer *tokenizer,
                                quire_error *err)
{
    struct special_ids ids = {about->begin, about->end, about->unknown, about->padding};
    json_t *settings = NULL;
    quire_status status = tokenizer ? special_ids_read(&ids, folder, tokenizer, err) : QUIRE_OK;
    if (status == QUIRE_OK)
        status = json_settings_load(&settings, folder, "tokenizer_config.json", err);
    if (status == QUIRE_OK) {
        about->begin = ids.begin;
        about->end = ids.end;
        about->unknown = ids.unknown;
        about->padding = ids.padding;
        double length = json_number_value(json_object_get(settings, "model_max_length"));
        about->model_max_length = length >= 1 && length <= INT32_MAX ? (int64_t)length : 0;
        status = read_template(about, folder, settings, err);
    }
    json_decref(settings);
    return status;
}

quire_status about_of_model(struct about *about, const quire_model *model, const quire_tokenizer *tokenizer,
                            quire_error *err)
{
    quire_status status = about_init(about, quire_model_name(model), quire_model_prompt_format(model), tokenizer, err);
    if (status != QUIRE_OK)
        return status;
    const struct gguf *gguf = model_gguf(model);
    status = gguf ? read_gguf(about, gguf, err) : read_folder(about, quire_model_path(model), tokenizer, err);
    if (status != QUIRE_OK)
        about_release(about);
    return status;
}

quire_status about_of_base(struct about *about, const quire_model *base, const char *name,
                           const quire_tokenizer *tokenizer, quire_error *err)
{
    quire_status status = about_of_model(about, base, tokenizer, err);
    if (status != QUIRE_OK)
        return status;
    free(about->name);
    about->name = mem_strdup(name, err);
    about->model_max_length = 0;
    if (about->name)
        return QUIRE_OK;
    about_release(about);
    return QUIRE_ERR_NO_MEMORY;
}
