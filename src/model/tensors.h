/* The directory of a checkpoint: every tensor of every file, by name, whatever the format. */
#ifndef QUIRE_MODEL_TENSORS_H
#define QUIRE_MODEL_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/dtype.h"
#include "quire/error.h"

#define TENSOR_MAX_DIMS 4
/* Of all files of a checkpoint: 16,384 layers, the most that a configuration may have, of 16. */
#define TENSORS_MAX (1u << 18)

/* Bytes of a name, in formats that have no limit of their own. */
enum { TENSOR_NAME_MAX = 256 };

struct tensor {
    char *name;                     /* owned */
    const char *path;               /* of its file; lives as long as the checkpoint */
    const char *type_name;          /* as the file's format spells it; static storage */
    quire_dtype type;               /* only where is_number is true */
    bool is_number;                 /* of a type that the engine computes with */
    uint32_t n_dims;                /* may be more than TENSOR_MAX_DIMS, of which the first are in dims */
    uint64_t dims[TENSOR_MAX_DIMS]; /* outermost first, as torch counts: a matrix is {rows, cols} */
    const void *data;
    size_t n_bytes;
    const char *obstacle; /* NULL, or why the data cannot be used ("is ..."; static storage): then it has no bytes */
};

struct tensors {
    struct tensor *items;
    size_t n, capacity;
};

/* Adds one; takes over tensor->name, also on failure. Errors: UNSUPPORTED (it would be one too many), NO_MEMORY. */
quire_status tensors_add(struct tensors *tensors, const struct tensor *tensor, quire_error *err);

/* Sorts by name, which tensors_find needs. Errors: FORMAT where two have one name. */
quire_status tensors_sort(struct tensors *tensors, quire_error *err);

/* NULL where there is none. */
const struct tensor *tensors_find(const struct tensors *tensors, const char *name);

void tensors_release(struct tensors *tensors);

/* "[96, 32]" */
struct shape_text {
    char text[128];
};
struct shape_text shape_text(uint32_t n_dims, const uint64_t *dims);

#endif
