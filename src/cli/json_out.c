#include "json_out.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
