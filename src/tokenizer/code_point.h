/* Code points of text that is known to be valid UTF-8 (base/utf8.h is for text that may not be). */
#ifndef QUIRE_TOKENIZER_CODE_POINT_H
#define QUIRE_TOKENIZER_CODE_POINT_H

#include <stddef.h>
#include <stdint.h>

/* The length of a character, 1 to 4, from its first byte. */
static inline size_t code_point_length(uint8_t first)
{
    return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* The code point at p and its length. */
static inline uint32_t code_point_read(const uint8_t *p, size_t *length)
{
    *length = code_point_length(p[0]);
    switch (*length) {
    case 1: return p[0];
    case 2: return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    case 3: return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    default: return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
    }
}

/* Writes the character to p, 1 to 4 bytes; returns its length. */
static inline size_t code_point_write(uint8_t *p, uint32_t c)
{
    if (c < 0x80) {
        p[0] = (uint8_t)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, c >>= 6)
        p[i] = (uint8_t)(0x80 | (c & 0x3F));
    p[0] = (uint8_t)((0xF00u >> length & 0xF0u) | c); /* as many ones as bytes, then a zero */
    return length;
}

#endif
