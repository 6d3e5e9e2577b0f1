#include "kv/kv_tokens.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "kv/kv_file.h"
#include "kv/kv_format.h"

quire_status kv_tokens_write(int fd, const char *path, uint64_t seed, const int32_t *ids, size_t first, size_t n,
                             uint64_t *n_written, quire_error *err)
{
    size_t first_block = first / KV_BLOCK_TOKENS, end_block = (n + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    if (first_block >= end_block)
        return QUIRE_OK;
    struct kv_token_record *records = mem_calloc(end_block - first_block, sizeof *records, "token records", err);
    if (!records)
        return QUIRE_ERR_NO_MEMORY;
    uint64_t hash = kv_chain(seed, ids, first_block * KV_BLOCK_TOKENS);
    for (size_t b = first_block; b < end_block; b++) {
        struct kv_token_record *record = &records[b - first_block];
        const int32_t *block = ids + b * KV_BLOCK_TOKENS;
        size_t n_block = size_min(n - b * KV_BLOCK_TOKENS, KV_BLOCK_TOKENS);
        memcpy(record->ids, block, n_block * sizeof *block);
        hash = kv_chain(hash, block, n_block);
        record->hash = hash;
    }
    size_t n_bytes = (end_block - first_block) * sizeof *records;
    quire_status status = sys_write_all(fd, records, n_bytes, (off_t)(first_block * sizeof *records), path, err);
    if (status == QUIRE_OK)
        *n_written += n_bytes;
    free(records);
    return status;
}

/* The file's first n_blocks records, to be freed. Read and not mapped: a disk that fails gives an error code. */
static quire_status read_records(struct kv_token_record **out, const char *path, size_t n_blocks, quire_error *err)
{
    size_t n_bytes = n_blocks * sizeof(struct kv_token_record);
    uint64_t size;
    int fd = -1;
    struct kv_token_record *records = NULL;
    quire_status status = kv_file_open_own(&fd, path, O_RDONLY, err);
    if (status == QUIRE_OK)
        status = kv_file_size(fd, &size, path, err);
    if (status == QUIRE_OK && size < n_bytes)
        status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is cut short: it has %llu bytes, expected %zu", path,
                            (unsigned long long)size, n_bytes);
    if (status == QUIRE_OK) {
        records = mem_calloc(n_blocks, sizeof *records, "token records", err);
        status = records ? sys_read_all(fd, records, n_bytes, 0, path, err) : QUIRE_ERR_NO_MEMORY;
    }
    kv_file_close(&fd);
    if (status == QUIRE_OK)
        *out = records;
    else
        free(records);
    return status;
}

quire_status kv_tokens_compare(size_t *n_common, const char *path, uint64_t seed, size_t n_stored, uint64_t hash,
                               const int32_t *ids, size_t n, quire_error *err)
{
    struct kv_token_record *records;
    size_t n_blocks = (n_stored + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS, common = 0;
    bool is_equal = true;
    uint64_t chain = seed;
    quire_status status = read_records(&records, path, n_blocks, err);
    if (status != QUIRE_OK)
        return status;
    for (size_t b = 0; b < n_blocks; b++) {
        const struct kv_token_record *record = &records[b];
        size_t first = b * KV_BLOCK_TOKENS, n_block = size_min(n_stored - first, KV_BLOCK_TOKENS);
        chain = kv_chain(chain, record->ids, n_block);
        if (n_block == KV_BLOCK_TOKENS && chain != record->hash) {
            status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged in block %zu", path, b);
            goto out;
        }
        for (size_t i = 0; i < n_block && is_equal; i++) {
            is_equal = first + i < n && record->ids[i] == ids[first + i];
            common += is_equal;
        }
    }
    if (chain != hash)
        status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged: its %zu tokens are not those of the manifest",
                            path, n_stored);
    else
        *n_common = common;
out:
    free(records);
    return status;
}

quire_status kv_tokens_check(size_t *n_sound, const char *path, uint64_t seed, size_t n_stored, uint64_t hash,
                             quire_error *err)
{
    struct sys_map map;
    uint64_t chain = seed;
    *n_sound = 0;
    if (!sys_exists(path))
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is missing", path);
    quire_status status = sys_map_file(&map, path, err);
    if (status != QUIRE_OK)
        return status;
    size_t n_there = map.n_bytes / sizeof(struct kv_token_record) * KV_BLOCK_TOKENS, n = 0;
    for (size_t n_block; n < size_min(n_stored, n_there); n += n_block) {
        const struct kv_token_record *record = (const void *)(map.data + n / KV_BLOCK_TOKENS * sizeof *record);
        n_block = size_min(n_stored - n, KV_BLOCK_TOKENS);
        chain = kv_chain(chain, record->ids, n_block);
        if (chain != (n_block == KV_BLOCK_TOKENS ? record->hash : hash))
            break;
    }
    status = sys_map_check(&map, path, err);
    sys_unmap(&map);
    if (status != QUIRE_OK)
        return status;
    /* Records that agree with each other and not with the manifest are another text's. */
    if (n == n_stored && chain != hash)
        n = 0;
    *n_sound = n;
    if (n < n_stored)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged or cut short: of %zu tokens the first %zu are sound",
                          path, n_stored, n);
    return QUIRE_OK;
}

quire_status kv_tokens_chain(uint64_t *hash, const char *path, uint64_t seed, size_t n, quire_error *err)
{
    struct kv_token_record *records;
    quire_status status = read_records(&records, path, (n + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS, err);
    if (status != QUIRE_OK)
        return status;
    size_t n_blocks = n / KV_BLOCK_TOKENS, n_rest = n % KV_BLOCK_TOKENS;
    uint64_t chain = n_blocks > 0 ? records[n_blocks - 1].hash : seed;
    *hash = n_rest > 0 ? kv_chain(chain, records[n_blocks].ids, n_rest) : chain;
    free(records);
    return QUIRE_OK;
}

static quire_status fail_other_text(const char *path, quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' does not hold the text that a book branches off from", path);
}

quire_status kv_tokens_check_chain(const char *path, size_t n_blocks, uint64_t hash, quire_error *err)
{
    struct kv_token_record *records;
    quire_status status = read_records(&records, path, n_blocks, err);
    if (status != QUIRE_OK)
        return status;
    bool is_same = records[n_blocks - 1].hash == hash;
    free(records);
    return is_same ? QUIRE_OK : fail_other_text(path, err);
}

quire_status kv_tokens_check_damaged(const char *path, size_t n_blocks, uint64_t hash, size_t n_stored,
                                     uint64_t end_hash, quire_error *err)
{
    struct kv_token_record *records;
    quire_status status = read_records(&records, path, (n_stored + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS, err);
    if (status != QUIRE_OK)
        return status;
    bool is_same = records[n_blocks - 1].hash == hash;
    for (size_t first = n_blocks * KV_BLOCK_TOKENS; first < n_stored; first += KV_BLOCK_TOKENS)
        hash = kv_chain(hash, records[first / KV_BLOCK_TOKENS].ids, size_min(n_stored - first, KV_BLOCK_TOKENS));
    is_same = is_same || hash == end_hash;
    free(records);
    return is_same ? QUIRE_OK : fail_other_text(path, err);
}
