/* XXH3 over anything, 64 or 128 bits (xxHash). */
#ifndef QUIRE_BASE_HASH_H
#define QUIRE_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_HEX_SIZE 33 /* 128 bits in hexadecimal and a NUL */

uint64_t hash64(const void *data, size_t n);
uint64_t hash64_seeded(const void *data, size_t n, uint64_t seed);

/* For tables that are filled from files: a number of this process's own, so that nobody can make a file whose entries
 * all want the same place. */
uint64_t hash_seed(void);

/* The hexadecimal digest of data by one of xxHash's functions, by the name that it goes by in other programs ("xxh32",
 * "xxh64", "xxh3_64", "xxh3_128", "xxh128"); false where the name is another. */
bool hash_named_hex(char hex[HASH_HEX_SIZE], const char *name, const void *data, size_t n);

/* A running hash, of 128 bits or, seedless, of 64. */
typedef struct hash_state hash_state;
hash_state *hash_open(void); /* NULL: no memory */
void hash_add(hash_state *state, const void *data, size_t n);
void hash_add_text(hash_state *state, const char *text); /* the NUL included, so that "ab","c" differs from "a","bc" */
void hash_finish_hex(hash_state *state, char hex[HASH_HEX_SIZE]); /* state stays usable */
uint64_t hash_finish64(hash_state *state);                        /* hash64 of all that was added */
void hash_close(hash_state *state);

#endif
