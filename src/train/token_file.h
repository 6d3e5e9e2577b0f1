/* A corpus as token ids, made once: a file that is keyed by the corpus' contents and the tokenizer, checksummed, and
 * mapped by the runs that train on it.
 *
 * Layout, little-endian: a header of TOKEN_FILE_HEADER_BYTES; the ids of all documents, in order, 2 bytes each (4 where
 * the vocabulary needs it), each text followed by the end-of-text id; padding to 8; for each document u64 first id, u64
 * number of ids, u64 where its name begins in the names; the names, NUL-terminated. */
#ifndef QUIRE_TRAIN_TOKEN_FILE_H
#define QUIRE_TRAIN_TOKEN_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/sys.h"
#include "quire/error.h"
#include "quire/tokenizer.h"

enum { TOKEN_FILE_HEADER_BYTES = 128 };

struct token_document {
    const char *name;
    uint64_t first, n_ids; /* in the file; the end of text included where the file has it */
};

struct token_file {
    char *path;
    struct sys_map map;
    char key[HASH_HEX_SIZE];
    bool has_ends; /* every document ends with the end-of-text id, which was put there */
    unsigned id_bytes;
    uint64_t n_ids;
    struct token_document *documents;
    size_t n_documents;
    char *names; /* of the documents */
};

/* While a corpus is read: documents and bytes so far. NULL function: not wanted. A nonzero result ends the work
 * (CANCELLED). */
struct token_watch {
    int (*progress)(void *user, uint64_t n_documents, uint64_t n_bytes);
    void *user;
};

/* Opens the token file of the corpus at `folder` in the folder `cache`, and makes it where there is none that is sound.
 * *is_new: it was made now. n_vocab: ids of a corpus of ids must be below it.
 * Errors: of corpus_walk; TEXT (a document that is not UTF-8, with its place); USAGE (the tokenizer has no end of
 * text); MISMATCH (an id beyond the vocabulary); NO_SPACE; CANCELLED; NO_MEMORY. */
quire_status token_file_open(struct token_file *out, bool *is_new, const char *folder, const char *cache,
                             const quire_tokenizer *tokenizer, uint32_t n_vocab, const struct token_watch *watch,
                             quire_error *err);
void token_file_close(struct token_file *file);

/* out[0..n) = ids from first on; the caller has seen that they are there. */
void token_file_copy(const struct token_file *file, uint64_t first, size_t n, uint32_t *out);

/* Errors: IO, where a page of the file could not be read at any time. */
quire_status token_file_check(const struct token_file *file, quire_error *err);

/* --- the file alone, for token_file_open: token_file.c and token_file_make.c --------------------------------- */

struct token_header {
    char magic[8];
    uint32_t version, id_bytes;
    uint64_t n_ids, n_documents, n_name_bytes;
    uint32_t has_ends, reserved;
    char key[40];
    uint64_t body_hash; /* of all behind the header */
    uint64_t reserved_2[3];
    uint64_t header_hash; /* of what stands before it */
};
_Static_assert(sizeof(struct token_header) == TOKEN_FILE_HEADER_BYTES, "the header's size is part of the format");

#define TOKEN_FILE_MAGIC "QUIRETOK"
enum { TOKEN_FILE_VERSION = 1 };

/* Maps and checks all of it. Errors: FORMAT (damaged, or another key), IO, NO_MEMORY. */
quire_status token_file_map(struct token_file *out, const char *path, const char *key, quire_error *err);

/* Errors: as token_file_open. */
quire_status token_file_make(const char *path, const char *key, const char *folder, const quire_tokenizer *tokenizer,
                             uint32_t n_vocab, const struct token_watch *watch, quire_error *err);

#endif
