/* What the KV tests share: texts, keys and values that follow from a text, a store in a scratch folder. */
#ifndef QUIRE_TESTS_KV_TEST_H
#define QUIRE_TESTS_KV_TEST_H

#include "kv/kv_store.h"
#include "test.h"

/* A scratch folder, removed with all in it by kv_test_end. In /dev/shm where that can be written: these tests make many
 * small files and sync often, and durability against power loss is not what a process can see. */
void kv_test_begin(char folder[KV_PATH_SIZE]);
void kv_test_end(const char *folder);

#define KV_TEST_IDENTITY "test model, numeric path 1"
struct kv_store *kv_test_store(const char *folder, const struct kv_geometry *geometry);

/* Small, and with uneven numbers. */
struct kv_geometry kv_test_geometry(quire_kv_type type);

/* ids[0..n) from a seed. The caller frees. */
int32_t *kv_test_text(size_t n, uint64_t seed);

/* The key (or value) of a token: a function of its id, its position and where it is, so that blocks of another text,
 * place or layer never look right. */
float kv_test_value(int32_t id, size_t token, uint32_t layer, uint32_t head, uint32_t channel, bool is_value);

/* Puts tokens [first, first + n) of the text into one layer, or every layer. */
quire_status kv_test_put_layer(struct kv_book *book, const struct kv_geometry *geometry, uint32_t layer,
                               const int32_t *ids, size_t first, size_t n, quire_error *err);
quire_status kv_test_put(struct kv_book *book, const struct kv_geometry *geometry, const int32_t *ids, size_t first,
                         size_t n, quire_error *err);

enum { KV_TEST_LOGITS = 37 };
void kv_test_logits(float logits[KV_TEST_LOGITS], const int32_t *ids, size_t n);

/* Opens a book for the text, puts what is missing, commits it with its logits. *frontier (may be NULL): where it began.
 */
quire_status kv_test_read(struct kv_book **out, struct kv_store *store, const struct kv_geometry *geometry,
                          const int32_t *ids, size_t n, size_t *frontier, quire_error *err);

/* Whether tokens [0, n) of a layer, or every layer, read back bit for bit as the text's, rounded to the KV type. */
bool kv_test_layer_holds(const struct kv_book *book, const struct kv_geometry *geometry, uint32_t layer,
                         const int32_t *ids, size_t n);
bool kv_test_holds(const struct kv_book *book, const struct kv_geometry *geometry, const int32_t *ids, size_t n);
/* Whether the logits are the text's. */
bool kv_test_has_logits(const struct kv_book *book, const int32_t *ids, size_t n);

size_t kv_test_count_files(const char *folder); /* files and folders in it, to any depth */
size_t kv_test_count_fds(void);
size_t kv_test_count_maps(const char *folder); /* mappings of files in it, nameless ones included */

/* The folder of the only book in the store; ends the program where there are none or more. */
void kv_test_only_book(char path[KV_PATH_SIZE], const char *folder);

/* Runs the rest of a test in a child process that may mount file systems, which nobody else sees: as root, or as one
 * who may make a namespace of users. False, and nothing is run, where this machine allows neither. */
bool kv_test_with_mounts(void (*run)(void *context), void *context);

/* Flips a bit of a file, or one of a byte, or cuts it. */
void kv_test_flip_bit(const char *folder, const char *name, size_t bit);
void kv_test_flip(const char *folder, const char *name, size_t offset);
void kv_test_cut(const char *folder, const char *name, size_t n_bytes);

#endif
