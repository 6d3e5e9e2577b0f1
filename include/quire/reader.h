/* The reader: the bytes of a document, in order, as valid UTF-8.
 *
 * Regular files are read through io_uring with several reads in flight on registered buffers; where the kernel refuses
 * io_uring, and for pipes, terminals and FIFOs, plain reads give the same bytes. A byte-order mark at the start is
 * dropped; line ends are kept as they are. A file is read to where it ends when the reader gets there, whatever
 * size it said: also one that grows meanwhile, or that has no size, as below /proc; one that shrinks is an error. */
#ifndef QUIRE_READER_H
#define QUIRE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quire_reader quire_reader;

/* An io_uring that can read files and do nothing else, to which the kernel holds it. For a program that gives up the
 * right to make one before it reads anything. */
typedef struct quire_reader_ring quire_reader_ring;

typedef struct quire_reader_options {
    quire_reader_ring *ring; /* NULL: the reader makes its own. Used by one reader at a time; others make their own */
    bool no_uring;           /* plain reads only */
    bool bytes;              /* any bytes, as they are: nothing is checked, no mark is dropped */
    bool lossy;           /* invalid UTF-8 becomes U+FFFD (one per maximal invalid part, as Unicode advises), counted */
    size_t buffer_bytes;  /* of one read, at most 1 GiB; 0: 256 KiB */
    uint32_t n_in_flight; /* reads in flight, at most 1024; 0: 4 */
} quire_reader_options;

/* Opens a document: a path, or "-" for standard input (where that is a regular file, from its current position, which
 * is moved behind what was read on close). opts may be NULL. Never waits: a FIFO's writer is waited for by
 * quire_reader_next.
 * Errors: USAGE (options beyond their limits), IO (no such file, no permission, a directory: each said so),
 * NO_MEMORY. */
QUIRE_API quire_status quire_reader_open(quire_reader **out, const char *path, const quire_reader_options *opts,
                                         quire_error *err);
QUIRE_API void quire_reader_close(quire_reader *reader);

/* The next piece: *n_bytes > 0 bytes of whole UTF-8 characters, valid until the next call; *n_bytes == 0 at the end.
 * All valid text in front of an invalid byte comes out before the error.
 * Errors: TEXT (names the document and the byte offset, counted from 0), IO (also when the file became shorter),
 * CANCELLED (quire_reader_cancel was called), NO_MEMORY (lossy only). After an error every call returns it again. */
QUIRE_API quire_status quire_reader_next(quire_reader *reader, const char **bytes, size_t *n_bytes, quire_error *err);

/* Makes the current or next quire_reader_next return CANCELLED, also one that waits for a pipe, a FIFO or a terminal.
 * Safe in a signal handler, however it was installed, and from another thread; not after quire_reader_close. */
QUIRE_API void quire_reader_cancel(quire_reader *reader);

/* Size in bytes as a regular file says it when it is opened, or -1. */
QUIRE_API int64_t quire_reader_size(const quire_reader *reader);

/* Bytes of the document that were handed out so far, counted as they stand in the document: a dropped byte-order mark
 * is included, and invalid bytes count as themselves and not as what replaced them. At the end, the document's size. */
QUIRE_API uint64_t quire_reader_n_bytes(const quire_reader *reader);

/* Invalid parts replaced so far (lossy only). */
QUIRE_API uint64_t quire_reader_n_replaced(const quire_reader *reader);

/* "io_uring" or "pread" or "read", and why where it is a fallback: "pread (io_uring refused: Operation not permitted)",
 * "io_uring (buffers not registered: Cannot allocate memory)". Valid until quire_reader_close. */
QUIRE_API const char *quire_reader_backend(const quire_reader *reader);

/* For readers with 4 reads in flight or fewer. It is closed after its readers. Errors: UNSUPPORTED (the kernel refuses
 * it, or cannot hold it to reading: before 5.10), NO_MEMORY. */
QUIRE_API quire_status quire_reader_ring_open(quire_reader_ring **out, quire_error *err);
QUIRE_API void quire_reader_ring_close(quire_reader_ring *ring);

#ifdef __cplusplus
}
#endif
#endif
