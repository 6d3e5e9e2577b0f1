/* Standard output: the product and nothing else. */
#ifndef QUIRE_CLI_OUTPUT_H
#define QUIRE_CLI_OUTPUT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "quire/error.h"

struct output {
    char *buffer;
    size_t n_buffered;
    bool is_terminal;
    bool is_file;        /* a regular file: nobody watches it grow */
    bool is_closed;      /* the reader of the pipe has gone; not worth a message */
    char last;           /* the last byte written; 0 before the first */
    quire_error failure; /* of the first write that failed: nothing is written behind the gap */
};

/* Errors: NO_MEMORY. */
quire_status output_open(struct output *output, quire_error *err);
void output_close(struct output *output); /* what is still buffered is dropped: flush first */

/* What one call is given goes into the buffer whole, so that whatever ends the run, output ends behind a whole line or
 * character where bytes[0..n) do. Errors: IO or NO_SPACE (standard output cannot be written), CANCELLED (a signal came,
 * and nobody reads). */
quire_status output_write(struct output *output, const char *bytes, size_t n, quire_error *err);
/* For people: what a name in it would have a terminal do is made printable (text.h). */
quire_status output_print(struct output *output, quire_error *err, const char *format, ...) QUIRE_PRINTF(3, 4);
quire_status output_vprint(struct output *output, quire_error *err, const char *format, va_list args)
    QUIRE_PRINTF(3, 0);
quire_status output_flush(struct output *output, quire_error *err);

/* Ends the line that text left unfinished, where it did, and flushes. */
quire_status output_end_line(struct output *output, quire_error *err);

#endif
