/* Which store is used when none is named. */
#ifndef QUIRE_CLI_STORE_PATH_H
#define QUIRE_CLI_STORE_PATH_H

#include "quire/error.h"

/* *path: `named`, or the default store, where the XDG base directory specification puts what can be made again; NULL
 * where the environment names no folder for it. malloc'ed. Errors: USAGE (too long), NO_MEMORY. */
quire_status store_path_find(char **path, const char *named, quire_error *err);

#endif
