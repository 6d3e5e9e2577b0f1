/* The vector kernels for AVX2 and FMA; compiled with those flags. */
#define KERNELS_TABLE kernels_avx2
#define KERNELS_NAME "avx2"
#include "kernels_vector.h"
