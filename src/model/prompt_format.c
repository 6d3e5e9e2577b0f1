/* The names of the prompt formats. */
#include <strings.h>

#include "quire/model.h"

static const char *const format_names[] = {
    [QUIRE_PROMPT_PLAIN] = "plain",
    [QUIRE_PROMPT_INSTRUCT] = "instruct",
    [QUIRE_PROMPT_CHATML] = "chatml",
};
enum { N_FORMATS = sizeof format_names / sizeof format_names[0] };

const char *quire_prompt_format_name(quire_prompt_format format)
{
    return (size_t)format < N_FORMATS ? format_names[format] : "unknown";
}

quire_status quire_prompt_format_parse(quire_prompt_format *out, const char *name, quire_error *err)
{
    for (size_t i = 0; i < N_FORMATS; i++) {
        if (strcasecmp(name, format_names[i]) == 0) {
            *out = (quire_prompt_format)i;
            return QUIRE_OK;
        }
    }
    return quire_fail(err, QUIRE_ERR_USAGE, "there is no prompt format '%s'; there are plain, instruct and chatml",
                      name);
}
