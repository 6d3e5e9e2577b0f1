#include "json.h"

#include <stdlib.h>

#include "base/sys.h"
#include "source.h"

/* Commas stand between values, so that there is at most one more in each object or array. */
static quire_status check_counts(const char *text, size_t n, const char *what, quire_error *err)
{
    size_t n_containers = 0, n_values = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '"')
            in_string = !in_string;
        else if (in_string)
            i += c == '\\';
        else if (c == '{' || c == '[')
            n_containers++, n_values++;
        else
            n_values += c == ',';
    }
    if (n_containers > JSON_MAX_CONTAINERS || n_values > JSON_MAX_VALUES)
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "'%s' holds %zu objects and arrays and up to %zu values, expected at most %u and %u", what,
                          n_containers, n_values, JSON_MAX_CONTAINERS, JSON_MAX_VALUES);
    return QUIRE_OK;
}

static quire_status parse(json_t **out, const char *text, size_t n, size_t flags, const char *what, quire_error *err)
{
    json_error_t where;
    quire_status status = check_counts(text, n, what, err);
    if (status != QUIRE_OK)
        return status;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES | flags, &where);
    if (!root)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is not valid JSON: line %d, column %d: %s", what, where.line,
                          where.column, where.text);
    if (!json_is_object(root)) {
        quire_fail(err, QUIRE_ERR_FORMAT, "'%s' holds %s, expected a JSON object", what, json_kind(root));
        json_decref(root);
        return QUIRE_ERR_FORMAT;
    }
    *out = root;
    return QUIRE_OK;
}

quire_status json_object_parse(json_t **out, const char *text, size_t n, const char *what, quire_error *err)
{
    return parse(out, text, n, 0, what, err);
}

static quire_status load(json_t **out, const char *path, size_t flags, quire_error *err)
{
    char *text;
    size_t n;
    quire_status status = sys_read_file(&text, &n, path, JSON_MAX_BYTES, err);
    if (status != QUIRE_OK)
        return status;
    status = parse(out, text, n, flags, path, err);
    free(text);
    return status;
}

quire_status json_object_load(json_t **out, const char *path, quire_error *err)
{
    return load(out, path, 0, err);
}

quire_status json_settings_load(json_t **out, const char *folder, const char *name, quire_error *err)
{
    char *path = path_join(folder, name, err);
    if (!path)
        return QUIRE_ERR_NO_MEMORY;
    *out = NULL;
    quire_status status = sys_exists(path) ? load(out, path, JSON_DECODE_INT_AS_REAL, err) : QUIRE_OK;
    free(path);
    return status;
}

const char *json_kind(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "a whole number";
    case JSON_REAL: return "a number";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "null";
    }
    return "nothing";
}

static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) /* 8 and 8.0 */
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

quire_status json_find(const json_t **out, const char **name, const struct json_place *places, size_t n_places,
                       const char *path, quire_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < n_places; i++)
        for (const char *const *key = places[i].names; places[i].object && *key; key++) {
            const json_t *value = json_object_get(places[i].object, *key);
            if (!value)
                continue;
            if (*out && !same(*out, value))
                return quire_fail(err, QUIRE_ERR_FORMAT, "'%s': fields '%s' and '%s' mean the same and differ", path,
                                  *name, *key);
            *out = value;
            *name = *key;
        }
    return QUIRE_OK;
}
