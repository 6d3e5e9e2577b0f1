/* Buffers cut from one allocation: the same function lays them out twice, first on an arena without memory, which
 * counts, and then for good. What is planned is what is used. */
#ifndef QUIRE_TRAIN_ARENA_H
#define QUIRE_TRAIN_ARENA_H

#include <stdbool.h>

#include "base/mem.h"

struct arena {
    unsigned char *memory; /* NULL: only counts */
    size_t n_bytes;        /* so far */
    bool is_too_large;     /* for a size_t */
};

/* a * b * size bytes, aligned to 64. NULL where the arena only counts. */
static inline void *arena_take(struct arena *arena, size_t a, size_t b, size_t size)
{
    size_t bytes, end;
    if (!size_mul(&bytes, a, b) || !size_mul(&bytes, bytes, size) || !size_add(&bytes, bytes, 63) ||
        !size_add(&end, arena->n_bytes, bytes / 64 * 64)) {
        arena->is_too_large = true;
        return NULL;
    }
    void *p = arena->memory ? arena->memory + arena->n_bytes : NULL;
    arena->n_bytes = end;
    return p;
}

static inline float *arena_floats(struct arena *arena, size_t a, size_t b)
{
    return arena_take(arena, a, b, sizeof(float));
}

#endif
