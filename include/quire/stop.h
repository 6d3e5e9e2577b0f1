/* Stop strings: where a text that is being written has to end.
 *
 * Bytes go in as they are decoded and come out as soon as they cannot be part of a stop string. The first stop string
 * that is complete ends the text; it is not given out, nor is anything after it. How the bytes are cut into pieces does
 * not matter. */
#ifndef QUIRE_STOP_H
#define QUIRE_STOP_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quire_stop quire_stop;

/* strings[n_strings], UTF-8, are copied; none at all is fine: every byte then comes out at once.
 * Errors: USAGE (an empty string), NO_MEMORY. */
QUIRE_API quire_status quire_stop_open(quire_stop **out, const char *const *strings, size_t n_strings,
                                       quire_error *err);
QUIRE_API void quire_stop_close(quire_stop *stop);

/* Takes n bytes; *text[*n_text] is what may be shown now, valid until the next call. Whole characters in, whole
 * characters out. Errors: NO_MEMORY. */
QUIRE_API quire_status quire_stop_feed(quire_stop *stop, const char *bytes, size_t n, const char **text, size_t *n_text,
                                       quire_error *err);

/* Whether a stop string was found. From then on nothing more comes out. */
QUIRE_API bool quire_stop_found(const quire_stop *stop);

/* What was held back when the text ended otherwise. The matcher is then ready for another text. */
QUIRE_API void quire_stop_finish(quire_stop *stop, const char **text, size_t *n_text);

#ifdef __cplusplus
}
#endif
#endif
