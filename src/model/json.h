/* JSON files, and their fields with errors that name file and field. */
#ifndef QUIRE_MODEL_JSON_H
#define QUIRE_MODEL_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/error.h"

/* More objects and arrays, or more values, than any model's file has are refused before a text is parsed. Each takes
 * memory out of proportion to the two or three bytes that it takes in the text: an empty object 236. Within these
 * bounds a text takes less than its own size and 128 MiB. */
#define JSON_MAX_CONTAINERS (1u << 18)
#define JSON_MAX_VALUES     (1u << 20)

/* Parses text of n bytes that `what` (a path) names. A key that is there twice is an error. Released with json_decref.
 * Errors: FORMAT with line and column; FORMAT when the outermost value is not an object; UNSUPPORTED beyond the bounds
 * above. */
quire_status json_object_parse(json_t **out, const char *text, size_t n, const char *what, quire_error *err);

/* A file, of at most JSON_MAX_BYTES. */
#define JSON_MAX_BYTES ((size_t)16 << 20)
quire_status json_object_load(json_t **out, const char *path, quire_error *err);

/* Settings that a folder may hold beside its model; *out is NULL where the file is not there. Whole numbers are read as
 * reals: HuggingFace writes 10^30 where a length has no limit. */
quire_status json_settings_load(json_t **out, const char *folder, const char *name, quire_error *err);

/* "a string", "null", for messages. */
const char *json_kind(const json_t *value);

/* A field that may stand under several names and in two objects: attention settings moved from the top level into
 * attn_config, and some were renamed. names ends with NULL. Places that hold the field must agree. *out is NULL where
 * there is none, and *name is what it was found as. Errors: FORMAT where two differ. */
struct json_place {
    const json_t *object; /* NULL: nothing there */
    const char *const *names;
};
quire_status json_find(const json_t **out, const char **name, const struct json_place *places, size_t n_places,
                       const char *path, quire_error *err);

#endif
