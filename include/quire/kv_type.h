/* Number formats of stored keys and values.
 *
 * int8 and int4 are integers times a scale: int8 has one scale for a token's key (or value) in a head, int4 one for
 * each 32 channels of it. Both take any finite number, and a row that was rounded once is not changed by rounding it
 * again. */
#ifndef QUIRE_KV_TYPE_H
#define QUIRE_KV_TYPE_H

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum quire_kv_type {
    QUIRE_KV_F32,
    QUIRE_KV_F16,
    QUIRE_KV_BF16,
    QUIRE_KV_INT8,
    QUIRE_KV_INT4,
    QUIRE_KV_TYPE_COUNT
} quire_kv_type;

/* "f32", "f16", "bf16", "int8", "int4". Static storage. */
QUIRE_API const char *quire_kv_type_name(quire_kv_type type);

/* The type named (case does not matter). Errors: QUIRE_ERR_USAGE, with the names that exist. */
QUIRE_API quire_status quire_kv_type_parse(quire_kv_type *out, const char *name, quire_error *err);

#ifdef __cplusplus
}
#endif
#endif
