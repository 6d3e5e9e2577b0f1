/* A tokenizer.json; where it is one, a text goes through it and back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "quire/quire.h"

static void use(const quire_tokenizer *tokenizer)
{
    static const char text[] = "The  quick <|endoftext|> brown f\xc3\xb6x, 1234 \xe2\x80\x94 don't!\n\n\t";
    int32_t *ids;
    size_t n_ids, n_bytes;
    const char *bytes;
    quire_decoder *decoder;
    if (quire_encode(tokenizer, text, sizeof text - 1, true, &ids, &n_ids, NULL) != QUIRE_OK)
        return;
    if (quire_decoder_open(&decoder, tokenizer, false, NULL) == QUIRE_OK) {
        for (size_t i = 0; i < n_ids; i++)
            if (quire_decoder_feed(decoder, ids[i], &bytes, &n_bytes, NULL) != QUIRE_OK)
                break;
        quire_decoder_finish(decoder, &bytes, &n_bytes, NULL);
        quire_decoder_close(decoder);
    }
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[128];
    quire_tokenizer *tokenizer;
    snprintf(path, sizeof path, "%s/tokenizer.json", fuzz_folder());
    fuzz_write(path, data, size);
    if (quire_tokenizer_open_path(&tokenizer, path, NULL) == QUIRE_OK) {
        use(tokenizer);
        quire_tokenizer_close(tokenizer);
    }
    return 0;
}
