#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quire/error.h"

char *text_count(char buffer[TEXT_SIZE], uint64_t n)
{
    char digits[TEXT_SIZE];
    int n_digits = snprintf(digits, sizeof digits, "%" PRIu64, n);
    char *to = buffer;
    for (int i = 0; i < n_digits; i++) {
        if (i > 0 && (n_digits - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return buffer;
}

/* Three digits that mean something, never an exponent. */
static int decimals(double value)
{
    return value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
}

char *text_counted(char buffer[TEXT_SIZE], uint64_t n, const char *noun)
{
    text_count(buffer, n);
    size_t length = strlen(buffer);
    snprintf(buffer + length, TEXT_SIZE - length, " %s%s", noun, n == 1 ? "" : "s");
    return buffer;
}

char *text_bytes(char buffer[TEXT_SIZE], uint64_t n_bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)n_bytes;
    size_t unit = 0;
    while (value >= 1023.5 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    snprintf(buffer, TEXT_SIZE, "%.*f %s", unit == 0 ? 0 : decimals(value), value, units[unit]);
    return buffer;
}

char *text_time(char buffer[TEXT_SIZE], double seconds)
{
    if (seconds < 0.0005) {
        snprintf(buffer, TEXT_SIZE, "<1 ms");
        return buffer;
    }
    if (seconds < 0.9995) {
        snprintf(buffer, TEXT_SIZE, "%.0f ms", seconds * 1000);
        return buffer;
    }
    if (seconds < 59.5) {
        snprintf(buffer, TEXT_SIZE, "%.*f s", seconds < 9.95 ? 1 : 0, seconds);
        return buffer;
    }
    uint64_t whole = (uint64_t)(seconds + 0.5);
    uint64_t hours = whole / 3600, minutes = whole / 60 % 60;
    if (hours > 0)
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, hours, minutes, whole % 60);
    else
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 ":%02" PRIu64, minutes, whole % 60);
    return buffer;
}

char *text_rate(char buffer[TEXT_SIZE], double n, double seconds)
{
    if (!(seconds > 0)) {
        snprintf(buffer, TEXT_SIZE, "-");
        return buffer;
    }
    double rate = n / seconds;
    if (rate >= 999.5)
        return text_count(buffer, (uint64_t)(rate + 0.5));
    snprintf(buffer, TEXT_SIZE, "%.*f", decimals(rate), rate);
    return buffer;
}

size_t text_printable(char *out, size_t size, const char *text)
{
    size_t at = 0, n_out = 0;
    for (;;) {
        size_t n = strcspn(text + at, "\n\t"), n_taken = quire_printable(out + n_out, size - n_out, text + at, n);
        n_out += strlen(out + n_out);
        at += n_taken;
        if (n_taken < n || text[at] == '\0' || size - n_out < 2)
            return at;
        out[n_out++] = text[at++];
        out[n_out] = '\0';
    }
}
