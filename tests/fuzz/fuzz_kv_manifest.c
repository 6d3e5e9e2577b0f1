/* A manifest. Byte 0: bit 0: seal it (else the bytes are the file); bit 1: give it the book's geometry and identity, so
 * that what lies behind the comparison is met, too. The others lie over the book's manifest. */
#include <string.h>

#include "fuzz_kv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct kv_manifest *sound = fuzz_kv_manifest();
    struct kv_manifest manifest = *sound;
    if (size < 1)
        return 0;
    if (data[0] & 1) {
        memcpy(&manifest, data + 1, size - 1 < sizeof manifest ? size - 1 : sizeof manifest);
        if (data[0] & 2) {
            manifest.n_layers = sound->n_layers;
            manifest.n_heads = sound->n_heads;
            manifest.head_dim = sound->head_dim;
            manifest.type = sound->type;
            memcpy(manifest.identity, sound->identity, sizeof manifest.identity);
        }
        fuzz_kv_put_manifest(&manifest);
    } else {
        fuzz_kv_put_file("manifest", data + 1, size - 1);
    }
    fuzz_kv_use(fuzz_kv_text(), FUZZ_END);
    return 0;
}
