/* JSON on standard output, one object per line, and its values as people read them. */
#ifndef QUIRE_CLI_JSON_OUT_H
#define QUIRE_CLI_JSON_OUT_H

#include <jansson.h>
#include <stddef.h>

#include "output.h"

/* A string of any bytes: what is not UTF-8 (a file's name may be anything) becomes U+FFFD. */
json_t *json_text(const char *bytes, size_t n);

/* A number; null for an infinity or a NaN, which JSON cannot say. */
json_t *json_finite(double value);

/* Writes the object as one line, flushes, and releases it. NULL: there was no memory to build it. */
quire_status json_write(json_t *object, struct output *output, quire_error *err);

/* A field of an object as a line of text. Numbers whose name ends in _bytes are written as such, without that. */
quire_status json_write_value(struct output *output, const char *name, const json_t *value, quire_error *err);

#endif
