/* Zip archives as torch.save writes them: every entry stored as it is, so that its data can be used where it lies.
 *
 * Only what a careful writer produces is read. Refused: encrypted entries, archives in parts, a local header that says
 * something else than the directory, entries that overlap each other or the directory, and two entries of one name. Two
 * readers may otherwise see different things in one file. Checksums are not compared: PyTorch can be told not to
 * compute them, and they would have all of the weights read. */
#ifndef QUIRE_MODEL_ZIP_H
#define QUIRE_MODEL_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/error.h"

/* Pointers go into the file. */
struct zip_entry {
    const char *name; /* not terminated */
    const unsigned char *data;
    size_t n_bytes; /* in the file */
    size_t begin;   /* of its header in the file */
    uint16_t n_name;
    uint16_t method; /* 0: stored as it is */
};

struct zip {
    struct zip_entry *entries; /* by name */
    size_t n_entries;
};

/* Whether n bytes at data begin as the first entry of a zip does. */
bool zip_is_zip(const unsigned char *data, size_t n);

/* Reads the directory of a file of n bytes at data, which must outlive *out; path is for messages. Memory: less than
 * the directory takes in the file. Errors: FORMAT (cut short, malformed, contradictory), UNSUPPORTED (encrypted,
 * in parts), NO_MEMORY. */
quire_status zip_open(struct zip *out, const unsigned char *data, size_t n, const char *path, quire_error *err);
void zip_release(struct zip *zip);

/* UNSUPPORTED where an entry is compressed, with its name and the way out. */
quire_status zip_check_stored(const struct zip *zip, const char *path, quire_error *err);

/* NULL where there is none. */
const struct zip_entry *zip_find(const struct zip *zip, const char *name, size_t n_name);

#endif
