#include "alibi.h"

#include <math.h>

void alibi_slopes(float *slopes, uint32_t n_heads, float bias_max)
{
    uint32_t power = 1;
    while (power < n_heads)
        power *= 2;
    for (uint32_t h = 0; h < n_heads; h++) {
        uint32_t k = h + 1;
        if (power != n_heads)
            k = h < power / 2 ? 2 * (h + 1) : 2 * (h - power / 2) + 1;
        slopes[h] = (float)exp2(-(double)k * (double)bias_max / (double)power);
    }
}
