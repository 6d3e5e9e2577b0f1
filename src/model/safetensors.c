/* The rules are those of the reference implementation: a header of at most 100 MB that is a JSON object and may end in
 * spaces; tensors that, in order of their offsets, begin at 0, touch each other and end where the file ends. */
#include "safetensors.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/printable.h"
#include "element.h"
#include "json.h"

#define MAX_HEADER_BYTES 100000000u

struct parser {
    const char *path;
    size_t data_bytes; /* of the file, behind the header */
    const unsigned char *data;
    quire_error *err;
};

/* Where a tensor lies, for the check that they cover the file; index: in the directory. */
struct range {
    size_t begin, end, index;
};

static quire_status bad(struct parser *p, const char *tensor, const char *what)
{
    return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s': tensor '%s': %s", p->path,
                      printable(tensor, strlen(tensor)).text, what);
}

static bool size_from(size_t *out, const json_t *value)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (size_t)json_integer_value(value);
    return true;
}

/* Reads dtype and shape; *n_bytes is what they need. */
static quire_status read_shape(struct parser *p, const char *name, const json_t *entry, struct tensor *tensor,
                               size_t *n_bytes)
{
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    const json_t *shape = json_object_get(entry, "shape");
    if (!type || !json_is_array(shape))
        return bad(p, name, "expected a 'dtype' that is a string and a 'shape' that is an array");
    const struct element *element = element_named(type);
    if (!element)
        return quire_fail(p->err, QUIRE_ERR_UNSUPPORTED,
                          "'%s': tensor '%s' is of type '%s', which this build does not know", p->path,
                          printable(name, strlen(name)).text, printable(type, strlen(type)).text);
    tensor->type_name = element->name;
    tensor->type = element->type;
    tensor->is_number = element->is_number;
    tensor->n_dims = (uint32_t)json_array_size(shape);
    *n_bytes = element->n_bytes;
    for (uint32_t d = 0; d < tensor->n_dims; d++) {
        size_t dim;
        if (!size_from(&dim, json_array_get(shape, d)))
            return bad(p, name, "expected a 'shape' of whole numbers from 0 up");
        if (!size_mul(n_bytes, *n_bytes, dim))
            return bad(p, name, "its 'shape' has a size that overflows");
        if (d < TENSOR_MAX_DIMS)
            tensor->dims[d] = dim;
    }
    return QUIRE_OK;
}

static quire_status read_tensor(struct parser *p, const char *name, const json_t *entry, struct tensor *tensor,
                                struct range *range)
{
    size_t n_bytes = 0;
    quire_status status = read_shape(p, name, entry, tensor, &n_bytes);
    if (status != QUIRE_OK)
        return status;
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (json_array_size(offsets) != 2 || !size_from(&range->begin, json_array_get(offsets, 0)) ||
        !size_from(&range->end, json_array_get(offsets, 1)) || range->begin > range->end)
        return bad(p, name, "expected 'data_offsets' of two whole numbers, the first not above the second");
    if (range->end - range->begin != n_bytes)
        return quire_fail(p->err, QUIRE_ERR_FORMAT,
                          "'%s': tensor '%s' of type %s and shape %s has %zu bytes, expected %zu", p->path,
                          printable(name, strlen(name)).text, tensor->type_name,
                          shape_text(tensor->n_dims, tensor->dims).text, range->end - range->begin, n_bytes);
    if (range->end > p->data_bytes)
        return quire_fail(p->err, QUIRE_ERR_FORMAT,
                          "'%s' is cut short: tensor '%s' ends at byte %zu of the data, of which there are %zu",
                          p->path, printable(name, strlen(name)).text, range->end, p->data_bytes);
    tensor->data = p->data + range->begin;
    tensor->n_bytes = n_bytes;
    return QUIRE_OK;
}

