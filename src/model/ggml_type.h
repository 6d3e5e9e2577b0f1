/* The tensor types of GGUF files: what they are called and how large they are. */
#ifndef QUIRE_MODEL_GGML_TYPE_H
#define QUIRE_MODEL_GGML_TYPE_H

#include <stdbool.h>
#include <stdint.h>

#include "quire/dtype.h"

struct ggml_type {
    const char *name;
    uint32_t block_elements;
    uint32_t block_bytes;
};

/* NULL for an id that this build has never heard of. Static storage. */
const struct ggml_type *ggml_type_of(uint32_t id);

/* The number type that the engine computes with; false where there is none. */
bool ggml_type_to_dtype(quire_dtype *out, uint32_t id);

#endif
