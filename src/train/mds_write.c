#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "mds.h"
#include "model/source.h"
#include "new_file.h"

#define DEFAULT_SIZE_LIMIT ((uint64_t)1 << 26)
#define HASH_NAME          "xxh64"

enum { ZSTD_LEVEL = 3 };

struct mds_writer {
    char *folder;
    struct mds_write_options options;
    char *column, *encoding;
    json_t *shards;         /* of the index, as far as they are written */
    char *config;           /* the JSON text of every shard */
    unsigned char *samples; /* of the shard at work, one after the other */
    size_t n_bytes, capacity;
    uint32_t *ends; /* behind each sample, in samples */
    size_t n_samples, ends_capacity;
    uint64_t size_limit;
};

/* The fields that both the index and every shard have. */
static json_t *common_json(const struct mds_writer *w)
{
    return json_pack("{s:[s],s:[s],s:[n],s:s?,s:s,s:[s],s:I,s:i}", "column_encodings", w->encoding, "column_names",
                     w->column, "column_sizes", "compression", w->options.compresses ? "zstd:3" : NULL, "format", "mds",
                     "hashes", HASH_NAME, "size_limit", (json_int_t)w->size_limit, "version", 2);
}

quire_status mds_writer_open(struct mds_writer **out, const char *folder, const struct mds_write_options *options,
                             quire_error *err)
{
    char *index = path_join(folder, MDS_INDEX_NAME, err);
    if (!index)
        return QUIRE_ERR_NO_MEMORY;
    bool exists = sys_exists(index);
    free(index);
    if (exists)
        return quire_fail(err, QUIRE_ERR_USAGE, "'%s' holds a dataset already; name another folder", folder);
    quire_status status = sys_make_folders(folder, err);
    if (status != QUIRE_OK)
        return status;
    struct mds_writer *w = mem_calloc(1, sizeof *w, "a dataset's writer", err);
    if (!w)
        return QUIRE_ERR_NO_MEMORY;
    w->options = *options;
    w->size_limit = options->size_limit ? options->size_limit : DEFAULT_SIZE_LIMIT;
    w->folder = mem_strdup(folder, err);
    w->column = mem_strdup(options->column, err);
    w->encoding = mem_strdup(options->encoding, err);
    w->shards = json_array();
    json_t *config = w->folder && w->column && w->encoding ? common_json(w) : NULL;
    w->config = config ? json_dumps(config, JSON_SORT_KEYS) : NULL;
    json_decref(config);
    if (!w->config || !w->shards) {
        mds_writer_close(w);
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a dataset's writer");
    }
    *out = w;
    return QUIRE_OK;
}

/* The shard as it is on disk. */
static unsigned char *make_shard(const struct mds_writer *w, size_t *n, quire_error *err)
{
    size_t n_config = strlen(w->config), head = 4 * (w->n_samples + 2) + n_config;
    unsigned char *bytes = mem_calloc(head + w->n_bytes, 1, "a shard", err);
    if (!bytes)
        return NULL;
    uint32_t count = (uint32_t)w->n_samples;
    memcpy(bytes, &count, 4);
    for (size_t i = 0; i <= w->n_samples; i++) {
        uint32_t offset = (uint32_t)(head + (i == 0 ? 0 : w->ends[i - 1]));
        memcpy(bytes + 4 + 4 * i, &offset, 4);
    }
    memcpy(bytes + 4 * (w->n_samples + 2), w->config, n_config);
    memcpy(bytes + head, w->samples, w->n_bytes);
    *n = head + w->n_bytes;
    return bytes;
}

static json_t *file_json(const char *basename, const void *bytes, size_t n)
{
    char hex[HASH_HEX_SIZE];
    hash_named_hex(hex, HASH_NAME, bytes, n);
    return json_pack("{s:s,s:I,s:{s:s}}", "basename", basename, "bytes", (json_int_t)n, "hashes", HASH_NAME, hex);
}

static quire_status write_file(const struct mds_writer *w, const char *basename, const void *bytes, size_t n,
                               quire_error *err)
{
    struct new_file draft = {0};
    char *path = path_join(w->folder, basename, err);
    quire_status status = path ? new_file_open(&draft, path, err) : QUIRE_ERR_NO_MEMORY;
    free(path);
    if (status == QUIRE_OK)
        status = new_file_write(&draft, bytes, n, err);
    if (status == QUIRE_OK)
        return new_file_commit(&draft, err);
    new_file_drop(&draft);
    return status;
}

