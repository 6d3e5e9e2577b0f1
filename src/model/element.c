#include "element.h"

#include <string.h>

static const struct element elements[] = {
    {"F32", 4, true, QUIRE_DTYPE_F32},
    {"F16", 2, true, QUIRE_DTYPE_F16},
    {"BF16", 2, true, QUIRE_DTYPE_BF16},
    {"F64", 8, false, 0},
    {"I64", 8, false, 0},
    {"U64", 8, false, 0},
    {"I32", 4, false, 0},
    {"U32", 4, false, 0},
    {"I16", 2, false, 0},
    {"U16", 2, false, 0},
    {"I8", 1, false, 0},
    {"U8", 1, false, 0},
    {"BOOL", 1, false, 0},
    {"F8_E5M2", 1, false, 0},
    {"F8_E4M3", 1, false, 0},
    {"F8_E8M0", 1, false, 0},
    {"C64", 8, false, 0},
};

const struct element *element_named(const char *name)
{
    for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++)
        if (strcmp(elements[i].name, name) == 0)
            return &elements[i];
    return NULL;
}
