#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "mds.h"
#include "model/source.h"

/* Compares bytes with what the index says of them. A hash of a kind that this build does not compute says nothing. */
static quire_status check_file(const struct mds_file *file, const unsigned char *data, size_t n, const char *path,
                               quire_error *err)
{
    char hex[HASH_HEX_SIZE];
    if (n != file->n_bytes)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has %zu bytes, its index says %" PRIu64, path, n, file->n_bytes);
    for (size_t i = 0; i < file->n_hashes; i++) {
        const struct mds_hash *hash = &file->hashes[i];
        if (hash_named_hex(hex, hash->algorithm, data, n) && strcasecmp(hex, hash->hex) != 0)
            return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged: its %s is %s, its index says %.64s", path,
                              hash->algorithm, hex, hash->hex);
    }
    return QUIRE_OK;
}

/* All offsets: a shard is refused as a whole. */
static quire_status check_table(const struct mds_reader *r, quire_error *err)
{
    uint64_t n = r->shard->n_samples, table_end = 4 * (n + 2);
    if (table_end > r->n_bytes)
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "'%s' is cut short: %zu bytes cannot hold the table of %" PRIu64 " samples", r->path,
                          r->n_bytes, n);
    if (load_u32(r->data) != n)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' says that it has %" PRIu32 " samples, its index says %" PRIu64,
                          r->path, load_u32(r->data), n);
    uint64_t before = table_end;
    for (uint64_t i = 0; i <= n; i++) {
        uint64_t offset = load_u32(r->data + 4 + 4 * i);
        if (offset < before || offset > r->n_bytes)
            return quire_fail(err, QUIRE_ERR_FORMAT,
                              "'%s': sample %" PRIu64 " lies at byte %" PRIu64
                              ", outside of the file or before the one ahead of it",
                              r->path, i, offset);
        before = offset;
    }
    return QUIRE_OK;
}

quire_status mds_reader_on(struct mds_reader *out, const struct mds_shard *shard, const unsigned char *data,
                           size_t n_bytes, const char *path, quire_error *err)
{
    struct mds_reader r = {.shard = shard, .data = data, .n_bytes = n_bytes, .path = mem_strdup(path, err)};
    if (!r.path)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = check_table(&r, err);
    if (status == QUIRE_OK)
        *out = r;
    else
        mds_reader_close(&r);
    return status;
}

/* The zip file at path, decompressed to the size that the index says. */
static quire_status decompress(unsigned char **out, const struct mds_shard *shard, const char *path, quire_error *err)
{
    struct sys_map map;
    unsigned char *copy = NULL;
    size_t n = (size_t)shard->raw.n_bytes, n_out;
    quire_status status = sys_map_file(&map, path, err);
    if (status != QUIRE_OK)
        return status;
    status = check_file(&shard->zip, map.data, map.n_bytes, path, err);
    if (status != QUIRE_OK)
        goto out;
    /* The frame usually says what it holds: a small file that claims to be a large one is not given the memory. */
    unsigned long long claimed = ZSTD_getFrameContentSize(map.data, map.n_bytes);
    if (claimed != ZSTD_CONTENTSIZE_UNKNOWN && claimed != n) {
        status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is not a zstd file of %zu bytes", path, n);
        goto out;
    }
    copy = mem_aligned(n, 1, "a shard", err);
    if (!copy) {
        status = QUIRE_ERR_NO_MEMORY;
        goto out;
    }
    n_out = ZSTD_decompress(copy, n, map.data, map.n_bytes);
    status = sys_map_check(&map, path, err);
    if (status == QUIRE_OK && (ZSTD_isError(n_out) || n_out != n))
        status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged: %s", path,
                            ZSTD_isError(n_out) ? ZSTD_getErrorName(n_out) : "it holds less than its index says");
    if (status == QUIRE_OK) {
        *out = copy;
        copy = NULL;
    }
out:
    free(copy);
    sys_unmap(&map);
    return status;
}

