/* What a tokenizer is, for the encoder and the decoder. */
#ifndef QUIRE_TOKENIZER_TOKENIZER_PRIVATE_H
#define QUIRE_TOKENIZER_TOKENIZER_PRIVATE_H

#include "added.h"
#include "base/hash.h"
#include "quire/tokenizer.h"
#include "vocab.h"

/* Added tokens are looked for before the normaliser and behind it. */
enum added_stage { ADDED_RAW, ADDED_NORMALIZED, ADDED_N_STAGES };

struct quire_tokenizer {
    struct vocab vocab;
    uint8_t *unicode;                      /* the table of unicode.h; NULL: pieces */
    struct added added[2][ADDED_N_STAGES]; /* [0]: without the special tokens, [1]: with them */
    int32_t end_of_text;
    char fingerprint[HASH_HEX_SIZE];
};

#endif
