/* Numbers as text that is kept or read: with a point, whatever locale the program has set. */
#ifndef QUIRE_BASE_C_LOCALE_H
#define QUIRE_BASE_C_LOCALE_H

#include <locale.h>

/* Between these two calls of a thread printf, scanf and strtod work as in the C locale. */
locale_t c_locale_begin(void);
void c_locale_end(locale_t before);

#endif
