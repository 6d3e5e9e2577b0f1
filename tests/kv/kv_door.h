/* The door to the system, in the hands of a test: the n-th call fails, or the process dies in it; and a whole life of a
 * store to try that on. */
#ifndef QUIRE_TESTS_KV_DOOR_H
#define QUIRE_TESTS_KV_DOOR_H

#include "kv/kv_store.h"

enum door_call {
    DOOR_OPEN = 1,
    DOOR_READ = 2,
    DOOR_WRITE = 4,
    DOOR_STAT = 8,
    DOOR_SIZE = 16,
    DOOR_SYNC = 32,
    DOOR_NAME = 64,
    DOOR_MAP = 128,
    DOOR_LOCK = 256,
    DOOR_ALL = 511
};

enum door_fault {
    DOOR_FAILS_ONCE,    /* the call fails with `code` */
    DOOR_KEEPS_FAILING, /* that call and all later ones */
    DOOR_KILLS          /* the process gets SIGKILL in the midst of the call: half of a write is done */
};

/* From now on calls of the kinds go through; the one after `nth` of them does not. Writes are short all the time, so
 * that what follows on them is tried, too. */
void door_close(unsigned kinds, long nth, enum door_fault fault, int code);

/* Back to normal. True where the fault happened. */
bool door_open(void);

enum { LIFE_FIRST = 150, LIFE_MIDDLE = 230, LIFE_END = 330, LIFE_COMMON = 200 };

/* Reads text to LIFE_END: from where the store stands it goes on to LIFE_MIDDLE, commits, saves a flight, commits the
 * end; a temporary branch comes and goes. Then `other` (the same up to LIFE_COMMON) is read. committed (may be NULL) is
 * called with each frontier of `text` once it is durable. */
quire_status live(const char *folder, const struct kv_geometry *geometry, const int32_t *text, const int32_t *other,
                  void (*committed)(size_t frontier), quire_error *err);

#endif
