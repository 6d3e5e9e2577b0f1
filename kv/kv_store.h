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

/* Keeps why a book is not reused, for kv_store_notice. */
void kv_store_set_notice(struct kv_store *store, uint64_t id, const quire_error *why);

#endif
