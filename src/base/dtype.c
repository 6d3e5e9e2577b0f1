#include "quire/dtype.h"

#include <strings.h>

#include "block_layout.h"

#define BLOCK_ROW(TYPE, name, elements, bytes, ...) [QUIRE_DTYPE_##TYPE] = {#name, elements, bytes},
static const struct {
    const char *name;
    uint32_t block_elements;
    uint32_t block_bytes;
} dtypes[QUIRE_DTYPE_COUNT] = {[QUIRE_DTYPE_F32] = {"f32", 1, 4},
                               [QUIRE_DTYPE_F16] = {"f16", 1, 2},
                               [QUIRE_DTYPE_BF16] = {"bf16", 1, 2},
                               BLOCK_TYPES(BLOCK_ROW)};

const char *quire_dtype_name(quire_dtype type)
{
    return dtypes[type].name;
}

uint32_t quire_dtype_block_elements(quire_dtype type)
{
    return dtypes[type].block_elements;
}

uint32_t quire_dtype_block_bytes(quire_dtype type)
{
    return dtypes[type].block_bytes;
}

quire_status quire_dtype_parse(quire_dtype *out, const char *name, quire_error *err)
{
    for (int i = 0; i < QUIRE_DTYPE_COUNT; i++)
        if (strcasecmp(name, dtypes[i].name) == 0) {
            *out = (quire_dtype)i;
            return QUIRE_OK;
        }
    char names[256] = "";
    for (int i = 0; i < QUIRE_DTYPE_COUNT; i++) {
        const char *before = i == 0 ? "" : i == QUIRE_DTYPE_COUNT - 1 ? " or " : ", ";
        strcat(strcat(names, before), dtypes[i].name);
    }
    return quire_fail(err, QUIRE_ERR_USAGE, "unknown number type '%s': expected %s", name, names);
}
