#include "kv/kv_scan.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "kv/kv_about.h"
#include "kv/kv_blocks.h"
#include "kv/kv_parents.h"
#include "kv/kv_side.h"
#include "kv/kv_tokens.h"

struct scan {
    struct kv_soundness *out;
    const struct kv_store *store;
    const struct kv_manifest *manifest;
    const struct kv_watch *watch;
    char folder[KV_PATH_SIZE];
    struct kv_part part; /* for names and sizes; nothing is mapped */
    uint64_t *n_stored;  /* [n_layers] tokens that each layer holds: the frontier's, or the flight's */
};

static void report(struct scan *s, int64_t layer, int64_t head, int64_t block, const quire_error *why)
{
    struct kv_damage damage = {s->manifest->id, layer, head, block, why->message};
    s->out->n_damaged++;
    if (s->watch && s->watch->damage)
        s->watch->damage(s->watch->user, &damage);
}

static quire_status tell_progress(const struct scan *s, uint64_t n_bytes, quire_error *err)
{
    if (s->watch && s->watch->progress && s->watch->progress(s->watch->user, n_bytes) != 0)
        return quire_fail(err, QUIRE_ERR_CANCELLED, "stopped on request");
    return QUIRE_OK;
}

/* Tells FORMAT as damage of a file, and goes on; other failures end the scan. */
static quire_status judge(struct scan *s, quire_status status, int64_t layer, const quire_error *why, bool *is_bad,
                          quire_error *err)
{
    if (status == QUIRE_OK)
        return QUIRE_OK;
    if (status != QUIRE_ERR_FORMAT)
        return quire_fail(err, status, "%s", why->message);
    *is_bad = true;
    report(s, layer, -1, -1, why);
    return QUIRE_OK;
}

static void keep_tokens(struct scan *s, uint64_t n)
{
    uint64_t base = s->manifest->base_tokens, whole = n / KV_BLOCK_TOKENS * KV_BLOCK_TOKENS;
    s->out->n_tokens = size_min(s->out->n_tokens, size_max(base, whole));
}

static quire_status scan_tokens(struct scan *s, quire_error *err)
{
    const struct kv_manifest *m = s->manifest;
    char path[KV_PATH_SIZE];
    size_t n_sound = 0;
    bool is_bad = false;
    quire_error why = {0};
    kv_path(path, s->folder, "tokens");
    quire_status status = kv_tokens_check(&n_sound, path, s->store->seed, m->frontier, m->frontier_hash, &why);
    status = judge(s, status, -1, &why, &is_bad, err);
    if (is_bad) {
        keep_tokens(s, n_sound);
        s->out->is_side_bad[KV_SIDE_FLIGHT] = true;
    }
    if (status != QUIRE_OK || is_bad || !(m->flags & KV_HAS_FLIGHT))
        return status;
    status = kv_tokens_check(&n_sound, path, s->store->seed, m->n_ids, m->ids_hash, &why);
    return judge(s, status, -1, &why, &s->out->is_side_bad[KV_SIDE_FLIGHT], err);
}

static quire_status scan_parents(struct scan *s, quire_error *err)
{
    quire_error why = {0};
    return judge(s, kv_parents_check(s->store, s->manifest, &why), -1, &why, &s->out->is_orphan, err);
}

static quire_status scan_about(struct scan *s, quire_error *err)
{
    struct kv_about about;
    quire_error why = {0};
    return judge(s, kv_about_read(&about, s->folder, &why), -1, &why, &s->out->is_about_bad, err);
}

/* The hash of logits and residual goes over the file in one piece, which may be larger than memory. */
static quire_status read_whole(const struct scan *s, struct kv_side_file *file, uint64_t n_bytes, unsigned char *buffer,
                               quire_error *err)
{
    quire_status status = QUIRE_OK;
    hash_state *state = hash_open();
    if (!state)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a hash");
    while (status == QUIRE_OK && file->ref.n_bytes < n_bytes) {
        size_t n = size_min(s->part.block_bytes, n_bytes - file->ref.n_bytes);
        status = kv_side_read(file, buffer, n, err);
        if (status == QUIRE_OK)
            hash_add(state, buffer, n);
    }
    file->ref.hash = hash_finish64(state);
    hash_close(state);
    return status;
}

