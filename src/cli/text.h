/* Numbers and texts as people read them. Those of numbers write into the caller's buffer and return it. */
#ifndef QUIRE_CLI_TEXT_H
#define QUIRE_CLI_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum { TEXT_SIZE = 32 };

char *text_count(char buffer[TEXT_SIZE], uint64_t n);                     /* 71,899 */
char *text_counted(char buffer[TEXT_SIZE], uint64_t n, const char *noun); /* 71,899 tokens, 1 token */
char *text_bytes(char buffer[TEXT_SIZE], uint64_t n_bytes);               /* 812 MiB, 1.25 GiB */
char *text_time(char buffer[TEXT_SIZE], double seconds);           /* <1 ms, 410 ms, 9.4 s, 12 s, 2:31, 1:02:03 */
char *text_rate(char buffer[TEXT_SIZE], double n, double seconds); /* 9.41, 512 (per second); - where no time passed */

/* Copies as much of text as there is room for, as a terminal may have it: its lines and columns ('\n', '\t') are the
 * program's own and stay, what else a terminal would act on is made printable (quire/error.h). Returns the bytes of
 * text that were taken. */
size_t text_printable(char *out, size_t size, const char *text);

#endif
