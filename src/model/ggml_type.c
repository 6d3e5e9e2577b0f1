#include "ggml_type.h"

#include <stddef.h>

#define NO_DTYPE QUIRE_DTYPE_COUNT

/* Those without a dtype are here so that a file which uses one is refused by its name. */
static const struct ggml_type types[] = {
    [0] = {"F32", 1, 4, QUIRE_DTYPE_F32},
    [1] = {"F16", 1, 2, QUIRE_DTYPE_F16},
    [2] = {"Q4_0", 32, 18, QUIRE_DTYPE_Q4_0},
    [3] = {"Q4_1", 32, 20, QUIRE_DTYPE_Q4_1},
    [6] = {"Q5_0", 32, 22, QUIRE_DTYPE_Q5_0},
    [7] = {"Q5_1", 32, 24, QUIRE_DTYPE_Q5_1},
    [8] = {"Q8_0", 32, 34, QUIRE_DTYPE_Q8_0},
    [9] = {"Q8_1", 32, 36, NO_DTYPE},
    [10] = {"Q2_K", 256, 84, QUIRE_DTYPE_Q2_K},
    [11] = {"Q3_K", 256, 110, QUIRE_DTYPE_Q3_K},
    [12] = {"Q4_K", 256, 144, QUIRE_DTYPE_Q4_K},
    [13] = {"Q5_K", 256, 176, QUIRE_DTYPE_Q5_K},
    [14] = {"Q6_K", 256, 210, QUIRE_DTYPE_Q6_K},
    [15] = {"Q8_K", 256, 292, NO_DTYPE},
    [16] = {"IQ2_XXS", 256, 66, NO_DTYPE},
    [17] = {"IQ2_XS", 256, 74, NO_DTYPE},
    [18] = {"IQ3_XXS", 256, 98, NO_DTYPE},
    [19] = {"IQ1_S", 256, 50, NO_DTYPE},
    [20] = {"IQ4_NL", 32, 18, QUIRE_DTYPE_IQ4_NL},
    [21] = {"IQ3_S", 256, 110, NO_DTYPE},
    [22] = {"IQ2_S", 256, 82, NO_DTYPE},
    [23] = {"IQ4_XS", 256, 136, QUIRE_DTYPE_IQ4_XS},
    [24] = {"I8", 1, 1, NO_DTYPE},
    [25] = {"I16", 1, 2, NO_DTYPE},
    [26] = {"I32", 1, 4, NO_DTYPE},
    [27] = {"I64", 1, 8, NO_DTYPE},
    [28] = {"F64", 1, 8, NO_DTYPE},
    [29] = {"IQ1_M", 256, 56, NO_DTYPE},
    [30] = {"BF16", 1, 2, QUIRE_DTYPE_BF16},
    [34] = {"TQ1_0", 256, 54, NO_DTYPE},
    [35] = {"TQ2_0", 256, 66, NO_DTYPE},
    [39] = {"MXFP4", 32, 17, NO_DTYPE},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

const struct ggml_type *ggml_type_of(uint32_t id)
{
    return id < N_TYPES && types[id].name ? &types[id] : NULL;
}

uint32_t ggml_type_id(quire_dtype dtype)
{
    uint32_t id = 0;
    while (!types[id].name || types[id].dtype != dtype)
        id++;
    return id;
}
