/* What a directory of tensors promises, held to it. */
#ifndef QUIRE_TESTS_FUZZ_TENSORS_H
#define QUIRE_TESTS_FUZZ_TENSORS_H

#include "model/tensors.h"

/* Reads the first and the last byte of each tensor, for the address sanitizer to see, and checks that its size is what
 * shape and type say. */
static inline void fuzz_touch(const struct tensors *tensors)
{
    for (size_t i = 0; i < tensors->n; i++) {
        const struct tensor *tensor = &tensors->items[i];
        const volatile unsigned char *bytes = tensor->data;
        size_t n_bytes = quire_dtype_block_bytes(tensor->type) / quire_dtype_block_elements(tensor->type);
        if (tensor->n_bytes > 0)
            (void)(bytes[0] + bytes[tensor->n_bytes - 1]);
        for (uint32_t d = 0; tensor->n_dims <= TENSOR_MAX_DIMS && d < tensor->n_dims; d++)
            n_bytes *= (size_t)tensor->dims[d];
        if (tensor->is_number && tensor->n_dims <= TENSOR_MAX_DIMS && n_bytes != tensor->n_bytes)
            __builtin_trap();
    }
}

#endif
