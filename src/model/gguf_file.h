/* What gguf.c parses and gguf_value.c reads. */
#ifndef QUIRE_MODEL_GGUF_FILE_H
#define QUIRE_MODEL_GGUF_FILE_H

#include "base/sys.h"
#include "gguf.h"

struct gguf_pair {
    struct gguf_string key;
    uint32_t type;
    union {
        const unsigned char *number; /* at any alignment */
        struct gguf_string string;
        struct gguf_array array;
    } value;
};

struct gguf {
    char *path;
    struct sys_map map;
    uint32_t version;
    uint64_t n_pairs;
    struct gguf_pair *pairs; /* sorted by key */
    uint64_t n_tensors;
    struct gguf_tensor *tensors; /* in the file's order */
};

/* "u32", "string"; "unknown" for a type that does not exist. */
const char *gguf_value_type_name(uint32_t type);

/* Bytes of a number or bool, 0 for strings, arrays and unknown types. */
size_t gguf_value_type_bytes(uint32_t type);

/* As strcmp, for strings that carry their length. */
int gguf_string_compare(struct gguf_string a, struct gguf_string b);

#endif
