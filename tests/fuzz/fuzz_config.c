/* A config.json; its weights are none of the sizes that it may name, unless it names those. */
#include <stdio.h>
#include <string.h>

#include "fuzz.h"
#include "quire/quire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned char weights[] = "\x02\0\0\0\0\0\0\0{}";
    char path[128];
    quire_model *model;
    snprintf(path, sizeof path, "%s/model.safetensors", fuzz_folder());
    fuzz_write(path, weights, sizeof weights - 1);
    snprintf(path, sizeof path, "%s/config.json", fuzz_folder());
    fuzz_write(path, data, size);
    if (quire_model_open(&model, fuzz_folder(), NULL) == QUIRE_OK)
        quire_model_close(model);
    return 0;
}
