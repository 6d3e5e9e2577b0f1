/* The entries of a folder. */
#ifndef QUIRE_CONVERT_FOLDER_H
#define QUIRE_CONVERT_FOLDER_H

#include "quire/error.h"

/* Calls visit with the path and the name of each entry but "." and "..", until one fails. Errors: IO, NO_MEMORY, those
 * of visit. */
quire_status folder_each(const char *folder,
                         quire_status (*visit)(void *user, const char *path, const char *name, quire_error *err),
                         void *user, quire_error *err);

#endif
