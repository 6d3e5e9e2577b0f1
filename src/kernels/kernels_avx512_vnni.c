/* The vector kernels for AVX-512 (F, BW, VL, DQ) with VNNI; compiled with those flags. */
#define KERNELS_TABLE kernels_avx512_vnni
#define KERNELS_NAME  "avx512-vnni"
#define KERNELS_WIDTH 16
#define KERNELS_FIXED
#include "kernels_vector.h"
