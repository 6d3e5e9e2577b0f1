/* The public reader: opens the document, chooses the source of its bytes, and makes whole UTF-8 characters of them.
 *
 * Text is handed out where the source put it. At most three bytes, the beginning of a character that a buffer cut, are
 * moved to the front of the next buffer. Only in lossy mode, and only from the first invalid byte of a buffer on, is
 * text copied. */
#include "quire/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "base/utf8.h"
#include "reader/reader_source.h"

_Static_assert(ATOMIC_BOOL_LOCK_FREE == 2, "quire_reader_cancel is called from signal handlers");

#define DEFAULT_BUFFER_BYTES ((size_t)256 * 1024)
#define DEFAULT_IN_FLIGHT    4
#define MAX_BUFFER_BYTES     ((size_t)1 << 30)
#define MAX_IN_FLIGHT        1024

#define BYTE_ORDER_MARK       "\xEF\xBB\xBF"
#define BYTE_ORDER_MARK_BYTES 3

struct quire_reader {
    struct reader_input input;
    struct reader_source *source;
    char *name; /* the input's */
    bool is_stdin;
    bool is_regular;
    bool is_bytes, is_lossy;
    bool is_at_end;    /* the source has given all it has */
    unsigned char *at; /* what the source gave and the caller did not get yet */
    size_t n_at;
    unsigned char carried[UTF8_MAX];
    unsigned char first[4];  /* of the document, for advice; zero where it is shorter */
    unsigned char *replaced; /* lossy: text with replacements, for one buffer; allocated when first needed */
    uint64_t n_bytes;
    uint64_t n_replaced;
    quire_error error; /* the first one, returned for ever */
};

/* Finds out what is open: the kind, and of a regular file the part to read. Standard input that is a regular file is
 * read from where it stands. */
