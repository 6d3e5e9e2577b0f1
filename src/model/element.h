/* The element types of checkpoints from PyTorch, as safetensors spells them. */
#ifndef QUIRE_MODEL_ELEMENT_H
#define QUIRE_MODEL_ELEMENT_H

#include <stdbool.h>

#include "quire/dtype.h"

struct element {
    const char *name;
    unsigned n_bytes;
    bool is_number; /* of a type that the engine computes with: `type` */
    quire_dtype type;
};

/* NULL where there is none. Static storage. */
const struct element *element_named(const char *name);

#endif
