/* Where the model is when no -m is given. */
#ifndef QUIRE_CLI_MODEL_PATH_H
#define QUIRE_CLI_MODEL_PATH_H

#include "quire/error.h"

/* In this order: `given`; the environment variable QUIRE_MODEL; the model that was installed with the program; the one
 * in the source tree that the program was built in. A folder that is no checkpoint stands for the one GGUF in it. *out
 * is malloc'ed. Errors: USAGE (there is none, or the folder has several: says how to name one), NO_MEMORY. */
quire_status model_path_find(char **out, const char *given, quire_error *err);

#endif
