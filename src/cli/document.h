/* Documents: files to token ids. */
#ifndef QUIRE_CLI_DOCUMENT_H
#define QUIRE_CLI_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"
#include "progress.h"

/* What is read as one text. */
struct document {
    const char *const *paths; /* one, or with --join all */
    size_t n_paths;
    quire_reader_ring *ring; /* to read with, or NULL */
    uint64_t n_bytes;        /* taken in */
    uint64_t n_replaced;     /* invalid parts replaced (--lossy) */
    uint64_t n_tokens;       /* in ids; all of them where ids are not kept */
    uint64_t n_left_out;     /* tokens not kept because of --tail */
    bool is_cut_short;       /* reading ended early because of --head: there may be more */
    int32_t *ids;            /* malloc'ed */
    size_t capacity;
};

/* Gets the ids of a document piece by piece. Sets *is_enough to end the reading. */
typedef quire_status (*document_sink)(void *user, const int32_t *ids, size_t n, bool *is_enough, quire_error *err);

/* The paths of the arguments: standard input where there are none, unless it is a terminal. *paths lives as long as the
 * arguments. Errors: USAGE. */
quire_status documents_find(const char *const **paths, size_t *n_paths, const char *const *arguments,
                            size_t n_arguments, quire_error *err);

/* Whether a path can be opened, which is best known before hours of work on those before it. Errors: those of
 * quire_reader_open. */
quire_status document_check_path(const char *path, quire_error *err);

/* Names for people: the path, "standard input" for "-", on one line whatever it holds. Both write into the caller's
 * buffer, the second the first path's name and how many more there are. */
enum { DOCUMENT_NAME_SIZE = 512 };
const char *document_path_name(char name[DOCUMENT_NAME_SIZE], const char *path);
const char *document_name(char name[DOCUMENT_NAME_SIZE], const struct document *document);

/* The same as it is, for the store. */
void document_label(char label[DOCUMENT_NAME_SIZE], const struct document *document);

/* Streams the document's ids through sink, in constant memory. n_bytes, n_replaced and n_tokens are filled in.
 * Errors: those of reader, encoder and sink, CANCELLED. */
quire_status document_stream(struct document *document, const struct options *o, const quire_tokenizer *tokenizer,
                             struct progress *progress, document_sink sink, void *user, quire_error *err);

/* Reads the document's ids into memory, as --head and --tail ask. Errors: as above; TEXT (there is nothing to read). */
quire_status document_read(struct document *document, const struct options *o, const quire_tokenizer *tokenizer,
                           struct progress *progress, quire_error *err);

/* The text of the document's first tokens, as much as `words` holds. Errors: NO_MEMORY. */
quire_status document_first_words(const struct document *document, const quire_tokenizer *tokenizer, char *words,
                                  size_t size, quire_error *err);

void document_release(struct document *document);

#endif
