/* The file `about` of a book: what people know it by (struct kv_about in kv.h), as lines of text with a checksum. It is
 * as private as the book, and nothing is computed from it. */
#ifndef QUIRE_KV_ABOUT_H
#define QUIRE_KV_ABOUT_H

#include "kv/kv.h"
#include "kv/kv_file.h"

enum { KV_ABOUT_MAX = 4096 }; /* bytes of the file */

/* The file's text, NUL-terminated, and its length. */
size_t kv_about_format(char text[KV_ABOUT_MAX], const struct kv_about *about);

/* The reverse. name: for the message. Errors: FORMAT. */
quire_status kv_about_parse(struct kv_about *out, const char *text, size_t n_bytes, const char *name, quire_error *err);

/* Errors: IO, NO_SPACE. */
quire_status kv_about_write(const char *folder, const struct kv_about *about, quire_error *err);

/* *out is empty where there is none. Errors: FORMAT (damaged), IO, NO_MEMORY. */
quire_status kv_about_read(struct kv_about *out, const char *folder, quire_error *err);

#endif
