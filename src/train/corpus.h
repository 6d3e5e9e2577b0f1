/* Where training text comes from: a folder of .txt files, or a folder of MDS shards with a column "tokens" or "text".
 * Either way documents, in a fixed order. */
#ifndef QUIRE_TRAIN_CORPUS_H
#define QUIRE_TRAIN_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/error.h"

/* Valid during a visit. Either text or ids. */
struct corpus_document {
    const char
        *name; /* a file's without .txt; for shards the sample's number in the dataset, with six digits or more */
    const char *where; /* for messages */
    const char *text;  /* NULL where there are ids */
    size_t n_bytes;
    const int32_t *ids; /* not yet compared with a vocabulary */
    size_t n_ids;
};

/* A nonzero status ends the walk and is its result. */
typedef quire_status (*corpus_visit)(void *user, const struct corpus_document *document, quire_error *err);

/* Visits all documents: files by name, bytes compared; samples by number. Errors: IO, FORMAT (no text
 * in the folder; shards that are not sound), UNSUPPORTED (no column to read; an encoding), NO_MEMORY, the visitor's. */
quire_status corpus_walk(const char *folder, corpus_visit visit, void *user, quire_error *err);

#endif
