#include "kv/kv_blocks.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"

/* What is read at once: it stays in the second-level cache while it is compared. */
enum { BATCH_BYTES = 512 * 1024 };

static void close_files(struct kv_blocks *batch)
{
    kv_file_close(&batch->layer_fd);
    kv_file_close(&batch->summary_fd);
}

quire_status kv_blocks_open(struct kv_blocks *batch, const struct kv_part *part, uint32_t layer, quire_error *err)
{
    if (batch->summary_fd >= 0 && batch->part == part && batch->layer == layer)
        return QUIRE_OK;
    close_files(batch);
    batch->part = part;
    batch->layer = layer;
    if (!batch->blocks) {
        batch->n_room = size_max(1, BATCH_BYTES / part->block_bytes);
        batch->blocks = mem_aligned(batch->n_room, part->block_bytes, "KV blocks", err);
        batch->summaries = mem_calloc(batch->n_room, sizeof *batch->summaries, "KV block summaries", err);
        if (!batch->blocks || !batch->summaries)
            return QUIRE_ERR_NO_MEMORY;
    }
    quire_status status = kv_part_open_file(&batch->layer_fd, part, "layer", layer, O_RDONLY, err);
    if (status == QUIRE_OK)
        status = kv_part_open_file(&batch->summary_fd, part, "summary", layer, O_RDONLY, err);
    return status;
}

void kv_blocks_release(struct kv_blocks *batch)
{
    close_files(batch);
    free(batch->blocks);
    free(batch->summaries);
    *batch = KV_BLOCKS_CLOSED;
}

quire_status kv_blocks_read(struct kv_blocks *batch, uint32_t head, size_t first, size_t n, quire_error *err)
{
    const struct kv_part *part = batch->part;
    char path[KV_PATH_SIZE];
    uint64_t offset = kv_part_offset(part, head, first);
    off_t summary_offset = (off_t)(offset / part->block_bytes * sizeof *batch->summaries);
    kv_part_path(path, part, "layer", batch->layer);
    quire_status status = sys_read_all(batch->layer_fd, batch->blocks, n * part->block_bytes, (off_t)offset, path, err);
    kv_part_path(path, part, "summary", batch->layer);
    if (status == QUIRE_OK)
        status =
            sys_read_all(batch->summary_fd, batch->summaries, n * sizeof *batch->summaries, summary_offset, path, err);
    return status;
}

/* In what the summary of a block is not the one that it must have, or NULL. */
static const char *difference(const struct kv_summary *found, const struct kv_summary *expected)
{
    if (found->checksum != expected->checksum)
        return "checksum";
    if (memcmp(&found->key_norm_max, &expected->key_norm_max, sizeof found->key_norm_max) != 0)
        return "key norm";
    return found->flags == expected->flags ? NULL : "flags";
}

quire_status kv_blocks_check(const struct kv_blocks *batch, uint32_t head, size_t first, size_t i, quire_error *err)
{
    const struct kv_part *part = batch->part;
    struct kv_summary expected = kv_summarize(&part->geometry, batch->blocks + i * part->block_bytes);
    const char *what = difference(&batch->summaries[i], &expected);
    if (!what)
        return QUIRE_OK;
    return quire_fail(err, QUIRE_ERR_FORMAT,
                      "KV book %016" PRIx64 " is damaged: layer %u, head %u, block %zu does not have the %s of its "
                      "summary (KV-6)",
                      part->book_id, batch->layer, head, first + i, what);
}
