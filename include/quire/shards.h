/* Writing tokens as MDS shards, the format of MosaicML's StreamingDataset: a folder with index.json and shards of about
 * 64 MB, one sample for each document, one column "tokens" of the encoding ndarray:int32. `quire train` reads them, and
 * so does the Python package mosaicml-streaming. */
#ifndef QUIRE_SHARDS_H
#define QUIRE_SHARDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quire_shards quire_shards;

/* Makes the folder. compresses: with zstd. Errors: USAGE (the folder holds a dataset already), IO, NO_SPACE, NO_MEMORY.
 */
QUIRE_API quire_status quire_shards_open(quire_shards **out, const char *folder, bool compresses, quire_error *err);

/* One document. Errors: UNSUPPORTED (larger than a shard can be), USAGE (behind finish), IO, NO_SPACE, NO_MEMORY. */
QUIRE_API quire_status quire_shards_add(quire_shards *shards, const int32_t *ids, size_t n, quire_error *err);

/* Writes what is left, and the index last: a folder with an index is complete. After an error it may be called again.
 * Errors: USAGE (it did so before), IO, NO_SPACE, NO_MEMORY. */
QUIRE_API quire_status quire_shards_finish(quire_shards *shards, quire_error *err);
QUIRE_API void quire_shards_close(quire_shards *shards); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
