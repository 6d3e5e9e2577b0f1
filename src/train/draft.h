/* A file that appears under its name when it is complete and durable, or not at all: it grows under a temporary name
 * beside the final one. */
#ifndef QUIRE_TRAIN_DRAFT_H
#define QUIRE_TRAIN_DRAFT_H

#include <stddef.h>
#include <stdint.h>

#include "quire/error.h"

#define DRAFT_SUFFIX ".tmp"

struct draft {
    int fd;
    uint64_t n_bytes; /* written so far */
    char *path, *temporary;
};

/* An older draft of the same name, which a killed process left, makes way. Errors: IO, NO_SPACE, NO_MEMORY. */
quire_status draft_open(struct draft *draft, const char *path, quire_error *err);

/* Appends. Errors: NO_SPACE, IO. */
quire_status draft_write(struct draft *draft, const void *data, size_t n, quire_error *err);

/* Writes over what is there, or leaves room in front. Errors as above. */
quire_status draft_write_at(struct draft *draft, const void *data, size_t n, uint64_t offset, quire_error *err);

/* Takes the disk space for n_bytes in all, where the file system can. Errors: NO_SPACE, IO. */
quire_status draft_reserve(struct draft *draft, uint64_t n_bytes, quire_error *err);

/* Makes it durable, gives it its name, and closes; on failure it is removed. Errors: NO_SPACE, IO. */
quire_status draft_commit(struct draft *draft, quire_error *err);

/* Removes what was not committed. Safe after draft_commit and on a zeroed draft. */
void draft_drop(struct draft *draft);

#endif
