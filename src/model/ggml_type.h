/* The tensor types of GGUF files: what they are called and how large they are. */
#ifndef QUIRE_MODEL_GGML_TYPE_H
#define QUIRE_MODEL_GGML_TYPE_H

#include <stdint.h>

#include "quire/dtype.h"

struct ggml_type {
    const char *name;
    uint32_t block_elements;
    uint32_t block_bytes;
    quire_dtype dtype; /* QUIRE_DTYPE_COUNT: the engine does not compute with it */
};

/* NULL for an id that this build has never heard of. Static storage. */
const struct ggml_type *ggml_type_of(uint32_t id);

/* The id of a number type. */
uint32_t ggml_type_id(quire_dtype dtype);

#endif
