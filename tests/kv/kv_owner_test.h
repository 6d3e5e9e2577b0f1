/* What the tests of quire/store.h share: a store with a book, a branch of it and a third book, and a watch that notes
 * what it is told. */
#ifndef QUIRE_TESTS_KV_OWNER_TEST_H
#define QUIRE_TESTS_KV_OWNER_TEST_H

#include "kv/kv_book.h"
#include "kv_test.h"
#include "quire/store.h"

enum { N = 300, COMMON = 200, BASE = 192 };

/* A whole book and a branch of it, and a third one that is neither. */
struct owner_fixture {
    char folder[KV_PATH_SIZE];
    struct kv_geometry geometry;
    struct kv_store *store;
    quire_store *owner;
    int32_t *texts[3];
    uint64_t ids[3];
    size_t n_damage, n_done;
    quire_store_damage last_damage;
    char last_message[1024], all_done[2048];
};

void owner_set_up(struct owner_fixture *f);
void owner_tear_down(struct owner_fixture *f);
void owner_book_path(char path[KV_PATH_SIZE], const struct owner_fixture *f, int which);
/* A bit of a file of a book. */
void owner_flip(const struct owner_fixture *f, int which, const char *name, size_t offset);
/* Where a block lies in a layer file. */
size_t owner_block_offset(const struct owner_fixture *f, size_t head, size_t block);
/* Notes in the fixture, from now on. */
quire_store_watch owner_watch(struct owner_fixture *f);
/* The number of damaged places; id 0: of all books. */
size_t owner_verify(struct owner_fixture *f, uint64_t id);
quire_status owner_repair(struct owner_fixture *f, uint64_t id, size_t *n, quire_error *err);
/* The text reads as it should, from `frontier` on. */
void owner_check_reads(struct owner_fixture *f, int which, size_t frontier);
quire_stored_book owner_show(struct owner_fixture *f, int which);
bool owner_is_there(const struct owner_fixture *f, int which);

#endif
