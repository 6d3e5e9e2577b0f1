/* Text out of files in messages: a terminal shows it and does not act on it (quire_printable in quire/error.h). */
#ifndef QUIRE_BASE_PRINTABLE_H
#define QUIRE_BASE_PRINTABLE_H

#include <stdarg.h>
#include <stddef.h>

#include "quire/error.h"

/* As vsnprintf, and all of it printable: how every message for people is made. */
void printable_vprint(char *out, size_t size, const char *format, va_list args) QUIRE_PRINTF(3, 0);

/* A name for a message: long ones are cut, and end in dots. */
struct printable {
    char text[100];
};

struct printable printable(const char *bytes, size_t n);

#endif
