#include "prompt_guess.h"

#include <stdlib.h>
#include <string.h>

#include "gguf_file.h"

#define CHATML_MARK   "<|im_start|>"
#define INSTRUCT_MARK "Instruction" /* behind "###", with or without a space */

static bool contains(const void *text, size_t n, const char *part)
{
    return n > 0 && memmem(text, n, part, strlen(part)) != NULL;
}

static bool file_contains(const char *folder, const char *name, const char *part)
{
    struct sys_map map = {0};
    char *path = path_join(folder, name, NULL);
    bool is_in = path && sys_map_file(&map, path, NULL) == QUIRE_OK && contains(map.data, map.n_bytes, part);
    sys_unmap(&map);
    free(path);
    return is_in;
}

static bool gguf_vocabulary_contains(const struct gguf *gguf, const char *token)
{
    struct gguf_array tokens;
    bool found = false;
    if (gguf_get_array(gguf, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, &found, NULL) != QUIRE_OK || !found)
        return false;
    struct gguf_place place = {0};
    size_t n = strlen(token);
    for (uint64_t i = 0; i < tokens.n; i++) {
        struct gguf_string string = gguf_array_string(&tokens, &place);
        if (string.n == n && memcmp(string.bytes, token, n) == 0)
            return true;
    }
    return false;
}

static bool template_contains(const struct model_source *source, const char *folder, const char *part)
{
    if (folder)
        return file_contains(folder, "tokenizer_config.json", part) ||
               file_contains(folder, "chat_template.jinja", part);
    struct gguf_string text;
    bool found = false;
    return gguf_get_string(source->gguf, "tokenizer.chat_template", &text, &found, NULL) == QUIRE_OK && found &&
           contains(text.bytes, text.n, part);
}

static bool vocabulary_contains(const struct model_source *source, const char *folder, const char *token)
{
    return folder ? file_contains(folder, "tokenizer.json", token) : gguf_vocabulary_contains(source->gguf, token);
}

/* False where nothing is stated, or something that this build does not know. */
static bool find_stated(quire_prompt_format *out, const struct model_source *source, const char *stated)
{
    struct gguf_string text;
    char name[16];
    bool found = false;
    if (source->gguf && gguf_get_string(source->gguf, "quire.prompt_format", &text, &found, NULL) == QUIRE_OK &&
        found && text.n < sizeof name) {
        memcpy(name, text.bytes, text.n);
        name[text.n] = '\0';
        stated = name;
    }
    return stated && quire_prompt_format_parse(out, stated, NULL) == QUIRE_OK;
}

quire_prompt_format prompt_guess(const struct model_source *source, const char *folder, const char *name,
                                 const char *stated)
{
    quire_prompt_format format;
    if (find_stated(&format, source, stated))
        return format;
    if (template_contains(source, folder, CHATML_MARK))
        return QUIRE_PROMPT_CHATML;
    if (template_contains(source, folder, "###") && template_contains(source, folder, INSTRUCT_MARK))
        return QUIRE_PROMPT_INSTRUCT;
    if (vocabulary_contains(source, folder, CHATML_MARK))
        return QUIRE_PROMPT_CHATML;
    if (strcasestr(name, "storywriter"))
        return QUIRE_PROMPT_PLAIN;
    if (strcasestr(name, "instruct") || strcasestr(name, "dolly"))
        return QUIRE_PROMPT_INSTRUCT;
    if (strcasestr(name, "chat"))
        return QUIRE_PROMPT_CHATML;
    return QUIRE_PROMPT_PLAIN;
}
