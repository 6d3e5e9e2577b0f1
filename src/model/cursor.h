/* Reading a file's bytes in order, never past their end. Every step says whether the bytes were there; after a step
 * that failed the cursor is where it was. */
#ifndef QUIRE_MODEL_CURSOR_H
#define QUIRE_MODEL_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct cursor {
    const unsigned char *data;
    size_t n_bytes;
    size_t at;
};

static inline size_t cursor_left(const struct cursor *cursor)
{
    return cursor->n_bytes - cursor->at;
}

static inline bool cursor_bytes(struct cursor *cursor, uint64_t n, const unsigned char **out)
{
    n = taken(n);
    if (n > cursor_left(cursor))
        return false;
    *out = cursor->data + cursor->at;
    cursor->at += (size_t)n;
    return true;
}

static inline bool cursor_u32(struct cursor *cursor, uint32_t *out)
{
    const unsigned char *p;
    if (!cursor_bytes(cursor, 4, &p))
        return false;
    *out = (uint32_t)taken(load_u32(p));
    return true;
}

static inline bool cursor_u64(struct cursor *cursor, uint64_t *out)
{
    const unsigned char *p;
    if (!cursor_bytes(cursor, 8, &p))
        return false;
    *out = taken(load_u64(p));
    return true;
}

#endif
