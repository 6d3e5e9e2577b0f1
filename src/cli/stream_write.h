/* Bytes to a stream that was open when the program started, and that somebody else reads, or does not. */
#ifndef QUIRE_CLI_STREAM_WRITE_H
#define QUIRE_CLI_STREAM_WRITE_H

#include <stddef.h>

/* Writes bytes[0..n) and gives how many were written; where those are fewer, errno says why. A full pipe or terminal is
 * waited for, whether the stream blocks or not; after a signal no longer than interrupt_wait_writable says (ECANCELED).
 * What is left when a write fails ends with a line or at least with a character, as far as the stream lets that be: a
 * pipe gets nothing else, and a file on a full disk is cut back to there. */
size_t stream_write(int fd, const char *bytes, size_t n);

#endif
