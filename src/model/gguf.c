/* The parser: header, key-value pairs, tensor directory, each checked against the file before it is believed.
 *
 *     "GGUF" | u32 version | u64 n_tensors | u64 n_pairs | pairs | tensor directory | padding | tensor data
 *
 * Each tensor's data starts where the one before it ended, rounded up to general.alignment. */
#include "gguf.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/printable.h"
#include "cursor.h"
#include "ggml_type.h"
#include "gguf_file.h"
#include "tensors.h"

/* The fewest bytes that a pair (empty key, one-byte value) and a tensor (empty name, one dimension) take in a file:
 * counts that the rest of the file could not hold are refused before memory is asked for. */
#define LEAST_PAIR_BYTES   (8 + 4 + 1)
#define LEAST_TENSOR_BYTES (8 + 4 + 8 + 4 + 8)
#define LEAST_STRING_BYTES 8
#define MAX_PAIRS          (1u << 16)

struct parser {
    struct gguf *gguf;
    struct cursor cursor;
    quire_error *err;
};

static quire_status cut_short(struct parser *parser, const char *what)
{
    return quire_fail(parser->err, QUIRE_ERR_FORMAT,
                      "'%s' is cut short: it has %zu bytes and ends within %s at byte %zu", parser->gguf->path,
                      parser->cursor.n_bytes, what, parser->cursor.at);
}

static quire_status read_string(struct parser *parser, struct gguf_string *out, const char *what)
{
    struct cursor before = parser->cursor;
    const unsigned char *bytes;
    uint64_t n;
    if (!cursor_u64(&parser->cursor, &n))
        return cut_short(parser, what);
    if (!cursor_bytes(&parser->cursor, n, &bytes)) {
        parser->cursor = before;
        return quire_fail(parser->err, QUIRE_ERR_FORMAT,
                          "'%s': %s at byte %zu claims %llu bytes, but the file has only %zu more", parser->gguf->path,
                          what, before.at, (unsigned long long)n, cursor_left(&before) - 8);
    }
    *out = (struct gguf_string){(const char *)bytes, (size_t)n};
    return QUIRE_OK;
}

static quire_status read_header(struct parser *parser)
{
    struct gguf *gguf = parser->gguf;
    const unsigned char *magic;
    if (!cursor_bytes(&parser->cursor, 4, &magic))
        return cut_short(parser, "the header");
    if (memcmp(magic, "GGUF", 4) != 0)
        return quire_fail(parser->err, QUIRE_ERR_FORMAT,
                          "'%s' is not a GGUF file: it begins with bytes %02x %02x %02x "
                          "%02x, expected \"GGUF\"",
                          gguf->path, magic[0], magic[1], magic[2], magic[3]);
    if (!cursor_u32(&parser->cursor, &gguf->version))
        return cut_short(parser, "the header");
    uint32_t swapped = __builtin_bswap32(gguf->version);
    if (gguf->version > 0xFFFF && swapped <= 0xFFFF)
        return quire_fail(parser->err, QUIRE_ERR_UNSUPPORTED,
                          "'%s' is a big-endian GGUF (version %u); this build reads little-endian ones", gguf->path,
                          swapped);
    if (gguf->version != 2 && gguf->version != 3)
        return quire_fail(parser->err, QUIRE_ERR_UNSUPPORTED,
                          "'%s' is GGUF version %u, this build reads 2 and 3; convert the model again", gguf->path,
                          gguf->version);
    if (!cursor_u64(&parser->cursor, &gguf->n_tensors) || !cursor_u64(&parser->cursor, &gguf->n_pairs))
        return cut_short(parser, "the header");
    size_t left = cursor_left(&parser->cursor);
    if (gguf->n_pairs > left / LEAST_PAIR_BYTES || gguf->n_tensors > left / LEAST_TENSOR_BYTES)
        return quire_fail(parser->err, QUIRE_ERR_FORMAT,
                          "'%s' claims %llu key-value pairs and %llu tensors, more than its %zu bytes can hold",
                          gguf->path, (unsigned long long)gguf->n_pairs, (unsigned long long)gguf->n_tensors,
                          parser->cursor.n_bytes);
    if (gguf->n_pairs > MAX_PAIRS || gguf->n_tensors > TENSORS_MAX)
        return quire_fail(parser->err, QUIRE_ERR_UNSUPPORTED,
                          "'%s' has %llu key-value pairs and %llu tensors, expected at most %u and %u", gguf->path,
                          (unsigned long long)gguf->n_pairs, (unsigned long long)gguf->n_tensors, MAX_PAIRS,
                          TENSORS_MAX);
    return QUIRE_OK;
}

