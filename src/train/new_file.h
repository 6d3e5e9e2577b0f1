/* A file that appears under its name when it is complete and durable, or not at all: it grows under a temporary name
 * beside the final one. */
#ifndef QUIRE_TRAIN_NEW_FILE_H
#define QUIRE_TRAIN_NEW_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "quire/error.h"

#define NEW_FILE_SUFFIX ".tmp"

struct new_file {
    int fd;
    uint64_t n_bytes; /* written so far */
    char *path, *temporary;
};

/* An older draft of the same name, which a killed process left, makes way. Errors: BUSY (another process is at it), IO,
 * NO_SPACE, NO_MEMORY. */
quire_status new_file_open(struct new_file *draft, const char *path, quire_error *err);

/* Appends. Errors: NO_SPACE, IO. */
quire_status new_file_write(struct new_file *draft, const void *data, size_t n, quire_error *err);

/* Writes over what is there, or leaves room in front. Errors as above. */
quire_status new_file_write_at(struct new_file *draft, const void *data, size_t n, uint64_t offset, quire_error *err);

/* Takes the disk space for n_bytes in all, where the file system can. Errors: NO_SPACE, IO. */
quire_status new_file_reserve(struct new_file *draft, uint64_t n_bytes, quire_error *err);

/* Makes it durable, gives it its name, and closes; on failure it is removed. Errors: NO_SPACE, IO. */
quire_status new_file_commit(struct new_file *draft, quire_error *err);

/* Removes what was not committed. Safe after new_file_commit and on a zeroed draft. */
void new_file_drop(struct new_file *draft);

#endif
