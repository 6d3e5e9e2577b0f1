/* The pickle of a PyTorch checkpoint: a dictionary from names to tensors, written as a program for a small machine.
 *
 * Nothing in it is executed. A closed interpreter knows the operations that such a dictionary needs and a list of names
 * (pickle_names.c) that stand for a tensor, a storage, an ordered dictionary or a type; anything else is refused by the
 * name of what was found. Memory has fixed bounds (pickle_machine.h), whatever the pickle claims. */
#ifndef QUIRE_MODEL_PICKLE_H
#define QUIRE_MODEL_PICKLE_H

#include <stddef.h>
#include <stdint.h>

#include "element.h"

#define PICKLE_MAX_BYTES ((size_t)16 << 20) /* the 30B's shards have 20 KB */
#define PICKLE_MAX_DIMS  16

struct pickle;

/* A tensor as the pickle describes it. Nothing here is checked against a storage's file. */
struct pickle_tensor {
    const char *name; /* in the pickle, not terminated; UTF-8 without NUL */
    size_t n_name;
    const char *storage; /* the key of its storage */
    size_t n_storage;
    uint64_t storage_bytes; /* that its storage is to have */
    const struct element *element;
    uint64_t offset; /* of its first element in the storage, in elements */
    uint32_t n_dims;
    uint64_t dims[PICKLE_MAX_DIMS];    /* outermost first */
    uint64_t strides[PICKLE_MAX_DIMS]; /* in elements */
};

/* Runs the pickle of n bytes at data, which must outlive *out; path is for messages. The tensors are those of the
 * outermost dictionary, or of the one that it holds as "state_dict" or "model", whose other entries are passed over.
 * Errors: FORMAT (cut short, malformed), UNSUPPORTED (an operation or a name that is not on the lists; beyond the
 * bounds), NO_MEMORY. */
quire_status pickle_open(struct pickle **out, const unsigned char *data, size_t n, const char *path, quire_error *err);
void pickle_close(struct pickle *pickle); /* NULL is fine */

/* Tensors in the order of their names, which are all different. */
size_t pickle_n_tensors(const struct pickle *pickle);
struct pickle_tensor pickle_tensor_at(const struct pickle *pickle, size_t i);

#endif
