#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

/* Looks before a waiting thread goes to sleep, some 50 microseconds: decode has hundreds of short runs a token, and to
 * be woken takes longer than the pause between two. */
enum { SPINS = 2000 };

static inline void spin_once(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

struct worker {
    struct threads *threads;
    pthread_t thread;
    uint32_t index;
};

struct threads {
    uint32_t n;
    struct worker *workers; /* [n - 1]: the caller is the last worker */
    uint32_t n_started;

    pthread_mutex_t mutex;
    pthread_cond_t work_ready;
    pthread_cond_t work_done;
    _Atomic uint64_t generation; /* counts runs; a worker waits until it changes */
    _Atomic uint32_t n_busy;
    bool is_closing;

    threads_work work;
    void *context;
    size_t n_items;
    atomic_size_t next_item;
};

static void take_items(struct threads *threads, uint32_t worker)
{
    for (;;) {
        size_t item = atomic_fetch_add_explicit(&threads->next_item, 1, memory_order_relaxed);
        if (item >= threads->n_items)
            return;
        threads->work(threads->context, item, worker);
    }
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct threads *threads = worker->threads;
    uint64_t seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && atomic_load(&threads->generation) == seen; i++)
            spin_once();
        pthread_mutex_lock(&threads->mutex);
        while (threads->generation == seen && !threads->is_closing)
            pthread_cond_wait(&threads->work_ready, &threads->mutex);
        bool is_closing = threads->is_closing;
        seen = threads->generation;
        pthread_mutex_unlock(&threads->mutex);
        if (is_closing)
            return NULL;
        take_items(threads, worker->index);
        if (atomic_fetch_sub(&threads->n_busy, 1) == 1) { /* the caller may be asleep already */
            pthread_mutex_lock(&threads->mutex);
            pthread_cond_signal(&threads->work_done);
            pthread_mutex_unlock(&threads->mutex);
        }
    }
}

quire_status threads_open(struct threads **out, uint32_t n, quire_error *err)
{
    struct threads *threads = mem_calloc(1, sizeof *threads, "the thread pool", err);
    if (!threads)
        return QUIRE_ERR_NO_MEMORY;
    threads->n = n ? n : 1;
    pthread_mutex_init(&threads->mutex, NULL);
    pthread_cond_init(&threads->work_ready, NULL);
    pthread_cond_init(&threads->work_done, NULL);
    threads->workers = mem_calloc(threads->n, sizeof *threads->workers, "the thread pool", err);
    if (!threads->workers) {
        threads_close(threads);
        return QUIRE_ERR_NO_MEMORY;
    }
    /* Signals are for the program's own thread: a worker that took Ctrl-C would not interrupt a blocking read. */
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* that of a thread's own touch of a page (base/map_guard.h): blocked, it kills */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = 0;
    while (code == 0 && threads->n_started + 1 < threads->n) {
        struct worker *worker = &threads->workers[threads->n_started];
        *worker = (struct worker){.threads = threads, .index = threads->n_started};
        code = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (code == 0)
            threads->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) {
        quire_fail(err, QUIRE_ERR_NO_MEMORY, "cannot start thread %u of %u: %s", threads->n_started + 1, n,
                   strerror(code));
        threads_close(threads);
        return QUIRE_ERR_NO_MEMORY;
    }
    *out = threads;
    return QUIRE_OK;
}

void threads_close(struct threads *threads)
{
    if (!threads)
        return;
    pthread_mutex_lock(&threads->mutex);
    threads->is_closing = true;
    pthread_cond_broadcast(&threads->work_ready);
    pthread_mutex_unlock(&threads->mutex);
    for (uint32_t i = 0; i < threads->n_started; i++)
        pthread_join(threads->workers[i].thread, NULL);
    pthread_cond_destroy(&threads->work_done);
    pthread_cond_destroy(&threads->work_ready);
    pthread_mutex_destroy(&threads->mutex);
    free(threads->workers);
    free(threads);
}

uint32_t threads_count(const struct threads *threads)
{
    return threads->n;
}

void threads_run(struct threads *threads, size_t n_items, threads_work work, void *context)
{
    threads->work = work;
    threads->context = context;
    threads->n_items = n_items;
    atomic_store(&threads->next_item, 0);
    bool is_shared = threads->n_started > 0 && n_items > 1;
    if (is_shared) {
        pthread_mutex_lock(&threads->mutex);
        threads->n_busy = threads->n_started;
        threads->generation++;
        pthread_cond_broadcast(&threads->work_ready);
        pthread_mutex_unlock(&threads->mutex);
    }
    take_items(threads, threads->n - 1);
    if (is_shared) {
        for (int i = 0; i < SPINS && atomic_load(&threads->n_busy) > 0; i++)
            spin_once();
        pthread_mutex_lock(&threads->mutex);
        while (threads->n_busy > 0)
            pthread_cond_wait(&threads->work_done, &threads->mutex);
        pthread_mutex_unlock(&threads->mutex);
    }
}

uint32_t threads_available(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int n = CPU_COUNT(&set);
        if (n > 0)
            return (uint32_t)n;
    }
    return 1;
}
