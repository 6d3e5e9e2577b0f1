/* Memory: sizes that cannot overflow, aligned allocation. */
#ifndef QUIRE_BASE_MEM_H
#define QUIRE_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/error.h"

/* *out = a * b or a + b; false, and *out untouched, where the result does not fit. */
static inline bool size_mul(size_t *out, size_t a, size_t b)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

static inline bool size_add(size_t *out, size_t a, size_t b)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

/* n rounded up to a multiple of step; the caller knows that it fits. */
static inline size_t size_round_up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

/* Pieces of that size that n makes, the last one perhaps not whole. */
static inline size_t size_pieces(size_t n, size_t piece)
{
    return (n + piece - 1) / piece;
}

static inline size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t size_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Whole MiB of what is needed or taken, for a message. What there is beside it is rounded down (>> 20), so that less
 * than enough reads as less. */
static inline uint64_t mib_up(uint64_t n_bytes)
{
    return (n_bytes >> 20) + ((n_bytes & 0xFFFFF) != 0);
}

/* n * size bytes, set to zero; released with free. NULL with a NO_MEMORY error naming `what` when there is no memory or
 * the product overflows. n * size == 0 gives a valid pointer. */
void *mem_calloc(size_t n, size_t size, const char *what, quire_error *err);

/* As mem_calloc, aligned to 64 bytes, not set to zero; released with free. */
void *mem_aligned(size_t n, size_t size, const char *what, quire_error *err);

/* Grows an array so that it holds at least `need` items of item_size bytes, by doubling. items: the address of the
 * pointer to it, of whatever type. *capacity is in items. */
quire_status mem_reserve(void *items, size_t *capacity, size_t need, size_t item_size, const char *what,
                         quire_error *err);

char *mem_strdup(const char *text, quire_error *err);

#endif
