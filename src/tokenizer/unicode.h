/* What the tokenizer needs to know of each code point, asked of utf8proc once and kept as one byte each. */
#ifndef QUIRE_TOKENIZER_UNICODE_H
#define QUIRE_TOKENIZER_UNICODE_H

#include <stdint.h>

#include "quire/error.h"

#define UNICODE_N_CODE_POINTS 0x110000u

/* The classes of the pre-tokenizer's pattern: \p{L}, \p{N}, \s (the property White_Space), and all the rest. */
enum unicode_class { UNICODE_LETTER, UNICODE_NUMBER, UNICODE_SPACE, UNICODE_OTHER };
#define UNICODE_CLASS_MASK 3u

/* A code point before which text may be cut: NFC of the whole is NFC of the left part and NFC of the right. All below
 * U+0300 are such, and each is its own NFC as long as another boundary follows. */
#define UNICODE_IS_BOUNDARY 4u

/* A boundary that nothing behind it joins either: the normaliser leaves it as it is. */
#define UNICODE_IS_INERT 8u

/* One byte for each of UNICODE_N_CODE_POINTS: a class and the two flags. The caller frees it. NULL: no memory. */
uint8_t *unicode_table_make(quire_error *err);

/* Of the tables in use, such as "15.0.0". Static storage. */
const char *unicode_version(void);

#endif
