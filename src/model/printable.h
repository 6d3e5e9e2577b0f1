/* Names from a file in a message: what a terminal would act on becomes '?', and long ones are cut. */
#ifndef QUIRE_MODEL_PRINTABLE_H
#define QUIRE_MODEL_PRINTABLE_H

#include <stddef.h>

struct printable {
    char text[100];
};

static inline struct printable printable(const char *bytes, size_t n)
{
    struct printable p;
    size_t out = 0;
    for (size_t i = 0; i < n && out < sizeof p.text - 4; i++, out++)
        p.text[out] = bytes[i] >= 0x20 && bytes[i] < 0x7F ? bytes[i] : '?';
    if (out < n) {
        p.text[out++] = '.';
        p.text[out++] = '.';
        p.text[out++] = '.';
    }
    p.text[out] = '\0';
    return p;
}

#endif
