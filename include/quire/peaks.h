/* What this machine can do at best: what a measured speed is to be compared with.
 *
 * Each function measures for some tenths of a second and raises the figures that it knows where it found more, so that
 * peaks measured before and after some work, into the same structure, are the best of both. Start with zeros. */
#ifndef QUIRE_PEAKS_H
#define QUIRE_PEAKS_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { QUIRE_PEAKS_MAX_UNITS = 16 };

typedef struct quire_peaks {
    /* Asked every now and then, where it is set: nonzero ends the measuring (CANCELLED). */
    int (*stop)(void *user);
    void *user;

    /* Matrix products from cached factors, by the innermost loop of each kernel table, on all threads at once: a
     * multiplication and an addition are two operations. */
    struct quire_unit_peak {
        const char *isa;     /* as quire_engine_options.isa has it; static storage */
        const char *factors; /* what is multiplied: "f32", "bf16", ...; static storage */
        double flops;        /* operations a second */
    } units[QUIRE_PEAKS_MAX_UNITS];
    size_t n_units;
    double memory_read; /* bytes a second, on all threads at once; 0: not measured */
    double disk_read, disk_write;
} quire_peaks;

/* The products of the table named, or, for NULL, of every one that this processor runs but the plain reference.
 * n_threads 0: the processors that this process may use. Errors: UNSUPPORTED; NO_MEMORY; CANCELLED. */
QUIRE_API quire_status quire_peaks_measure_units(quire_peaks *peaks, const char *isa, uint32_t n_threads,
                                                 quire_error *err);

/* Reading memory that no cache holds, with loads as wide as the processor has. It takes `n_bytes` (0: 1 GiB) while it
 * measures. Errors: NO_MEMORY; CANCELLED. */
QUIRE_API quire_status quire_peaks_measure_memory(quire_peaks *peaks, uint32_t n_threads, uint64_t n_bytes,
                                                  quire_error *err);

/* Writing a file in a folder up to the disk, and reading it back past the page cache, one after the other, on one
 * thread: 256 MiB, or what can be written in two seconds. The file has no name there. folder NULL: where an engine
 * without a store keeps its keys and values ($TMPDIR or /var/tmp). A virtual machine's host may cache what the machine
 * itself does not. Errors: IO; NO_SPACE; NO_MEMORY; CANCELLED. */
QUIRE_API quire_status quire_peaks_measure_disk(quire_peaks *peaks, const char *folder, quire_error *err);

/* The peak of a table's products; 0 where it was not measured. */
QUIRE_API double quire_peaks_flops(const quire_peaks *peaks, const char *isa);

#ifdef __cplusplus
}
#endif
#endif
