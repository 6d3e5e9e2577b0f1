#include "kv/kv_parents.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "kv/kv_tokens.h"

/* Opens one parent as the next part, and says in *manifest what it is. */
static quire_status open_parent(struct kv_parents *parents, const struct kv_store *store, uint64_t id,
                                uint64_t base_tokens, uint64_t base_hash, struct kv_manifest *manifest,
                                quire_error *err)
{
    char folder[KV_PATH_SIZE], tokens_path[KV_PATH_SIZE];
    bool is_other = false;
    quire_status status = kv_store_manifest(manifest, store, id, &is_other, err);
    if (status != QUIRE_OK)
        return is_other ? QUIRE_ERR_FORMAT : status;
    if (manifest->frontier < base_tokens || manifest->base_tokens >= base_tokens)
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "KV book %016" PRIx64 " holds tokens %" PRIu64 " to %" PRIu64
                          ", but a book branches off from it at token %" PRIu64 " (KV-3)",
                          id, manifest->base_tokens, manifest->frontier, base_tokens);
    kv_store_book_folder(folder, store, id);
    kv_path(tokens_path, folder, "tokens");
    status = kv_tokens_check_chain(tokens_path, base_tokens / KV_BLOCK_TOKENS, base_hash, err);
    if (status != QUIRE_OK)
        return status;
    struct kv_part *part = &parents->parts[parents->n++];
    status = kv_part_init(part, &store->geometry, id, folder, manifest->base_tokens / KV_BLOCK_TOKENS,
                          base_tokens / KV_BLOCK_TOKENS, manifest->capacity_blocks, err);
    return status == QUIRE_OK ? kv_part_map(part, err) : status;
}

quire_status kv_parents_open(struct kv_parents *parents, const struct kv_store *store, uint64_t id,
                             uint64_t base_tokens, uint64_t base_hash, quire_error *err)
{
    struct kv_parents opened = {0};
    size_t capacity = 0;
    quire_status status = QUIRE_OK;
    /* Bases fall from parent to parent, so that the loop ends also in a store where books point at each other. */
    while (id != 0 && status == QUIRE_OK) {
        struct kv_manifest manifest;
        status =
            mem_reserve((void **)&opened.parts, &capacity, opened.n + 1, sizeof *opened.parts, "parent books", err);
        if (status == QUIRE_OK)
            status = open_parent(&opened, store, id, base_tokens, base_hash, &manifest, err);
        if (status == QUIRE_OK) {
            id = manifest.parent_id;
            base_tokens = manifest.base_tokens;
            base_hash = manifest.base_hash;
        }
    }
    if (status == QUIRE_OK)
        *parents = opened;
    else
        kv_parents_release(&opened);
    return status;
}

quire_status kv_parents_borrow(struct kv_parents *parents, const struct kv_part *own, const struct kv_parents *above,
                               size_t end, quire_error *err)
{
    struct kv_part *parts = mem_calloc(above->n + 1, sizeof *parts, "parent books", err);
    size_t n = 0;
    if (!parts)
        return QUIRE_ERR_NO_MEMORY;
    if (end > own->first_block) {
        parts[n] = *own;
        parts[n++].end_block = end;
    }
    for (size_t i = 0; i < above->n; i++)
        if (above->parts[i].first_block < end)
            parts[n++] = above->parts[i];
    for (size_t i = 0; i < n; i++)
        parts[i].is_borrowed = true;
    *parents = (struct kv_parents){parts, n};
    return QUIRE_OK;
}

void kv_parents_release(struct kv_parents *parents)
{
    for (size_t i = 0; i < parents->n; i++)
        kv_part_release(&parents->parts[i]);
    free(parents->parts);
    *parents = (struct kv_parents){0};
}
