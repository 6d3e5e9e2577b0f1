/* A store with one book that the KV targets change a file of: two layers, two heads, a frontier inside a block,
 * logits and a span in flight. */
#ifndef QUIRE_TESTS_FUZZ_KV_H
#define QUIRE_TESTS_FUZZ_KV_H

#include "fuzz.h"
#include "kv/kv_book.h"

enum { FUZZ_FRONTIER = 150, FUZZ_END = 300, FUZZ_RESIDUAL = 150 };

/* The book in its folder, as it was made; made on the first call, put back by fuzz_kv_use. */
const struct kv_manifest *fuzz_kv_manifest(void);
const struct kv_geometry *fuzz_kv_geometry(void);
const int32_t *fuzz_kv_text(void); /* [FUZZ_END] */

/* A file of the book gets these contents; a manifest goes there sealed (by kv_manifest_seal), and with the book's id.
 */
void fuzz_kv_put_file(const char *name, const void *data, size_t size);
void fuzz_kv_put_manifest(struct kv_manifest *manifest);

void fuzz_kv_path(char path[KV_PATH_SIZE],
                  const char *name); /* of a file of the book; "../../store": the store's own */

/* Does all that can be done with what the store holds of the text ids[0..n) without writing to it, and puts the book's
 * files back, layers and summaries excepted. */
void fuzz_kv_use(const int32_t *ids, size_t n);

#endif
