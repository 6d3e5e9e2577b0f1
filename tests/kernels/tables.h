/* Going over the kernel tables. */
#ifndef QUIRE_TESTS_KERNELS_TABLES_H
#define QUIRE_TESTS_KERNELS_TABLES_H

#include "kernels/kernels.h"
#include "test.h"

extern const struct kernels kernels_amx_emulated; /* amx_emulated.c */

/* kernels_at, and behind its last table the one that emulates AMX, which needs what AVX-512-BF16 does. */
static const struct kernels *table_at(size_t index, int *runs)
{
    const struct kernels *k = kernels_at(index, runs);
#if defined(__x86_64__)
    if (!k && kernels_at(index - 1, runs)) {
        *runs = 0;
        for (size_t i = 0; !*runs && (k = kernels_at(i, runs)) != NULL; i++)
            *runs = *runs && strcmp(k->name, "avx512-bf16") == 0;
        return &kernels_amx_emulated;
    }
#endif
    return k;
}

/* Runs `check` for each table that this processor can run, but for the reference itself. */
static void for_all_tables(void (*check)(const struct kernels *k, const struct kernels *ref))
{
    int runs;
    const struct kernels *ref = table_at(0, &runs), *k;
    CHECK_EQ_STR(ref->name, "ref");
    for (size_t i = 1; (k = table_at(i, &runs)) != NULL; i++) {
        if (!runs) {
            printf("     %s does not run here\n", k->name);
            continue;
        }
        check(k, ref);
        if (test_n_failed_checks > 0) {
            fprintf(stderr, "with table %s%s\n", k->name, k == &kernels_amx_emulated ? ", emulated" : "");
            return;
        }
    }
}

#endif
