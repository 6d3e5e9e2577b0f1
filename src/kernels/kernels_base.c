/* The vector kernels for the compiler's baseline instruction set. */
#define KERNELS_TABLE kernels_base
#define KERNELS_NAME  "base"
#define KERNELS_WIDTH 4
#include "kernels_vector.h"
