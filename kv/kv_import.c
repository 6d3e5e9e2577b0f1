/* A book from one file. Nothing in the file is believed: sizes follow from two checked structures, every piece is
 * compared with its checksum, and the manifest, without which there is no book, is written last. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "kv/kv_archive.h"
#include "kv/kv_layer.h"
#include "kv/kv_owner.h"
#include "kv/kv_remove.h"
#include "kv/kv_side.h"

/* A file on its way into a store. */
struct import {
    const struct kv_store *store;
    struct owner_work work;
    const char *path;
    int fd;
    uint64_t at; /* of the file, read so far */
    struct kv_archive_header header;
    struct kv_manifest manifest;
    struct kv_about about;
    struct kv_geometry geometry;

    char folder[KV_PATH_SIZE];
    int lock_fd;
    struct kv_part part;
};

static quire_status take(struct import *i, void *data, size_t n, quire_error *err)
{
    quire_status status = sys_read_all(i->fd, data, n, (off_t)i->at, i->path, err);
    if (status != QUIRE_OK)
        return status;
    i->at += n;
    return owner_progress(&i->work, n) ? quire_fail(err, QUIRE_ERR_CANCELLED, "stopped on request") : QUIRE_OK;
}

/* --- what decides all sizes -------------------------------------------------------------------------------------- */

static quire_status take_head(struct import *i, quire_error *err)
{
    struct stat st;
    char text[KV_ABOUT_MAX];
    quire_status status = sys_open_file(&i->fd, &st, i->path, err);
    if (status == QUIRE_OK && (size_t)st.st_size < sizeof i->header)
        status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is not an exported KV book", i->path);
    if (status == QUIRE_OK)
        status = take(i, &i->header, sizeof i->header, err);
    if (status == QUIRE_OK)
        status = kv_archive_check_header(&i->header, (uint64_t)st.st_size, i->path, err);
    if (status == QUIRE_OK)
        status = take(i, &i->manifest, sizeof i->manifest, err);
    if (status == QUIRE_OK)
        status = kv_manifest_check(&i->manifest, sizeof i->manifest, i->path, err);
    if (status == QUIRE_OK)
        status = kv_archive_check_manifest(&i->manifest, &i->header, i->path, err);
    if (status == QUIRE_OK)
        status = take(i, text, i->header.n_about, err);
    if (status == QUIRE_OK)
        status = kv_about_parse(&i->about, text, i->header.n_about, i->path, err);
    i->geometry = kv_manifest_geometry(&i->manifest);
    i->work.progress.n_bytes_total = i->header.n_bytes;
    return status;
}

/* limit_bytes: of the store; 0: none. */
static quire_status find_space(struct import *i, uint64_t limit_bytes, quire_error *err)
{
    uint64_t free_bytes, needed = i->header.n_bytes;
    quire_status status = QUIRE_OK;
    if (limit_bytes > 0)
        status = kv_make_room(i->store, limit_bytes, needed, owner_removed, &i->work, err);
    if (status == QUIRE_OK)
        status = kv_store_free_bytes(i->store, &free_bytes, err);
    if (status == QUIRE_OK && needed > free_bytes)
        status = quire_fail(err, QUIRE_ERR_NO_SPACE, "'%s' needs %" PRIu64 " MiB in '%s', and %" PRIu64 " MiB are free",
                            i->path, mib_up(needed), i->store->path, free_bytes >> 20);
    return status;
}

/* --- the parts --------------------------------------------------------------------------------------------------- */

static quire_status take_tokens(struct import *i, quire_error *err)
{
    const struct kv_manifest *m = &i->manifest;
    char path[KV_PATH_SIZE];
    int fd = -1;
    uint64_t chain = kv_identity_hash(&i->geometry, m->identity), first_hash = 0;
    kv_path(path, i->folder, "tokens");
    quire_status status = kv_file_open(&fd, path, O_CREAT | O_EXCL | O_RDWR, NULL, err);
    for (uint64_t first = 0; first < m->frontier && status == QUIRE_OK; first += KV_BLOCK_TOKENS) {
        struct kv_token_record record;
        size_t n = size_min(m->frontier - first, KV_BLOCK_TOKENS);
        status = take(i, &record, sizeof record, err);
        if (status != QUIRE_OK)
            break;
        chain = kv_chain(chain, record.ids, n);
        if (first == 0 && n == KV_BLOCK_TOKENS)
            first_hash = chain;
        bool is_clean = true; /* what no hash covers is zero */
        for (size_t k = n; k < KV_BLOCK_TOKENS; k++)
            is_clean = is_clean && record.ids[k] == 0;
        if (chain != record.hash || !is_clean)
            status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged: its tokens from token %" PRIu64 " on", i->path,
                                first);
        else
            status =
                sys_write_all(fd, &record, sizeof record, (off_t)(first / KV_BLOCK_TOKENS * sizeof record), path, err);
    }
    if (status == QUIRE_OK && (chain != m->frontier_hash || first_hash != m->first_hash))
        status =
            quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged: its tokens are not those of its manifest", i->path);
    if (status == QUIRE_OK)
        status = kv_file_sync(fd, path, err);
    kv_file_close(&fd);
    return status;
}

