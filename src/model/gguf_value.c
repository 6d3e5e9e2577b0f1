/* Values of a GGUF by key. */
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "cursor.h"
#include "gguf_file.h"

static const struct {
    const char *name;
    size_t n_bytes;
} value_types[GGUF_VALUE_TYPES] = {
    [GGUF_U8] = {"u8", 1},         [GGUF_I8] = {"i8", 1},       [GGUF_U16] = {"u16", 2}, [GGUF_I16] = {"i16", 2},
    [GGUF_U32] = {"u32", 4},       [GGUF_I32] = {"i32", 4},     [GGUF_F32] = {"f32", 4}, [GGUF_BOOL] = {"bool", 1},
    [GGUF_STRING] = {"string", 0}, [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8}, [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

const char *gguf_value_type_name(uint32_t type)
{
    return type < GGUF_VALUE_TYPES ? value_types[type].name : "unknown";
}

size_t gguf_value_type_bytes(uint32_t type)
{
    return type < GGUF_VALUE_TYPES ? value_types[type].n_bytes : 0;
}

int gguf_string_compare(struct gguf_string a, struct gguf_string b)
{
    int order = memcmp(a.bytes, b.bytes, size_min(a.n, b.n));
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

/* The pair with this key, or NULL. */
static const struct gguf_pair *find(const struct gguf *gguf, const char *key)
{
    struct gguf_string wanted = {key, strlen(key)};
    uint64_t low = 0, high = gguf->n_pairs;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = gguf_string_compare(gguf->pairs[middle].key, wanted);
        if (order == 0)
            return &gguf->pairs[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static quire_status wrong_type(const struct gguf *gguf, const struct gguf_pair *pair, const char *expected,
                               quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_FORMAT, "'%s': key '%.*s' is of type %s, expected %s", gguf->path,
                      (int)pair->key.n, pair->key.bytes, gguf_value_type_name(pair->type), expected);
}

/* A whole number of any width; false where the pair is none, or is negative. */
static bool whole_number(const struct gguf_pair *pair, uint64_t *out)
{
    const unsigned char *p = pair->value.number;
    int64_t n;
    switch (pair->type) {
    case GGUF_U8: *out = p[0]; return true;
    case GGUF_U16: *out = load_u16(p); return true;
    case GGUF_U32: *out = load_u32(p); return true;
    case GGUF_U64: *out = load_u64(p); return true;
    case GGUF_I8: n = (int8_t)p[0]; break;
    case GGUF_I16: n = (int16_t)load_u16(p); break;
    case GGUF_I32: n = (int32_t)load_u32(p); break;
    case GGUF_I64: n = (int64_t)load_u64(p); break;
    default: return false;
    }
    *out = (uint64_t)n;
    return n >= 0;
}

quire_status gguf_get_u32(const struct gguf *gguf, const char *key, uint32_t *out, bool *found, quire_error *err)
{
    const struct gguf_pair *pair = find(gguf, key);
    uint64_t number;
    *found = pair != NULL;
    if (!pair)
        return QUIRE_OK;
    if (!whole_number(pair, &number) || number > UINT32_MAX)
        return wrong_type(gguf, pair, "a whole number of at most 32 bits", err);
    *out = (uint32_t)number;
    return QUIRE_OK;
}

quire_status gguf_get_f32(const struct gguf *gguf, const char *key, float *out, bool *found, quire_error *err)
{
    const struct gguf_pair *pair = find(gguf, key);
    *found = pair != NULL;
    if (!pair)
        return QUIRE_OK;
    if (pair->type == GGUF_F32) {
        *out = f32_from_bits(load_u32(pair->value.number));
    } else if (pair->type == GGUF_F64) {
        double wide;
        memcpy(&wide, pair->value.number, sizeof wide);
        *out = (float)wide;
    } else {
        return wrong_type(gguf, pair, "f32", err);
    }
    return QUIRE_OK;
}

quire_status gguf_get_bool(const struct gguf *gguf, const char *key, bool *out, bool *found, quire_error *err)
{
    const struct gguf_pair *pair = find(gguf, key);
    *found = pair != NULL;
    if (!pair)
        return QUIRE_OK;
    if (pair->type != GGUF_BOOL)
        return wrong_type(gguf, pair, "bool", err);
    *out = *pair->value.number != 0;
    return QUIRE_OK;
}

quire_status gguf_get_string(const struct gguf *gguf, const char *key, struct gguf_string *out, bool *found,
                             quire_error *err)
{
    const struct gguf_pair *pair = find(gguf, key);
    *found = pair != NULL;
    if (!pair)
        return QUIRE_OK;
    if (pair->type != GGUF_STRING)
        return wrong_type(gguf, pair, "string", err);
    *out = pair->value.string;
    return QUIRE_OK;
}

quire_status gguf_get_array(const struct gguf *gguf, const char *key, uint32_t element_type, struct gguf_array *out,
                            bool *found, quire_error *err)
{
    const struct gguf_pair *pair = find(gguf, key);
    *found = pair != NULL;
    if (!pair)
        return QUIRE_OK;
    if (pair->type != GGUF_ARRAY)
        return wrong_type(gguf, pair, "array", err);
    if (pair->value.array.element_type != element_type)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s': key '%s' is an array of %s, expected an array of %s",
                          gguf->path, key, gguf_value_type_name(pair->value.array.element_type),
                          gguf_value_type_name(element_type));
    *out = pair->value.array;
    return QUIRE_OK;
}

struct gguf_string gguf_array_string(const struct gguf_array *array, struct gguf_place *place)
{
    struct gguf_string string = {(const char *)array->data + place->at + 8, array->lengths[place->index++]};
    place->at += 8 + string.n;
    return string;
}

uint32_t gguf_array_u32(const struct gguf_array *array, uint64_t index)
{
    return (uint32_t)taken(load_u32(array->data + 4 * index));
}
