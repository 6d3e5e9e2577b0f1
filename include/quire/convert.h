/* Writing models: a model that was opened from a folder or file goes out as a GGUF file or as a HuggingFace folder, in
 * the number type that is wanted. */
#ifndef QUIRE_CONVERT_H
#define QUIRE_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "dtype.h"
#include "error.h"
#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quire_convert_options {
    bool has_type;
    /* Of the matrices: f32, f16, bf16, q8_0, q4_0, q4_k or q6_k in a GGUF, where vectors (norms and biases) are always
     * f32; one of the first three, for all tensors, in a folder. Without has_type a GGUF gets each matrix as it is, and
     * a folder the type that all matrices have, or f32 where that differs or is quantised, and vectors in their own:
     * nothing is lost. */
    quire_dtype type;
    bool replaces;        /* an existing output, which otherwise is an error */
    uint32_t n_threads;   /* 0: one for each processor that this process may use */
    uint64_t shard_bytes; /* of a folder's weights; beyond it they are cut into several files. 0: 5 GB */

    /* Both may be NULL. progress: bytes of tensors written, and to be written; anything but 0 stops the work. notice: a
     * sentence about what other programs, or the type, cannot hold. Called from the thread that called quire_convert.
     */
    int (*progress)(void *user, uint64_t n_bytes, uint64_t n_bytes_total);
    void (*notice)(void *user, const char *text);
    void *user;
} quire_convert_options;

/* As it is, nothing replaced, no callbacks. */
QUIRE_API quire_convert_options quire_convert_defaults(void);

/* Writes the model with its tokenizer and all that is known of it to path: a GGUF file where the name ends in ".gguf",
 * a folder else. It is written under a temporary name beside path, made durable and then renamed: path holds what it
 * held before, or a complete model. Each file carries checksums of its tensors (see quire_verify). Memory does not
 * depend on the model's size.
 *
 * Errors: USAGE (path exists, or is something that is not replaced; a type that the format does not have); NO_SPACE
 * (known before the work starts, where the system can tell); NUMERIC (a number that has no place in the type: too
 * large, or NaN or infinite where it is quantised; names the tensor); CANCELLED; UNSUPPORTED and FORMAT (the
 * tokenizer); IO; NO_MEMORY. */
QUIRE_API quire_status quire_convert(const quire_model *model, const char *path, const quire_convert_options *options,
                                     quire_error *err);

#ifdef __cplusplus
}
#endif
#endif
