/* Where a reader's bytes come from: three sources with one contract.
 *
 * A source gives the bytes of an open file in file order, a buffer at a time, and knows nothing of text. The bytes are
 * the caller's to read and to change, together with READER_HEADROOM bytes in front of them, until the next call: the
 * beginning of a character that ended the last buffer is put there, so that whole characters never cost a copy. */
#ifndef QUIRE_READER_SOURCE_H
#define QUIRE_READER_SOURCE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/reader.h"

#define READER_HEADROOM 64 /* keeps what follows aligned to a cache line */

/* What a source reads. It belongs to the reader and outlives the source. */
struct reader_input {
    int fd;
    const char *name;     /* for messages, with its quotes: "'book.txt'", "standard input" */
    int64_t start, end;   /* of a regular file: where the document begins, and where it ended when it was opened */
    size_t buffer_bytes;  /* of one read, at least 1 */
    uint32_t n_in_flight; /* reads at once, at least 1 */
    atomic_bool is_cancelled;
    int wake_fd;             /* of a stream: becomes readable when is_cancelled is set; -1 otherwise */
    quire_reader_ring *ring; /* the caller's, or NULL */
};

struct reader_source {
    char name[128]; /* what quire_reader_backend says */

    /* The next buffer: *n_bytes > 0, or 0 at the end; not to be called again after the end or an error.
     * Errors: IO, CANCELLED (found set in the input while waiting). */
    quire_status (*next)(struct reader_source *source, unsigned char **bytes, size_t *n_bytes, quire_error *err);

    void (*close)(struct reader_source *source);
};

/* Regular files, by io_uring. Errors: UNSUPPORTED where the kernel refuses io_uring, the message being its reason and
 * nothing else (pread is the way out); NO_MEMORY. */
quire_status reader_uring_open(struct reader_source **out, struct reader_input *input, quire_error *err);

/* Regular files, by pread: the same bytes and errors with one buffer. Errors: NO_MEMORY. */
quire_status reader_pread_open(struct reader_source **out, struct reader_input *input, quire_error *err);

/* Everything else (pipes, FIFOs, terminals, sockets, devices), by poll and read: each read as it comes. Errors:
 * NO_MEMORY. */
quire_status reader_stream_open(struct reader_source **out, struct reader_input *input, quire_error *err);

/* Reads n bytes of a regular file at offset, through short reads and EINTR; *n_read are fewer where the file ends.
 * Errors: IO, also where it ends before input->end (it became shorter); CANCELLED. */
quire_status reader_fill(struct reader_input *input, unsigned char *bytes, size_t n, int64_t offset, size_t *n_read,
                         quire_error *err);

/* Bytes of one read: what the caller wants, or less where the file has less, but for what it may not have told. */
size_t reader_buffer_bytes(const struct reader_input *input);

/* The errors that sources share. code: an errno value. */
quire_status reader_fail_read(const struct reader_input *input, int64_t offset, int code, quire_error *err);
quire_status reader_fail_cancelled(const struct reader_input *input, quire_error *err);

#endif