static quire_status examine(quire_reader *r, quire_error *err)
{
    struct stat st;
    if (sys.fstat(r->input.fd, &st) != 0)
        return quire_fail(err, QUIRE_ERR_IO, "cannot stat %s: %s", r->name, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return quire_fail(err, QUIRE_ERR_IO, "cannot read %s: it is a directory, expected a file", r->name);
    r->is_regular = S_ISREG(st.st_mode);
    if (!r->is_regular) {
        r->input.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (r->input.wake_fd < 0)
            return quire_fail(err, QUIRE_ERR_IO, "cannot make an event descriptor to read %s: %s", r->name,
                              strerror(errno));
        return QUIRE_OK;
    }
    off_t start = r->is_stdin ? lseek(r->input.fd, 0, SEEK_CUR) : 0;
    if (start < 0)
        return quire_fail(err, QUIRE_ERR_IO, "cannot tell the position in %s: %s", r->name, strerror(errno));
    r->input.start = start;
    r->input.end = st.st_size > start ? st.st_size : start;
    return QUIRE_OK;
}

static quire_status open_file(quire_reader *r, const char *path, quire_error *err)
{
    size_t n_name;
    if (r->is_stdin) {
        r->input.fd = STDIN_FILENO;
        r->name = mem_strdup("standard input", err);
    } else if (size_add(&n_name, strlen(path), sizeof "''") && (r->name = mem_calloc(n_name, 1, "a name", err))) {
        snprintf(r->name, n_name, "'%s'", path);
    }
    if (!r->name)
        return QUIRE_ERR_NO_MEMORY;
    r->input.name = r->name;
    if (!r->is_stdin) {
        /* O_NONBLOCK: opening a FIFO must not wait for its writer, since nothing could cancel that; poll waits. */
        do
            r->input.fd = sys.open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
        while (r->input.fd < 0 && errno == EINTR);
        if (r->input.fd < 0)
            return quire_fail(err, QUIRE_ERR_IO, "cannot open %s: %s", r->name, strerror(errno));
    }
    quire_status status = examine(r, err);
    /* io_uring answers EAGAIN for a non-blocking regular file instead of waiting for the disk. */
    if (status == QUIRE_OK && r->is_regular && !r->is_stdin)
        fcntl(r->input.fd, F_SETFL, O_RDONLY);
    return status;
}

static quire_status open_source(quire_reader *r, bool no_uring, quire_error *err)
{
    quire_error refusal = {0};
    if (!r->is_regular)
        return reader_stream_open(&r->source, &r->input, err);
    if (no_uring)
        return reader_pread_open(&r->source, &r->input, err);
    quire_status status = reader_uring_open(&r->source, &r->input, &refusal);
    if (status == QUIRE_OK)
        return status;
    if (status != QUIRE_ERR_UNSUPPORTED)
        return quire_fail(err, status, "%s", refusal.message);
    status = reader_pread_open(&r->source, &r->input, err);
    if (status == QUIRE_OK)
        snprintf(r->source->name, sizeof r->source->name, "pread (io_uring refused: %.64s)", refusal.message);
    return status;
}

quire_status quire_reader_open(quire_reader **out, const char *path, const quire_reader_options *opts, quire_error *err)
{
    static const quire_reader_options defaults;
    if (!opts)
        opts = &defaults;
    if (opts->buffer_bytes > MAX_BUFFER_BYTES || opts->n_in_flight > MAX_IN_FLIGHT)
        return quire_fail(err, QUIRE_ERR_USAGE, "a reader has %u reads of %zu bytes, expected at most %d of %zu",
                          opts->n_in_flight, opts->buffer_bytes, MAX_IN_FLIGHT, MAX_BUFFER_BYTES);
    quire_reader *r = mem_calloc(1, sizeof *r, "a reader", err);
    if (!r)
        return QUIRE_ERR_NO_MEMORY;
    r->input.fd = r->input.wake_fd = -1;
    r->input.buffer_bytes = opts->buffer_bytes ? opts->buffer_bytes : DEFAULT_BUFFER_BYTES;
    r->input.ring = opts->ring;
    r->input.n_in_flight = opts->n_in_flight ? opts->n_in_flight : DEFAULT_IN_FLIGHT;
    atomic_init(&r->input.is_cancelled, false);
    r->at = r->carried;
    r->is_bytes = opts->bytes;
    r->is_lossy = opts->lossy;
    r->is_stdin = strcmp(path, "-") == 0;
    quire_status status = open_file(r, path, err);
    if (status == QUIRE_OK)
        status = open_source(r, opts->no_uring, err);
    if (status != QUIRE_OK) {
        quire_reader_close(r);
        return status;
    }
    *out = r;
    return QUIRE_OK;
}

void quire_reader_close(quire_reader *r)
{
    if (!r)
        return;
    if (r->source)
        r->source->close(r->source);
    /* Leave standard input where plain reads would have left it, for whoever reads on. */
    if (r->is_stdin && r->is_regular)
        lseek(r->input.fd, (off_t)(r->input.start + (int64_t)r->n_bytes), SEEK_SET);
    if (!r->is_stdin && r->input.fd >= 0)
        sys.close(r->input.fd);
    if (r->input.wake_fd >= 0)
        sys.close(r->input.wake_fd);
    free(r->replaced);
    free(r->name);
    free(r);
}

/* Takes the source's next buffer, behind what is left of the last one: the beginning of a character, or nothing. */
static quire_status refill(quire_reader *r)
{
    unsigned char *bytes;
    size_t n_bytes;
    memmove(r->carried, r->at, r->n_at); /* the source reads over it now */
    r->at = r->carried;
    quire_status status = r->source->next(r->source, &bytes, &n_bytes, &r->error);
    if (status != QUIRE_OK)
        return status;
    if (n_bytes == 0) {
        r->is_at_end = true;
        return QUIRE_OK;
    }
    if (r->n_bytes + r->n_at == 0)
        memcpy(r->first, bytes, size_min(n_bytes, sizeof r->first));
    r->at = bytes - r->n_at;
    memcpy(r->at, r->carried, r->n_at);
    r->n_at += n_bytes;
    return QUIRE_OK;
}

static void take(quire_reader *r, size_t n)
{
    r->at += n;
    r->n_at -= n;
    r->n_bytes += n;
}

/* What to do about a document that is no UTF-8, by what it begins with. */
static const char *advice(const quire_reader *r)
{
    static const struct {
        char first[5];
        const char *advice;
    } known[] = {
        {"PK\3\4", "it begins as a zip archive, such as an e-book or a word processor's file; make a text of it first"},
        {"%PDF", "it begins as a PDF file; make a text of it first, as pdftotext does"},
        {"\x1F\x8B", "it begins as a file that gzip compressed; decompress it first"},
        {"\xFF\xFE", "it begins as UTF-16; 'iconv -f UTF-16 -t UTF-8' makes UTF-8 of it"},
        {"\xFE\xFF", "it begins as UTF-16; 'iconv -f UTF-16 -t UTF-8' makes UTF-8 of it"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (memcmp(r->first, known[i].first, strlen(known[i].first)) == 0)
            return known[i].advice;
    return "use --lossy to replace such bytes, or 'iconv -f ISO-8859-1 -t UTF-8' where it is in that encoding";
}

static quire_status fail_invalid(quire_reader *r, size_t n_invalid)
{
    char hex[5 * UTF8_MAX + 1];
    for (size_t i = 0; i < n_invalid; i++)
        snprintf(hex + 5 * i, 6, " 0x%02x", r->at[i]);
    return quire_fail(&r->error, QUIRE_ERR_TEXT, "%s is not valid UTF-8 at byte %llu (%s%s); %s", r->name,
                      (unsigned long long)r->n_bytes, hex + 1, r->is_at_end ? ", where the text ends" : "", advice(r));
}

/* Hands out text with replacements: from the source's buffer up to where it is used up but for the beginning of a
 * character, or, at the end of the text, that beginning as one invalid part. */
static quire_status replace(quire_reader *r, const unsigned char **text, size_t *n_text)
{
    if (!r->replaced) {
        r->replaced =
            mem_aligned(UTF8_MAX + r->input.buffer_bytes, UTF8_REPLACEMENT_BYTES, "a reader's text", &r->error);
        if (!r->replaced)
            return QUIRE_ERR_NO_MEMORY;
    }
    struct utf8_copy copy;
    if (r->is_at_end) {
        memcpy(r->replaced, UTF8_REPLACEMENT, UTF8_REPLACEMENT_BYTES);
        copy = (struct utf8_copy){.n_taken = r->n_at, .n_out = UTF8_REPLACEMENT_BYTES, .n_replaced = 1};
    } else {
        copy = utf8_copy_lossy(r->replaced, r->at, r->n_at);
    }
    take(r, copy.n_taken);
    r->n_replaced += copy.n_replaced;
    *text = r->replaced;
    *n_text = copy.n_out;
    return QUIRE_OK;
}

/* The next piece; *n_text == 0 at the end. */
static quire_status next_text(quire_reader *r, const unsigned char **text, size_t *n_text)
{
    for (;;) {
        if (r->is_bytes && r->n_at > 0) {
            *text = r->at;
            *n_text = r->n_at;
            take(r, r->n_at);
            return QUIRE_OK;
        }
        struct utf8_scan scan = utf8_scan(r->at, r->n_at);
        size_t n_mark = 0;
        if (r->n_bytes == 0 && scan.n_valid >= BYTE_ORDER_MARK_BYTES &&
            memcmp(r->at, BYTE_ORDER_MARK, BYTE_ORDER_MARK_BYTES) == 0)
            n_mark = BYTE_ORDER_MARK_BYTES;
        if (scan.n_valid > n_mark) {
            *text = r->at + n_mark;
            *n_text = scan.n_valid - n_mark;
            take(r, scan.n_valid);
            return QUIRE_OK;
        }
        take(r, n_mark);
        if (r->n_at > 0 && (scan.n_invalid > 0 || r->is_at_end))
            return r->is_lossy ? replace(r, text, n_text) : fail_invalid(r, scan.n_invalid ? scan.n_invalid : r->n_at);
        if (r->is_at_end) {
            *n_text = 0;
            return QUIRE_OK;
        }
        quire_status status = refill(r);
        if (status != QUIRE_OK)
            return status;
    }
}

quire_status quire_reader_next(quire_reader *r, const char **bytes, size_t *n_bytes, quire_error *err)
{
    const unsigned char *text = (const unsigned char *)"";
    size_t n_text = 0;
    if (r->error.status == QUIRE_OK && atomic_load(&r->input.is_cancelled))
        reader_fail_cancelled(&r->input, &r->error);
    if (r->error.status == QUIRE_OK)
        next_text(r, &text, &n_text);
    if (r->error.status != QUIRE_OK)
        return quire_fail(err, r->error.status, "%s", r->error.message);
    *bytes = (const char *)text;
    *n_bytes = n_text;
    return QUIRE_OK;
}

void quire_reader_cancel(quire_reader *r)
{
    int saved = errno; /* of what a signal interrupted */
    atomic_store(&r->input.is_cancelled, true);
    if (r->input.wake_fd >= 0) {
        uint64_t one = 1;
        ssize_t n = write(r->input.wake_fd, &one, sizeof one);
        (void)n; /* it cannot fail but by being readable already */
    }
    errno = saved;
}

int64_t quire_reader_size(const quire_reader *r)
{
    return r->is_regular ? r->input.end - r->input.start : -1;
}

uint64_t quire_reader_n_bytes(const quire_reader *r)
{
    return r->n_bytes;
}

uint64_t quire_reader_n_replaced(const quire_reader *r)
{
    return r->n_replaced;
}

const char *quire_reader_backend(const quire_reader *r)
{
    return r->source->name;
}
