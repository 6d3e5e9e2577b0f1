/* The vector kernels for AVX2, FMA and F16C with products in fixed point; compiled with those flags. */
#define KERNELS_TABLE kernels_avx2_i16
#define KERNELS_NAME  "avx2-i16"
#define KERNELS_WIDTH 8
#define KERNELS_FIXED
#include "kernels_vector.h"
