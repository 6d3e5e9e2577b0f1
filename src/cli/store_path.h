/* Which store is used when none is named, and how large it may get. */
#ifndef QUIRE_CLI_STORE_PATH_H
#define QUIRE_CLI_STORE_PATH_H

#include "options.h"
#include "quire/error.h"

/* *path: `named`, or the default store, where the XDG base directory specification puts what can be made again; NULL
 * where the environment names no folder for it. malloc'ed. Errors: USAGE (too long), NO_MEMORY. */
quire_status store_path_find(char **path, const char *named, quire_error *err);

/* *n_bytes: --store-limit, else QUIRE_STORE_LIMIT, else 0 for none. Errors: USAGE (the variable is not a size). */
quire_status store_limit_find(uint64_t *n_bytes, const struct options *o, quire_error *err);

#endif
