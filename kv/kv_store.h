/* The store from inside: its folders and its books' manifests. */
#ifndef QUIRE_KV_STORE_H
#define QUIRE_KV_STORE_H

#include "kv/kv_file.h"
#include "kv/kv_identity.h"

/* The book of another identity or geometry that holds most of a text, from its first block on; n_common 0: none. */
struct kv_foreign {
    uint64_t id;
    size_t n_common;
    struct kv_difference difference;
};

struct kv_store {
    struct kv_geometry geometry;
    char identity[KV_IDENTITY_SIZE];
    uint64_t seed;        /* kv_identity_hash */
    char *path;           /* NULL: temporary books only */
    char *books_path;     /* path/books */
    char *temporary_path; /* where temporary books go: books_path, if it can be written; NULL: only its owner's */
    quire_error notice;
    struct kv_foreign foreign;    /* of the last kv_book_open */
    struct kv_about about;        /* of the books that are made or gone on with */
    struct kv_narrowed *narrowed; /* [n_narrowed] */
    size_t n_narrowed, narrowed_capacity;
};

/* A damaged book, of which this handle of the store uses only what lies before the damage. */
struct kv_narrowed {
    uint64_t id;
    uint64_t n_sound;    /* tokens whose blocks are sound; UINT64_MAX: no block, another file is damaged */
    uint64_t generation; /* of its manifest when the damage was found */
    quire_error why;
};

/* The folder of a book. */
void kv_store_book_folder(char path[KV_PATH_SIZE], const struct kv_store *store, uint64_t id);

/* "0123456789abcdef" to a book's id; 0 where the name is no book's. */
uint64_t kv_store_book_id(const char *name);

/* Opens the folder of a store that is there, for its owner: no geometry, no sweep, and books only through
 * kv_store_view. Errors: IO, FORMAT, MISMATCH (version), USAGE, NO_MEMORY. */
quire_status kv_store_open_folder(struct kv_store **out, const char *path, quire_error *err);

/* The store as the book of this manifest sees it; borrows from `store`, which outlives it. */
struct kv_store kv_store_view(const struct kv_store *store, const struct kv_manifest *manifest);

/* The ids of all books, in no order; *ids is malloc'ed. Errors: IO, NO_MEMORY. */
quire_status kv_store_list(uint64_t **ids, size_t *n, const struct kv_store *store, quire_error *err);

/* Reads and checks the manifest of a book of any identity. *is_missing (may be NULL): there is none. Errors: FORMAT,
 * MISMATCH (version), IO. */
quire_status kv_store_any_manifest(struct kv_manifest *out, const struct kv_store *store, uint64_t id, bool *is_missing,
                                   quire_error *err);

/* Reads and checks a book's manifest, which must be of this store's geometry and identity. *is_other tells that the
 * book is sound and of another, or has no manifest: then the failure is none to speak of. Errors: FORMAT, MISMATCH, IO.
 */
quire_status kv_store_manifest(struct kv_manifest *out, const struct kv_store *store, uint64_t id, bool *is_other,
                               quire_error *err);

/* A new book's folder with id *id, or with a new one where that is 0, locked by *lock_fd. Errors: IO, NO_SPACE,
 * BUSY (the id is taken). */
quire_status kv_store_make_book(uint64_t *id, int *lock_fd, struct kv_store *store, quire_error *err);

/* Takes away what writers that were killed left behind. */
void kv_store_sweep(const struct kv_store *store);

/* From now on only tokens [0, n_sound) of the book serve, at most. Errors: NO_MEMORY. */
quire_status kv_store_narrow(struct kv_store *store, uint64_t id, uint64_t n_sound, const quire_error *why);

/* How far the book was narrowed, or NULL. */
const struct kv_narrowed *kv_store_narrowed(const struct kv_store *store, uint64_t id);

/* Keeps why a book is not reused, for kv_store_notice. */
void kv_store_set_notice(struct kv_store *store, uint64_t id, const quire_error *why);

#endif
