/* The books of a store side by side: what each is, what it takes, who begins with it, when it was used. */
#ifndef QUIRE_KV_SHELF_H
#define QUIRE_KV_SHELF_H

#include "kv/kv_store.h"

struct kv_shelf_book {
    uint64_t id;
    quire_status status; /* of reading its manifest; OK: manifest holds it */
    char problem[512];   /* why it could not be read */
    struct kv_manifest manifest;
    uint64_t disk_bytes; /* that the file system has allocated */
    int64_t last_used;   /* nanoseconds since 1970; 0: not known */
    bool is_in_use;
};

struct kv_shelf {
    struct kv_shelf_book *books;
    size_t n;
    uint64_t other_bytes; /* allocated by books that have no manifest */
};

/* Adds what the files in a book's folder take, and when they say that it was used. Errors: IO. */
quire_status kv_shelf_measure(struct kv_shelf_book *book, const char *folder, quire_error *err);

/* Folders without a manifest are books that are being made, or leftovers: they are not on the shelf. Parents come
 * before their branches. Errors: IO, NO_MEMORY. */
quire_status kv_shelf_load(struct kv_shelf *out, const struct kv_store *store, quire_error *err);
void kv_shelf_release(struct kv_shelf *shelf);

/* The book, or NULL. */
struct kv_shelf_book *kv_shelf_find(const struct kv_shelf *shelf, uint64_t id);

/* Books whose parent this one is. */
uint32_t kv_shelf_n_branches(const struct kv_shelf *shelf, uint64_t id);

/* Allocated by all books. */
uint64_t kv_shelf_bytes(const struct kv_shelf *shelf);

/* Which book goes first: of those that may go and of which no book on the shelf is a branch, the one that was not used
 * for the longest time; SIZE_MAX: there is none. A book in use stays, and one that this build cannot judge, such as a
 * newer version's. A pure function. */
size_t kv_shelf_oldest(const struct kv_shelf *shelf);

/* What the books would take once the oldest are gone down to limit_bytes, or as far as that goes. Errors: NO_MEMORY. */
quire_status kv_shelf_bytes_after(uint64_t *out, const struct kv_shelf *shelf, uint64_t limit_bytes, quire_error *err);

/* Takes a book off the shelf (not out of the store). */
void kv_shelf_drop(struct kv_shelf *shelf, size_t index);

#endif
