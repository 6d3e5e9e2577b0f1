/* The vector kernels for AVX2, FMA and F16C; compiled with those flags. */
#define KERNELS_TABLE kernels_avx2
#define KERNELS_NAME  "avx2"
#define KERNELS_WIDTH 8
#include "kernels_vector.h"
