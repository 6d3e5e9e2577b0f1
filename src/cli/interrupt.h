/* Ctrl-C: the first SIGINT or SIGTERM asks the running work to stop and keep what it has; a second one of the same kind
 * kills the process as usual. */
#ifndef QUIRE_CLI_INTERRUPT_H
#define QUIRE_CLI_INTERRUPT_H

#include <stdbool.h>

#include "quire/engine.h"
#include "quire/reader.h"
#include "quire/train.h"

/* Installs the handlers, where the signals are not ignored. SIGPIPE and SIGXFSZ are ignored: a closed pipe and a file that reached its limit are errors of
 * write(2). */
void interrupt_install(void);

/* Whether a signal has arrived. */
bool interrupt_pending(void);
int interrupt_asked(void *user); /* the same as a callback */

/* Waits until a stream takes bytes, or says so itself that it does not. False: a signal has come, before or meanwhile,
 * and nobody has read from the stream in the second that all waits together then have. */
bool interrupt_wait_writable(int fd);

/* What a signal cancels; NULL: nothing. To be called with NULL before the object is closed. A signal that came earlier
 * cancels at once. */
void interrupt_watch_engine(quire_engine *engine);
void interrupt_watch_reader(quire_reader *reader);
void interrupt_watch_training(quire_training *training);

#endif
