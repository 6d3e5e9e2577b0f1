/* Who uses a book. Whoever reads a stored book, as its reader, its writer or through a branch, shares a lock on its
 * tokens file, which is never replaced; whoever takes blocks or the whole book away must have both the writer's lock
 * and that one alone (KV-11). */
#ifndef QUIRE_KV_USE_H
#define QUIRE_KV_USE_H

#include "kv/kv_file.h"

/* Opens the tokens file and shares the lock until *fd is closed. *is_missing (may be NULL): there is no such file.
 * Errors: IO. */
quire_status kv_use_share(int *fd, const char *folder, bool *is_missing, quire_error *err);

/* Notes that the book was used now: the time stands in the open tokens file, where the file system takes that. */
void kv_use_note(int fd);

/* Whether somebody uses the book. Does not get in the way of one who is about to. */
bool kv_use_is_shared(const char *folder);

struct kv_exclusive {
    int lock_fd; /* the writer's lock */
    int use_fd;
    bool is_borrowed; /* use_fd is the caller's share, and becomes one again */
};

/* The book is this process's alone until kv_use_end. own_share: the caller's descriptor from kv_use_share, or -1.
 * *is_gone (may be NULL): another process has removed the book. Errors: BUSY (somebody else uses it), IO, NO_SPACE. */
quire_status kv_use_exclude(struct kv_exclusive *exclusive, const char *folder, int own_share, bool *is_gone,
                            quire_error *err);
void kv_use_end(struct kv_exclusive *exclusive, const char *folder);

#endif
