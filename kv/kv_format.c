#include "kv/kv_format.h"

#include <string.h>

#include "base/hash.h"
#include "base/kv_rows.h"
#include "base/mem.h"
#include "kv/kv_convert.h"

static const char manifest_magic[8] = {'Q', 'U', 'I', 'R', 'E', 'K', 'V', 'M'};

struct kv_summary kv_summarize(const struct kv_geometry *geometry, const unsigned char *block)
{
    return (struct kv_summary){.checksum = hash64(block, kv_block_bytes(geometry)),
                               .key_norm_max =
                                   kv_key_norm_max(block, KV_BLOCK_TOKENS, geometry->head_dim, geometry->type)};
}

quire_status kv_geometry_check(const struct kv_geometry *geometry, quire_error *err)
{
    if (geometry->n_layers < 1 || geometry->n_layers > KV_LAYERS_MAX)
        return quire_fail(err, QUIRE_ERR_USAGE, "KV store for %u layers: expected 1 to %d", geometry->n_layers,
                          KV_LAYERS_MAX);
    if (geometry->n_heads < 1 || geometry->n_heads > KV_HEADS_MAX)
        return quire_fail(err, QUIRE_ERR_USAGE, "KV store for %u heads: expected 1 to %d", geometry->n_heads,
                          KV_HEADS_MAX);
    if (geometry->head_dim < 1 || geometry->head_dim > KV_HEAD_DIM_MAX)
        return quire_fail(err, QUIRE_ERR_USAGE, "KV store for heads of %u channels: expected 1 to %d",
                          geometry->head_dim, KV_HEAD_DIM_MAX);
    if ((unsigned)geometry->type >= QUIRE_KV_TYPE_COUNT)
        return quire_fail(err, QUIRE_ERR_USAGE,
                          "keys and values cannot be stored as type %d: expected f32, f16, bf16, int8 or int4",
                          (int)geometry->type);
    return QUIRE_OK;
}

size_t kv_row_bytes(const struct kv_geometry *geometry)
{
    return kv_rows_bytes(geometry->type, geometry->head_dim) / KV_BLOCK_TOKENS;
}

size_t kv_block_bytes(const struct kv_geometry *geometry)
{
    return 2 * KV_BLOCK_TOKENS * kv_row_bytes(geometry);
}

quire_status kv_layer_file_bytes(uint64_t *layer, uint64_t *summary, const struct kv_geometry *geometry,
                                 uint64_t capacity_blocks, quire_error *err)
{
    /* The largest file offset and the largest mapping are the limit; a summary (16 bytes and two rows) is the smaller
     * file. */
    size_t blocks, bytes;
    if (!size_mul(&blocks, geometry->n_heads, capacity_blocks) ||
        !size_mul(&bytes, blocks, kv_block_bytes(geometry) + sizeof(struct kv_summary)) || bytes > INT64_MAX)
        return quire_fail(err, QUIRE_ERR_USAGE, "a layer's file of %u heads x %llu blocks x %zu bytes is too large",
                          geometry->n_heads, (unsigned long long)capacity_blocks, kv_block_bytes(geometry));
    *layer = (uint64_t)blocks * kv_block_bytes(geometry);
    *summary = (uint64_t)blocks * (sizeof(struct kv_summary) + 2 * kv_row_bytes(geometry));
    return QUIRE_OK;
}

