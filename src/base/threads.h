/* A fixed pool of threads. Work is split by position, never by timing: item i always computes the same thing, so who
 * takes it cannot change a result. */
#ifndef QUIRE_BASE_THREADS_H
#define QUIRE_BASE_THREADS_H

#include <stddef.h>
#include <stdint.h>

#include "quire/error.h"

struct threads;

/* n: threads that work, the caller's included; at least 1. */
quire_status threads_open(struct threads **out, uint32_t n, quire_error *err);
void threads_close(struct threads *threads);
uint32_t threads_count(const struct threads *threads);

/* Calls work(context, item, worker) once for each item in [0, n_items), from the pool and the caller, and returns when
 * all are done. worker is in [0, count): an index for scratch memory. Items are handed out one by one, in order. Not to
 * be called from within work. */
typedef void (*threads_work)(void *context, size_t item, uint32_t worker);
void threads_run(struct threads *threads, size_t n_items, threads_work work, void *context);

/* Processors that this process may use. */
uint32_t threads_available(void);

#endif
