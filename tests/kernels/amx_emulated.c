/* The table of AMX's products with plain C in the place of its instructions: for processors that have the rest. */
#if defined(__x86_64__)
#define KERNELS_AMX_EMULATED
#define KERNELS_TABLE     kernels_beside_emulated
#define KERNELS_NAME      "avx512-bf16"
#define KERNELS_AMX_TABLE kernels_amx_emulated
#define KERNELS_WIDTH     16
#define KERNELS_BF16
#include "kernels/kernels_vector.h"
#else
typedef int nothing_to_emulate;
#endif
