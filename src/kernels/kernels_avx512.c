/* The vector kernels for AVX-512 (F, BW, VL, DQ); compiled with those flags. */
#define KERNELS_TABLE kernels_avx512
#define KERNELS_NAME  "avx512"
#define KERNELS_WIDTH 16
#include "kernels_vector.h"
