#include "kv_rows.h"

#include <string.h>
#include <strings.h>

#include "bytes.h"

static const char *const names[QUIRE_KV_TYPE_COUNT] = {
    [QUIRE_KV_F32] = "f32",   [QUIRE_KV_F16] = "f16",   [QUIRE_KV_BF16] = "bf16",
    [QUIRE_KV_INT8] = "int8", [QUIRE_KV_INT4] = "int4",
};

const char *quire_kv_type_name(quire_kv_type type)
{
    return names[type];
}

quire_status quire_kv_type_parse(quire_kv_type *out, const char *name, quire_error *err)
{
    for (int i = 0; i < QUIRE_KV_TYPE_COUNT; i++)
        if (strcasecmp(name, names[i]) == 0) {
            *out = (quire_kv_type)i;
            return QUIRE_OK;
        }
    return quire_fail(err, QUIRE_ERR_USAGE, "'%s' is no type of keys and values: expected f32, f16, bf16, int8 or int4",
                      name);
}

void kv_rows_unpack(float *out, const void *side, quire_kv_type type, size_t head_dim, size_t row, size_t first,
                    size_t n)
{
    const unsigned char *numbers = (const unsigned char *)side + row * kv_rows_number_bytes(type, head_dim);
    const uint16_t *scales = kv_rows_scales(side, type, head_dim, row);
    switch (type) {
    case QUIRE_KV_F32: memcpy(out, numbers + first * sizeof *out, n * sizeof *out); break;
    case QUIRE_KV_F16:
        for (size_t i = 0; i < n; i++)
            out[i] = f16_to_f32(load_u16(numbers + 2 * (first + i)));
        break;
    case QUIRE_KV_INT8:
        for (size_t i = 0; i < n; i++)
            out[i] = (float)(int8_t)numbers[first + i] * bf16_to_f32(scales[0]);
        break;
    case QUIRE_KV_INT4:
        for (size_t i = 0; i < n; i++) {
            size_t group = (first + i) / KV_GROUP, at = (first + i) % KV_GROUP, half = KV_GROUP / 2;
            unsigned char pair = numbers[group * half + at % half];
            out[i] = (float)((at < half ? pair & 15 : pair >> 4) - 8) * bf16_to_f32(scales[group]);
        }
        break;
    default:
        for (size_t i = 0; i < n; i++)
            out[i] = bf16_to_f32(load_u16(numbers + 2 * (first + i)));
    }
}
