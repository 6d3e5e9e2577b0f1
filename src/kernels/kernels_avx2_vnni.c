/* The vector kernels for AVX2, FMA and F16C with AVX-VNNI and products in fixed point; compiled with those flags. */
#define KERNELS_TABLE kernels_avx2_vnni
#define KERNELS_NAME  "avx2-vnni"
#define KERNELS_WIDTH 8
#define KERNELS_FIXED
#include "kernels_vector.h"