static quire_status too_many(struct parser *parser, const struct gguf_pair *pair, const char *what, size_t least_bytes)
{
    return quire_fail(parser->err, QUIRE_ERR_FORMAT,
                      "'%s': key '%s' at byte %zu claims %llu %s %zu bytes, but the file has only %zu more",
                      parser->gguf->path, printable(pair->key.bytes, pair->key.n).text, parser->cursor.at,
                      (unsigned long long)pair->value.array.n, what, least_bytes, cursor_left(&parser->cursor));
}

static quire_status read_strings(struct parser *parser, struct gguf_pair *pair)
{
    struct gguf_array *array = &pair->value.array;
    if (array->n > cursor_left(&parser->cursor) / LEAST_STRING_BYTES)
        return too_many(parser, pair, "strings of at least", LEAST_STRING_BYTES);
    uint32_t *lengths = mem_calloc((size_t)array->n, sizeof *lengths, "the strings of a GGUF", parser->err);
    if (!lengths)
        return QUIRE_ERR_NO_MEMORY;
    array->lengths = lengths;
    array->data = parser->cursor.data + parser->cursor.at;
    for (uint64_t i = 0; i < array->n; i++) {
        struct gguf_string string;
        quire_status status = read_string(parser, &string, "a string of an array");
        if (status == QUIRE_OK && string.n > UINT32_MAX)
            status = quire_fail(parser->err, QUIRE_ERR_FORMAT,
                                "'%s': a string of an array at byte %zu has %zu bytes, expected at most %u",
                                parser->gguf->path, parser->cursor.at - string.n, string.n, UINT32_MAX);
        if (status != QUIRE_OK)
            return status;
        lengths[i] = (uint32_t)string.n;
    }
    return QUIRE_OK;
}

static quire_status read_array(struct parser *parser, struct gguf_pair *pair)
{
    struct gguf_array *array = &pair->value.array;
    struct cursor *cursor = &parser->cursor;
    if (!cursor_u32(cursor, &array->element_type) || !cursor_u64(cursor, &array->n))
        return cut_short(parser, "an array");
    if (array->element_type == GGUF_STRING)
        return read_strings(parser, pair);
    size_t element_bytes = gguf_value_type_bytes(array->element_type);
    if (element_bytes == 0) {
        struct printable key = printable(pair->key.bytes, pair->key.n);
        return quire_fail(parser->err, QUIRE_ERR_FORMAT,
                          "'%s': key '%s' at byte %zu is an array of type %u (%s), expected numbers or strings",
                          parser->gguf->path, key.text, cursor->at, array->element_type,
                          gguf_value_type_name(array->element_type));
    }
    if (array->n > cursor_left(cursor) / element_bytes)
        return too_many(parser, pair, "elements of", element_bytes);
    cursor_bytes(cursor, array->n * element_bytes, &array->data);
    return QUIRE_OK;
}

static quire_status read_pair(struct parser *parser, struct gguf_pair *pair)
{
    quire_status status = read_string(parser, &pair->key, "a key");
    if (status != QUIRE_OK)
        return status;
    if (!cursor_u32(&parser->cursor, &pair->type))
        return cut_short(parser, "a key-value pair");
    if (pair->type == GGUF_STRING)
        return read_string(parser, &pair->value.string, "a string value");
    if (pair->type == GGUF_ARRAY)
        return read_array(parser, pair);
    size_t n_bytes = gguf_value_type_bytes(pair->type);
    if (n_bytes == 0) {
        struct printable key = printable(pair->key.bytes, pair->key.n);
        return quire_fail(parser->err, QUIRE_ERR_FORMAT,
                          "'%s': key '%s' at byte %zu has value type %u, expected 0 to %d", parser->gguf->path,
                          key.text, parser->cursor.at - 4, pair->type, GGUF_VALUE_TYPES - 1);
    }
    if (!cursor_bytes(&parser->cursor, n_bytes, &pair->value.number))
        return cut_short(parser, "a value");
    return QUIRE_OK;
}

static int compare_pairs(const void *a, const void *b)
{
    return gguf_string_compare(((const struct gguf_pair *)a)->key, ((const struct gguf_pair *)b)->key);
}

static quire_status read_pairs(struct parser *parser)
{
    struct gguf *gguf = parser->gguf;
    gguf->pairs = mem_calloc((size_t)gguf->n_pairs, sizeof *gguf->pairs, "the keys of a GGUF", parser->err);
    if (!gguf->pairs)
        return QUIRE_ERR_NO_MEMORY;
    for (uint64_t i = 0; i < gguf->n_pairs; i++) {
        quire_status status = read_pair(parser, &gguf->pairs[i]);
        if (status != QUIRE_OK)
            return status;
    }
    qsort(gguf->pairs, (size_t)gguf->n_pairs, sizeof *gguf->pairs, compare_pairs);
    for (uint64_t i = 1; i < gguf->n_pairs; i++)
        if (compare_pairs(&gguf->pairs[i - 1], &gguf->pairs[i]) == 0) {
            struct printable key = printable(gguf->pairs[i].key.bytes, gguf->pairs[i].key.n);
            return quire_fail(parser->err, QUIRE_ERR_FORMAT, "'%s': key '%s' is there twice", gguf->path, key.text);
        }
    return QUIRE_OK;
}

