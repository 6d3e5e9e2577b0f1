#include "output.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "interrupt.h"

enum { BUFFER_BYTES = 64 * 1024 };

quire_status output_open(struct output *output, quire_error *err)
{
    struct stat st;
    *output = (struct output){.buffer = malloc(BUFFER_BYTES)};
    if (!output->buffer)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "no memory for the output buffer");
    output->is_terminal = isatty(STDOUT_FILENO);
    output->is_file = fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode);
    return QUIRE_OK;
}

void output_close(struct output *output)
{
    free(output->buffer);
    *output = (struct output){0};
}

static quire_status write_failed(struct output *output, quire_error *err)
{
    output->is_closed = errno == EPIPE;
    return quire_fail(err, errno == ENOSPC || errno == EDQUOT ? QUIRE_ERR_NO_SPACE : QUIRE_ERR_IO,
                      "cannot write to standard output: %s", strerror(errno));
}

quire_status output_flush(struct output *output, quire_error *err)
{
    const char *bytes = output->buffer;
    size_t left = output->n_buffered;
    output->n_buffered = 0; /* a failure is final: what could not be written is not tried again */
    while (left > 0) {
        ssize_t n = write(STDOUT_FILENO, bytes, left);
        if (n >= 0) {
            bytes += n;
            left -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd wait = {.fd = STDOUT_FILENO, .events = POLLOUT};
            poll(&wait, 1, 1000);
        } else if (errno != EINTR) {
            return write_failed(output, err);
        } else if (interrupt_pending()) {
            return quire_fail(err, QUIRE_ERR_CANCELLED, "interrupted while writing to standard output");
        }
    }
    return QUIRE_OK;
}

quire_status output_write(struct output *output, const char *bytes, size_t n, quire_error *err)
{
    while (n > 0) {
        size_t room = BUFFER_BYTES - output->n_buffered;
        size_t part = n < room ? n : room;
        memcpy(output->buffer + output->n_buffered, bytes, part);
        output->n_buffered += part;
        output->last = bytes[part - 1];
        bytes += part;
        n -= part;
        if (output->n_buffered == BUFFER_BYTES) {
            quire_status status = output_flush(output, err);
            if (status != QUIRE_OK)
                return status;
        }
    }
    return QUIRE_OK;
}

quire_status output_print(struct output *output, quire_error *err, const char *format, ...)
{
    char line[2048];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    size_t n_bytes = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    return output_write(output, line, n_bytes, err);
}

quire_status output_end_line(struct output *output, quire_error *err)
{
    quire_status status = QUIRE_OK;
    if (output->last != 0 && output->last != '\n')
        status = output_write(output, "\n", 1, err);
    return status == QUIRE_OK ? output_flush(output, err) : status;
}
