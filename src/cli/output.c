#include "output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stream_write.h"
#include "text.h"

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

static void take_failure(struct output *output)
{
    output->is_closed = errno == EPIPE;
    if (errno == ECANCELED)
        quire_fail(&output->failure, QUIRE_ERR_CANCELLED,
                   "interrupted while nobody read standard output: its end is missing");
    else
        quire_fail(&output->failure, errno == ENOSPC || errno == EDQUOT ? QUIRE_ERR_NO_SPACE : QUIRE_ERR_IO,
                   "cannot write to standard output: %s", strerror(errno));
}

static quire_status write_out(struct output *output, const char *bytes, size_t n, quire_error *err)
{
    const quire_error *failure = &output->failure;
    if (failure->status == QUIRE_OK && stream_write(STDOUT_FILENO, bytes, n) < n)
        take_failure(output);
    return failure->status == QUIRE_OK ? QUIRE_OK : quire_fail(err, failure->status, "%s", failure->message);
}

quire_status output_flush(struct output *output, quire_error *err)
{
    size_t n = output->n_buffered;
    output->n_buffered = 0;
    return write_out(output, output->buffer, n, err);
}

quire_status output_write(struct output *output, const char *bytes, size_t n, quire_error *err)
{
    if (n == 0)
        return QUIRE_OK;
    output->last = bytes[n - 1];
    if (n > BUFFER_BYTES - output->n_buffered) {
        quire_status status = output_flush(output, err);
        if (status != QUIRE_OK)
            return status;
    }
    if (n > BUFFER_BYTES)
        return write_out(output, bytes, n, err);
    memcpy(output->buffer + output->n_buffered, bytes, n);
    output->n_buffered += n;
    return QUIRE_OK;
}

static quire_status write_printable(struct output *output, const char *text, quire_error *err)
{
    char shown[1024];
    quire_status status = QUIRE_OK;
    while (*text && status == QUIRE_OK) {
        text += text_printable(shown, sizeof shown, text);
        status = output_write(output, shown, strlen(shown), err);
    }
    return status;
}

quire_status output_vprint(struct output *output, quire_error *err, const char *format, va_list args)
{
    char *text;
    if (vasprintf(&text, format, args) < 0)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "no memory for a line of output");
    quire_status status = write_printable(output, text, err);
    free(text);
    return status;
}

quire_status output_print(struct output *output, quire_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    quire_status status = output_vprint(output, err, format, args);
    va_end(args);
    return status;
}

quire_status output_end_line(struct output *output, quire_error *err)
{
    quire_status status = QUIRE_OK;
    if (output->last != 0 && output->last != '\n')
        status = output_write(output, "\n", 1, err);
    return status == QUIRE_OK ? output_flush(output, err) : status;
}
