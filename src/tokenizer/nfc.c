/* Text is cut into pieces: a boundary character and the characters behind it that are none (see unicode.h). A piece of
 * one character is its own form; only longer ones are decomposed, ordered and composed. */
#include "nfc.h"

#include <utf8proc.h>

#include "code_point.h"
#include "unicode.h"

#define MAX_DECOMPOSITION 16  /* a code point's; Unicode's longest canonical one has 4 */
#define SHORT_RUN         16  /* marks that are ordered by insertion */
#define N_CLASSES         256 /* combining classes */

void nfc_init(struct nfc *nfc, const uint8_t *unicode)
{
    *nfc = (struct nfc){.unicode = unicode};
}

void nfc_release(struct nfc *nfc)
{
    buffer_release(&nfc->held);
    buffer_release(&nfc->out);
    free(nfc->points);
    free(nfc->ordered);
    *nfc = (struct nfc){0};
}

void nfc_reset(struct nfc *nfc)
{
    nfc->held.n = 0;
}

static quire_status reserve_points(int32_t **points, size_t *capacity, size_t need, quire_error *err)
{
    return mem_reserve(points, capacity, need, sizeof **points, "characters to normalise", err);
}

static unsigned class_of(int32_t point)
{
    return (unsigned)utf8proc_get_property(point)->combining_class;
}

static void order_by_insertion(int32_t *marks, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        int32_t mark = marks[i];
        size_t at = i;
        for (; at > 0 && class_of(marks[at - 1]) > class_of(mark); at--)
            marks[at] = marks[at - 1];
        marks[at] = mark;
    }
}

static quire_status order_by_counting(struct nfc *nfc, int32_t *marks, size_t n, quire_error *err)
{
    quire_status status = reserve_points(&nfc->ordered, &nfc->ordered_capacity, n, err);
    if (status != QUIRE_OK)
        return status;
    size_t starts[N_CLASSES + 1] = {0};
    for (size_t i = 0; i < n; i++)
        starts[class_of(marks[i]) + 1]++;
    for (size_t c = 0; c < N_CLASSES; c++)
        starts[c + 1] += starts[c];
    for (size_t i = 0; i < n; i++)
        nfc->ordered[starts[class_of(marks[i])]++] = marks[i];
    memcpy(marks, nfc->ordered, n * sizeof marks[0]);
    return QUIRE_OK;
}

/* Canonical ordering: each run of marks (class other than 0) by class, marks of one class staying as they are. */
static quire_status order(struct nfc *nfc, size_t n, quire_error *err)
{
    quire_status status = QUIRE_OK;
    size_t end;
    for (size_t start = 0; start < n && status == QUIRE_OK; start = end + 1) {
        for (end = start; end < n && class_of(nfc->points[end]) != 0; end++)
            ;
        if (end - start <= SHORT_RUN)
            order_by_insertion(nfc->points + start, end - start);
        else
            status = order_by_counting(nfc, nfc->points + start, end - start, err);
    }
    return status;
}

static quire_status decompose(struct nfc *nfc, const uint8_t *text, size_t n, size_t *n_points, quire_error *err)
{
    size_t n_done = 0, length;
    for (size_t at = 0; at < n; at += length) {
        int32_t point = (int32_t)code_point_read(text + at, &length);
        quire_status status = reserve_points(&nfc->points, &nfc->points_capacity, n_done + MAX_DECOMPOSITION, err);
        if (status != QUIRE_OK)
            return status;
        int boundary_class = 0;
        utf8proc_ssize_t n_parts = utf8proc_decompose_char(point, nfc->points + n_done, MAX_DECOMPOSITION,
                                                           UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &boundary_class);
        if (n_parts < 1 || n_parts > MAX_DECOMPOSITION)
            return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                              "utf8proc decomposes U+%04X into %zd characters, at most %d were expected",
                              (unsigned)point, (ssize_t)n_parts, MAX_DECOMPOSITION);
        n_done += (size_t)n_parts;
    }
    *n_points = n_done;
    return QUIRE_OK;
}

