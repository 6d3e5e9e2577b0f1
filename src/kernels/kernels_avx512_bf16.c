/* The vector kernels for AVX-512 (F, BW, VL, DQ) with BF16; compiled with those flags. And those with AMX's products,
 * for processors that have it as well. */
#define KERNELS_TABLE     kernels_avx512_bf16
#define KERNELS_NAME      "avx512-bf16"
#define KERNELS_AMX_TABLE kernels_amx_bf16
#define KERNELS_WIDTH     16
#define KERNELS_BF16
#include "kernels_vector.h"
