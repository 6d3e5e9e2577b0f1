#include "map_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mem.h"

enum { GROUP_GUARDS = 128 };

/* begin is 0 where the slot is free. It is set last and cleared first, so that a handler that sees it unchanged around
 * its look at the end has seen one mapping. */
struct map_guard {
    atomic_uintptr_t begin, end;
    atomic_size_t broken; /* offset of the first page that could not be read; SIZE_MAX: none */
};

/* Slots are used again and never freed: a handler may look at them at any moment. */
struct group {
    struct map_guard guards[GROUP_GUARDS];
    _Atomic(struct group *) next;
};

/* What a signal handler can reach is one for the process, and so is this. The mutex is for all but `first`. */
static struct {
    pthread_mutex_t mutex;
    _Atomic(struct group *) first;
    size_t n_open;
    bool is_installed;
    struct sigaction before;
} registry = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static struct map_guard *find(uintptr_t address)
{
    for (struct group *group = atomic_load(&registry.first); group; group = atomic_load(&group->next))
        for (size_t i = 0; i < GROUP_GUARDS; i++) {
            struct map_guard *guard = &group->guards[i];
            uintptr_t begin = atomic_load(&guard->begin), end = atomic_load(&guard->end);
            if (begin != 0 && address >= begin && address < end && atomic_load(&guard->begin) == begin)
                return guard;
        }
    return NULL;
}

/* Async-signal-safe. All of the mapping is replaced, and not the page alone: a truncated file of gigabytes would
 * otherwise cost a signal and a mapping for every page. */
static bool replace(struct map_guard *guard, uintptr_t address)
{
    uintptr_t begin = atomic_load(&guard->begin), page = (uintptr_t)sysconf(_SC_PAGESIZE);
    size_t n_bytes = atomic_load(&guard->end) - begin, none = SIZE_MAX;
    /* Noted before the zeros are there to be read. */
    atomic_compare_exchange_strong(&guard->broken, &none, (address - begin) / page * page);
    /* The bare call: nothing of the C library or of a sanitizer comes between a signal and its end. */
    return syscall(SYS_mmap, begin, n_bytes, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != -1;
}

static void pass_on(int signal, siginfo_t *info, void *context)
{
    const struct sigaction *before = &registry.before;
    bool is_sent = info->si_code <= 0; /* by a process: kill, sigqueue */
    if (before->sa_flags & SA_SIGINFO) {
        before->sa_sigaction(signal, info, context);
    } else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
        before->sa_handler(signal);
    } else if (before->sa_handler == SIG_DFL || !is_sent) {
        /* The touch is tried again on return, and the system does with it what it does without a handler. */
        struct sigaction standard = {.sa_handler = SIG_DFL};
        sigaction(SIGBUS, &standard, NULL);
        if (is_sent)
            raise(signal);
    }
}

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    uintptr_t address = (uintptr_t)info->si_addr;
    struct map_guard *guard = info->si_code > 0 ? find(address) : NULL;
    if (!guard || !replace(guard, address))
        pass_on(signal, info, context);
    errno = saved;
}

static quire_status install(quire_error *err)
{
    struct sigaction ours = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigemptyset(&ours.sa_mask);
    struct sigaction now;
    if (sigaction(SIGBUS, NULL, &now) != 0)
        return quire_fail(err, QUIRE_ERR_IO, "cannot ask for the handler of SIGBUS: %s", strerror(errno));
    /* A handler that is there now may hand on to this one, so that it stays; where there is none, this one is gone. */
    bool is_gone = registry.n_open == 0 && (now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN);
    if (registry.is_installed && !is_gone)
        return QUIRE_OK;
    registry.before = now;
    if (sigaction(SIGBUS, &ours, NULL) != 0)
        return quire_fail(err, QUIRE_ERR_IO, "cannot set a handler for SIGBUS: %s", strerror(errno));
    registry.is_installed = true;
    return QUIRE_OK;
}

static void uninstall(void)
{
    struct sigaction now;
    if (sigaction(SIGBUS, NULL, &now) != 0 || !(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_sigbus)
        return;
    if (sigaction(SIGBUS, &registry.before, NULL) == 0)
        registry.is_installed = false;
}

/* A free slot, or NULL. */
static struct map_guard *find_free(quire_error *err)
{
    _Atomic(struct group *) *link = &registry.first;
    for (struct group *group; (group = atomic_load(link)) != NULL; link = &group->next)
        for (size_t i = 0; i < GROUP_GUARDS; i++)
            if (atomic_load(&group->guards[i].begin) == 0)
                return &group->guards[i];
    struct group *group = mem_calloc(1, sizeof *group, "guards of mapped files", err);
    if (!group)
        return NULL;
    atomic_store(link, group);
    return &group->guards[0];
}

quire_status map_guard_open(struct map_guard **out, const void *data, size_t n_bytes, quire_error *err)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    pthread_mutex_lock(&registry.mutex);
    struct map_guard *guard = find_free(err);
    quire_status status = guard ? install(err) : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK) {
        atomic_store(&guard->broken, SIZE_MAX);
        atomic_store(&guard->end, (uintptr_t)data + (n_bytes + page - 1) / page * page);
        atomic_store(&guard->begin, (uintptr_t)data);
        registry.n_open++;
        *out = guard;
    }
    pthread_mutex_unlock(&registry.mutex);
    return status;
}

void map_guard_close(struct map_guard *guard)
{
    if (!guard)
        return;
    pthread_mutex_lock(&registry.mutex);
    atomic_store(&guard->begin, 0);
    if (--registry.n_open == 0)
        uninstall();
    pthread_mutex_unlock(&registry.mutex);
}

bool map_guard_is_broken(const struct map_guard *guard, size_t *offset)
{
    size_t broken = guard ? atomic_load(&guard->broken) : SIZE_MAX;
    if (broken == SIZE_MAX)
        return false;
    *offset = broken;
    return true;
}
