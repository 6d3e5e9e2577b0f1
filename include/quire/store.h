/* A KV store as its owner sees it: which books it holds, whether they are sound, and what to do about them. It needs no
 * model and works on the folder that quire_engine_options.store_path names, also while other processes read and write
 * there.
 *
 *     quire_store_open(&store, path, false, &err);
 *     quire_store_list(store, &books, &n, &err);
 *     quire_store_verify(store, books[0].id, &watch, &n_damaged, &err);
 *     free(books);
 *     quire_store_close(store);
 *
 * A store is used from one thread. Book 0 stands for all books where a comment says so. */
#ifndef QUIRE_STORE_H
#define QUIRE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "kv_type.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quire_store quire_store;

typedef enum quire_book_state {
    QUIRE_BOOK_COMPLETE, /* the whole text, and the logits after it */
    QUIRE_BOOK_PARTIAL,  /* a reading that was interrupted: the same command goes on from there */
    QUIRE_BOOK_IN_USE,   /* open in some process */
    QUIRE_BOOK_DAMAGED   /* what can be seen without reading its blocks is not sound: `problem` tells */
} quire_book_state;

/* "complete", "partly read", "in use", "damaged". Static storage. */
QUIRE_API const char *quire_book_state_name(quire_book_state state);

/* One book. Texts are UTF-8 without line ends, empty where nobody gave them; those of a book whose manifest cannot be
 * read are empty, and its numbers 0. */
typedef struct quire_stored_book {
    uint64_t id; /* written as 16 hexadecimal digits */
    quire_book_state state;
    char problem[512];   /* what is damaged */
    char label[256];     /* the documents' names */
    char words[256];     /* the text's first ones */
    char model[128];     /* the model's name */
    char tokenizer[256]; /* the file that the tokenizer came from */
    char identity[768];  /* "name value name value ...": all that decides the numbers besides tokens and kv_type */
    quire_kv_type kv_type;
    uint32_t n_layers;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint64_t n_tokens;    /* that every layer has */
    uint64_t n_in_flight; /* tokens behind these that some layers have */
    uint64_t n_shared;    /* of n_tokens, the first ones, which are in the parent's files */
    uint64_t parent_id;   /* 0: none */
    uint32_t n_branches;  /* books whose parent this one is */
    uint64_t disk_bytes;  /* allocated by the file system for its files */
    int64_t created;      /* seconds since 1970; 0: not known */
    int64_t last_used;    /* the same */
} quire_stored_book;

/* A damaged place. */
typedef struct quire_store_damage {
    uint64_t book_id;
    int64_t layer, head, block; /* of 64 tokens, counted from the text's start; -1: a file as a whole */
    const char *message;        /* a sentence, as in quire_error; valid during the call */
} quire_store_damage;

typedef struct quire_store_progress {
    uint64_t n_bytes;       /* looked at, or written */
    uint64_t n_bytes_total; /* as far as it was known at the start */
} quire_store_progress;

/* Who is told of what long work finds and does. Each function may be NULL, and so may the pointer to this. */
typedef struct quire_store_watch {
    void (*damage)(void *user, const quire_store_damage *damage);
    void (*done)(void *user, uint64_t book_id, const char *what);      /* a sentence on what was done to a book */
    int (*progress)(void *user, const quire_store_progress *progress); /* nonzero: stop (CANCELLED) */
    void *user;
} quire_store_watch;

/* makes: the store is made where there is none. Errors: IO (there is none); FORMAT (the folder is something else);
 * MISMATCH (of another format version, named); USAGE; NO_MEMORY. */
QUIRE_API quire_status quire_store_open(quire_store **out, const char *path, bool makes, quire_error *err);
QUIRE_API void quire_store_close(quire_store *store); /* NULL is fine */

/* All books, those used last first. *books is malloc'ed, the caller frees it. Errors: IO, NO_MEMORY. */
QUIRE_API quire_status quire_store_list(quire_store *store, quire_stored_book **books, size_t *n, quire_error *err);

