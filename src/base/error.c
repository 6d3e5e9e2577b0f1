#include "quire/error.h"

#include <stdarg.h>

#include "printable.h"

const char *quire_status_name(quire_status status)
{
    switch (status) {
    case QUIRE_OK: return "ok";
    case QUIRE_ERR_USAGE: return "usage";
    case QUIRE_ERR_IO: return "io";
    case QUIRE_ERR_NO_MEMORY: return "no memory";
    case QUIRE_ERR_NO_SPACE: return "no space";
    case QUIRE_ERR_FORMAT: return "format";
    case QUIRE_ERR_UNSUPPORTED: return "unsupported";
    case QUIRE_ERR_TEXT: return "text";
    case QUIRE_ERR_MISMATCH: return "mismatch";
    case QUIRE_ERR_BUSY: return "busy";
    case QUIRE_ERR_CANCELLED: return "cancelled";
    case QUIRE_ERR_NUMERIC: return "numeric";
    }
    return "unknown";
}

quire_status quire_fail(quire_error *err, quire_status status, const char *format, ...)
{
    if (err && err->status == QUIRE_OK) {
        va_list args;
        va_start(args, format);
        err->status = status;
        printable_vprint(err->message, sizeof err->message, format, args);
        va_end(args);
    }
    return status;
}

void quire_error_clear(quire_error *err)
{
    if (err) {
        err->status = QUIRE_OK;
        err->message[0] = '\0';
    }
}
