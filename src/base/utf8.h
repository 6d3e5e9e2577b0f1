/* UTF-8: which bytes are whole characters, and what to put in the place of those that are not. */
#ifndef QUIRE_BASE_UTF8_H
#define QUIRE_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* No character has more bytes, so a buffer ends in at most UTF8_MAX - 1 bytes of a character that goes on. */
#define UTF8_MAX 4

/* U+FFFD, the replacement character. */
#define UTF8_REPLACEMENT       "\xEF\xBF\xBD"
#define UTF8_REPLACEMENT_BYTES 3

/* n_valid: bytes at the start that are whole, well-formed characters (no surrogates, nothing overlong, nothing beyond
 * U+10FFFF). n_invalid: bytes of the maximal invalid part that follows them (Unicode 15, section 3.9, U+FFFD
 * Substitution of Maximal Subparts: 1 to 3), or 0 where what follows is nothing, or the beginning of a character that
 * ends with the buffer. */
struct utf8_scan {
    size_t n_valid;
    size_t n_invalid;
};

struct utf8_scan utf8_scan(const unsigned char *bytes, size_t n);

/* Copies bytes to out, each maximal invalid part as one U+FFFD, up to the beginning of a character that ends with the
 * buffer. out: room for 3 * n bytes; it does not overlap bytes. */
struct utf8_copy {
    size_t n_taken;    /* of bytes */
    size_t n_out;      /* written to out */
    size_t n_replaced; /* invalid parts */
};

struct utf8_copy utf8_copy_lossy(unsigned char *out, const unsigned char *bytes, size_t n);

#endif