/* The book whose id begins with these hexadecimal digits, at least four. Errors: USAGE (no id; more than one book
 * begins so: they are named), MISMATCH (there is none), IO, NO_MEMORY. */
QUIRE_API quire_status quire_store_find(quire_store *store, const char *prefix, uint64_t *id, quire_error *err);

/* One book, looked at more closely than in a list: its tokens and what it keeps beside the blocks are checked, too.
 * Errors: MISMATCH (no such book), IO, NO_MEMORY. */
QUIRE_API quire_status quire_store_show(quire_store *store, uint64_t id, quire_stored_book *out, quire_error *err);

/* Compares everything that a book (0: every book) and the books above it hold with its checksums, and the key norms of
 * blocks with their keys. Every damaged place is told to watch->damage; *n_damaged counts them. Changes nothing.
 * Errors: MISMATCH (no such book), CANCELLED, IO, NO_MEMORY; damage is none. */
QUIRE_API quire_status quire_store_verify(quire_store *store, uint64_t id, const quire_store_watch *watch,
                                          size_t *n_damaged, quire_error *err);

/* Verifies, and puts what is damaged back to its last sound frontier, durably: the next reading computes the rest. A
 * book of which nothing is sound, or whose parent no longer serves it, is removed. watch->done tells what was done.
 * *n_repaired counts the books. Errors: BUSY (a damaged book is in use; the others were seen to), MISMATCH (no such
 * book), CANCELLED, IO, NO_SPACE, NO_MEMORY. */
QUIRE_API quire_status quire_store_repair(quire_store *store, uint64_t id, const quire_store_watch *watch,
                                          size_t *n_repaired, quire_error *err);

/* Removes a book. with_branches: and the books that begin with it; otherwise those are a reason to refuse. All or none.
 * One that another process removes meanwhile counts as removed, and is not told. Errors: BUSY (in use, or branched
 * from), MISMATCH (no such book), IO, NO_MEMORY. */
QUIRE_API quire_status quire_store_remove(quire_store *store, uint64_t id, bool with_branches,
                                          const quire_store_watch *watch, quire_error *err);

/* Removes what nobody can use: what killed writers left, branches whose parent is gone, books with nothing sound in
 * them that serve no branch. *n_bytes: freed. What is in use stays. Errors: IO, NO_MEMORY. */
QUIRE_API quire_status quire_store_collect(quire_store *store, const quire_store_watch *watch, uint64_t *n_bytes,
                                           quire_error *err);

/* Removes whole books, those not used for the longest time first, until the store's take at most limit_bytes; never one
 * in use, and never the parent of one that stays. *n_bytes: what the books take afterwards, which may be more. Errors:
 * IO, NO_MEMORY. */
QUIRE_API quire_status quire_store_evict(quire_store *store, uint64_t limit_bytes, const quire_store_watch *watch,
                                         uint64_t *n_bytes, quire_error *err);

/* Writes one book to a file of its own, with all that it has from its parents; quire-kv(5) has the format. Only what is
 * committed goes along, and only if it is sound. The file appears when it is complete and durable; an existing one is
 * refused. Errors: USAGE (the file exists; nothing is committed), MISMATCH (no such book), FORMAT (damaged, named),
 * CANCELLED, IO, NO_SPACE, NO_MEMORY. */
QUIRE_API quire_status quire_store_export(quire_store *store, uint64_t id, const char *path,
                                          const quire_store_watch *watch, quire_error *err);

/* The reverse. The book appears when all of it was checked and is durable. limit_bytes: where the store would take
 * more, books make way first, as quire_store_evict picks them, if that can be enough; 0: no limit. Errors: FORMAT (not
 * such a file, damaged, cut short), MISMATCH (of another version), BUSY (the store has that book), CANCELLED, IO,
 * NO_SPACE (the disk, or the limit), NO_MEMORY. */
QUIRE_API quire_status quire_store_import(quire_store *store, const char *path, uint64_t limit_bytes,
                                          const quire_store_watch *watch, uint64_t *id, quire_error *err);

#ifdef __cplusplus
}
#endif
#endif
