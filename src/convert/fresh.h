/* An output, a file or a folder of files, that appears under its name when it is complete and durable, or not at all:
 * it grows under a temporary name beside the final one. */
#ifndef QUIRE_CONVERT_FRESH_H
#define QUIRE_CONVERT_FRESH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/error.h"

struct fresh {
    char *path, *temporary; /* owned */
    bool is_folder, replaces, is_made;
    char **names; /* of the files made in a folder */
    size_t n_names, names_capacity;
};

/* A file of the output that is being written. */
struct fresh_file {
    int fd;     /* -1: none */
    char *path; /* owned */
};

/* Makes the temporary folder, where it is one. replaces: an existing output of the same kind makes way in the end.
 * On success or not, *fresh is left for fresh_close. Errors: USAGE (path exists and may not be replaced: not asked for,
 * of another kind, or a folder that is not a model's), IO, NO_SPACE, NO_MEMORY. */
quire_status fresh_open(struct fresh *fresh, const char *path, bool is_folder, bool replaces, quire_error *err);

/* Whether the disk has room. Errors: NO_SPACE with both figures, IO. */
quire_status fresh_check_space(const struct fresh *fresh, uint64_t n_bytes, quire_error *err);

/* Makes a file of n_bytes: the output itself (name is NULL) or one in the folder. Its space is reserved where the file
 * system can do that. On failure *file is empty. Errors: NO_SPACE, IO, NO_MEMORY. */
quire_status fresh_make_file(struct fresh_file *file, struct fresh *fresh, const char *name, uint64_t n_bytes,
                             quire_error *err);

/* Makes what was written durable, and closes. Errors: IO, NO_SPACE. */
quire_status fresh_finish_file(struct fresh_file *file, quire_error *err);

/* Closes, after a failure. */
void fresh_drop_file(struct fresh_file *file);

/* A small file at once. */
quire_status fresh_write(struct fresh *fresh, const char *name, const void *bytes, size_t n, quire_error *err);

/* Gives the output its name. Errors: IO, NO_SPACE; where the name is already given (the folder above could not be made
 * durable) the message says so. */
quire_status fresh_commit(struct fresh *fresh, quire_error *err);

/* Removes what was not committed. */
void fresh_close(struct fresh *fresh);

/* Removes what killed processes left of an output of this name. Nobody else may be writing one. What cannot be removed
 * stays, and so does what a replaced folder was put aside as. */
void fresh_sweep(const char *path);

#endif
