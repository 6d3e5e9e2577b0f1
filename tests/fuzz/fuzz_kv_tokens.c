/* A tokens file. Byte 0: bit 0: the chain and the manifest are made to fit; the others are the file. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fuzz_kv.h"

/* Sets the chain in the records, and the manifest's hashes to it: at most as many tokens as there are. */
static void seal(struct kv_manifest *manifest, struct kv_token_record *records, size_t n_bytes, int32_t *ids)
{
    size_t n = n_bytes / sizeof *records * KV_BLOCK_TOKENS;
    uint64_t hash = kv_identity_hash(fuzz_kv_geometry(), manifest->identity);
    for (size_t i = 0; i < n / KV_BLOCK_TOKENS; i++) {
        memcpy(ids + i * KV_BLOCK_TOKENS, records[i].ids, sizeof records[i].ids);
        hash = records[i].hash = kv_chain(hash, records[i].ids, KV_BLOCK_TOKENS);
    }
    uint64_t seed = kv_identity_hash(fuzz_kv_geometry(), manifest->identity);
    manifest->frontier_hash = kv_chain(seed, ids, size_min(n, manifest->frontier));
    manifest->ids_hash = kv_chain(seed, ids, size_min(n, manifest->n_ids));
    manifest->first_hash = kv_chain(seed, ids, size_min(n, KV_BLOCK_TOKENS));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kv_manifest manifest = *fuzz_kv_manifest();
    if (size < 1 || size > 1 << 16)
        return 0;
    struct kv_token_record *records = malloc(size);
    int32_t *ids = calloc(size + FUZZ_END, sizeof *ids);
    memcpy(records, data + 1, size - 1);
    memcpy(ids, fuzz_kv_text(), FUZZ_END * sizeof *ids);
    if (data[0] & 1) {
        seal(&manifest, records, size - 1, ids);
        fuzz_kv_put_manifest(&manifest);
    }
    fuzz_kv_put_file("tokens", records, size - 1);
    fuzz_kv_use(ids, FUZZ_END);
    free(records);
    free(ids);
    return 0;
}
