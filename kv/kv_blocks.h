/* Blocks of one layer's files, read in order, and whether they are what their summaries say: before a book is used, and
 * when it is looked through. They are read and not mapped: a disk that fails gives an error code, and no memory is
 * taken by blocks that are only checked. */
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
 * size, and outlive it. Errors: FORMAT (missing, or a wrong size), IO, NO_MEMORY. */
quire_status kv_blocks_open(struct kv_blocks *batch, const struct kv_part *part, uint32_t layer, quire_error *err);
void kv_blocks_release(struct kv_blocks *batch);

/* Reads blocks [first, first + n) of the text, n <= n_room. Errors: IO; FORMAT, where the file ends before. */
quire_status kv_blocks_read(struct kv_blocks *batch, uint32_t head, size_t first, size_t n, quire_error *err);

/* Block i of the last read is as its summary says, in checksum, key norm and flags: this alone decides what counts as
 * sound. Errors: FORMAT, naming book, layer, head, block (first + i) and which of them (KV-6). */
quire_status kv_blocks_check(const struct kv_blocks *batch, uint32_t head, size_t first, size_t i, quire_error *err);

#endif
