#include "printable.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

/* C0 and C1 controls; marks and overrides of the direction of writing; separators of lines. */
static bool is_acted_on(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x061C || c == 0x200E || c == 0x200F ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

/* The character at bytes[0..n), n > 0: its length, 1 for a byte that is no part of one, and what stands for it where it
 * is not to be shown as it is; *shown is empty otherwise. */
static size_t next_character(char shown[8], const unsigned char *bytes, size_t n)
{
    static const unsigned char lead_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    size_t length = bytes[0] < 0x80 ? 1 : bytes[0] < 0xE0 ? 2 : bytes[0] < 0xF0 ? 3 : 4;
    bool is_whole = length <= n && utf8_scan(bytes, length).n_valid == length;
    uint32_t c = bytes[0] & lead_bits[length];
    for (size_t i = 1; is_whole && i < length; i++)
        c = c << 6 | (bytes[i] & 0x3F);
    *shown = '\0';
    if (!is_whole || (is_acted_on(c) && length == 1))
        snprintf(shown, 8, "\\x%02x", bytes[0]);
    else if (is_acted_on(c))
        snprintf(shown, 8, "\\u%04x", c & 0xFFFF);
    return is_whole ? length : 1;
}

size_t quire_printable(char *out, size_t size, const char *text, size_t n)
{
    size_t at = 0, n_out = 0;
    while (at < n) {
        char shown[8];
        size_t length = next_character(shown, (const unsigned char *)text + at, n - at);
        const char *from = *shown ? shown : text + at;
        size_t n_from = *shown ? strlen(shown) : length;
        if (n_from >= size - n_out)
            break;
        memcpy(out + n_out, from, n_from);
        n_out += n_from;
        at += length;
    }
    out[n_out] = '\0';
    return at;
}

void printable_vprint(char *out, size_t size, const char *format, va_list args)
{
    char text[2048];
    int n = vsnprintf(text, sizeof text, format, args);
    size_t n_text = n < 0 ? 0 : strlen(text);
    struct utf8_scan scan = utf8_scan((const unsigned char *)text, n_text);
    if (n_text == sizeof text - 1 && scan.n_invalid == 0)
        n_text = scan.n_valid; /* it may be cut within a character */
    quire_printable(out, size, text, n_text);
}

struct printable printable(const char *bytes, size_t n)
{
    struct printable p;
    if (quire_printable(p.text, sizeof p.text - 3, bytes, n) < n)
        strcat(p.text, "...");
    return p;
}