static quire_status compose(struct nfc *nfc, const uint8_t *text, size_t n, const struct sink *sink, quire_error *err)
{
    size_t n_points = 0;
    quire_status status = decompose(nfc, text, n, &n_points, err);
    if (status == QUIRE_OK)
        status = order(nfc, n_points, err);
    if (status != QUIRE_OK)
        return status;
    n_points =
        (size_t)utf8proc_normalize_utf32(nfc->points, (utf8proc_ssize_t)n_points, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    nfc->out.n = 0;
    status = buffer_reserve(&nfc->out, 4 * n_points, err);
    if (status != QUIRE_OK)
        return status;
    for (size_t i = 0; i < n_points; i++)
        nfc->out.n += code_point_write(nfc->out.bytes + nfc->out.n, (uint32_t)nfc->points[i]);
    return sink->text(sink->context, nfc->out.bytes, nfc->out.n, err);
}

static quire_status give_piece(struct nfc *nfc, const uint8_t *text, size_t n, const struct sink *sink,
                               quire_error *err)
{
    size_t length;
    quire_status status = QUIRE_OK;
    if (nfc->unicode[code_point_read(text, &length)] & UNICODE_IS_INERT) {
        status = sink->text(sink->context, text, length, err);
        text += length;
        n -= length;
    }
    return status == QUIRE_OK ? compose(nfc, text, n, sink, err) : status;
}

/* Where the first character at or behind `at` lies that is a boundary (or, with want = 0, that is none); n if there is
 * none. */
static size_t find(const struct nfc *nfc, const uint8_t *text, size_t at, size_t n, unsigned want)
{
    size_t length;
    for (; at < n; at += length) {
        /* The first byte of U+0300 is 0xCC, and no later byte of a character is as large. */
        if (want == 0 && text[at] < 0xCC) {
            length = 1;
            continue;
        }
        if ((nfc->unicode[code_point_read(text + at, &length)] & UNICODE_IS_BOUNDARY) == want)
            break;
    }
    return at;
}

static quire_status give_held(struct nfc *nfc, const struct sink *sink, quire_error *err)
{
    if (nfc->held.n == 0)
        return QUIRE_OK;
    quire_status status = nfc->is_held_plain ? sink->text(sink->context, nfc->held.bytes, nfc->held.n, err)
                                             : give_piece(nfc, nfc->held.bytes, nfc->held.n, sink, err);
    nfc->held.n = 0;
    return status;
}

static quire_status hold(struct nfc *nfc, const uint8_t *text, size_t n, bool is_plain, quire_error *err)
{
    nfc->is_held_plain = is_plain;
    return buffer_append(&nfc->held, text, n, err);
}

quire_status nfc_feed(struct nfc *nfc, const uint8_t *text, size_t n, const struct sink *sink, quire_error *err)
{
    quire_status status = QUIRE_OK;
    size_t at = 0;
    if (nfc->held.n > 0) {
        at = find(nfc, text, 0, n, UNICODE_IS_BOUNDARY);
        if (at > 0)
            status = hold(nfc, text, at, false, err);
        if (status == QUIRE_OK && at < n)
            status = give_held(nfc, sink, err);
    }
    while (status == QUIRE_OK && at < n) {
        size_t start = at;
        size_t mark = find(nfc, text, at, n, 0);
        size_t piece = mark; /* of the last boundary character in front of the mark, or of the text's end */
        if (piece > start)
            for (piece--; (text[piece] & 0xC0) == 0x80; piece--)
                ;
        if (piece > start)
            status = sink->text(sink->context, text + start, piece - start, err);
        if (status != QUIRE_OK)
            break;
        at = find(nfc, text, mark, n, UNICODE_IS_BOUNDARY);
        if (at == n)
            return hold(nfc, text + piece, n - piece, mark == n, err);
        status = give_piece(nfc, text + piece, at - piece, sink, err);
    }
    return status;
}

quire_status nfc_finish(struct nfc *nfc, const struct sink *sink, quire_error *err)
{
    return give_held(nfc, sink, err);
}
