#include "json.h"

#include <stdlib.h>

#include "base/sys.h"

/* config.json has a few kilobytes; an index of shards can have some hundred. */
#define MAX_JSON_BYTES ((size_t)64 << 20)

/* A value takes up to some hundred bytes of memory, and as few as two of the file. A tokenizer.json of 2^18 tokens has
 * two million. */
#define MAX_VALUES ((size_t)4 << 20)

/* At least as many as there are values: one more than the characters, outside of strings, that something comes behind.
 */
static size_t count_values(const char *text, size_t n)
{
    size_t n_values = 1;
    bool is_string = false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '"')
            is_string = !is_string;
        else if (is_string && text[i] == '\\')
            i++;
        else if (!is_string)
            n_values += text[i] == ',' || text[i] == '[' || text[i] == '{';
    }
    return n_values;
}

quire_status json_object_parse(json_t **out, const char *text, size_t n, const char *what, quire_error *err)
{
    json_error_t where;
    size_t n_values = count_values(text, n);
    if (n_values > MAX_VALUES)
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "'%s' has more than %zu JSON values, this build takes %zu at most", what, n_values - 1,
                          MAX_VALUES);
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &where);
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

quire_status json_object_load(json_t **out, const char *path, quire_error *err)
{
    char *text;
    size_t n;
    quire_status status = sys_read_file(&text, &n, path, MAX_JSON_BYTES, err);
    if (status != QUIRE_OK)
        return status;
    status = json_object_parse(out, text, n, path, err);
    free(text);
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
