/* Pipes, FIFOs, terminals, sockets and devices: each read as it comes.
 *
 * Waiting is poll's work, on the stream and on the descriptor that quire_reader_cancel writes to. A flag alone would be
 * missed by a signal that comes after the flag was looked at and before the read began to block, and would need
 * handlers without SA_RESTART. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/sys.h"
#include "reader/reader_source.h"

struct stream_source {
    struct reader_source source;
    struct reader_input *input;
    unsigned char *memory; /* READER_HEADROOM + the input's buffer_bytes */
    int64_t n_read;        /* bytes so far, for messages */
};

static quire_status stream_next(struct reader_source *source, unsigned char **bytes, size_t *n_bytes, quire_error *err)
{
    struct stream_source *self = (struct stream_source *)source;
    struct reader_input *input = self->input;
    unsigned char *data = self->memory + READER_HEADROOM;
    for (;;) {
        if (atomic_load(&input->is_cancelled))
            return reader_fail_cancelled(input, err);
        struct pollfd fds[] = {{.fd = input->fd, .events = POLLIN}, {.fd = input->wake_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            return reader_fail_read(input, self->n_read, errno, err);
        }
        if (fds[0].revents == 0)
            continue;
        ssize_t got = sys.read(input->fd, data, input->buffer_bytes);
        if (got >= 0) {
            self->n_read += got;
            *bytes = data;
            *n_bytes = (size_t)got;
            return QUIRE_OK;
        }
        /* EAGAIN: the descriptor does not block, and another process took what was there. */
        if (errno != EINTR && errno != EAGAIN)
            return reader_fail_read(input, self->n_read, errno, err);
    }
}

static void stream_close(struct reader_source *source)
{
    struct stream_source *self = (struct stream_source *)source;
    free(self->memory);
    free(self);
}

quire_status reader_stream_open(struct reader_source **out, struct reader_input *input, quire_error *err)
{
    struct stream_source *self = mem_calloc(1, sizeof *self, "a reader", err);
    if (!self)
        return QUIRE_ERR_NO_MEMORY;
    *self = (struct stream_source){
        .source = {.name = "read", .next = stream_next, .close = stream_close},
        .input = input,
    };
    self->memory = mem_aligned(1, READER_HEADROOM + input->buffer_bytes, "a reader's buffer", err);
    if (!self->memory) {
        free(self);
        return QUIRE_ERR_NO_MEMORY;
    }
    *out = &self->source;
    return QUIRE_OK;
}
