/* A side file. Byte 0: bits 0 and 1: which; bit 2: the manifest is made to fit, length and hash. The others are the
 * file. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fuzz_kv.h"

/* The hash over the pieces that enum kv_side names, as far as there are any. */
static uint64_t hash_pieces(enum kv_side kind, const uint8_t *data, size_t size)
{
    const struct kv_geometry *geometry = fuzz_kv_geometry();
    uint64_t hash = 0;
    size_t at = 0;
    for (uint32_t i = 0; kind == KV_SIDE_FLIGHT && i < geometry->n_layers && at < size; i++) {
        size_t n = size_min(size - at, sizeof(uint64_t));
        hash = kv_hash_add(hash, data + at, n);
        at += n;
    }
    while (at < size) {
        bool has_blocks = kind == KV_SIDE_TAIL || kind == KV_SIDE_FLIGHT;
        size_t n = has_blocks ? size_min(size - at, kv_block_bytes(geometry)) : size - at;
        hash = kv_hash_add(hash, data + at, n);
        at += n;
    }
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[KV_SIDE_COUNT] = {"tail", "logits", "flight", "residual"};
    struct kv_manifest manifest = *fuzz_kv_manifest();
    char name[32];
    if (size < 1)
        return 0;
    enum kv_side kind = data[0] & 3;
    struct kv_side_ref *ref = &manifest.sides[kind];
    snprintf(name, sizeof name, "%s.%llu", names[kind], (unsigned long long)ref->generation);
    fuzz_kv_put_file(name, data + 1, size - 1);
    if (data[0] & 4) {
        ref->n_bytes = size - 1;
        ref->hash = hash_pieces(kind, data + 1, size - 1);
        fuzz_kv_put_manifest(&manifest);
    }
    fuzz_kv_use(fuzz_kv_text(), FUZZ_END);
    return 0;
}
