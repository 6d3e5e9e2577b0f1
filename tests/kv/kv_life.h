/* A whole life of a store, for the tests that disturb it. */
#ifndef QUIRE_TESTS_KV_LIFE_H
#define QUIRE_TESTS_KV_LIFE_H

#include "kv/kv.h"

enum { LIFE_FIRST = 150, LIFE_MIDDLE = 230, LIFE_END = 330, LIFE_COMMON = 200 };

/* Reads text to LIFE_END: from where the store stands it goes on to LIFE_MIDDLE, commits, saves a flight, commits the
 * end; a temporary branch comes and goes. Then `other` (the same up to LIFE_COMMON) is read. committed (may be NULL) is
 * called with each frontier of `text` once it is durable. */
quire_status live(const char *folder, const struct kv_geometry *geometry, const int32_t *text, const int32_t *other,
                  void (*committed)(size_t frontier), quire_error *err);

#endif
