/* The store from inside: its folders and its books' manifests. */
#ifndef QUIRE_KV_STORE_H
#define QUIRE_KV_STORE_H

#include "kv/kv_file.h"
#include "kv/kv_format.h"

struct kv_store {
    struct kv_geometry geometry;
    char identity[KV_IDENTITY_SIZE];
    uint64_t seed;        /* kv_identity_hash */
    char *path;           /* NULL: temporary books only */
    char *books_path;     /* path/books */
    char *temporary_path; /* where temporary books go */
    quire_error notice;
    struct kv_narrowed *narrowed; /* [n_narrowed] */
    size_t n_narrowed, narrowed_capacity;
};

/* A book with a damaged block, of which this handle of the store uses only what lies before it. */
struct kv_narrowed {
    uint64_t id;
    uint64_t n_sound; /* tokens */
    quire_error why;
};

/* The folder of a book. */
void kv_store_book_folder(char path[KV_PATH_SIZE], const struct kv_store *store, uint64_t id);

/* "0123456789abcdef" to a book's id; 0 where the name is no book's. */
uint64_t kv_store_book_id(const char *name);

/* Reads and checks a book's manifest, which must be of this store's geometry and identity. *is_other tells that the
 * book is sound and of another, or has no manifest: then the failure is none to speak of. Errors: FORMAT, MISMATCH, IO.
 */
quire_status kv_store_manifest(struct kv_manifest *out, const struct kv_store *store, uint64_t id, bool *is_other,
                               quire_error *err);

/* A new book's folder with a new id, locked by *lock_fd. Errors: IO, NO_SPACE. */
quire_status kv_store_make_book(uint64_t *id, int *lock_fd, struct kv_store *store, quire_error *err);

/* From now on only tokens [0, n_sound) of the book serve, at most. Errors: NO_MEMORY. */
quire_status kv_store_narrow(struct kv_store *store, uint64_t id, uint64_t n_sound, const quire_error *why);

/* How far the book was narrowed, or NULL. */
const struct kv_narrowed *kv_store_narrowed(const struct kv_store *store, uint64_t id);

/* Keeps why a book is not reused, for kv_store_notice. */
void kv_store_set_notice(struct kv_store *store, uint64_t id, const quire_error *why);

#endif
