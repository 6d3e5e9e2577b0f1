/* What a book has to say to its user: sentences in the order in which they came up. */
#ifndef QUIRE_ENGINE_NOTICES_H
#define QUIRE_ENGINE_NOTICES_H

#include <stddef.h>

struct notices {
    char **texts;
    size_t n, capacity;
};

/* Adds a sentence that is not there yet; NULL and "" are none. Where there is no memory it is lost. */
void notices_add(struct notices *notices, const char *text);
void notices_release(struct notices *notices);

#endif
