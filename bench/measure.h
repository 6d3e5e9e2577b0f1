/* What several of the measuring programs need. */
#ifndef QUIRE_BENCH_MEASURE_H
#define QUIRE_BENCH_MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline int measure_by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
static inline double measure_median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, measure_by_size);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* Bytes that this process has had read from disks. */
static inline uint64_t measure_disk_bytes_read(void)
{
    unsigned long long n = 0;
    char line[128];
    FILE *f = fopen("/proc/self/io", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "read_bytes: %llu", &n) == 1)
            break;
    if (f)
        fclose(f);
    return n;
}

#endif