static quire_status open_bytes(struct mds_reader *r, const struct mds_index *index, quire_error *err)
{
    const struct mds_shard *shard = r->shard;
    r->path = path_join(index->folder, shard->raw.basename, err);
    if (!r->path)
        return QUIRE_ERR_NO_MEMORY;
    if (sys_exists(r->path) || !shard->zip.basename) {
        quire_status status = sys_map_file(&r->map, r->path, err);
        r->data = r->map.data;
        r->n_bytes = r->map.n_bytes;
        return status;
    }
    free(r->path);
    r->path = path_join(index->folder, shard->zip.basename, err);
    if (!r->path)
        return QUIRE_ERR_NO_MEMORY;
    if (!shard->is_zstd)
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "'%s' is compressed otherwise than with zstd, which this build does not read; decompress it "
                          "to '%s'",
                          r->path, shard->raw.basename);
    quire_status status = decompress(&r->copy, shard, r->path, err);
    r->data = r->copy;
    r->n_bytes = (size_t)shard->raw.n_bytes;
    return status;
}

quire_status mds_reader_open(struct mds_reader *out, const struct mds_index *index, size_t shard, quire_error *err)
{
    struct mds_reader r = {.shard = &index->shards[shard]};
    quire_status status = open_bytes(&r, index, err);
    if (status == QUIRE_OK)
        status = check_file(&r.shard->raw, r.data, r.n_bytes, r.path, err);
    if (status == QUIRE_OK)
        status = check_table(&r, err);
    if (status == QUIRE_OK && r.map.data)
        status = sys_map_check(&r.map, r.path, err);
    if (status == QUIRE_OK)
        *out = r;
    else
        mds_reader_close(&r);
    return status;
}

void mds_reader_close(struct mds_reader *reader)
{
    sys_unmap(&reader->map);
    free(reader->copy);
    free(reader->path);
    *reader = (struct mds_reader){0};
}

quire_status mds_reader_value(const struct mds_reader *reader, uint32_t sample, size_t column, struct mds_value *out,
                              quire_error *err)
{
    const unsigned char *entry = reader->data + 4 + 4 * (size_t)sample;
    const struct mds_column *columns = reader->shard->columns;
    uint64_t first = taken(load_u32(entry)), end = taken(load_u32(entry + 4)), at = first, n_sizes = 0;
    struct mds_value value = {0};
    if (first > end || end > reader->n_bytes)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has changed since it was opened: sample %" PRIu32, reader->path,
                          sample);
    for (size_t i = 0; i < reader->shard->n_columns; i++)
        n_sizes += columns[i].size < 0;
    at += 4 * n_sizes;
    const unsigned char *size = reader->data + first;
    for (size_t i = 0; i < reader->shard->n_columns && at <= end; i++) {
        uint64_t n = columns[i].size < 0 ? taken(load_u32(size)) : (uint64_t)columns[i].size;
        size += columns[i].size < 0 ? 4 : 0;
        if (i == column && n <= end - at)
            value = (struct mds_value){reader->data + at, (size_t)n};
        at += n;
    }
    if (at != end)
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "'%s': the columns of sample %" PRIu32 " do not fill the %" PRIu64 " bytes that it has",
                          reader->path, sample, end - first);
    *out = value;
    return QUIRE_OK;
}

/* --- arrays ------------------------------------------------------------------------------------------------------ */

static const struct whole_type {
    const char *name;
    unsigned char code; /* in the value, where the encoding does not say it */
    unsigned char width;
    bool is_signed;
} whole_types[] = {{"uint8", 8, 1, false},   {"int8", 9, 1, true},   {"uint16", 16, 2, false}, {"int16", 17, 2, true},
                   {"uint32", 32, 4, false}, {"int32", 33, 4, true}, {"uint64", 64, 8, false}, {"int64", 65, 8, true}};
enum { N_WHOLE_TYPES = sizeof whole_types / sizeof whole_types[0] };

static uint64_t load_whole(const unsigned char *p, const struct whole_type *type)
{
    switch (type->width) {
    case 1: return type->is_signed ? (uint64_t)(int64_t)(int8_t)p[0] : p[0];
    case 2: return type->is_signed ? (uint64_t)(int64_t)(int16_t)load_u16(p) : load_u16(p);
    case 4: return type->is_signed ? (uint64_t)(int64_t)(int32_t)load_u32(p) : load_u32(p);
    default: return load_u64(p);
    }
}

