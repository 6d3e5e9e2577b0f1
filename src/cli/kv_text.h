/* Books of a store as people and programs read them. */
#ifndef QUIRE_CLI_KV_TEXT_H
#define QUIRE_CLI_KV_TEXT_H

#include <jansson.h>

#include "output.h"
#include "quire/store.h"

enum { KV_ID_SIZE = 17 };

/* 16 hexadecimal digits. Returns buffer. */
char *kv_text_id(char buffer[KV_ID_SIZE], uint64_t id);

/* A book as an object; NULL: no memory. */
json_t *kv_text_book(const quire_stored_book *book);

/* The same as lines of names and values. */
quire_status kv_text_write_book(struct output *output, const quire_stored_book *book, quire_error *err);

/* The head of a list, and a book's line in it. */
quire_status kv_text_write_title(struct output *output, quire_error *err);
quire_status kv_text_write_line(struct output *output, const quire_stored_book *book, quire_error *err);

#endif
