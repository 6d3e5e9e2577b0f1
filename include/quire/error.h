/* Errors: a status to branch on and a message for people.
 *
 * Every call that can fail returns a quire_status (QUIRE_OK is 0, failures are negative) and takes a quire_error that
 * it fills on failure; NULL is allowed where the message is not wanted. The message is written where the fact is
 * known: what failed, where, what was found, what was expected and, where there is one, the way out. It starts in
 * lower case and has no full stop, so that a program can put its own name in front of it. It is one line that a
 * terminal shows and does not act on, whatever the names in it are (quire_printable). A quire_error starts with zeros,
 * and is emptied (quire_error_clear) before it is used again: an error that it holds is kept.
 *
 * Output parameters change only on success, except where a comment says otherwise. The library never prints and never
 * exits. */
#ifndef QUIRE_ERROR_H
#define QUIRE_ERROR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QUIRE_API                             __attribute__((visibility("default")))
#define QUIRE_PRINTF(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))
#else
#define QUIRE_API
#define QUIRE_PRINTF(format_index, first_arg)
#endif

typedef enum quire_status {
    QUIRE_OK = 0,
    QUIRE_ERR_USAGE = -1,       /* the caller broke a documented rule; nothing changed */
    QUIRE_ERR_IO = -2,          /* the operating system refused: open, read, write, map */
    QUIRE_ERR_NO_MEMORY = -3,   /* allocation failed, or the memory budget is too small for the work */
    QUIRE_ERR_NO_SPACE = -4,    /* the disk is full, or too small for the work planned */
    QUIRE_ERR_FORMAT = -5,      /* a file is malformed, cut short or inconsistent */
    QUIRE_ERR_UNSUPPORTED = -6, /* a file is sound but needs something that this build does not do */
    QUIRE_ERR_TEXT = -7,        /* the input text is not valid UTF-8 */
    QUIRE_ERR_MISMATCH = -8,    /* two things that must belong together do not: store and model, tokenizer and model */
    QUIRE_ERR_BUSY = -9,        /* another process holds the lock */
    QUIRE_ERR_CANCELLED = -10,  /* stopped because the caller asked for it; what was done so far is kept */
    QUIRE_ERR_NUMERIC = -11     /* a NaN or an infinity appeared where a number was expected */
} quire_status;

typedef struct quire_error {
    quire_status status;
    char message[1024];
} quire_error;

/* The enumerator's name without its prefix, in lower case: "io", "no memory". Static storage. */
QUIRE_API const char *quire_status_name(quire_status status);

/* Writes status and message into err unless err is NULL or already holds an error (the first one wins: it is closest
 * to the fact). Returns status, so that a failure is one statement: return quire_fail(err, QUIRE_ERR_IO, "..."). */
QUIRE_API quire_status quire_fail(quire_error *err, quire_status status, const char *format, ...) QUIRE_PRINTF(3, 4);

/* Copies n bytes of text, whatever they are, so that a terminal shows them and does not act on them: control
 * characters, marks of the direction of writing and bytes that are no UTF-8 become \x1b or \u202e, all else stays as it
 * is. out[0..size), size > 0, ends in a NUL; what has no room is left out, by whole characters. Returns the bytes of
 * text that were taken. */
QUIRE_API size_t quire_printable(char *out, size_t size, const char *text, size_t n);

/* Empties err, for a caller that goes on after a failure. NULL is fine. */
QUIRE_API void quire_error_clear(quire_error *err);

#ifdef __cplusplus
}
#endif
#endif
