#include "json_out.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

json_t *json_text(const char *bytes, size_t n)
{
    static const char replacement[] = "\xEF\xBF\xBD";
    json_t *text = json_stringn(bytes, n);
    if (text)
        return text;
    char *ascii = malloc(n * 3 + 1);
    size_t n_ascii = 0;
    if (!ascii)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)bytes[i] < 0x80) {
            ascii[n_ascii++] = bytes[i];
        } else {
            memcpy(ascii + n_ascii, replacement, 3);
            n_ascii += 3;
        }
    }
    text = json_stringn(ascii, n_ascii);
    free(ascii);
    return text;
}

json_t *json_finite(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

quire_status json_write(json_t *object, struct output *output, quire_error *err)
{
    char *line = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(object);
    if (!line)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "no memory for a JSON object");
    quire_status status = output_write(output, line, strlen(line), err);
    free(line);
    if (status == QUIRE_OK)
        status = output_write(output, "\n", 1, err);
    return status == QUIRE_OK ? output_flush(output, err) : status;
}

static quire_status write_integer(struct output *output, const char *name, uint64_t value, quire_error *err)
{
    static const char unit[] = "_bytes";
    char text[TEXT_SIZE];
    size_t n = strlen(name), n_unit = sizeof unit - 1;
    if (n > n_unit && strcmp(name + n - n_unit, unit) == 0)
        return output_print(output, err, "%-22.*s %s\n", (int)(n - n_unit), name, text_bytes(text, value));
    return output_print(output, err, "%-22s %s\n", name, text_count(text, value));
}

quire_status json_write_value(struct output *output, const char *name, const json_t *value, quire_error *err)
{
    char text[2048];
    switch (json_typeof(value)) {
    case JSON_STRING:
        quire_printable(text, sizeof text, json_string_value(value), json_string_length(value));
        return output_print(output, err, "%-22s %s\n", name, text);
    case JSON_INTEGER: return write_integer(output, name, (uint64_t)json_integer_value(value), err);
    case JSON_REAL: return output_print(output, err, "%-22s %.7g\n", name, json_real_value(value));
    case JSON_TRUE: return output_print(output, err, "%-22s yes\n", name);
    case JSON_FALSE: return output_print(output, err, "%-22s no\n", name);
    default: return output_print(output, err, "%-22s none\n", name);
    }
}
