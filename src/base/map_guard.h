/* Mapped files whose pages cannot be read: the disk fails, or somebody cuts the file short. The system answers a touch
 * of such a page with SIGBUS, which would be the end of the process. While any mapping is guarded a handler takes that
 * signal: it puts zeros in the place of the whole mapping, notes where it happened, and the reader goes on to its next
 * check (sys_map_check), which turns the note into an error. What was computed meanwhile is to be thrown away.
 *
 * A signal that no guarded mapping has caused goes to the handler that was there before, or does what it does without
 * one. When the last mapping is gone that handler is put back, unless somebody has set another one since; then ours
 * stays below it and only passes signals on. */
#ifndef QUIRE_BASE_MAP_GUARD_H
#define QUIRE_BASE_MAP_GUARD_H

#include <stdbool.h>
#include <stddef.h>

#include "quire/error.h"

struct map_guard;

/* data: what mmap gave, for n_bytes > 0. Errors: NO_MEMORY; IO (the system refuses the handler). */
quire_status map_guard_open(struct map_guard **out, const void *data, size_t n_bytes, quire_error *err);

/* Before the mapping goes; nobody reads it any more. NULL is fine. */
void map_guard_close(struct map_guard *guard);

/* Whether a page could not be read, and then the first one's offset. It stays so: all of the mapping is zeros now. */
bool map_guard_is_broken(const struct map_guard *guard, size_t *offset);

#endif
