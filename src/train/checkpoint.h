/* Checkpoints of a run: one file each, complete and durable under its name or not there at all.
 *
 * Layout, little-endian: a header with a table of parts, each with its place, size and XXH3 checksum; the parts, each
 * at a multiple of 64 bytes. One part, "state", is a JSON object; the others are arrays. A checkpoint that opens is
 * sound: every checksum was compared before anything is read from it. */
#ifndef QUIRE_TRAIN_CHECKPOINT_H
#define QUIRE_TRAIN_CHECKPOINT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sys.h"
#include "quire/error.h"

enum { CHECKPOINT_MAX_PARTS = 4, CHECKPOINT_NAME_SIZE = 24, CHECKPOINT_PATH_SIZE = 4400 };

struct checkpoint_part {
    const char *name;
    const void *data;
    size_t n_bytes;
};

/* Writes a checkpoint to path; state is one more part. Errors: NO_SPACE, IO, NO_MEMORY; what stood at path stays. */
quire_status checkpoint_save(const char *path, const json_t *state, const struct checkpoint_part *parts, size_t n_parts,
                             quire_error *err);

struct checkpoint {
    char *path;
    struct sys_map map;
    struct checkpoint_part parts[CHECKPOINT_MAX_PARTS]; /* data points into map, names into parts_names */
    char names[CHECKPOINT_MAX_PARTS][CHECKPOINT_NAME_SIZE];
    size_t n_parts;
    json_t *state;
};

/* Errors: FORMAT (damaged: what and where; of another version), IO, NO_MEMORY. */
quire_status checkpoint_open(struct checkpoint *out, const char *path, quire_error *err);
void checkpoint_close(struct checkpoint *checkpoint);

/* Copies a part. Errors: FORMAT (it is not there, or of another size). */
quire_status checkpoint_read(const struct checkpoint *checkpoint, const char *name, void *out, size_t n_bytes,
                             quire_error *err);

/* --- a folder of them -------------------------------------------------------------------------------------------- */

void checkpoint_path(char path[CHECKPOINT_PATH_SIZE], const char *folder, uint64_t step);

/* The steps of the checkpoints in a folder, the latest first; *steps is malloc'ed. A folder that is not there has none.
 * Errors: IO, NO_MEMORY. */
quire_status checkpoint_list(uint64_t **steps, size_t *n, const char *folder, quire_error *err);

/* Whether there are checkpoints whose names say that they are damaged. */
#define CHECKPOINT_DAMAGED ".damaged"
bool checkpoint_is_damaged(const char *folder);

/* Removes all but the latest `n_keep`. What cannot be removed stays. */
void checkpoint_prune(const char *folder, size_t n_keep);

/* Removes what killed writers left. Nobody else may be writing. */
void checkpoint_sweep(const char *folder);

#endif
