/* The blocks of one book, mapped for reading: what a book reads itself by and what its branches read it by. */
#ifndef QUIRE_KV_PART_H
#define QUIRE_KV_PART_H

#include <stdatomic.h>

#include "base/sys.h"
#include "kv/kv.h"
#include "kv/kv_file.h"

struct kv_part {
    struct kv_geometry geometry;
    size_t block_bytes;
    size_t capacity_blocks; /* per head and layer in the files */
    size_t first_block;     /* of the text: block 0 of the files */
    size_t end_block;       /* blocks from here on are not read through this part */
    uint64_t book_id;       /* 0: temporary */
    char *folder;           /* where its files are (were, without a name, if temporary) */
    uint64_t layer_bytes;   /* of one layer's file */
    uint64_t summary_bytes;
    struct sys_map *layers; /* [n_layers] mapped files; no data where not mapped */
    /* What was there when the part was opened is checked before it is used (KV-6): of each layer the blocks before its
     * check_end, head by head. */
    size_t *check_ends;    /* [n_layers] */
    atomic_uchar *checked; /* [n_layers][n_heads] nonzero: done, and found sound */
    int use_fd;            /* of a stored book that is only read: shared while the part is open (KV-11); -1 else */
    /* [n_layers][n_heads][capacity_blocks] the largest key norm of the part's blocks up to this one, for those that
     * were checked or written; not 0 there. */
    float *norms;
    bool is_borrowed; /* folder, layers, check_ends, checked, norms and use_fd belong to another book's part */
};

/* An empty part, nothing mapped. Errors: USAGE (too large), NO_MEMORY; it may be released then, too. */
quire_status kv_part_init(struct kv_part *part, const struct kv_geometry *geometry, uint64_t book_id,
                          const char *folder, size_t first_block, size_t end_block, size_t capacity_blocks,
                          quire_error *err);
void kv_part_release(struct kv_part *part);

/* The name of a layer's file, for opening and for messages. kind: "layer" or "summary". */
void kv_part_path(char path[KV_PATH_SIZE], const struct kv_part *part, const char *kind, uint32_t layer);

/* Opens a layer's file of a stored book that must be there with the size that the manifest says (KV-8). flags: O_RDONLY
 * or O_RDWR. Errors: IO; FORMAT, naming the file. */
quire_status kv_part_open_file(int *fd, const struct kv_part *part, const char *kind, uint32_t layer, int flags,
                               quire_error *err);

/* Shares the book's lock until the part is released, and notes the use. Errors: IO; FORMAT, where the tokens file is
 * missing. */
quire_status kv_part_share(struct kv_part *part, quire_error *err);

/* Maps all layers; every block is to be checked. Errors: IO, FORMAT. */
quire_status kv_part_map(struct kv_part *part, quire_error *err);

/* Maps one layer from its open file. Errors: IO, NO_MEMORY. */
quire_status kv_part_map_layer(struct kv_part *part, uint32_t layer, int fd, quire_error *err);

/* Errors: IO, naming the file, where what was read through the layer's mapping may have been zeros in the place of
 * blocks (base/map_guard.h). */
quire_status kv_part_check_map(const struct kv_part *part, uint32_t layer, quire_error *err);

/* Where a head's block lies in its file, in bytes. */
static inline uint64_t kv_part_offset(const struct kv_part *part, uint32_t head, size_t block)
{
    return (head * (uint64_t)part->capacity_blocks + (block - part->first_block)) * part->block_bytes;
}

static inline const unsigned char *kv_part_block(const struct kv_part *part, uint32_t layer, uint32_t head,
                                                 size_t block)
{
    return part->layers[layer].data + kv_part_offset(part, head, block);
}

static inline float *kv_part_norms(const struct kv_part *part, uint32_t layer, uint32_t head)
{
    return part->norms + ((size_t)layer * part->geometry.n_heads + head) * part->capacity_blocks;
}

/* Takes the largest key norm of a head's block into norms. Blocks come in order. */
void kv_part_take_norm(const struct kv_part *part, uint32_t layer, uint32_t head, size_t block, float norm);

/* Hints on blocks [first, end) of one head, cut to those of the part; prefetch begins at the end. */
void kv_part_prefetch(const struct kv_part *part, uint32_t layer, uint32_t head, size_t first, size_t end);
void kv_part_release_blocks(const struct kv_part *part, uint32_t layer, uint32_t head, size_t first, size_t end);
void kv_part_release_layer(const struct kv_part *part, uint32_t layer);

/* From now on blocks [first_block, end) of the layer count as not checked. */
void kv_part_distrust(struct kv_part *part, uint32_t layer, size_t end);

/* Whether the heads of the layer need no check (any more). */
bool kv_part_is_checked(const struct kv_part *part, uint32_t layer);

#endif
