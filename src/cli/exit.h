/* Exit codes: what a script can tell apart. */
#ifndef QUIRE_CLI_EXIT_H
#define QUIRE_CLI_EXIT_H

#include <stdbool.h>

#include "quire/error.h"

enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,       /* the machine: memory, disk, output */
    EXIT_USAGE = 2,        /* the command line */
    EXIT_REJECTED = 3,     /* a document, a model or a store that cannot be used as it is */
    EXIT_DAMAGED = 4,      /* `quire kv verify` or `quire info --verify` found damage */
    EXIT_INTERRUPTED = 130 /* SIGINT or SIGTERM */
};

/* Where an error came from decides what an operating system's refusal means. */
enum error_source {
    FROM_OPTIONS, /* making ready what the options ask for */
    FROM_INPUT,   /* opening or reading a document or a model */
    FROM_WORK     /* computing, the store, writing */
};

static inline enum exit_code exit_for(quire_status status, enum error_source source)
{
    switch (status) {
    case QUIRE_OK: return EXIT_DONE;
    case QUIRE_ERR_USAGE:
    case QUIRE_ERR_UNSUPPORTED: return source == FROM_OPTIONS ? EXIT_USAGE : EXIT_REJECTED;
    case QUIRE_ERR_IO: return source == FROM_INPUT ? EXIT_REJECTED : EXIT_FAILED;
    case QUIRE_ERR_FORMAT:
    case QUIRE_ERR_TEXT:
    case QUIRE_ERR_MISMATCH: return EXIT_REJECTED;
    case QUIRE_ERR_CANCELLED: return EXIT_INTERRUPTED;
    case QUIRE_ERR_NO_MEMORY:
    case QUIRE_ERR_NO_SPACE:
    case QUIRE_ERR_BUSY:
    case QUIRE_ERR_NUMERIC: return EXIT_FAILED;
    }
    return EXIT_FAILED;
}

#endif
