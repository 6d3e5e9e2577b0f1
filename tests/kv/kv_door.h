/* The door to the system, in the hands of a test: the n-th call fails, or the process dies in it. */
#ifndef QUIRE_TESTS_KV_DOOR_H
#define QUIRE_TESTS_KV_DOOR_H

#include <stdbool.h>

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
    DOOR_LIST = 512,    /* of a folder */
    DOOR_RING = 1024,   /* io_uring: made, given buffers, submitted to, waited for */
    DOOR_RESULT = 2048, /* io_uring: a read that completes with the error */
    DOOR_MEMORY = 4096, /* an allocation, where the test asks door_fails */
    DOOR_ALL = 2047
};

enum door_fault {
    DOOR_FAILS_ONCE,    /* the call fails with `code` */
    DOOR_KEEPS_FAILING, /* that call and all later ones */
    DOOR_KILLS          /* the process gets SIGKILL in the midst of the call: half of a write is done */
};

/* From now on calls of the kinds go through; the one after `nth` of them does not. Writes are short all the time, so
 * that what follows on them is tried, too. */
void door_close(unsigned kinds, long nth, enum door_fault fault, int code);

/* Counts a call that a test intercepts itself; true, and errno set, where it is to fail. */
bool door_fails(enum door_call call);

/* Back to normal. True where the fault happened. */
bool door_open(void);

#endif
