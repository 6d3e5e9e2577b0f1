#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"

#define HIGH_BITS 0x8080808080808080u

/* The index of the first byte at or after i that is not ASCII, or n. Prose is almost all ASCII: four words at a time,
 * then one, then the position inside the word (the machine is little-endian, so the first byte is the lowest). */
static size_t ascii_end(const unsigned char *bytes, size_t i, size_t n)
{
    while (n - i >= 32) {
        const unsigned char *p = bytes + i;
        if ((load_u64(p) | load_u64(p + 8) | load_u64(p + 16) | load_u64(p + 24)) & HIGH_BITS)
            break;
        i += 32;
    }
    while (n - i >= 8) {
        uint64_t high = load_u64(bytes + i) & HIGH_BITS;
        if (high)
            return i + (size_t)__builtin_ctzll(high) / 8;
        i += 8;
    }
    while (i < n && bytes[i] < 0x80)
        i++;
    return i;
}

/* The character that begins at p[0] >= 0x80: how many of the n bytes belong to it, at least 1, and in *length how many
 * it needs (0: no character begins with this byte). The second byte's range keeps out what is overlong (after E0, F0),
 * surrogates (after ED) and what is beyond U+10FFFF (after F4). */
static size_t character_part(const unsigned char *p, size_t n, size_t *length)
{
    unsigned char lead = p[0], low = 0x80, high = 0xBF;
    if (lead < 0xC2 || lead > 0xF4) {
        *length = 0;
        return 1;
    }
    *length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    switch (lead) {
    case 0xE0: low = 0xA0; break;
    case 0xED: high = 0x9F; break;
    case 0xF0: low = 0x90; break;
    case 0xF4: high = 0x8F; break;
    default: break;
    }
    if (n < 2 || p[1] < low || p[1] > high)
        return 1;
    size_t n_part = 2;
    while (n_part < *length && n_part < n && (p[n_part] & 0xC0) == 0x80)
        n_part++;
    return n_part;
}

/* The length of the well-formed character of two bytes or more at p, where four bytes can be read; 0: none. The marker
 * bits of all its bytes are compared at once, and the code point's upper bits (all but the last 6 or 12, in `top`) with
 * the bounds of its length. The same rule as character_part's, and on prose with curly quotes a third faster as a
 * whole. */
static inline size_t character_length(const unsigned char *p)
{
    uint32_t word = load_u32(p);
    if ((word & 0x00C0C0F0) == 0x008080E0) {
        uint32_t top = (word & 0x0F) << 6 | (word >> 8 & 0x3F);
        return top >= 0x800 >> 6 && top >> 5 != 0xD800 >> 11 ? 3 : 0;
    }
    if ((word & 0x0000C0E0) == 0x000080C0)
        return (word & 0x1F) >= 0x80 >> 6 ? 2 : 0;
    if ((word & 0xC0C0C0F8) == 0x808080F0) {
        uint32_t top = (word & 0x07) << 6 | (word >> 8 & 0x3F);
        return top >= 0x10000 >> 12 && top <= 0x10FFFF >> 12 ? 4 : 0;
    }
    return 0;
}

struct utf8_scan utf8_scan(const unsigned char *bytes, size_t n)
{
    size_t i = 0;
    while (i < n) {
        if (bytes[i] < 0x80) {
            i = ascii_end(bytes, i, n);
            continue;
        }
        size_t length = n - i >= 4 ? character_length(bytes + i) : 0;
        if (length == 0) { /* invalid, or near the end of the buffer */
            size_t n_part = character_part(bytes + i, n - i, &length);
            if (n_part != length) {
                bool may_go_on = n_part < length && n_part == n - i;
                return (struct utf8_scan){.n_valid = i, .n_invalid = may_go_on ? 0 : n_part};
            }
        }
        i += length;
    }
    return (struct utf8_scan){.n_valid = n};
}

struct utf8_copy utf8_copy_lossy(unsigned char *out, const unsigned char *bytes, size_t n)
{
    struct utf8_copy copy = {0};
    for (;;) {
        struct utf8_scan scan = utf8_scan(bytes + copy.n_taken, n - copy.n_taken);
        memcpy(out + copy.n_out, bytes + copy.n_taken, scan.n_valid);
        copy.n_out += scan.n_valid;
        copy.n_taken += scan.n_valid + scan.n_invalid;
        if (scan.n_invalid == 0)
            return copy;
        memcpy(out + copy.n_out, UTF8_REPLACEMENT, UTF8_REPLACEMENT_BYTES);
        copy.n_out += UTF8_REPLACEMENT_BYTES;
        copy.n_replaced++;
    }
}
