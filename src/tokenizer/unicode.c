#include "unicode.h"

#include <stdbool.h>
#include <stddef.h>
#include <utf8proc.h>

#include "base/mem.h"

#define IS_SECOND         16u /* while the table is made: may join the character before it */
#define MAX_DECOMPOSITION 16

/* Marks and composites that Unicode got after version 9. The NFC of HuggingFace `tokenizers` has the tables of version
 * 9 and leaves them alone, and so do we, whatever utf8proc knows. Found by comparing it with Unicode 18 code point by
 * code point; later additions belong here as long as that stays so. */
static const struct {
    uint32_t first, last;
} after_unicode_9[] = {
    {0x05C8, 0x05C9},   {0x07FD, 0x07FD},   {0x0897, 0x089F},   {0x08CA, 0x08D3},   {0x09FE, 0x09FE},
    {0x0C3C, 0x0C3C},   {0x0D3B, 0x0D3C},   {0x0EBA, 0x0EBA},   {0x1715, 0x1715},   {0x1ABF, 0x1AF0},
    {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x105C9, 0x105C9}, {0x105D2, 0x105D2}, {0x105DA, 0x105DA},
    {0x105E4, 0x105E4}, {0x10D24, 0x10D27}, {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC}, {0x10ECB, 0x10ECF},
    {0x10EF0, 0x10EFB}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
    {0x1133B, 0x1133B}, {0x11382, 0x11385}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x11391},
    {0x113B8, 0x113B8}, {0x113BB, 0x113BB}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5}, {0x113C7, 0x113C9},
    {0x113CE, 0x113D0}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x11935, 0x11935},
    {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34},
    {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
    {0x11F41, 0x11F42}, {0x1611E, 0x16129}, {0x1612F, 0x1612F}, {0x16D63, 0x16D63}, {0x16D67, 0x16D6A},
    {0x16FF0, 0x16FF1}, {0x1D127, 0x1D128}, {0x1D250, 0x1D252}, {0x1D25B, 0x1D25C}, {0x1D25F, 0x1D25F},
    {0x1D280, 0x1D281}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF},
    {0x1E6F5, 0x1E6F5},
};

static void mark_inert(uint8_t *table)
{
    for (size_t i = 0; i < sizeof after_unicode_9 / sizeof after_unicode_9[0]; i++)
        for (uint32_t c = after_unicode_9[i].first; c <= after_unicode_9[i].last; c++)
            table[c] |= UNICODE_IS_BOUNDARY | UNICODE_IS_INERT;
}

static bool is_white_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static uint8_t class_of(uint32_t c)
{
    if (is_white_space(c))
        return UNICODE_SPACE;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return UNICODE_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return UNICODE_NUMBER;
    default: return UNICODE_OTHER;
    }
}

/* The full canonical decomposition of c; 1 where c is its own. */
static size_t decompose(uint32_t c, utf8proc_int32_t out[MAX_DECOMPOSITION])
{
    int last_class = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, out, MAX_DECOMPOSITION,
                                                 UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &last_class);
    return n < 1 || n > MAX_DECOMPOSITION ? 0 : (size_t)n;
}

/* c may start a new piece when its decomposition starts with a starter that joins nothing before it, and when c, alone,
 * is its own NFC (so that text of such characters alone needs no work). */
static bool is_boundary(const uint8_t *table, uint32_t c)
{
    utf8proc_int32_t parts[MAX_DECOMPOSITION];
    size_t n = decompose(c, parts);
    if (n == 0 || utf8proc_get_property(parts[0])->combining_class != 0 || (table[parts[0]] & IS_SECOND))
        return false;
    if (n == 1 && parts[0] == (utf8proc_int32_t)c)
        return true;
    utf8proc_ssize_t n_composed =
        utf8proc_normalize_utf32(parts, (utf8proc_ssize_t)n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    return n_composed == 1 && parts[0] == (utf8proc_int32_t)c;
}

static bool is_assigned(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category != UTF8PROC_CATEGORY_CN && category != UTF8PROC_CATEGORY_CO && category != UTF8PROC_CATEGORY_CS;
}

uint8_t *unicode_table_make(quire_error *err)
{
    uint8_t *table = mem_calloc(UNICODE_N_CODE_POINTS, 1, "the table of characters", err);
    if (!table)
        return NULL;
    /* Whatever stands behind the first place of some decomposition may join the character before it. */
    for (uint32_t c = 0; c < UNICODE_N_CODE_POINTS; c++) {
        utf8proc_int32_t parts[MAX_DECOMPOSITION];
        size_t n = is_assigned(c) ? decompose(c, parts) : 0;
        for (size_t i = 1; i < n; i++)
            table[parts[i]] |= IS_SECOND;
    }
    for (uint32_t c = 0; c < UNICODE_N_CODE_POINTS; c++) {
        bool boundary = !is_assigned(c) || is_boundary(table, c);
        table[c] = (uint8_t)((table[c] & IS_SECOND) | class_of(c) | (boundary ? UNICODE_IS_BOUNDARY : 0));
    }
    for (uint32_t c = 0; c < UNICODE_N_CODE_POINTS; c++)
        table[c] &= (uint8_t)~IS_SECOND;
    mark_inert(table);
    return table;
}

const char *unicode_version(void)
{
    return utf8proc_unicode_version();
}
