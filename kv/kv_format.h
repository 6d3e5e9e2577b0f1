/* What lies on disk: structures, sizes, hashes. The only place that knows an offset; pure functions, no files.
 *
 * Integers and floats are little-endian. Every structure is laid out without padding and written as it is. */
#ifndef QUIRE_KV_FORMAT_H
#define QUIRE_KV_FORMAT_H

#include "kv/kv.h"

enum {
    KV_FORMAT_VERSION = 2,
    KV_IDENTITY_SIZE = 768, /* with its NUL */
    KV_DEPTH_MAX = 64,      /* books in a chain of parents, the first not counted */
    KV_CAPACITY_MIN = 1024, /* blocks per head and layer that a stored book has room for, at least */
    KV_LAYERS_MAX = 4096,
    KV_HEADS_MAX = 4096,
    KV_HEAD_DIM_MAX = 8192,
    KV_TOKENS_MAX = 1 << 30
};

/* Files beside the layers that a commit writes anew, each named by the manifest that needs it: "tail.7" was written for
 * generation 7. So an old manifest never loses its files to a newer one that did not come to be (KV-5). */
enum kv_side {
    KV_SIDE_TAIL,     /* the block at the frontier, where that is inside one: [layer][head] block */
    KV_SIDE_LOGITS,   /* float32 after the last token */
    KV_SIDE_FLIGHT,   /* tokens per layer: uint64 [layer]; then, of each layer that is inside a block, [head] block */
    KV_SIDE_RESIDUAL, /* float32 residual stream of the span in flight */
    KV_SIDE_COUNT
};

struct kv_side_ref {
    uint64_t generation; /* 0: there is no such file */
    uint64_t n_bytes;
    uint64_t hash; /* kv_hash_add over the file in the pieces that enum kv_side names, from 0 */
};

enum { KV_HAS_FLIGHT = 1 };

struct kv_manifest {
    char magic[8];
    uint32_t version;
    uint32_t flags;
    uint64_t id;         /* of this book: its folder's name in hexadecimal; never 0 */
    uint64_t generation; /* counts manifests of this book, from 1 */
    uint32_t n_layers, n_heads, head_dim;
    uint32_t type;            /* quire_kv_type: 0 f32, 1 f16, 2 bf16, 3 int8, 4 int4 */
    uint64_t capacity_blocks; /* per head and layer, in the book's own files */
    uint64_t parent_id;       /* 0: none */
    uint64_t base_tokens;     /* tokens whose blocks belong to the parent: whole blocks */
    uint64_t base_hash;       /* chain after base_tokens */
    uint64_t frontier;        /* tokens stored in every layer */
    uint64_t frontier_hash;   /* chain after the frontier */
    uint64_t n_ids;           /* tokens in the tokens file: the frontier, or the end of the span in flight */
    uint64_t ids_hash;        /* chain after n_ids */
    uint64_t first_hash;      /* chain after the first block; 0 where n_ids is less than a block */
    uint32_t depth;           /* parents above */
    uint32_t reserved_0;
    struct kv_flight flight; /* with KV_HAS_FLIGHT */
    struct kv_side_ref sides[KV_SIDE_COUNT];
    char identity[KV_IDENTITY_SIZE];
    uint64_t reserved[14];
    uint64_t checksum; /* of all before */
};
_Static_assert(sizeof(struct kv_flight) == 40, "the flight is part of the manifest");
_Static_assert(sizeof(struct kv_manifest) == 1152, "the manifest has no padding");

/* The tokens file: one record for each block of the whole text, the parent's part included. */
struct kv_token_record {
    int32_t ids[KV_BLOCK_TOKENS];
    uint64_t hash; /* the chain after this block; of no meaning in a record that is not full */
};
_Static_assert(sizeof(struct kv_token_record) == 264, "a token record has no padding");

/* A summary file: [head][capacity] of these; behind them room for [head][capacity] boxes, the minimum and the maximum
 * of each key channel in the KV type, which are left as a hole. */
struct kv_summary {
    uint64_t checksum;  /* XXH3 of the block */
    float key_norm_max; /* no key of the block is longer (L2); infinity where a key is no number */
    uint32_t flags;     /* 0; for boxes */
};
_Static_assert(sizeof(struct kv_summary) == 16, "a summary has no padding");

/* What the summary of a whole block says. */
struct kv_summary kv_summarize(const struct kv_geometry *geometry, const unsigned char *block);

/* Errors: USAGE, naming the field and what it may be. */
quire_status kv_geometry_check(const struct kv_geometry *geometry, quire_error *err);

/* Bytes of one token's key (or value) in one head, its scales included. */
size_t kv_row_bytes(const struct kv_geometry *geometry);

/* Bytes of a layer's, a summary's file with that capacity, of a tail. Errors: USAGE where they pass what a file may
 * have. */
quire_status kv_layer_file_bytes(uint64_t *layer, uint64_t *summary, const struct kv_geometry *geometry,
                                 uint64_t capacity_blocks, quire_error *err);
/* Blocks per head and layer that the files of a stored book of n tokens have room for: it can grow in place, and since
 * the files are sparse, that costs nothing. */
uint64_t kv_capacity_blocks(uint64_t n_tokens);

uint64_t kv_tail_bytes(const struct kv_geometry *geometry);

/* The start of every chain of these books: so books of another identity or geometry share no hash. */
uint64_t kv_identity_hash(const struct kv_geometry *geometry, const char *identity);

/* h' = XXH3 of the bytes, seeded with h: files hashed in pieces, and the chain over blocks of ids. */
uint64_t kv_hash_add(uint64_t hash, const void *data, size_t n_bytes);

/* The chain after ids[0..n): kv_hash_add over one block of ids after another, the last one as long as it is. `start` is
 * the chain before ids[0], which is the first of a block. */
uint64_t kv_chain(uint64_t start, const int32_t *ids, size_t n);

/* Takes the span in flight, and its files, out of the manifest. */
void kv_manifest_clear_flight(struct kv_manifest *manifest);

/* Sets magic, version and checksum. */
void kv_manifest_seal(struct kv_manifest *manifest);

/* Checks everything that a manifest says about itself (KV-8). name: the file, for the message. Errors: FORMAT;
 * MISMATCH, where it is of another version. */
quire_status kv_manifest_check(const struct kv_manifest *manifest, size_t n_bytes, const char *name, quire_error *err);

static inline struct kv_geometry kv_manifest_geometry(const struct kv_manifest *manifest)
{
    return (struct kv_geometry){manifest->n_layers, manifest->n_heads, manifest->head_dim,
                                (quire_kv_type)manifest->type};
}

/* The manifest belongs to books of this geometry and identity. */
bool kv_manifest_matches(const struct kv_manifest *manifest, const struct kv_geometry *geometry, const char *identity);

#endif
