/* Chooses a table. Compiled for the baseline processor. */
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "base/mem.h"
#include "base/threads.h"
#include "tables.h"

static int runs_always(void)
{
    return 1;
}

#if defined(__x86_64__)
/* Every processor with AVX2 has F16C too. */
static int runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

/* The compilers' names for it are younger than the instructions. */
static int runs_avx2_vnni(void)
{
    unsigned a = 0, b, c, d;
    return runs_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1 << 4);
}

static int runs_avx512(void)
{
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static int runs_avx512_vnni(void)
{
    return runs_avx512() && __builtin_cpu_supports("avx512vnni");
}

/* Every processor with BF16 has VNNI too; asked for all the same, since both are used. */
static int runs_avx512_bf16(void)
{
    return runs_avx512_vnni() && __builtin_cpu_supports("avx512bf16");
}

/* Intel's take two cycles for an instruction that AMD's do in one: there, products in fixed point are three times as
 * fast (266 and 85 GFLOP/s on a core of an Emerald Rapids) and nearer. */
static int likes_avx512_bf16(void)
{
    return !__builtin_cpu_is("intel");
}

/* The kernel must be asked for the tile registers, whose contents a switch of threads has to save; one that is older
 * than 5.16 or told not to refuses. Given once, the right is the whole process's. */
static int runs_amx_bf16(void)
{
#if defined(__linux__)
    enum { AMX_BF16_AND_TILE = 1 << 22 | 1 << 24, REQUEST_STATE = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d = 0;
    return runs_avx512_bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
           (d & AMX_BF16_AND_TILE) == AMX_BF16_AND_TILE && syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0;
#else
    return 0;
#endif
}
#endif

/* From the plainest to the fastest: the last that runs, and is liked, is the default. There is no table of AVX-512 with
 * products in fixed point but without VNNI: a multiplication and an addition there are no faster than one in float32 on
 * the processors that have it. */
static const struct {
    const struct kernels *table;
    int (*runs)(void);
    int (*is_liked)(void);
} choices[] = {
    {&kernels_ref, runs_always, runs_always},
    {&kernels_base, runs_always, runs_always},
#if defined(__x86_64__)
    {&kernels_avx2, runs_avx2, runs_always},
    {&kernels_avx2_i16, runs_avx2, runs_always},
    {&kernels_avx2_vnni, runs_avx2_vnni, runs_always},
    {&kernels_avx512, runs_avx512, runs_always},
    {&kernels_avx512_vnni, runs_avx512_vnni, runs_always},
    {&kernels_avx512_bf16, runs_avx512_bf16, likes_avx512_bf16},
    {&kernels_amx_bf16, runs_amx_bf16, runs_always},
#endif
};
enum { N_CHOICES = sizeof choices / sizeof choices[0] };

const struct kernels *kernels_at(size_t index, int *is_available)
{
    if (index >= N_CHOICES)
        return NULL;
    *is_available = choices[index].runs();
    return choices[index].table;
}

quire_status kernels_choose(const struct kernels **out, const char *isa, quire_error *err)
{
    const struct kernels *best = NULL;
    char names[128] = "";
    if (!isa)
        isa = getenv("QUIRE_ISA");
    for (size_t i = 0; i < N_CHOICES; i++) {
        if (!choices[i].runs())
            continue;
        const struct kernels *table = choices[i].table;
        if (isa && strcmp(isa, table->name) == 0) {
            *out = table;
            return QUIRE_OK;
        }
        strcat(strcat(names, names[0] ? ", " : ""), table->name);
        best = choices[i].is_liked() ? table : best;
    }
    if (isa && *isa)
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "instruction set '%s' is not available: this processor runs %s",
                          isa, names);
    *out = best;
    return QUIRE_OK;
}

uint32_t kernels_n_threads(const struct kernels *kernels, uint32_t n_threads)
{
    uint32_t n = n_threads ? n_threads : threads_available();
    bool uses_openblas = kernels->gemm == &gemm_openblas || kernels->gemm_exact == &gemm_openblas;
    return uses_openblas ? (uint32_t)size_min(n, gemm_openblas_most_threads()) : n;
}
