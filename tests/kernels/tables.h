/* Going over the kernel tables. */
#ifndef QUIRE_TESTS_KERNELS_TABLES_H
#define QUIRE_TESTS_KERNELS_TABLES_H

#include "kernels/kernels.h"
#include "test.h"

/* Runs `check` for each table that this processor can run, but for the reference itself. */
static void for_all_tables(void (*check)(const struct kernels *k, const struct kernels *ref))
{
    int runs;
    const struct kernels *ref = kernels_at(0, &runs), *k;
    CHECK_EQ_STR(ref->name, "ref");
    for (size_t i = 1; (k = kernels_at(i, &runs)) != NULL; i++) {
        if (!runs) {
            printf("     %s does not run here\n", k->name);
            continue;
        }
        check(k, ref);
        if (test_n_failed_checks > 0) {
            fprintf(stderr, "with table %s\n", k->name);
            return;
        }
    }
}

#endif
