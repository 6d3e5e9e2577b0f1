/* Number formats of weights in files. (Those of keys and values: kv_type.h.)
 *
 * A row of n numbers is stored as n / block_elements blocks of block_bytes each. The types other than floating point
 * are those of GGUF, byte for byte: small integers with scales, in blocks of 32 or 256 numbers. */
#ifndef QUIRE_DTYPE_H
#define QUIRE_DTYPE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum quire_dtype {
    QUIRE_DTYPE_F32,
    QUIRE_DTYPE_F16,
    QUIRE_DTYPE_BF16,
    QUIRE_DTYPE_Q8_0,
    QUIRE_DTYPE_Q4_0,
    QUIRE_DTYPE_Q4_1,
    QUIRE_DTYPE_Q5_0,
    QUIRE_DTYPE_Q5_1,
    QUIRE_DTYPE_Q2_K,
    QUIRE_DTYPE_Q3_K,
    QUIRE_DTYPE_Q4_K,
    QUIRE_DTYPE_Q5_K,
    QUIRE_DTYPE_Q6_K,
    QUIRE_DTYPE_IQ4_NL,
    QUIRE_DTYPE_IQ4_XS,
    QUIRE_DTYPE_COUNT
} quire_dtype;

/* As GGUF names them, in lower case: "f32", "bf16", "q8_0", "q4_k", "iq4_nl", ... Static storage. */
QUIRE_API const char *quire_dtype_name(quire_dtype type);

/* Numbers in a block: 1, 32 or 256. */
QUIRE_API uint32_t quire_dtype_block_elements(quire_dtype type);

/* Bytes of a block. */
QUIRE_API uint32_t quire_dtype_block_bytes(quire_dtype type);

/* The type named (case does not matter). Errors: QUIRE_ERR_USAGE, with the names that exist. */
QUIRE_API quire_status quire_dtype_parse(quire_dtype *out, const char *name, quire_error *err);

#ifdef __cplusplus
}
#endif
#endif
