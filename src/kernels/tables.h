/* The tables that dispatch.c chooses from; private to src/kernels. */
#ifndef QUIRE_KERNELS_TABLES_H
#define QUIRE_KERNELS_TABLES_H

#include "kernels.h"

extern const struct kernels kernels_ref;
extern const struct kernels kernels_base;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2;
extern const struct kernels kernels_avx2_i16;
extern const struct kernels kernels_avx2_vnni;
extern const struct kernels kernels_avx512;
extern const struct kernels kernels_avx512_vnni;
extern const struct kernels kernels_avx512_bf16;
extern const struct kernels kernels_amx_bf16;
#endif

#endif