/* Bytes of a tensor of this type and shape; a file's shape may be anything. */
static quire_status tensor_bytes(struct parser *parser, struct gguf_tensor *tensor)
{
    const struct ggml_type *type = ggml_type_of(tensor->ggml_type);
    struct printable name = printable(tensor->name.bytes, tensor->name.n);
    if (!type)
        return quire_fail(parser->err, QUIRE_ERR_UNSUPPORTED,
                          "'%s': tensor '%s' is of type %u, which this build does not know", parser->gguf->path,
                          name.text, tensor->ggml_type);
    if (tensor->dims[0] % type->block_elements != 0)
        return quire_fail(parser->err, QUIRE_ERR_FORMAT,
                          "'%s': tensor '%s' of type %s has rows of %llu numbers, expected a multiple of %u",
                          parser->gguf->path, name.text, type->name, (unsigned long long)tensor->dims[0],
                          type->block_elements);
    size_t n_bytes = type->block_bytes;
    bool fits = size_mul(&n_bytes, n_bytes, (size_t)(tensor->dims[0] / type->block_elements));
    for (uint32_t d = 1; d < tensor->n_dims; d++)
        fits = fits && size_mul(&n_bytes, n_bytes, (size_t)tensor->dims[d]);
    if (!fits)
        return quire_fail(parser->err, QUIRE_ERR_FORMAT, "'%s': tensor '%s' has a shape whose size overflows",
                          parser->gguf->path, name.text);
    tensor->n_bytes = n_bytes;
    return QUIRE_OK;
}

/* Leaves the offset, which counts from a start that is not known yet, in *offset. */
static quire_status read_tensor(struct parser *parser, struct gguf_tensor *tensor, uint64_t *offset)
{
    quire_status status = read_string(parser, &tensor->name, "a tensor's name");
    if (status != QUIRE_OK)
        return status;
    struct printable name = printable(tensor->name.bytes, tensor->name.n);
    if (tensor->name.n == 0 || tensor->name.n > TENSOR_NAME_MAX)
        return quire_fail(parser->err, QUIRE_ERR_FORMAT,
                          "'%s': a tensor's name before byte %zu has %zu bytes, expected 1 to %d", parser->gguf->path,
                          parser->cursor.at, tensor->name.n, TENSOR_NAME_MAX);
    if (!cursor_u32(&parser->cursor, &tensor->n_dims))
        return cut_short(parser, "the tensor directory");
    if (tensor->n_dims < 1 || tensor->n_dims > 4)
        return quire_fail(parser->err, QUIRE_ERR_FORMAT, "'%s': tensor '%s' has %u dimensions, expected 1 to 4",
                          parser->gguf->path, name.text, tensor->n_dims);
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        if (!cursor_u64(&parser->cursor, &tensor->dims[d]))
            return cut_short(parser, "the tensor directory");
    if (!cursor_u32(&parser->cursor, &tensor->ggml_type) || !cursor_u64(&parser->cursor, offset))
        return cut_short(parser, "the tensor directory");
    return tensor_bytes(parser, tensor);
}

static quire_status read_alignment(struct parser *parser, size_t *alignment)
{
    uint32_t value = 32;
    bool found;
    quire_status status = gguf_get_u32(parser->gguf, "general.alignment", &value, &found, parser->err);
    if (status != QUIRE_OK)
        return status;
    if (value == 0 || (value & (value - 1)) != 0)
        return quire_fail(parser->err, QUIRE_ERR_FORMAT, "'%s': general.alignment is %u, expected a power of two",
                          parser->gguf->path, value);
    *alignment = value;
    return QUIRE_OK;
}

static bool round_up(size_t *out, size_t n, size_t step)
{
    size_t more;
    if (!size_add(&more, n, step - 1))
        return false;
    *out = more / step * step;
    return true;
}