/* "ndarray", "ndarray:int32", "ndarray:int32:2048": finds the type, and steps over what stands in front of the data. */
static quire_status read_array_head(const struct whole_type **type, struct mds_value *value, const char *encoding,
                                    const char *where, quire_error *err)
{
    const char *name = encoding + strlen("ndarray");
    size_t n_name = *name == ':' ? strcspn(name + 1, ":") : 0;
    bool has_shape = n_name > 0 && name[1 + n_name] == ':';
    const struct whole_type *found = NULL;
    for (size_t i = 0; i < N_WHOLE_TYPES && !found; i++) {
        const struct whole_type *t = &whole_types[i];
        if (n_name > 0 ? strlen(t->name) == n_name && strncmp(t->name, name + 1, n_name) == 0
                       : value->n_bytes > 0 && value->data[0] == t->code)
            found = t;
    }
    if (!found)
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "%s: an array ('%s') of something else than whole numbers", where,
                          encoding);
    size_t n_head = n_name > 0 ? 0 : 1;
    uint64_t n_told = 0;
    if (has_shape) {
        char *end;
        n_told = strtoull(name + 2 + n_name, &end, 10);
        if (end == name + 2 + n_name || *end != '\0')
            return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "%s: an array of the shape '%s', expected one number", where,
                              name + 2 + n_name);
    } else { /* one byte: 4 x dimensions + log2 of the width of each, and the dimensions */
        if (value->n_bytes < n_head + 1)
            return quire_fail(err, QUIRE_ERR_FORMAT, "%s: an array without a shape", where);
        unsigned shape = value->data[n_head];
        if (shape >> 2 != 1)
            return quire_fail(err, QUIRE_ERR_FORMAT, "%s: an array of %u dimensions, expected 1", where, shape >> 2);
        size_t width = (size_t)1 << (shape & 3);
        if (value->n_bytes < n_head + 1 + width)
            return quire_fail(err, QUIRE_ERR_FORMAT, "%s: an array of %zu bytes is cut short", where, value->n_bytes);
        memcpy(&n_told, value->data + n_head + 1, width);
        n_head += 1 + width;
    }
    if (value->n_bytes < n_head || (value->n_bytes - n_head) % found->width != 0 ||
        (value->n_bytes - n_head) / found->width != n_told)
        return quire_fail(err, QUIRE_ERR_FORMAT, "%s: an array of %zu bytes, expected %" PRIu64 " numbers of %u", where,
                          value->n_bytes - size_min(n_head, value->n_bytes), n_told, found->width);
    *value = (struct mds_value){value->data + n_head, value->n_bytes - n_head};
    *type = found;
    return QUIRE_OK;
}

quire_status mds_value_ids(int32_t **ids, size_t *n, struct mds_value value, const char *encoding, const char *where,
                           quire_error *err)
{
    const struct whole_type *type = &whole_types[N_WHOLE_TYPES - 1];
    if (strncmp(encoding, "ndarray", 7) == 0 && (encoding[7] == '\0' || encoding[7] == ':')) {
        quire_status status = read_array_head(&type, &value, encoding, where, err);
        if (status != QUIRE_OK)
            return status;
    } else if (strcmp(encoding, "bytes") != 0) {
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "%s: tokens in the encoding '%s'; expected bytes or ndarray",
                          where, encoding);
    }
    if (value.n_bytes % type->width != 0)
        return quire_fail(err, QUIRE_ERR_FORMAT, "%s: %zu bytes are no array of int64", where, value.n_bytes);
    size_t count = value.n_bytes / type->width;
    int32_t *out = mem_calloc(count, sizeof *out, "tokens", err);
    if (!out)
        return QUIRE_ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        uint64_t id = load_whole(value.data + i * type->width, type);
        if (id > INT32_MAX) {
            free(out);
            return quire_fail(err, QUIRE_ERR_FORMAT, "%s: number %zu is no token id", where, i);
        }
        out[i] = (int32_t)id;
    }
    *ids = out;
    *n = count;
    return QUIRE_OK;
}
