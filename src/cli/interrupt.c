/* The one place with state outside of structures: a signal handler can be given nothing else. */
#include "interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

static volatile sig_atomic_t is_pending;
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
    (void)signal_number;
    is_pending = 1;
    cancel_watched();
}

void interrupt_install(void)
{
    /* No SA_RESTART: a blocking read has to return. SA_RESETHAND: the second signal does what it does everywhere. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool interrupt_pending(void)
{
    return is_pending != 0;
}

void interrupt_watch_engine(quire_engine *engine)
{
    atomic_store(&watched_engine, engine);
    if (is_pending)
        cancel_watched();
}

void interrupt_watch_reader(quire_reader *reader)
{
    atomic_store(&watched_reader, reader);
    if (is_pending)
        cancel_watched();
}

void interrupt_watch_training(quire_training *training)
{
    atomic_store(&watched_training, training);
    if (is_pending)
        cancel_watched();
}