/* That of tail and flight over its pieces (enum kv_side). The first ones of a flight are numbers. */
static quire_status read_pieces(const struct scan *s, struct kv_side_file *file, uint64_t n_bytes, uint32_t n_numbers,
                                unsigned char *buffer, quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (uint32_t i = 0; i < n_numbers && status == QUIRE_OK; i++)
        status = kv_side_read(file, &s->n_stored[i], sizeof *s->n_stored, err);
    while (status == QUIRE_OK && file->ref.n_bytes < n_bytes)
        status = kv_side_read(file, buffer, size_min(s->part.block_bytes, n_bytes - file->ref.n_bytes), err);
    return status;
}

static quire_status read_side(const struct scan *s, enum kv_side kind, unsigned char *buffer, quire_error *err)
{
    const struct kv_side_ref *ref = &s->manifest->sides[kind];
    struct kv_side_file file;
    quire_status status = kv_side_open(&file, s->folder, kind, ref, err);
    if (status != QUIRE_OK)
        return status;
    if (kind == KV_SIDE_LOGITS || kind == KV_SIDE_RESIDUAL)
        status = read_whole(s, &file, ref->n_bytes, buffer, err);
    else
        status = read_pieces(s, &file, ref->n_bytes, kind == KV_SIDE_FLIGHT ? s->manifest->n_layers : 0, buffer, err);
    if (status == QUIRE_OK)
        status = kv_side_check(&file, ref, err);
    kv_side_close(&file);
    return status;
}

static quire_status scan_side(struct scan *s, enum kv_side kind, quire_error *err)
{
    const struct kv_manifest *m = s->manifest;
    quire_error why = {0};
    if (m->sides[kind].generation == 0)
        return QUIRE_OK;
    unsigned char *buffer = mem_calloc(s->part.block_bytes, 1, "a KV block", err);
    if (!buffer)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = judge(s, read_side(s, kind, buffer, &why), -1, &why, &s->out->is_side_bad[kind], err);
    free(buffer);
    for (uint32_t i = 0; kind == KV_SIDE_FLIGHT && i < m->n_layers; i++)
        if (s->out->is_side_bad[kind] || s->n_stored[i] < m->frontier || s->n_stored[i] > m->n_ids)
            s->n_stored[i] = m->frontier;
    return status == QUIRE_OK ? tell_progress(s, m->sides[kind].n_bytes, err) : status;
}

/* A damaged block, or one that cannot be read. */
static void spoil(struct scan *s, uint32_t layer, uint32_t head, size_t block, const quire_error *why)
{
    report(s, layer, head, (int64_t)block, why);
    if (block < s->manifest->frontier / KV_BLOCK_TOKENS)
        keep_tokens(s, block * KV_BLOCK_TOKENS);
    s->out->is_side_bad[KV_SIDE_FLIGHT] = true; /* what was in flight comes after it */
}

static void scan_batch(struct scan *s, struct kv_blocks *batch, uint32_t head, size_t first, size_t n)
{
    quire_error why = {0};
    quire_status status = kv_blocks_read(batch, head, first, n, &why);
    for (size_t i = 0; i < n; i++) {
        if (status != QUIRE_OK && n > 1) { /* one by one: a bad sector is not the whole batch */
            scan_batch(s, batch, head, first + i, 1);
            continue;
        }
        quire_error bad = {0};
        if (status != QUIRE_OK)
            spoil(s, batch->layer, head, first + i, &why);
        else if (kv_blocks_check(batch, head, first, i, &bad) != QUIRE_OK)
            spoil(s, batch->layer, head, first + i, &bad);
    }
}

