/* Numbers as people read them. Each function writes into the caller's buffer and returns it. */
#ifndef QUIRE_CLI_TEXT_H
#define QUIRE_CLI_TEXT_H

#include <stdint.h>

enum { TEXT_SIZE = 32 };

char *text_count(char buffer[TEXT_SIZE], uint64_t n);              /* 71,899 */
char *text_bytes(char buffer[TEXT_SIZE], uint64_t n_bytes);        /* 812 MiB, 1.25 GiB */
char *text_time(char buffer[TEXT_SIZE], double seconds);           /* <1 ms, 410 ms, 9.4 s, 12 s, 2:31, 1:02:03 */
char *text_rate(char buffer[TEXT_SIZE], double n, double seconds); /* 9.41, 512 (per second); - where no time passed */

#endif
