/* GGUF v2 and v3: key-value pairs and a tensor directory over one mapped file. Knows nothing of transformers.
 *
 * Every length and offset is checked against the file before it is used. Memory is bounded by the file's size. */
#ifndef QUIRE_MODEL_GGUF_H
#define QUIRE_MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/dtype.h"
#include "quire/error.h"

enum gguf_value_type {
    GGUF_U8 = 0,
    GGUF_I8 = 1,
    GGUF_U16 = 2,
    GGUF_I16 = 3,
    GGUF_U32 = 4,
    GGUF_I32 = 5,
    GGUF_F32 = 6,
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9,
    GGUF_U64 = 10,
    GGUF_I64 = 11,
    GGUF_F64 = 12,
    GGUF_VALUE_TYPES
};

struct gguf;

/* A string inside the mapped file; not NUL-terminated. */
struct gguf_string {
    const char *bytes;
    size_t n;
};

struct gguf_tensor {
    struct gguf_string name;
    uint32_t n_dims;
    uint64_t dims[4]; /* dims[0] runs fastest: a torch matrix [out][in] has dims {in, out} */
    uint32_t ggml_type;
    const void *data;
    size_t n_bytes;
};

/* Errors: IO; FORMAT (names path, offset, found, expected); UNSUPPORTED (version 1, big-endian). */
quire_status gguf_open(struct gguf **out, const char *path, quire_error *err);
/* Errors: IO, naming file and offset, where a page of the file could not be read at any time, and zeros stood in its
 * place. */
quire_status gguf_check(const struct gguf *gguf, quire_error *err);

void gguf_close(struct gguf *gguf);
const char *gguf_path(const struct gguf *gguf);
uint32_t gguf_version(const struct gguf *gguf);

/* Values by key. The getters return false where the key is absent; a key of another type is an error of the file and is
 * reported by the status. out is untouched unless *found. */
quire_status gguf_get_u32(const struct gguf *gguf, const char *key, uint32_t *out, bool *found, quire_error *err);
quire_status gguf_get_f32(const struct gguf *gguf, const char *key, float *out, bool *found, quire_error *err);
quire_status gguf_get_string(const struct gguf *gguf, const char *key, struct gguf_string *out, bool *found,
                             quire_error *err);
quire_status gguf_get_bool(const struct gguf *gguf, const char *key, bool *out, bool *found, quire_error *err);

/* Arrays. Strings are reached in order, since they have no index in the file; their lengths are those that gguf_open
 * found, so that a file overwritten meanwhile gives other strings and none that leaves it. */
struct gguf_array {
    uint32_t element_type; /* enum gguf_value_type */
    uint64_t n;
    const unsigned char *data;
    const uint32_t *lengths; /* of strings; NULL for numbers */
};
struct gguf_place {
    uint64_t index;
    size_t at; /* from data */
};
quire_status gguf_get_array(const struct gguf *gguf, const char *key, uint32_t element_type, struct gguf_array *out,
                            bool *found, quire_error *err);
/* The string at *place (start with zeros), of fewer than array->n; moves *place behind it. */
struct gguf_string gguf_array_string(const struct gguf_array *array, struct gguf_place *place);
/* The number at index < array->n of an array of u32, i32 or f32, read once. */
uint32_t gguf_array_u32(const struct gguf_array *array, uint64_t index);

/* Keys in alphabetical order. */
uint64_t gguf_n_keys(const struct gguf *gguf);
struct gguf_string gguf_key_at(const struct gguf *gguf, uint64_t index);

/* Tensors in the order of the directory. */
uint64_t gguf_n_tensors(const struct gguf *gguf);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *gguf, uint64_t index);

#endif
