#include "kv/kv_layer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "kv/kv_convert.h"
#include "kv/kv_file.h"
#include "kv/kv_format.h"

/* Large enough for one write to cost little beside its bytes, small enough to stay in the second-level cache. */
enum { STAGING_BYTES = 512 * 1024 };

quire_status kv_staging_init(struct kv_staging *staging, size_t block_bytes, quire_error *err)
{
    staging->n_blocks = size_max(1, STAGING_BYTES / block_bytes);
    staging->blocks = mem_aligned(staging->n_blocks, block_bytes, "KV blocks to be written", err);
    staging->summaries = mem_calloc(staging->n_blocks, sizeof *staging->summaries, "KV block summaries", err);
    return staging->blocks && staging->summaries ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
}

void kv_staging_release(struct kv_staging *staging)
{
    free(staging->blocks);
    free(staging->summaries);
    *staging = (struct kv_staging){0};
}

void kv_layer_release(struct kv_layer *layer)
{
    kv_file_close(&layer->fd);
    kv_file_close(&layer->summary_fd);
    free(layer->open);
    layer->open = NULL;
}

static quire_status make_file(int *fd, const struct kv_part *part, const char *kind, uint32_t index, uint64_t n_bytes,
                              quire_error *err)
{
    char path[KV_PATH_SIZE];
    kv_part_path(path, part, kind, index);
    quire_status status = part->book_id ? kv_file_open(fd, path, O_CREAT | O_EXCL | O_RDWR, NULL, err)
                                        : kv_file_temporary(fd, part->folder, err);
    return status == QUIRE_OK ? kv_file_resize(*fd, n_bytes, path, err) : status;
}

quire_status kv_layer_open(struct kv_layer *layer, struct kv_part *part, uint32_t index, bool is_new, quire_error *err)
{
    layer->is_dirty = is_new; /* the size, too, must reach the disk */
    quire_status status = is_new ? make_file(&layer->fd, part, "layer", index, part->layer_bytes, err)
                                 : kv_part_open_file(&layer->fd, part, "layer", index, O_RDWR, err);
    if (status == QUIRE_OK && part->book_id)
        status = is_new ? make_file(&layer->summary_fd, part, "summary", index, part->summary_bytes, err)
                        : kv_part_open_file(&layer->summary_fd, part, "summary", index, O_RDWR, err);
    return status == QUIRE_OK ? kv_part_map_layer(part, index, layer->fd, err) : status;
}

quire_status kv_layer_need_open(struct kv_layer *layer, const struct kv_part *part, quire_error *err)
{
    if (layer->open)
        return QUIRE_OK;
    layer->open = mem_aligned(part->geometry.n_heads, part->block_bytes, "unfinished KV blocks", err);
    if (!layer->open)
        return QUIRE_ERR_NO_MEMORY;
    memset(layer->open, 0, part->geometry.n_heads * part->block_bytes);
    return QUIRE_OK;
}

/* What one put brings to one head. */
struct rows {
    size_t first, n;    /* tokens of the text */
    const float *k, *v; /* of token `first`, this head */
    size_t stride;
};

/* Rows of tokens [from, to), which lie in one block, into that block. */
static void fill(unsigned char *block, const struct kv_geometry *geometry, const struct rows *rows, size_t from,
                 size_t to)
{
    size_t first_row = from % KV_BLOCK_TOKENS, offset = (from - rows->first) * rows->stride;
    unsigned char *values = block + kv_block_bytes(geometry) / 2;
    kv_convert_rows(block, first_row, rows->k + offset, to - from, geometry->head_dim, rows->stride, geometry->type);
    kv_convert_rows(values, first_row, rows->v + offset, to - from, geometry->head_dim, rows->stride, geometry->type);
}

/* Fills the staging with whole blocks [block, end): rows put before come from `open`, the head's open block. */
static void stage(struct kv_staging *staging, const struct kv_part *part, const unsigned char *open,
                  const struct rows *rows, size_t block, size_t end)
{
    for (size_t b = block; b < end; b++) {
        unsigned char *out = staging->blocks + (b - block) * part->block_bytes;
        size_t from = size_max(b * KV_BLOCK_TOKENS, rows->first);
        if (from % KV_BLOCK_TOKENS != 0)
            memcpy(out, open, part->block_bytes);
        fill(out, &part->geometry, rows, from, (b + 1) * KV_BLOCK_TOKENS);
    }
}

/* Summaries of whole blocks [block, block + n_blocks). */
static void summarize(struct kv_staging *staging, const struct kv_part *part, uint32_t layer, uint32_t head,
                      size_t block, size_t n_blocks)
{
    for (size_t i = 0; i < n_blocks; i++) {
        staging->summaries[i] = kv_summarize(&part->geometry, staging->blocks + i * part->block_bytes);
        kv_part_take_norm(part, layer, head, block + i, staging->summaries[i].key_norm_max);
    }
}

