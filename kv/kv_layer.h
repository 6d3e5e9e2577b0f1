/* The writer's side of one layer of a book: its files, the blocks that are not whole yet, and how far it is stored. */
#ifndef QUIRE_KV_LAYER_H
#define QUIRE_KV_LAYER_H

#include "kv/kv_format.h"
#include "kv/kv_part.h"

struct kv_layer {
    int fd;              /* layer file; -1 in a book that is only read */
    int summary_fd;      /* -1 also in temporary books: nobody comes back to check them */
    uint64_t n_tokens;   /* of the text, stored in this layer */
    unsigned char *open; /* [head] block n_tokens / 64, not whole; NULL until needed */
    bool is_dirty;       /* written since the last sync */
};

/* Memory that puts share: blocks on their way to the file. */
struct kv_staging {
    unsigned char *blocks; /* [n_blocks] */
    struct kv_summary *summaries;
    size_t n_blocks;
};

/* Errors: NO_MEMORY. */
quire_status kv_staging_init(struct kv_staging *staging, size_t block_bytes, quire_error *err);
void kv_staging_release(struct kv_staging *staging);

/* A closed layer; releasing it is fine. */
#define KV_LAYER_CLOSED ((struct kv_layer){.fd = -1, .summary_fd = -1})
void kv_layer_release(struct kv_layer *layer);

/* Opens the files of layer `index` for writing and maps the layer in `part`. is_new: makes them with their full
 * (sparse) sizes; without a name where the part is temporary. Errors: IO, NO_SPACE, FORMAT (missing, or a wrong size).
 */
quire_status kv_layer_open(struct kv_layer *layer, struct kv_part *part, uint32_t index, bool is_new, quire_error *err);

/* Memory for the open blocks, zeroed when first used. Errors: NO_MEMORY. */
quire_status kv_layer_need_open(struct kv_layer *layer, const struct kv_part *part, quire_error *err);

/* kv_book_put for this layer. On failure the layer is as it was; the file may hold more, which does not count.
 * *n_written grows by the bytes. Errors: NO_SPACE, IO, NO_MEMORY. */
quire_status kv_layer_put(struct kv_layer *layer, const struct kv_part *part, uint32_t index,
                          struct kv_staging *staging, size_t n, const float *k, const float *v, size_t stride,
                          uint64_t *n_written, quire_error *err);

/* What was written is durable. Errors: IO, NO_SPACE. */
quire_status kv_layer_sync(struct kv_layer *layer, const struct kv_part *part, uint32_t index, quire_error *err);

#endif
