#include "kv/kv_archive.h"

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

static const char archive_magic[8] = {'Q', 'U', 'I', 'R', 'E', 'K', 'V', 'A'};

quire_status kv_archive_bytes(uint64_t *out, const struct kv_manifest *m, uint32_t n_about, quire_error *err)
{
    struct kv_geometry geometry = kv_manifest_geometry(m);
    size_t n_blocks, blocks, n_records = (m->frontier + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    size_t n_bytes = sizeof(struct kv_archive_header) + sizeof *m + n_about;
    bool is_fine = size_mul(&n_blocks, (size_t)m->n_layers * m->n_heads, m->frontier / KV_BLOCK_TOKENS) &&
                   size_mul(&blocks, n_blocks, kv_block_bytes(&geometry) + sizeof(uint64_t)) &&
                   size_add(&n_bytes, n_bytes, blocks) &&
                   size_add(&n_bytes, n_bytes, n_records * sizeof(struct kv_token_record)) &&
                   size_add(&n_bytes, n_bytes, m->sides[KV_SIDE_TAIL].n_bytes) &&
                   size_add(&n_bytes, n_bytes, m->sides[KV_SIDE_LOGITS].n_bytes) && n_bytes <= INT64_MAX;
    if (!is_fine)
        return quire_fail(err, QUIRE_ERR_USAGE, "a KV book of %llu tokens is too large for one file",
                          (unsigned long long)m->frontier);
    *out = n_bytes;
    return QUIRE_OK;
}

static uint64_t checksum(const struct kv_archive_header *header)
{
    return hash64(header, offsetof(struct kv_archive_header, checksum));
}

void kv_archive_seal(struct kv_archive_header *header)
{
    memcpy(header->magic, archive_magic, sizeof archive_magic);
    header->version = KV_ARCHIVE_VERSION;
    header->checksum = checksum(header);
}

quire_status kv_archive_check_header(const struct kv_archive_header *header, uint64_t n_bytes, const char *name,
                                     quire_error *err)
{
    if (memcmp(header->magic, archive_magic, sizeof archive_magic) != 0)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is not an exported KV book", name);
    if (header->version != KV_ARCHIVE_VERSION)
        return quire_fail(err, QUIRE_ERR_MISMATCH, "'%s' has export version %u, this build reads version %d", name,
                          header->version, KV_ARCHIVE_VERSION);
    if (header->checksum != checksum(header))
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged: the checksum of its header is wrong", name);
    if (header->n_bytes != n_bytes)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has %llu bytes, expected %llu: it was not copied whole", name,
                          (unsigned long long)n_bytes, (unsigned long long)header->n_bytes);
    if (header->n_about > KV_ABOUT_MAX)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is malformed: %u bytes about a book, expected at most %d", name,
                          header->n_about, KV_ABOUT_MAX);
    return QUIRE_OK;
}

quire_status kv_archive_check_manifest(const struct kv_manifest *m, const struct kv_archive_header *header,
                                       const char *name, quire_error *err)
{
    struct kv_geometry geometry = kv_manifest_geometry(m);
    uint64_t n_bytes = 0;
    for (int i = 0; i < KV_SIDE_COUNT; i++)
        if (m->sides[i].generation == 0 && m->sides[i].n_bytes != 0)
            return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is malformed: a file that is not there has a size", name);
    if (m->generation != 1 || m->parent_id != 0 || m->flags != 0 || m->frontier == 0 ||
        m->base_hash != kv_identity_hash(&geometry, m->identity))
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is malformed: its manifest is not that of a book on its own",
                          name);
    if (kv_archive_bytes(&n_bytes, m, header->n_about, NULL) != QUIRE_OK || n_bytes != header->n_bytes)
        return quire_fail(
            err, QUIRE_ERR_FORMAT, "'%s' is malformed: %llu tokens would take %llu bytes, and it claims %llu", name,
            (unsigned long long)m->frontier, (unsigned long long)n_bytes, (unsigned long long)header->n_bytes);
    return QUIRE_OK;
}