/* Gives each tensor its place in the file. */
static quire_status place_tensors(struct parser *parser, const uint64_t *offsets, size_t alignment)
{
    struct gguf *gguf = parser->gguf;
    size_t file_bytes = parser->cursor.n_bytes, start = 0, expected = 0;
    bool fits = round_up(&start, parser->cursor.at, alignment);
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        struct gguf_tensor *tensor = &gguf->tensors[i];
        struct printable name = printable(tensor->name.bytes, tensor->name.n);
        if (offsets[i] != expected)
            return quire_fail(parser->err, QUIRE_ERR_FORMAT,
                              "'%s': tensor '%s' is at offset %llu of the data, expected %zu (aligned to %zu bytes)",
                              gguf->path, name.text, (unsigned long long)offsets[i], expected, alignment);
        size_t first, end;
        fits = fits && size_add(&first, start, expected) && size_add(&end, first, tensor->n_bytes);
        if (!fits || end > file_bytes)
            return quire_fail(parser->err, QUIRE_ERR_FORMAT,
                              "'%s' is cut short: the %zu bytes of tensor '%s' do not end within its %zu bytes",
                              gguf->path, tensor->n_bytes, name.text, file_bytes);
        tensor->data = parser->cursor.data + first;
        fits = round_up(&expected, expected + tensor->n_bytes, alignment);
    }
    return QUIRE_OK;
}

static int compare_names(const void *a, const void *b)
{
    return gguf_string_compare(*(const struct gguf_string *)a, *(const struct gguf_string *)b);
}

static quire_status check_names(struct parser *parser)
{
    struct gguf *gguf = parser->gguf;
    size_t n = (size_t)gguf->n_tensors;
    struct gguf_string *names = mem_calloc(n, sizeof *names, "the tensor names of a GGUF", parser->err);
    quire_status status = names ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    for (size_t i = 0; names && i < n; i++)
        names[i] = gguf->tensors[i].name;
    if (names)
        qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 1; status == QUIRE_OK && i < n; i++)
        if (compare_names(&names[i - 1], &names[i]) == 0) {
            struct printable name = printable(names[i].bytes, names[i].n);
            status =
                quire_fail(parser->err, QUIRE_ERR_FORMAT, "'%s': tensor '%s' is there twice", gguf->path, name.text);
        }
    free(names);
    return status;
}

static quire_status read_tensors(struct parser *parser)
{
    struct gguf *gguf = parser->gguf;
    size_t n = (size_t)gguf->n_tensors, alignment = 0;
    uint64_t *offsets = mem_calloc(n, sizeof *offsets, "the tensor offsets of a GGUF", parser->err);
    gguf->tensors = mem_calloc(n, sizeof *gguf->tensors, "the tensor directory of a GGUF", parser->err);
    quire_status status = offsets && gguf->tensors ? read_alignment(parser, &alignment) : QUIRE_ERR_NO_MEMORY;
    for (size_t i = 0; status == QUIRE_OK && i < n; i++)
        status = read_tensor(parser, &gguf->tensors[i], &offsets[i]);
    if (status == QUIRE_OK)
        status = place_tensors(parser, offsets, alignment);
    if (status == QUIRE_OK)
        status = check_names(parser);
    free(offsets);
    return status;
}

quire_status gguf_open(struct gguf **out, const char *path, quire_error *err)
{
    struct gguf *gguf = mem_calloc(1, sizeof *gguf, "a GGUF", err);
    if (!gguf)
        return QUIRE_ERR_NO_MEMORY;
    gguf->path = mem_strdup(path, err);
    quire_status status = gguf->path ? sys_map_file(&gguf->map, path, err) : QUIRE_ERR_NO_MEMORY;
    struct parser parser = {gguf, {gguf->map.data, gguf->map.n_bytes, 0}, err};
    if (status == QUIRE_OK)
        status = read_header(&parser);
    if (status == QUIRE_OK)
        status = read_pairs(&parser);
    if (status == QUIRE_OK)
        status = read_tensors(&parser);
    if (status != QUIRE_OK) {
        gguf_close(gguf);
        return status;
    }
    *out = gguf;
    return QUIRE_OK;
}

quire_status gguf_check(const struct gguf *gguf, quire_error *err)
{
    return sys_map_check(&gguf->map, gguf->path, err);
}

void gguf_close(struct gguf *gguf)
{
    if (!gguf)
        return;
    sys_unmap(&gguf->map);
    for (uint64_t i = 0; gguf->pairs && i < gguf->n_pairs; i++)
        if (gguf->pairs[i].type == GGUF_ARRAY)
            free((void *)(uintptr_t)gguf->pairs[i].value.array.lengths);
    free(gguf->pairs);
    free(gguf->tensors);
    free(gguf->path);
    free(gguf);
}

const char *gguf_path(const struct gguf *gguf)
{
    return gguf->path;
}

uint32_t gguf_version(const struct gguf *gguf)
{
    return gguf->version;
}

uint64_t gguf_n_keys(const struct gguf *gguf)
{
    return gguf->n_pairs;
}

struct gguf_string gguf_key_at(const struct gguf *gguf, uint64_t index)
{
    return gguf->pairs[index].key;
}

uint64_t gguf_n_tensors(const struct gguf *gguf)
{
    return gguf->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *gguf, uint64_t index)
{
    return &gguf->tensors[index];
}
