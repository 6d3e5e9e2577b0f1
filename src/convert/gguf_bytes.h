/* GGUF's numbers and strings, appended one after another: after a failure nothing more is, so that its status is looked
 * at once, in the end. */
#ifndef QUIRE_CONVERT_GGUF_BYTES_H
#define QUIRE_CONVERT_GGUF_BYTES_H

#include "tokenizer/buffer.h"

struct gguf_bytes {
    struct buffer *to;
    quire_status status;
    quire_error *err;
};

static inline void put(struct gguf_bytes *w, const void *bytes, size_t n)
{
    if (w->status == QUIRE_OK)
        w->status = buffer_append(w->to, bytes, n, w->err);
}

static inline void put_u32(struct gguf_bytes *w, uint32_t value)
{
    put(w, &value, sizeof value);
}

static inline void put_u64(struct gguf_bytes *w, uint64_t value)
{
    put(w, &value, sizeof value);
}

static inline void put_string(struct gguf_bytes *w, const void *bytes, size_t n)
{
    put_u64(w, n);
    put(w, bytes, n);
}

#endif
