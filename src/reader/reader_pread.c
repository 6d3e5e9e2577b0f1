/* Regular files by pread: the specification of what the io_uring source does, and what takes its place where the kernel
 * refuses it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "reader/reader_source.h"

enum { LEAST_BUFFER_BYTES = 4096 };

struct pread_source {
    struct reader_source source;
    struct reader_input *input;
    unsigned char *memory; /* READER_HEADROOM + buffer_bytes */
    size_t buffer_bytes;
    int64_t offset; /* of the next read */
};

quire_status reader_fail_read(const struct reader_input *input, int64_t offset, int code, quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_IO, "cannot read %s at byte %lld: %s", input->name, (long long)offset,
                      strerror(code));
}

quire_status reader_fail_cancelled(const struct reader_input *input, quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_CANCELLED, "reading %s was stopped", input->name);
}

quire_status reader_fill(struct reader_input *input, unsigned char *bytes, size_t n, int64_t offset, size_t *n_read,
                         quire_error *err)
{
    size_t n_done = 0;
    while (n_done < n) {
        int64_t at = offset + (int64_t)n_done;
        ssize_t got = sys.pread(input->fd, bytes + n_done, n - n_done, at);
        if (got > 0) {
            n_done += (size_t)got;
        } else if (got == 0 && at >= input->end) {
            break;
        } else if (got == 0) {
            return quire_fail(
                err, QUIRE_ERR_IO,
                "%s became shorter while it was read: it ends at byte %lld, and had %lld bytes when opened",
                input->name, (long long)at, (long long)input->end);
        } else if (errno != EINTR) {
            return reader_fail_read(input, at, errno, err);
        } else if (atomic_load(&input->is_cancelled)) {
            return reader_fail_cancelled(input, err);
        }
    }
    *n_read = n_done;
    return QUIRE_OK;
}

size_t reader_buffer_bytes(const struct reader_input *input)
{
    return size_min(input->buffer_bytes, size_max((size_t)(input->end - input->start), LEAST_BUFFER_BYTES));
}

static quire_status pread_next(struct reader_source *source, unsigned char **bytes, size_t *n_bytes, quire_error *err)
{
    struct pread_source *self = (struct pread_source *)source;
    unsigned char *data = self->memory + READER_HEADROOM;
    quire_status status = reader_fill(self->input, data, self->buffer_bytes, self->offset, n_bytes, err);
    if (status != QUIRE_OK)
        return status;
    self->offset += (int64_t)*n_bytes;
    *bytes = data;
    return QUIRE_OK;
}

static void pread_close(struct reader_source *source)
{
    struct pread_source *self = (struct pread_source *)source;
    free(self->memory);
    free(self);
}

quire_status reader_pread_open(struct reader_source **out, struct reader_input *input, quire_error *err)
{
    struct pread_source *self = mem_calloc(1, sizeof *self, "a reader", err);
    if (!self)
        return QUIRE_ERR_NO_MEMORY;
    *self = (struct pread_source){
        .source = {.name = "pread", .next = pread_next, .close = pread_close},
        .input = input,
        .buffer_bytes = reader_buffer_bytes(input),
        .offset = input->start,
    };
    self->memory = mem_aligned(1, READER_HEADROOM + self->buffer_bytes, "a reader's buffer", err);
    if (!self->memory) {
        free(self);
        return QUIRE_ERR_NO_MEMORY;
    }
    *out = &self->source;
    return QUIRE_OK;
}