uint64_t kv_capacity_blocks(uint64_t n_tokens)
{
    uint64_t need = (n_tokens + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS, blocks = KV_CAPACITY_MIN;
    while (blocks < need)
        blocks *= 2;
    return blocks;
}

uint64_t kv_tail_bytes(const struct kv_geometry *geometry)
{
    return (uint64_t)geometry->n_layers * geometry->n_heads * kv_block_bytes(geometry);
}

uint64_t kv_disk_bytes(const struct kv_geometry *geometry, uint64_t n_tokens)
{
    uint64_t n_blocks = n_tokens / KV_BLOCK_TOKENS + (n_tokens % KV_BLOCK_TOKENS != 0);
    uint64_t per_block = kv_block_bytes(geometry) + sizeof(struct kv_summary);
    return geometry->n_layers * (geometry->n_heads * n_blocks * per_block) + n_blocks * sizeof(struct kv_token_record) +
           sizeof(struct kv_manifest);
}

uint64_t kv_identity_hash(const struct kv_geometry *geometry, const char *identity)
{
    uint32_t numbers[4] = {geometry->n_layers, geometry->n_heads, geometry->head_dim, (uint32_t)geometry->type};
    return kv_hash_add(hash64(numbers, sizeof numbers), identity, strlen(identity));
}

uint64_t kv_hash_add(uint64_t hash, const void *data, size_t n_bytes)
{
    return hash64_seeded(data, n_bytes, hash);
}

uint64_t kv_chain(uint64_t start, const int32_t *ids, size_t n)
{
    uint64_t hash = start;
    for (size_t i = 0; i < n; i += KV_BLOCK_TOKENS)
        hash = kv_hash_add(hash, ids + i, size_min(n - i, KV_BLOCK_TOKENS) * sizeof *ids);
    return hash;
}

static uint64_t checksum(const struct kv_manifest *manifest)
{
    return hash64(manifest, offsetof(struct kv_manifest, checksum));
}

void kv_manifest_clear_flight(struct kv_manifest *manifest)
{
    manifest->flags &= ~(uint32_t)KV_HAS_FLIGHT;
    manifest->flight = (struct kv_flight){0};
    manifest->sides[KV_SIDE_FLIGHT] = manifest->sides[KV_SIDE_RESIDUAL] = (struct kv_side_ref){0};
    manifest->n_ids = manifest->frontier;
    manifest->ids_hash = manifest->frontier_hash;
    if (manifest->n_ids < KV_BLOCK_TOKENS)
        manifest->first_hash = 0;
}

void kv_manifest_seal(struct kv_manifest *manifest)
{
    memcpy(manifest->magic, manifest_magic, sizeof manifest_magic);
    manifest->version = KV_FORMAT_VERSION;
    manifest->checksum = checksum(manifest);
}

static bool sides_fit(const struct kv_manifest *m, const struct kv_geometry *geometry)
{
    const struct kv_side_ref *tail = &m->sides[KV_SIDE_TAIL], *logits = &m->sides[KV_SIDE_LOGITS];
    const struct kv_side_ref *flight = &m->sides[KV_SIDE_FLIGHT], *residual = &m->sides[KV_SIDE_RESIDUAL];
    bool has_flight = m->flags & KV_HAS_FLIGHT;
    for (int i = 0; i < KV_SIDE_COUNT; i++)
        if (m->sides[i].generation > m->generation)
            return false;
    return (tail->generation != 0) == (m->frontier % KV_BLOCK_TOKENS != 0) &&
           (tail->generation == 0 || tail->n_bytes == kv_tail_bytes(geometry)) &&
           (logits->generation == 0 || (logits->n_bytes > 0 && logits->n_bytes % sizeof(float) == 0)) &&
           (flight->generation != 0) == has_flight && (residual->generation == 0 || has_flight) &&
           (!has_flight || flight->n_bytes <= m->n_layers * sizeof(uint64_t) + kv_tail_bytes(geometry));
}

/* The first thing wrong in a manifest whose checksum is right, or NULL. Such a file was not damaged but made so: the
 * checks keep every later size and offset in bounds. */
static const char *contradiction(const struct kv_manifest *m)
{
    struct kv_geometry geometry = kv_manifest_geometry(m);
    uint64_t layer_bytes, summary_bytes;
    if (m->id == 0 || m->generation == 0)
        return "it has no id or generation";
    if (!memchr(m->identity, '\0', sizeof m->identity))
        return "its identity does not end";
    for (const char *p = m->identity; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            return "its identity has an unprintable byte";
    if (kv_geometry_check(&geometry, NULL) != QUIRE_OK)
        return "its geometry is out of range";
    if (m->capacity_blocks == 0 || m->capacity_blocks > KV_TOKENS_MAX ||
        kv_layer_file_bytes(&layer_bytes, &summary_bytes, &geometry, m->capacity_blocks, NULL) != QUIRE_OK)
        return "its capacity is out of range";
    if (m->n_ids > KV_TOKENS_MAX || m->frontier > m->n_ids || m->base_tokens > m->frontier ||
        m->n_ids - m->base_tokens > m->capacity_blocks * KV_BLOCK_TOKENS)
        return "its token counts contradict each other";
    if (m->base_tokens % KV_BLOCK_TOKENS != 0 || (m->parent_id != 0) != (m->base_tokens > 0) ||
        (m->parent_id != 0) != (m->depth > 0) || m->depth > KV_DEPTH_MAX)
        return "its parent and its base contradict each other";
    if (m->flags & KV_HAS_FLIGHT) {
        const struct kv_flight *flight = &m->flight;
        if (flight->span_first >= flight->span_end || flight->span_end != m->n_ids || flight->layer > m->n_layers)
            return "its flight is out of range";
    } else if (m->n_ids != m->frontier) {
        return "it has tokens beyond its frontier and no flight";
    }
    return sides_fit(m, &geometry) ? NULL : "its files contradict its frontier";
}

quire_status kv_manifest_check(const struct kv_manifest *manifest, size_t n_bytes, const char *name, quire_error *err)
{
    /* The version first: another one may have another size and another checksum. */
    if (n_bytes < offsetof(struct kv_manifest, flags) ||
        memcmp(manifest->magic, manifest_magic, sizeof manifest_magic) != 0)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is not a KV manifest", name);
    if (manifest->version != KV_FORMAT_VERSION)
        return quire_fail(err, QUIRE_ERR_MISMATCH, "'%s' has format version %u, this build reads version %d", name,
                          manifest->version, KV_FORMAT_VERSION);
    if (n_bytes != sizeof *manifest)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has %zu bytes, expected %zu", name, n_bytes, sizeof *manifest);
    if (manifest->checksum != checksum(manifest))
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged: its checksum is wrong", name);
    const char *what = contradiction(manifest);
    if (what)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is malformed: %s", name, what);
    return QUIRE_OK;
}

bool kv_manifest_matches(const struct kv_manifest *manifest, const struct kv_geometry *geometry, const char *identity)
{
    return manifest->n_layers == geometry->n_layers && manifest->n_heads == geometry->n_heads &&
           manifest->head_dim == geometry->head_dim && manifest->type == (uint32_t)geometry->type &&
           strcmp(manifest->identity, identity) == 0;
}