/* One block and its checksum, into the layer's two files. buffer: room for both. */
static quire_status take_block(struct import *i, const struct kv_layer *layer, uint32_t index, uint32_t head,
                               size_t block, unsigned char *buffer, quire_error *err)
{
    char path[KV_PATH_SIZE];
    uint64_t checksum, offset = kv_part_offset(&i->part, head, block);
    quire_status status = take(i, buffer, i->part.block_bytes + sizeof checksum, err);
    if (status != QUIRE_OK)
        return status;
    memcpy(&checksum, buffer + i->part.block_bytes, sizeof checksum);
    struct kv_summary summary = kv_summarize(&i->geometry, buffer);
    if (summary.checksum != checksum)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged: layer %u, head %u, block %zu", i->path, index, head,
                          block);
    kv_part_path(path, &i->part, "layer", index);
    status = sys_write_all(layer->fd, buffer, i->part.block_bytes, (off_t)offset, path, err);
    kv_part_path(path, &i->part, "summary", index);
    if (status == QUIRE_OK)
        status = sys_write_all(layer->summary_fd, &summary, sizeof summary,
                               (off_t)(offset / i->part.block_bytes * sizeof summary), path, err);
    return status;
}

static quire_status take_layer(struct import *i, uint32_t index, unsigned char *buffer, quire_error *err)
{
    struct kv_layer layer = KV_LAYER_CLOSED;
    size_t n_blocks = i->manifest.frontier / KV_BLOCK_TOKENS;
    quire_status status = kv_layer_open(&layer, &i->part, index, true, err);
    for (uint32_t head = 0; head < i->geometry.n_heads && status == QUIRE_OK; head++)
        for (size_t block = 0; block < n_blocks && status == QUIRE_OK; block++)
            status = take_block(i, &layer, index, head, block, buffer, err);
    layer.is_dirty = true;
    if (status == QUIRE_OK)
        status = kv_layer_sync(&layer, &i->part, index, err);
    kv_layer_release(&layer);
    return status;
}

static quire_status take_layers(struct import *i, quire_error *err)
{
    unsigned char *buffer = mem_calloc(1, i->part.block_bytes + sizeof(uint64_t), "a KV block", err);
    quire_status status = buffer ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    for (uint32_t layer = 0; layer < i->geometry.n_layers && status == QUIRE_OK; layer++)
        status = take_layer(i, layer, buffer, err);
    free(buffer);
    return status;
}

static quire_status take_side(struct import *i, enum kv_side kind, quire_error *err)
{
    const struct kv_side_ref *ref = &i->manifest.sides[kind];
    struct kv_side_ref made = {0};
    struct kv_side_file file;
    if (ref->generation == 0)
        return QUIRE_OK;
    size_t n = kind == KV_SIDE_TAIL ? i->part.block_bytes : ref->n_bytes;
    void *piece = mem_calloc(n, 1, "a KV side file", err);
    if (!piece)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = kv_side_create(&file, i->folder, kind, ref->generation, err);
    for (uint64_t done = 0; done < ref->n_bytes && status == QUIRE_OK; done += n) {
        status = take(i, piece, n, err);
        if (status == QUIRE_OK)
            status = kv_side_write(&file, piece, n, err);
    }
    if (status == QUIRE_OK)
        status = kv_side_check(&file, ref, NULL) == QUIRE_OK
                     ? QUIRE_OK
                     : quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged: its %s", i->path,
                                  kind == KV_SIDE_TAIL ? "unfinished blocks" : "logits");
    if (status == QUIRE_OK)
        status = kv_side_finish(&file, &made, err);
    else
        kv_side_abandon(&file);
    free(piece);
    return status;
}

/* --- the book ---------------------------------------------------------------------------------------------------- */

static quire_status fill_folder(struct import *i, quire_error *err)
{
    struct kv_manifest *m = &i->manifest;
    m->capacity_blocks = kv_capacity_blocks(m->frontier);
    quire_status status = kv_part_init(&i->part, &i->geometry, m->id, i->folder, 0, SIZE_MAX, m->capacity_blocks, err);
    if (status == QUIRE_OK)
        status = take_tokens(i, err);
    if (status == QUIRE_OK)
        status = take_layers(i, err);
    if (status == QUIRE_OK)
        status = take_side(i, KV_SIDE_TAIL, err);
    if (status == QUIRE_OK)
        status = take_side(i, KV_SIDE_LOGITS, err);
    if (status == QUIRE_OK)
        status = kv_about_write(i->folder, &i->about, err);
    if (status == QUIRE_OK)
        status = sys_sync_folder(i->folder, err);
    if (status != QUIRE_OK)
        return status;
    kv_manifest_seal(m);
    return kv_file_replace(i->folder, "manifest", m, sizeof *m, NULL, err);
}

quire_status quire_store_import(quire_store *store, const char *path, uint64_t limit_bytes,
                                const quire_store_watch *watch, uint64_t *id, quire_error *err)
{
    struct import i = {
        .store = store->store, .path = path, .fd = -1, .lock_fd = -1, .work.watch = watch, .part.use_fd = -1};
    quire_status status = take_head(&i, err);
    /* Its folder first: for a book that the store has already no other is to go. */
    if (status == QUIRE_OK)
        status = kv_store_make_book(&i.manifest.id, &i.lock_fd, store->store, err);
    if (status == QUIRE_OK) {
        kv_store_book_folder(i.folder, store->store, i.manifest.id);
        status = find_space(&i, limit_bytes, err);
        if (status == QUIRE_OK)
            status = fill_folder(&i, err);
        if (status != QUIRE_OK)
            kv_remove_excluded(i.store, i.manifest.id, NULL);
        else
            *id = i.manifest.id;
    }
    kv_part_release(&i.part);
    kv_file_close(&i.fd);
    kv_file_close(&i.lock_fd);
    return status;
}
