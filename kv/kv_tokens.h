/* The tokens file of a book: its whole text as records of one block of ids and the chain of hashes up to there. */
#ifndef QUIRE_KV_TOKENS_H
#define QUIRE_KV_TOKENS_H

#include "kv/kv.h"

/* Writes the records that hold tokens [first, n) of ids, those of the whole text. seed: kv_identity_hash. *n_written
 * grows by the bytes. Errors: NO_SPACE, IO, NO_MEMORY. */
quire_status kv_tokens_write(int fd, const char *path, uint64_t seed, const int32_t *ids, size_t first, size_t n,
                             uint64_t *n_written, quire_error *err);

/* Checks the first n_stored ids of the file against the chain (`hash` is expected after them) and counts how many of
 * them are the first of ids[0..n). Errors: FORMAT (damaged, cut short), IO. */
quire_status kv_tokens_compare(size_t *n_common, const char *path, uint64_t seed, size_t n_stored, uint64_t hash,
                               const int32_t *ids, size_t n, quire_error *err);

/* Of the first n_stored ids, how many from the beginning on the chain vouches for: all, or whole blocks. *n_sound is
 * set also on FORMAT, where it is not all of them: `err` then names the place. `hash` is expected after all. Errors:
 * FORMAT (damaged, cut short, missing), IO. */
quire_status kv_tokens_check(size_t *n_sound, const char *path, uint64_t seed, size_t n_stored, uint64_t hash,
                             quire_error *err);

/* The chain after n tokens, of which all were found sound. Errors: FORMAT, IO. */
quire_status kv_tokens_chain(uint64_t *hash, const char *path, uint64_t seed, size_t n, quire_error *err);

/* The chain after the first n_blocks blocks of the file is `hash`. Errors: as above. */
quire_status kv_tokens_check_chain(const char *path, size_t n_blocks, uint64_t hash, quire_error *err);

/* The same of a file that may be damaged up to there: its record has `hash` still, or the ids behind lead from `hash`
 * to end_hash, the chain after n_stored ids. Errors: as above. */
quire_status kv_tokens_check_damaged(const char *path, size_t n_blocks, uint64_t hash, size_t n_stored,
                                     uint64_t end_hash, quire_error *err);

#endif