static quire_status check_metadata(struct parser *p, json_t *metadata)
{
    const char *key;
    json_t *value;
    bool is_sound = json_is_object(metadata);
    json_object_foreach(metadata, key, value) is_sound = is_sound && json_is_string(value);
    if (!is_sound)
        return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s': '__metadata__' is not an object of strings", p->path);
    return QUIRE_OK;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static quire_status check_cover(struct parser *p, const struct tensors *tensors, struct range *ranges, size_t n)
{
    size_t expected = 0;
    if (n > 0)
        qsort(ranges, n, sizeof *ranges, compare_ranges);
    for (size_t i = 0; i < n; i++) {
        if (ranges[i].begin != expected) {
            const char *name = tensors->items[ranges[i].index].name;
            return quire_fail(p->err, QUIRE_ERR_FORMAT,
                              "'%s': tensor '%s' begins at byte %zu of the data, expected %zu: tensors %s", p->path,
                              printable(name, strlen(name)).text, ranges[i].begin, expected,
                              ranges[i].begin < expected ? "overlap" : "leave a hole");
        }
        expected = ranges[i].end;
    }
    if (expected != p->data_bytes)
        return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s' has %zu bytes behind its last tensor, expected none", p->path,
                          p->data_bytes - expected);
    return QUIRE_OK;
}

static quire_status add_all(struct parser *p, struct tensors *tensors, json_t *root)
{
    size_t n = 0;
    struct range *ranges = mem_calloc(json_object_size(root), sizeof *ranges, "a safetensors header", p->err);
    quire_status status = ranges ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    const char *name;
    json_t *entry;
    json_object_foreach(root, name, entry)
    {
        if (status != QUIRE_OK)
            break;
        if (strcmp(name, "__metadata__") == 0) {
            status = check_metadata(p, entry);
            continue;
        }
        struct tensor tensor = {.path = p->path};
        status = read_tensor(p, name, entry, &tensor, &ranges[n]);
        if (status != QUIRE_OK)
            break;
        ranges[n++].index = tensors->n;
        tensor.name = mem_strdup(name, p->err);
        status = tensor.name ? tensors_add(tensors, &tensor, p->err) : QUIRE_ERR_NO_MEMORY;
    }
    if (status == QUIRE_OK)
        status = check_cover(p, tensors, ranges, n);
    free(ranges);
    return status;
}

/* The header as JSON; *n_header is what it takes at the start of the file. */
static quire_status read_header(json_t **root, size_t *n_header, const unsigned char *data, size_t n, const char *path,
                                quire_error *err)
{
    if (n < 8)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is cut short: it has %zu bytes, a safetensors file at least 8",
                          path, n);
    uint64_t header_bytes = taken(load_u64(data));
    if (header_bytes > MAX_HEADER_BYTES)
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "'%s' is not a safetensors file: it claims a header of %llu bytes, expected at most %u", path,
                          (unsigned long long)header_bytes, MAX_HEADER_BYTES);
    if (header_bytes > n - 8)
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "'%s' is cut short: its header has %llu bytes, but the file ends after %zu", path,
                          (unsigned long long)header_bytes, n - 8);
    if (header_bytes == 0 || data[8] != '{')
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is not a safetensors file: its header does not begin with '{'",
                          path);
    *n_header = 8 + (size_t)header_bytes;
    return json_object_parse(root, (const char *)data + 8, (size_t)header_bytes, path, err);
}

quire_status safetensors_add(struct tensors *tensors, const unsigned char *data, size_t n, const char *path,
                             quire_error *err)
{
    json_t *root = NULL;
    size_t n_header = 0;
    quire_status status = read_header(&root, &n_header, data, n, path, err);
    if (status != QUIRE_OK)
        return status;
    struct parser parser = {path, n - n_header, data + n_header, err};
    status = add_all(&parser, tensors, root);
    json_decref(root);
    return status;
}

quire_status safetensors_metadata(char **out, const unsigned char *data, size_t n, const char *path, const char *key,
                                  quire_error *err)
{
    json_t *root = NULL;
    size_t n_header = 0;
    quire_status status = read_header(&root, &n_header, data, n, path, err);
    if (status != QUIRE_OK)
        return status;
    const char *value = json_string_value(json_object_get(json_object_get(root, "__metadata__"), key));
    char *copy = value ? mem_strdup(value, err) : NULL;
    status = value && !copy ? QUIRE_ERR_NO_MEMORY : QUIRE_OK;
    json_decref(root);
    if (status == QUIRE_OK)
        *out = copy;
    return status;
}
