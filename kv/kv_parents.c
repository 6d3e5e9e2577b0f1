#include "kv/kv_parents.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "kv/kv_tokens.h"
#include "kv/kv_use.h"

/* What the manifest of a parent must say to one who branches off at base_tokens. */
static quire_status check_parent(const struct kv_manifest *manifest, const char *folder, uint64_t base_tokens,
                                 uint64_t base_hash, quire_error *err)
{
    char path[KV_PATH_SIZE];
    if (manifest->frontier < base_tokens || manifest->base_tokens >= base_tokens)
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "KV book %016" PRIx64 " holds tokens %" PRIu64 " to %" PRIu64
                          ", but a book branches off from it at token %" PRIu64 " (KV-3)",
                          manifest->id, manifest->base_tokens, manifest->frontier, base_tokens);
    kv_path(path, folder, "tokens");
    return kv_tokens_check_chain(path, base_tokens / KV_BLOCK_TOKENS, base_hash, err);
}

/* Opens one parent as the next part, and says in *manifest what it is. It is shared first: what its manifest says then
 * stays there. */
static quire_status open_parent(struct kv_parents *parents, const struct kv_store *store, uint64_t id,
                                uint64_t base_tokens, uint64_t base_hash, struct kv_manifest *manifest,
                                quire_error *err)
{
    char folder[KV_PATH_SIZE];
    bool is_other = false;
    int use_fd = -1;
    quire_error why = {0};
    kv_store_book_folder(folder, store, id);
    quire_status status = kv_use_share(&use_fd, folder, &is_other, &why);
    if (status == QUIRE_OK)
        status = kv_store_manifest(manifest, store, id, &is_other, &why);
    if (status != QUIRE_OK)
        status = quire_fail(err, is_other ? QUIRE_ERR_FORMAT : status, "%s", why.message);
    if (status == QUIRE_OK)
        status = check_parent(manifest, folder, base_tokens, base_hash, err);
    if (status != QUIRE_OK) {
        kv_file_close(&use_fd);
        return status;
    }
    struct kv_part *part = &parents->parts[parents->n++];
    status = kv_part_init(part, &store->geometry, id, folder, manifest->base_tokens / KV_BLOCK_TOKENS,
                          base_tokens / KV_BLOCK_TOKENS, manifest->capacity_blocks, err);
    part->use_fd = use_fd;
    kv_use_note(use_fd);
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
        status = mem_reserve(&opened.parts, &capacity, opened.n + 1, sizeof *opened.parts, "parent books", err);
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

quire_status kv_parents_check(const struct kv_store *store, const struct kv_manifest *manifest, quire_error *err)
{
    struct kv_manifest at = *manifest;
    quire_status status = QUIRE_OK;
    while (at.parent_id != 0 && status == QUIRE_OK) {
        char folder[KV_PATH_SIZE];
        struct kv_manifest parent;
        bool is_other;
        quire_error why = {0};
        kv_store_book_folder(folder, store, at.parent_id);
        status = kv_store_manifest(&parent, store, at.parent_id, &is_other, &why);
        if (status != QUIRE_OK)
            status = quire_fail(err, is_other ? QUIRE_ERR_FORMAT : status, "%s", why.message);
        if (status == QUIRE_OK)
            status = check_parent(&parent, folder, at.base_tokens, at.base_hash, err);
        if (status == QUIRE_OK)
            at = parent;
    }
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