static quire_status scan_layer(struct scan *s, struct kv_blocks *batch, uint32_t layer, quire_error *err)
{
    size_t end = s->n_stored[layer] / KV_BLOCK_TOKENS;
    quire_error why = {0};
    bool is_bad = false;
    quire_status status = judge(s, kv_blocks_open(batch, &s->part, layer, &why), layer, &why, &is_bad, err);
    if (is_bad) {
        keep_tokens(s, 0);
        s->out->is_side_bad[KV_SIDE_FLIGHT] = true;
    }
    for (uint32_t h = 0; h < s->manifest->n_heads && status == QUIRE_OK && !is_bad; h++)
        for (size_t first = s->part.first_block, n; first < end && status == QUIRE_OK; first += n) {
            n = size_min(batch->n_room, end - first);
            scan_batch(s, batch, h, first, n);
            status = tell_progress(s, n * s->part.block_bytes, err);
        }
    return status;
}

static quire_status scan_layers(struct scan *s, quire_error *err)
{
    struct kv_blocks batch = KV_BLOCKS_CLOSED;
    quire_status status = QUIRE_OK;
    for (uint32_t i = 0; i < s->manifest->n_layers && status == QUIRE_OK; i++)
        status = scan_layer(s, &batch, i, err);
    kv_blocks_release(&batch);
    return status;
}

static quire_status scan_files(struct scan *s, bool with_blocks, quire_error *err)
{
    quire_status status = scan_tokens(s, err);
    if (status == QUIRE_OK)
        status = scan_parents(s, err);
    if (status == QUIRE_OK)
        status = scan_about(s, err);
    for (int i = 0; i < KV_SIDE_COUNT && status == QUIRE_OK; i++)
        status = scan_side(s, (enum kv_side)i, err);
    return status == QUIRE_OK && with_blocks ? scan_layers(s, err) : status;
}

quire_status kv_scan(struct kv_soundness *out, const struct kv_store *store, const struct kv_manifest *manifest,
                     bool with_blocks, const struct kv_watch *watch, quire_error *err)
{
    *out = (struct kv_soundness){.n_tokens = manifest->frontier};
    struct scan s = {.out = out, .store = store, .manifest = manifest, .watch = watch};
    kv_store_book_folder(s.folder, store, manifest->id);
    quire_status status =
        kv_part_init(&s.part, &store->geometry, manifest->id, s.folder, manifest->base_tokens / KV_BLOCK_TOKENS,
                     SIZE_MAX, manifest->capacity_blocks, err);
    s.n_stored = mem_calloc(manifest->n_layers, sizeof *s.n_stored, "a KV book's layers", err);
    if (!s.n_stored)
        status = QUIRE_ERR_NO_MEMORY;
    for (uint32_t i = 0; s.n_stored && i < manifest->n_layers; i++)
        s.n_stored[i] = manifest->frontier;
    if (status == QUIRE_OK)
        status = scan_files(&s, with_blocks, err);
    /* A frontier inside a block is nothing without its tail. */
    if (out->is_side_bad[KV_SIDE_TAIL])
        keep_tokens(&s, out->n_tokens);
    if (out->is_side_bad[KV_SIDE_RESIDUAL])
        out->is_side_bad[KV_SIDE_FLIGHT] = true;
    free(s.n_stored);
    kv_part_release(&s.part);
    return status;
}

uint64_t kv_scan_bytes(const struct kv_manifest *manifest)
{
    struct kv_geometry geometry = kv_manifest_geometry(manifest);
    uint64_t n_blocks = (manifest->n_ids - manifest->base_tokens) / KV_BLOCK_TOKENS, n_bytes = 0;
    for (int i = 0; i < KV_SIDE_COUNT; i++)
        n_bytes += manifest->sides[i].n_bytes;
    return n_bytes + n_blocks * geometry.n_layers * geometry.n_heads * kv_block_bytes(&geometry);
}