static quire_status compress(unsigned char **out, size_t *n_out, const unsigned char *bytes, size_t n, quire_error *err)
{
    size_t bound = ZSTD_compressBound(n);
    unsigned char *packed = mem_aligned(bound, 1, "a compressed shard", err);
    if (!packed)
        return QUIRE_ERR_NO_MEMORY;
    size_t size = ZSTD_compress(packed, bound, bytes, n, ZSTD_LEVEL);
    if (ZSTD_isError(size)) {
        free(packed);
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "cannot compress a shard: %s", ZSTD_getErrorName(size));
    }
    *out = packed;
    *n_out = size;
    return QUIRE_OK;
}

/* Writes the shard at work, where it has samples, and begins another. */
static quire_status flush_shard(struct mds_writer *w, quire_error *err)
{
    char raw_name[32], zip_name[40];
    unsigned char *bytes, *packed = NULL;
    size_t n = 0, n_packed = 0;
    if (w->n_samples == 0)
        return QUIRE_OK;
    bytes = make_shard(w, &n, err);
    if (!bytes)
        return QUIRE_ERR_NO_MEMORY;
    snprintf(raw_name, sizeof raw_name, "shard.%05zu.mds", json_array_size(w->shards));
    snprintf(zip_name, sizeof zip_name, "%s.zstd", raw_name);
    quire_status status = QUIRE_OK;
    if (w->options.compresses)
        status = compress(&packed, &n_packed, bytes, n, err);
    if (status == QUIRE_OK)
        status = packed ? write_file(w, zip_name, packed, n_packed, err) : write_file(w, raw_name, bytes, n, err);
    if (status != QUIRE_OK) { /* the samples stay, to be written by the next call */
        free(bytes);
        free(packed);
        return status;
    }
    json_t *shard = common_json(w);
    json_object_set_new(shard, "samples", json_integer((json_int_t)w->n_samples));
    json_object_set_new(shard, "raw_data", file_json(raw_name, bytes, n));
    json_object_set_new(shard, "zip_data", packed ? file_json(zip_name, packed, n_packed) : json_null());
    if (json_array_append_new(w->shards, shard) != 0)
        status = quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for an index");
    free(bytes);
    free(packed);
    if (status == QUIRE_OK)
        w->n_samples = w->n_bytes = 0;
    return status;
}

quire_status mds_writer_add(struct mds_writer *w, const void *value, size_t n_bytes, quire_error *err)
{
    /* What the shard would have with this sample: table, text, samples; all offsets are 32 bits. */
    uint64_t needed = 4 * (uint64_t)(w->n_samples + 3) + strlen(w->config) + w->n_bytes + 4 + n_bytes;
    quire_status status = QUIRE_OK;
    if (needed > w->size_limit)
        status = flush_shard(w, err);
    if (status == QUIRE_OK && 4 * 3 + strlen(w->config) + 4 + (uint64_t)n_bytes > UINT32_MAX)
        status = quire_fail(err, QUIRE_ERR_UNSUPPORTED, "a sample of %zu bytes is too large for a shard", n_bytes);
    if (status == QUIRE_OK)
        status = mem_reserve(&w->samples, &w->capacity, w->n_bytes + 4 + n_bytes, 1, "a shard", err);
    if (status == QUIRE_OK)
        status = mem_reserve(&w->ends, &w->ends_capacity, w->n_samples + 1, sizeof *w->ends, "a shard", err);
    if (status != QUIRE_OK)
        return status;
    uint32_t size = (uint32_t)n_bytes;
    memcpy(w->samples + w->n_bytes, &size, 4);
    if (n_bytes > 0)
        memcpy(w->samples + w->n_bytes + 4, value, n_bytes);
    w->n_bytes += 4 + n_bytes;
    w->ends[w->n_samples++] = (uint32_t)w->n_bytes;
    return QUIRE_OK;
}

quire_status mds_writer_finish(struct mds_writer *w, quire_error *err)
{
    quire_status status = flush_shard(w, err);
    if (status != QUIRE_OK)
        return status;
    json_t *index = json_pack("{s:O,s:i}", "shards", w->shards, "version", 2);
    char *text = index ? json_dumps(index, JSON_SORT_KEYS) : NULL;
    json_decref(index);
    status = text ? write_file(w, MDS_INDEX_NAME, text, strlen(text), err)
                  : quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for an index");
    free(text);
    return status;
}

void mds_writer_close(struct mds_writer *w)
{
    if (!w)
        return;
    json_decref(w->shards);
    free(w->config);
    free(w->samples);
    free(w->ends);
    free(w->folder);
    free(w->column);
    free(w->encoding);
    free(w);
}
