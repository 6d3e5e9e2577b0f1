/* Blocks of one layer's files, read in order and with what their summaries say: for looking through a book without
 * mapping it. A place that cannot be read is an error code here, where a mapping would be a signal. */
#ifndef QUIRE_KV_BLOCKS_H
#define QUIRE_KV_BLOCKS_H

#include "kv/kv_format.h"
#include "kv/kv_part.h"

struct kv_blocks {
    const struct kv_part *part;
    uint32_t layer;
    int layer_fd, summary_fd;
    size_t n_room;         /* blocks that are read at once at most */
    unsigned char *blocks; /* [n_room] */
    struct kv_summary *summaries;
};

/* A batch with nothing open; releasing it is fine. */
#define KV_BLOCKS_CLOSED ((struct kv_blocks){.layer_fd = -1, .summary_fd = -1})

/* Memory, and the files of the layer, in place of those of another one. All parts that a batch reads have one block
 * size, and outlive it. Errors: FORMAT
 * (missing, or a wrong size), IO, NO_MEMORY. */
quire_status kv_blocks_open(struct kv_blocks *batch, const struct kv_part *part, uint32_t layer, quire_error *err);
void kv_blocks_release(struct kv_blocks *batch);

/* Reads blocks [first, first + n) of the text, n <= n_room. Errors: IO, FORMAT. */
quire_status kv_blocks_read(struct kv_blocks *batch, uint32_t head, size_t first, size_t n, quire_error *err);

/* Block i of the last read has the checksum of its summary. Errors: FORMAT, naming book, layer, head and block
 * (first + i) (KV-6). */
quire_status kv_blocks_check(const struct kv_blocks *batch, uint32_t head, size_t first, size_t i, quire_error *err);

#endif
