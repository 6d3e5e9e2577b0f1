#include "ggml_type.h"

#include <stddef.h>

/* Only five of these are computed with; the others are here so that a file which uses one is refused by its name. */
static const struct ggml_type types[] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},      [3] = {"Q4_1", 32, 20},
    [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},      [8] = {"Q8_0", 32, 34},      [9] = {"Q8_1", 32, 36},
    [10] = {"Q2_K", 256, 84},    [11] = {"Q3_K", 256, 110},   [12] = {"Q4_K", 256, 144},   [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},   [15] = {"Q8_K", 256, 292},   [16] = {"IQ2_XXS", 256, 66}, [17] = {"IQ2_XS", 256, 74},
    [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},   [20] = {"IQ4_NL", 32, 18},   [21] = {"IQ3_S", 256, 110},
    [22] = {"IQ2_S", 256, 82},   [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},        [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8},        [29] = {"IQ1_M", 256, 56},
    [30] = {"BF16", 1, 2},       [34] = {"TQ1_0", 256, 54},   [35] = {"TQ2_0", 256, 66},   [39] = {"MXFP4", 32, 17},
};

const struct ggml_type *ggml_type_of(uint32_t id)
{
    return id < sizeof types / sizeof types[0] && types[id].name ? &types[id] : NULL;
}

bool ggml_type_to_dtype(quire_dtype *out, uint32_t id)
{
    switch (id) {
    case 0: *out = QUIRE_DTYPE_F32; return true;
    case 1: *out = QUIRE_DTYPE_F16; return true;
    case 2: *out = QUIRE_DTYPE_Q4_0; return true;
    case 8: *out = QUIRE_DTYPE_Q8_0; return true;
    case 30: *out = QUIRE_DTYPE_BF16; return true;
    default: return false;
    }
}
