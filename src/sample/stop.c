/* Stop strings. `held` is the end of the text so far that is the beginning of a stop string; everything before it has
 * been given out. A stop string ends the text at the first byte that completes one; where two end at that byte, the
 * longer counts, so that no part of either is shown. */
#include "quire/stop.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct quire_stop {
    char **strings;
    size_t *lengths;
    size_t n_strings;
    char *held; /* what is held back, after what was given out last */
    size_t n_given;
    size_t n_held; /* including what was given out */
    size_t capacity;
    bool is_found;
};

quire_status quire_stop_open(quire_stop **out, const char *const *strings, size_t n_strings, quire_error *err)
{
    for (size_t i = 0; i < n_strings; i++)
        if (strings[i][0] == '\0')
            return quire_fail(err, QUIRE_ERR_USAGE, "stop string %zu is empty; it must have at least one character",
                              i + 1);

    quire_stop *stop = mem_calloc(1, sizeof *stop, "stop strings", err);
    if (!stop)
        return QUIRE_ERR_NO_MEMORY;
    stop->strings = mem_calloc(n_strings, sizeof *stop->strings, "stop strings", err);
    stop->lengths = mem_calloc(n_strings, sizeof *stop->lengths, "stop strings", err);
    bool is_complete = stop->strings && stop->lengths;
    for (size_t i = 0; i < n_strings && is_complete; i++) {
        stop->strings[i] = mem_strdup(strings[i], err);
        stop->lengths[i] = strlen(strings[i]);
        stop->n_strings++;
        is_complete = stop->strings[i] != NULL;
    }
    if (!is_complete) {
        quire_stop_close(stop);
        return QUIRE_ERR_NO_MEMORY;
    }
    *out = stop;
    return QUIRE_OK;
}

void quire_stop_close(quire_stop *stop)
{
    if (!stop)
        return;
    for (size_t i = 0; i < stop->n_strings; i++)
        free(stop->strings[i]);
    free(stop->strings);
    free(stop->lengths);
    free(stop->held);
    free(stop);
}

/* Length of the longest stop string that text[0..n) ends with; 0 where there is none. */
static size_t ends_with(const quire_stop *stop, const char *text, size_t n)
{
    size_t longest = 0;
    for (size_t i = 0; i < stop->n_strings; i++) {
        size_t length = stop->lengths[i];
        if (length > longest && length <= n && memcmp(text + n - length, stop->strings[i], length) == 0)
            longest = length;
    }
    return longest;
}

/* Length of the longest end of text[0..n) that a stop string starts with. */
static size_t could_begin(const quire_stop *stop, const char *text, size_t n)
{
    size_t longest = 0;
    for (size_t i = 0; i < stop->n_strings; i++)
        for (size_t length = size_min(stop->lengths[i] - 1, n); length > longest; length--)
            if (memcmp(text + n - length, stop->strings[i], length) == 0)
                longest = length;
    return longest;
}

quire_status quire_stop_feed(quire_stop *stop, const char *bytes, size_t n, const char **text, size_t *n_text,
                             quire_error *err)
{
    *text = "";
    *n_text = 0;
    if (stop->is_found || n == 0)
        return QUIRE_OK;

    size_t n_before = stop->n_held - stop->n_given;
    if (stop->n_given > 0)
        memmove(stop->held, stop->held + stop->n_given, n_before);
    stop->n_held = n_before;
    stop->n_given = 0;
    quire_status status = mem_reserve(&stop->held, &stop->capacity, n_before + n, 1, "text held back", err);
    if (status != QUIRE_OK)
        return status;
    memcpy(stop->held + n_before, bytes, n);
    stop->n_held += n;

    size_t n_free = stop->n_held - could_begin(stop, stop->held, stop->n_held);
    for (size_t end = n_before + 1; end <= stop->n_held && !stop->is_found; end++) {
        size_t length = ends_with(stop, stop->held, end);
        if (length > 0) {
            stop->is_found = true;
            n_free = end - length;
        }
    }
    *text = stop->held;
    *n_text = stop->n_given = n_free;
    return QUIRE_OK;
}

bool quire_stop_found(const quire_stop *stop)
{
    return stop->is_found;
}

void quire_stop_finish(quire_stop *stop, const char **text, size_t *n_text)
{
    *text = stop->held ? stop->held + stop->n_given : "";
    *n_text = stop->is_found ? 0 : stop->n_held - stop->n_given;
    stop->n_held = stop->n_given = 0;
    stop->is_found = false;
}
