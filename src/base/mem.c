#include "mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Buffers from this size on are laid out in large pages where the system has them. */
enum { HUGE_PAGE_BYTES = 2 << 20, HUGE_FROM_BYTES = 8 << 20 };

static quire_status no_memory(const char *what, size_t n, size_t size, quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for %s: %zu x %zu bytes", what, n, size);
}

void *mem_calloc(size_t n, size_t size, const char *what, quire_error *err)
{
    size_t bytes;
    void *p = size_mul(&bytes, n, size) ? calloc(1, size_max(bytes, 1)) : NULL;
    if (!p)
        no_memory(what, n, size, err);
    return p;
}

void *mem_aligned(size_t n, size_t size, const char *what, quire_error *err)
{
    size_t bytes;
    void *p = NULL;
    if (size_mul(&bytes, n, size) && bytes <= SIZE_MAX - HUGE_PAGE_BYTES) {
        size_t alignment = bytes < HUGE_FROM_BYTES ? 64 : HUGE_PAGE_BYTES;
        bytes = size_max(size_round_up(bytes, alignment), alignment);
        p = aligned_alloc(alignment, bytes);
        if (p && alignment == HUGE_PAGE_BYTES) /* a hint: fewer faults and address look-ups */
            madvise(p, bytes, MADV_HUGEPAGE);
    }
    if (!p)
        no_memory(what, n, size, err);
    return p;
}

quire_status mem_reserve(void *items, size_t *capacity, size_t need, size_t item_size, const char *what,
                         quire_error *err)
{
    if (need <= *capacity)
        return QUIRE_OK;
    size_t grown = *capacity ? *capacity : 16;
    while (grown < need)
        if (!size_mul(&grown, grown, 2))
            return no_memory(what, need, item_size, err);
    size_t bytes;
    void *p;
    memcpy(&p, items, sizeof p);
    p = size_mul(&bytes, grown, item_size) ? realloc(p, bytes) : NULL;
    if (!p)
        return no_memory(what, need, item_size, err);
    memcpy(items, &p, sizeof p);
    *capacity = grown;
    return QUIRE_OK;
}

char *mem_strdup(const char *text, quire_error *err)
{
    size_t n = strlen(text) + 1;
    char *copy = mem_calloc(n, 1, "a string", err);
    if (copy)
        memcpy(copy, text, n);
    return copy;
}
