/* A book to one file, its parents' blocks included. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "kv/kv_archive.h"
#include "kv/kv_blocks.h"
#include "kv/kv_owner.h"
#include "kv/kv_parents.h"
#include "kv/kv_side.h"
#include "kv/kv_tokens.h"
#include "kv/kv_use.h"

enum { MAX_ROUNDS = 100 };

/* What is being exported, and where to. */
struct export
{
    struct kv_store view;
    struct kv_manifest manifest; /* as it is in the store */
    char folder[KV_PATH_SIZE];
    int use_fd;
    struct kv_side_file sides[2]; /* tail and logits, open: a writer may remove their names meanwhile */
    struct kv_parents parents;
    struct kv_part own;

    struct owner_work work;
    const char *path;
    char temporary[KV_PATH_SIZE];
    int fd;
    uint64_t n_written;
    unsigned char *buffer; /* a batch of blocks with their checksums */
};

static const enum kv_side exported_sides[2] = {KV_SIDE_TAIL, KV_SIDE_LOGITS};

static quire_status put(struct export *e, const void *data, size_t n, quire_error *err)
{
    quire_status status = sys_write_all(e->fd, data, n, (off_t)e->n_written, e->temporary, err);
    if (status != QUIRE_OK)
        return status;
    e->n_written += n;
    return owner_progress(&e->work, n) ? quire_fail(err, QUIRE_ERR_CANCELLED, "stopped on request") : QUIRE_OK;
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

static void close_sides(struct export *e)
{
    for (int i = 0; i < 2; i++)
        kv_side_close(&e->sides[i]);
}

static quire_status open_sides(struct export *e, quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (int i = 0; i < 2 && status == QUIRE_OK; i++) {
        const struct kv_side_ref *ref = &e->manifest.sides[exported_sides[i]];
        if (ref->generation != 0)
            status = kv_side_open(&e->sides[i], e->folder, exported_sides[i], ref, err);
    }
    return status;
}

/* The manifest and the files that only this manifest names, of one moment. */
static quire_status open_moment(struct export *e, const quire_store *store, uint64_t id, quire_error *err)
{
    for (int round = 0;; round++) {
        struct kv_manifest now;
        bool is_missing;
        quire_error why = {0};
        quire_status status = kv_store_any_manifest(&e->manifest, store->store, id, &is_missing, &why);
        if (is_missing)
            return owner_no_such_book(store, id, err);
        if (status == QUIRE_OK)
            status = open_sides(e, &why);
        if (status == QUIRE_OK)
            return QUIRE_OK;
        close_sides(e);
        bool is_outdated = kv_store_any_manifest(&now, store->store, id, NULL, NULL) == QUIRE_OK &&
                           now.generation != e->manifest.generation;
        if (!is_outdated || round == MAX_ROUNDS)
            return quire_fail(err, status, "%s", why.message);
    }
}

static quire_status open_book(struct export *e, const quire_store *store, uint64_t id, quire_error *err)
{
    bool is_missing = false;
    quire_error why = {0};
    kv_store_book_folder(e->folder, store->store, id);
    quire_status status = kv_use_share(&e->use_fd, e->folder, &is_missing, &why);
    if (status != QUIRE_OK && is_missing && !sys_exists(e->folder))
        return owner_no_such_book(store, id, err);
    if (status != QUIRE_OK)
        return quire_fail(err, is_missing ? QUIRE_ERR_FORMAT : status, "%s", why.message);
    status = open_moment(e, store, id, err);
    if (status != QUIRE_OK)
        return status;
    const struct kv_manifest *m = &e->manifest;
    if (m->frontier == 0)
        return quire_fail(err, QUIRE_ERR_USAGE,
                          "KV book %016" PRIx64 " has no finished span yet: read on, and export it then", id);
    e->view = kv_store_view(store->store, m);
    status = kv_parents_open(&e->parents, &e->view, m->parent_id, m->base_tokens, m->base_hash, err);
    if (status == QUIRE_OK)
        status = kv_part_init(&e->own, &e->view.geometry, id, e->folder, m->base_tokens / KV_BLOCK_TOKENS,
                              m->frontier / KV_BLOCK_TOKENS, m->capacity_blocks, err);
    return status;
}

static void close_book(struct export *e)
{
    close_sides(e);
    kv_parents_release(&e->parents);
    kv_part_release(&e->own);
    kv_file_close(&e->use_fd);
    free(e->buffer);
}

/* --- the parts --------------------------------------------------------------------------------------------------- */

/* The manifest of the same text as a book on its own. */
static struct kv_manifest own_manifest(const struct export *e)
{
    struct kv_manifest m = e->manifest;
    kv_manifest_clear_flight(&m);
    m.generation = 1;
    m.parent_id = m.base_tokens = m.depth = 0;
    m.base_hash = e->view.seed;
    m.capacity_blocks = kv_capacity_blocks(m.frontier);
    for (int i = 0; i < KV_SIDE_COUNT; i++)
        m.sides[i].generation = m.sides[i].generation != 0;
    kv_manifest_seal(&m);
    return m;
}

static quire_status put_head(struct export *e, quire_error *err)
{
    struct kv_manifest manifest = own_manifest(e);
    struct kv_archive_header header = {0};
    struct kv_about about;
    char text[KV_ABOUT_MAX];
    quire_status status = kv_about_read(&about, e->folder, err);
    if (status != QUIRE_OK)
        return status;
    header.n_about = (uint32_t)kv_about_format(text, &about);
    status = kv_archive_bytes(&header.n_bytes, &manifest, header.n_about, err);
    if (status != QUIRE_OK)
        return status;
    kv_archive_seal(&header);
    e->work.progress.n_bytes_total = header.n_bytes;
    status = put(e, &header, sizeof header, err);
    if (status == QUIRE_OK)
        status = put(e, &manifest, sizeof manifest, err);
    return status == QUIRE_OK ? put(e, text, header.n_about, err) : status;
}

static quire_status put_tokens(struct export *e, quire_error *err)
{
    char path[KV_PATH_SIZE];
    size_t n_sound;
    struct sys_map map;
    kv_path(path, e->folder, "tokens");
    quire_status status =
        kv_tokens_check(&n_sound, path, e->view.seed, e->manifest.frontier, e->manifest.frontier_hash, err);
    if (status == QUIRE_OK)
        status = sys_map_file(&map, path, err);
    if (status != QUIRE_OK)
        return status;
    size_t n_blocks = e->manifest.frontier / KV_BLOCK_TOKENS, n_rest = e->manifest.frontier % KV_BLOCK_TOKENS;
    status = put(e, map.data, n_blocks * sizeof(struct kv_token_record), err);
    if (status == QUIRE_OK && n_rest > 0) { /* what a writer may have put behind the frontier is not part of it */
        struct kv_token_record last = {0};
        memcpy(last.ids, map.data + n_blocks * sizeof last, n_rest * sizeof *last.ids);
        last.hash = e->manifest.frontier_hash;
        status = put(e, &last, sizeof last, err);
    }
    sys_unmap(&map);
    return status;
}

/* Blocks [first, end) of a head, from one part. */
static quire_status put_blocks(struct export *e, struct kv_blocks *batch, const struct kv_part *part, uint32_t layer,
                               uint32_t head, size_t first, size_t end, quire_error *err)
{
    size_t n_entry = part->block_bytes + sizeof(uint64_t);
    quire_status status = kv_blocks_open(batch, part, layer, err);
    if (status == QUIRE_OK && !e->buffer) {
        e->buffer = mem_calloc(batch->n_room, n_entry, "KV blocks", err);
        status = e->buffer ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    }
    for (size_t n; first < end && status == QUIRE_OK; first += n) {
        n = size_min(batch->n_room, end - first);
        status = kv_blocks_read(batch, head, first, n, err);
        for (size_t i = 0; i < n && status == QUIRE_OK; i++) {
            status = kv_blocks_check(batch, head, first, i, err);
            memcpy(e->buffer + i * n_entry, batch->blocks + i * part->block_bytes, part->block_bytes);
            memcpy(e->buffer + i * n_entry + part->block_bytes, &batch->summaries[i].checksum, sizeof(uint64_t));
        }
        if (status == QUIRE_OK)
            status = put(e, e->buffer, n * n_entry, err);
    }
    return status;
}

static quire_status put_layers(struct export *e, quire_error *err)
{
    struct kv_blocks batch = KV_BLOCKS_CLOSED;
    quire_status status = QUIRE_OK;
    for (uint32_t layer = 0; layer < e->manifest.n_layers; layer++)
        for (uint32_t head = 0; head < e->manifest.n_heads && status == QUIRE_OK; head++) {
            for (size_t i = e->parents.n; i-- > 0 && status == QUIRE_OK;) { /* the furthest one has the text's start */
                const struct kv_part *part = &e->parents.parts[i];
                status = put_blocks(e, &batch, part, layer, head, part->first_block, part->end_block, err);
            }
            if (status == QUIRE_OK)
                status = put_blocks(e, &batch, &e->own, layer, head, e->own.first_block, e->own.end_block, err);
        }
    kv_blocks_release(&batch);
    return status;
}

/* In the pieces that the hash goes over. */
static quire_status put_side(struct export *e, int which, quire_error *err)
{
    const struct kv_side_ref *ref = &e->manifest.sides[exported_sides[which]];
    if (ref->generation == 0)
        return QUIRE_OK;
    size_t n = exported_sides[which] == KV_SIDE_TAIL ? e->own.block_bytes : ref->n_bytes;
    void *piece = mem_calloc(n, 1, "a KV side file", err);
    quire_status status = piece ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    for (uint64_t done = 0; done < ref->n_bytes && status == QUIRE_OK; done += n) {
        status = kv_side_read(&e->sides[which], piece, n, err);
        if (status == QUIRE_OK)
            status = put(e, piece, n, err);
    }
    if (status == QUIRE_OK)
        status = kv_side_check(&e->sides[which], ref, err);
    free(piece);
    return status;
}

static quire_status put_all(struct export *e, quire_error *err)
{
    quire_status status = put_head(e, err);
    if (status == QUIRE_OK)
        status = put_tokens(e, err);
    if (status == QUIRE_OK)
        status = put_layers(e, err);
    for (int i = 0; i < 2 && status == QUIRE_OK; i++)
        status = put_side(e, i, err);
    return status;
}

/* --- the file ---------------------------------------------------------------------------------------------------- */

/* A link that leads nowhere is there, too. */
static bool is_taken(const char *path)
{
    struct stat st;
    return sys.lstat(path, &st) == 0;
}

/* Never over a file that appeared meanwhile, as far as the file system can promise that. */
static quire_status give_name(const struct export *e, quire_error *err)
{
    int result = sys.rename_new(e->temporary, e->path);
    if (result != 0 && (errno == EINVAL || errno == ENOSYS) && !is_taken(e->path))
        result = sys.rename(e->temporary, e->path);
    return result == 0 ? QUIRE_OK : sys_fail(err, "name the export", e->path);
}

static quire_status write_file(struct export *e, quire_error *err)
{
    quire_status status = kv_file_open(&e->fd, e->temporary, O_CREAT | O_EXCL | O_WRONLY, NULL, err);
    if (status != QUIRE_OK)
        return status;
    status = put_all(e, err);
    if (status == QUIRE_OK)
        status = kv_file_sync(e->fd, e->temporary, err);
    kv_file_close(&e->fd);
    if (status == QUIRE_OK)
        status = give_name(e, err);
    if (status != QUIRE_OK) {
        sys.unlink(e->temporary);
        return status;
    }
    return sys_sync_folder_of(e->path, err);
}

quire_status quire_store_export(quire_store *store, uint64_t id, const char *path, const quire_store_watch *watch,
                                quire_error *err)
{
    struct export e = {.use_fd = -1, .fd = -1, .path = path, .work.watch = watch, .own.use_fd = -1};
    for (int i = 0; i < 2; i++)
        e.sides[i].fd = -1;
    if (*path == '\0' || strlen(path) > KV_FOLDER_MAX)
        return quire_fail(err, QUIRE_ERR_USAGE, "an export needs a path of 1 to %d bytes", KV_FOLDER_MAX);
    if (is_taken(path))
        return quire_fail(err, QUIRE_ERR_USAGE, "'%s' exists: an export does not overwrite it", path);
    for (int i = 0; i < 100 && (i == 0 || is_taken(e.temporary)); i++) /* one that no killed process has left */
        snprintf(e.temporary, sizeof e.temporary, "%s.%ld-%d" KV_TEMPORARY_SUFFIX, path, (long)getpid(), i);
    quire_status status = open_book(&e, store, id, err);
    if (status == QUIRE_OK)
        status = write_file(&e, err);
    close_book(&e);
    return status;
}
