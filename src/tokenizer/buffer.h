/* Growing lists of bytes and of ids, and what the stages of an encoder hand on to each other. */
#ifndef QUIRE_TOKENIZER_BUFFER_H
#define QUIRE_TOKENIZER_BUFFER_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "quire/error.h"

/* All zero is an empty one. */
struct buffer {
    uint8_t *bytes;
    size_t n;
    size_t capacity;
};

struct id_list {
    int32_t *ids;
    size_t n;
    size_t capacity;
};

/* Room for n_more bytes behind those that are there. */
static inline quire_status buffer_reserve(struct buffer *buffer, size_t n_more, quire_error *err)
{
    size_t need;
    if (!size_add(&need, buffer->n, n_more))
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a text of more bytes than there are addresses");
    void *bytes = buffer->bytes;
    quire_status status = mem_reserve(&bytes, &buffer->capacity, need, 1, "text", err);
    buffer->bytes = bytes;
    return status;
}

static inline quire_status buffer_append(struct buffer *buffer, const void *bytes, size_t n, quire_error *err)
{
    quire_status status = buffer_reserve(buffer, n, err);
    if (status != QUIRE_OK || n == 0)
        return status;
    memcpy(buffer->bytes + buffer->n, bytes, n);
    buffer->n += n;
    return QUIRE_OK;
}

static inline void buffer_release(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}

static inline quire_status id_list_reserve(struct id_list *list, size_t n_more, quire_error *err)
{
    void *ids = list->ids;
    quire_status status = mem_reserve(&ids, &list->capacity, list->n + n_more, sizeof list->ids[0], "token ids", err);
    list->ids = ids;
    return status;
}

static inline quire_status id_list_append(struct id_list *list, const int32_t *ids, size_t n, quire_error *err)
{
    quire_status status = id_list_reserve(list, n, err);
    if (status != QUIRE_OK || n == 0)
        return status;
    memcpy(list->ids + list->n, ids, n * sizeof ids[0]);
    list->n += n;
    return QUIRE_OK;
}

/* Who takes what a stage gives: stretches of text, whole characters each, and (from the stages that find tokens) the
 * tokens between them. A stretch is valid during the call. */
struct sink {
    void *context;
    quire_status (*text)(void *context, const uint8_t *text, size_t n, quire_error *err);
    quire_status (*token)(void *context, int32_t id, quire_error *err);
};

#endif
