/* UTF-8 by arithmetic on code points, for tests: slow, and nothing like the table of byte ranges that it checks.
 *
 * Bytes are the beginning of a character where the code points that they could still become include an allowed one of
 * that length. */
#ifndef QUIRE_TESTS_UTF8_REFERENCE_H
#define QUIRE_TESTS_UTF8_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t reference_length(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : 0;
}

static inline bool reference_is_beginning(const unsigned char *p, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}, most[] = {0, 0x7F, 0x7FF, 0xFFFF, 0x10FFFF};
    size_t length = reference_length(p[0]);
    if (length == 0 || n > length)
        return false;
    uint32_t low = length == 1 ? p[0] : p[0] & (0x7Fu >> length), high = low;
    for (size_t i = 1; i < length; i++) {
        if (i < n && (p[i] & 0xC0) != 0x80)
            return false;
        low = low << 6 | (i < n ? p[i] & 0x3Fu : 0);
        high = high << 6 | (i < n ? p[i] & 0x3Fu : 0x3F);
    }
    for (uint32_t c = low;; c = 0xE000) { /* at most twice: below the surrogates, and above */
        uint32_t first = c < least[length] ? least[length] : c, last = high < most[length] ? high : most[length];
        if (first > last)
            return false;
        if (first < 0xD800 || first > 0xDFFF)
            return true;
        if (last <= 0xDFFF)
            return false;
    }
}

/* The bytes of the first unit of p[0..n): a whole character, or a maximal invalid part. */
static inline size_t reference_unit(const unsigned char *p, size_t n, bool *is_valid)
{
    size_t n_unit = 1;
    while (n_unit < n && reference_is_beginning(p, n_unit + 1))
        n_unit++;
    *is_valid = reference_is_beginning(p, n_unit) && n_unit == reference_length(p[0]);
    return n_unit;
}

/* The whole text with replacements into out (room for 3 * n bytes); returns the bytes written. */
static inline size_t reference_lossy(unsigned char *out, const unsigned char *p, size_t n, uint64_t *n_replaced)
{
    size_t n_out = 0;
    *n_replaced = 0;
    for (size_t i = 0; i < n;) {
        bool is_valid;
        size_t n_unit = reference_unit(p + i, n - i, &is_valid);
        if (is_valid) {
            for (size_t k = 0; k < n_unit; k++)
                out[n_out++] = p[i + k];
        } else {
            out[n_out++] = 0xEF, out[n_out++] = 0xBF, out[n_out++] = 0xBD;
            ++*n_replaced;
        }
        i += n_unit;
    }
    return n_out;
}

/* The offset of the first invalid part, or n; its length in *n_invalid. */
static inline size_t reference_first_invalid(const unsigned char *p, size_t n, size_t *n_invalid)
{
    for (size_t i = 0; i < n; i += *n_invalid) {
        bool is_valid;
        *n_invalid = reference_unit(p + i, n - i, &is_valid);
        if (!is_valid)
            return i;
    }
    return n;
}

#endif
