/* A GGUF file, as a model and as a vocabulary. */
#include <stdio.h>

#include "fuzz.h"
#include "quire/quire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[128];
    quire_model *model;
    quire_tokenizer *tokenizer;
    snprintf(path, sizeof path, "%s/model.gguf", fuzz_folder());
    fuzz_write(path, data, size);
    if (quire_model_open(&model, path, NULL) == QUIRE_OK)
        quire_model_close(model);
    if (quire_tokenizer_open_path(&tokenizer, path, NULL) == QUIRE_OK)
        quire_tokenizer_close(tokenizer);
    return 0;
}