static quire_status seal_blocks(struct kv_layer *layer, const struct kv_part *part, uint32_t index,
                                struct kv_staging *staging, uint32_t head, const struct rows *rows, uint64_t *n_written,
                                quire_error *err)
{
    char path[KV_PATH_SIZE], summary_path[KV_PATH_SIZE];
    kv_part_path(path, part, "layer", index);
    kv_part_path(summary_path, part, "summary", index);
    const unsigned char *open = layer->open ? layer->open + head * part->block_bytes : NULL;
    size_t end = (rows->first + rows->n) / KV_BLOCK_TOKENS;
    for (size_t block = rows->first / KV_BLOCK_TOKENS, n_blocks; block < end; block += n_blocks) {
        n_blocks = size_min(end - block, staging->n_blocks);
        uint64_t offset = kv_part_offset(part, head, block);
        size_t n_bytes = n_blocks * part->block_bytes, n_summary_bytes = n_blocks * sizeof *staging->summaries;
        off_t summary_offset = (off_t)(offset / part->block_bytes * sizeof *staging->summaries);
        stage(staging, part, open, rows, block, block + n_blocks);
        quire_status status = sys_write_all(layer->fd, staging->blocks, n_bytes, (off_t)offset, path, err);
        if (status != QUIRE_OK)
            return status;
        *n_written += n_bytes;
        summarize(staging, part, index, head, block, n_blocks);
        if (layer->summary_fd < 0)
            continue;
        status =
            sys_write_all(layer->summary_fd, staging->summaries, n_summary_bytes, summary_offset, summary_path, err);
        if (status != QUIRE_OK)
            return status;
        *n_written += n_summary_bytes;
    }
    return QUIRE_OK;
}

quire_status kv_layer_put(struct kv_layer *layer, const struct kv_part *part, uint32_t index,
                          struct kv_staging *staging, size_t n, const float *k, const float *v, size_t stride,
                          uint64_t *n_written, quire_error *err)
{
    size_t first = layer->n_tokens, end = first + n, head_dim = part->geometry.head_dim;
    quire_status status = end % KV_BLOCK_TOKENS ? kv_layer_need_open(layer, part, err) : QUIRE_OK;
    /* First what may fail, for every head; then the open blocks, where the rows of an old block give way to a new
     * one's. */
    if (status == QUIRE_OK && first / KV_BLOCK_TOKENS < end / KV_BLOCK_TOKENS) {
        layer->is_dirty = true;
        for (uint32_t h = 0; h < part->geometry.n_heads && status == QUIRE_OK; h++) {
            struct rows rows = {first, n, k + h * head_dim, v + h * head_dim, stride};
            status = seal_blocks(layer, part, index, staging, h, &rows, n_written, err);
        }
    }
    if (status != QUIRE_OK)
        return status;
    if (layer->summary_fd >= 0) /* a hint: the disk works while the next tokens are computed. It waits for nothing, so
                                  that an error is the commit's to find */
        sync_file_range(layer->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    size_t from = size_max(first, end / KV_BLOCK_TOKENS * KV_BLOCK_TOKENS);
    for (uint32_t h = 0; h < part->geometry.n_heads && from < end; h++) {
        struct rows rows = {first, n, k + h * head_dim, v + h * head_dim, stride};
        fill(layer->open + h * part->block_bytes, &part->geometry, &rows, from, end);
    }
    layer->n_tokens = end;
    return QUIRE_OK;
}

quire_status kv_layer_sync(struct kv_layer *layer, const struct kv_part *part, uint32_t index, quire_error *err)
{
    char path[KV_PATH_SIZE];
    if (!layer->is_dirty)
        return QUIRE_OK;
    kv_part_path(path, part, "layer", index);
    /* Behind a new end that somebody gave the file there would be a hole now where blocks were. */
    uint64_t size = 0;
    quire_status status = kv_file_size(layer->fd, &size, path, err);
    if (status == QUIRE_OK && size != part->layer_bytes)
        status =
            quire_fail(err, QUIRE_ERR_IO, "'%s' has %llu bytes, expected %llu: it was cut short while it was written",
                       path, (unsigned long long)size, (unsigned long long)part->layer_bytes);
    if (status == QUIRE_OK)
        status = kv_file_sync(layer->fd, path, err);
    kv_part_path(path, part, "summary", index);
    if (status == QUIRE_OK)
        status = kv_file_sync(layer->summary_fd, path, err);
    if (status == QUIRE_OK)
        layer->is_dirty = false;
    return status;
}
