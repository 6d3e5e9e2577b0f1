/* The one place with state outside of structures: a signal handler can be given nothing else. */
#include "interrupt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* What a reader of our output may still take after a signal. */
enum { GRACE_MS = 1000 };

static atomic_bool is_pending; /* set by whichever thread the signal came to */
static int wake = -1;       /* an eventfd that a signal makes readable: a wait ends also where another thread got it */
static int64_t grace_until; /* ms; 0: no signal was seen yet */
static _Atomic(quire_engine *) watched_engine;
static _Atomic(quire_reader *) watched_reader;
static _Atomic(quire_training *) watched_training;

static void cancel_watched(void)
{
    quire_engine *engine = atomic_load(&watched_engine);
    quire_reader *reader = atomic_load(&watched_reader);
    quire_training *training = atomic_load(&watched_training);
    if (engine)
        quire_engine_cancel(engine);
    if (reader)
        quire_reader_cancel(reader);
    if (training)
        quire_training_cancel(training);
}

static void on_signal(int signal_number)
{
    const uint64_t one = 1;
    int saved = errno;
    (void)signal_number;
    atomic_store(&is_pending, true);
    cancel_watched();
    (void)!write(wake, &one, sizeof one);
    errno = saved;
}

/* A signal that whoever started the program has it ignore, as a shell does for what runs in the background, stays so.
 */
static void catch_signal(int signal_number, const struct sigaction *action)
{
    struct sigaction before;
    if (sigaction(signal_number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(signal_number, action, NULL);
}

void interrupt_install(void)
{
    /* No SA_RESTART: a blocking read has to return. SA_RESETHAND: the second signal does what it does everywhere. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sigemptyset(&action.sa_mask);
    catch_signal(SIGINT, &action);
    catch_signal(SIGTERM, &action);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

bool interrupt_pending(void)
{
    return atomic_load(&is_pending);
}

int interrupt_asked(void *user)
{
    (void)user;
    return interrupt_pending();
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* What is left of the second. */
static int grace_ms(void)
{
    int64_t now = now_ms();
    if (grace_until == 0)
        grace_until = now + GRACE_MS;
    return grace_until > now ? (int)(grace_until - now) : 0;
}

bool interrupt_wait_writable(int fd)
{
    for (;;) {
        bool is_last = interrupt_pending();
        struct pollfd wait[] = {{.fd = fd, .events = POLLOUT}, {.fd = is_last ? -1 : wake, .events = POLLIN}};
        int n = poll(wait, 2, is_last ? grace_ms() : -1);
        if (wait[0].revents != 0 || (n < 0 && errno != EINTR))
            return true;
        if (is_last && n == 0)
            return false;
    }
}

void interrupt_watch_engine(quire_engine *engine)
{
    atomic_store(&watched_engine, engine);
    if (interrupt_pending())
        cancel_watched();
}

void interrupt_watch_reader(quire_reader *reader)
{
    atomic_store(&watched_reader, reader);
    if (interrupt_pending())
        cancel_watched();
}

void interrupt_watch_training(quire_training *training)
{
    atomic_store(&watched_training, training);
    if (interrupt_pending())
        cancel_watched();
}
