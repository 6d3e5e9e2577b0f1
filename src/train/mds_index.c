#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "mds.h"
#include "model/json.h"
#include "model/source.h"

/* Shards are addressed with 32 bits; an index that says more is wrong. */
#define MOST_BYTES UINT32_MAX

enum { MOST_COLUMNS = 1024 };

/* Where in the index something is wrong. */
struct place {
    const char *folder;
    size_t shard;
    quire_error *err;
};

static quire_status bad(const struct place *p, const char *field, const char *expected)
{
    return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s/" MDS_INDEX_NAME "', shard %zu: field '%s' is not %s", p->folder,
                      p->shard, field, expected);
}

static quire_status copy_text(char **out, const struct place *p, const json_t *value, const char *field)
{
    if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
        return bad(p, field, "a text");
    *out = mem_strdup(json_string_value(value), p->err);
    return *out ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
}

static quire_status read_count(uint64_t *out, const struct place *p, const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > MOST_BYTES)
        return bad(p, field, "a whole number below 2^32");
    *out = (uint64_t)json_integer_value(value);
    return QUIRE_OK;
}

static quire_status read_columns(struct mds_shard *shard, const struct place *p, const json_t *object)
{
    const json_t *names = json_object_get(object, "column_names"), *sizes = json_object_get(object, "column_sizes"),
                 *encodings = json_object_get(object, "column_encodings");
    size_t n = json_array_size(names);
    if (n == 0 || n > MOST_COLUMNS)
        return bad(p, "column_names", "a list of names");
    if (json_array_size(encodings) != n || json_array_size(sizes) != n)
        return bad(p, "column_encodings", "as long as column_names and column_sizes");
    shard->columns = mem_calloc(n, sizeof *shard->columns, "the columns of an index", p->err);
    if (!shard->columns)
        return QUIRE_ERR_NO_MEMORY;
    shard->n_columns = n;
    for (size_t i = 0; i < n; i++) {
        struct mds_column *column = &shard->columns[i];
        const json_t *size = json_array_get(sizes, i);
        quire_status status = copy_text(&column->name, p, json_array_get(names, i), "column_names");
        if (status == QUIRE_OK)
            status = copy_text(&column->encoding, p, json_array_get(encodings, i), "column_encodings");
        if (status != QUIRE_OK)
            return status;
        if (!json_is_null(size) &&
            (!json_is_integer(size) || json_integer_value(size) < 0 || json_integer_value(size) > MOST_BYTES))
            return bad(p, "column_sizes", "a list of sizes and nulls");
        column->size = json_is_null(size) ? -1 : json_integer_value(size);
    }
    return QUIRE_OK;
}

/* {"basename", "bytes", "hashes": {algorithm: hex}} */
static quire_status read_file(struct mds_file *file, const struct place *p, json_t *object, const char *field)
{
    if (!json_is_object(object))
        return bad(p, field, "an object");
    json_t *hashes = json_object_get(object, "hashes");
    quire_status status = copy_text(&file->basename, p, json_object_get(object, "basename"), "basename");
    if (status == QUIRE_OK && (file->basename[0] == '\0' || file->basename[0] == '.' || strchr(file->basename, '/')))
        status = bad(p, "basename", "the name of a file in the same folder");
    if (status == QUIRE_OK)
        status = read_count(&file->n_bytes, p, object, "bytes");
    if (status != QUIRE_OK || json_object_size(hashes) == 0)
        return status;
    file->hashes = mem_calloc(json_object_size(hashes), sizeof *file->hashes, "the hashes of an index", p->err);
    if (!file->hashes)
        return QUIRE_ERR_NO_MEMORY;
    for (void *i = json_object_iter(hashes); i && status == QUIRE_OK; i = json_object_iter_next(hashes, i)) {
        struct mds_hash *hash = &file->hashes[file->n_hashes++];
        hash->algorithm = mem_strdup(json_object_iter_key(i), p->err);
        status = hash->algorithm ? copy_text(&hash->hex, p, json_object_iter_value(i), "hashes") : QUIRE_ERR_NO_MEMORY;
    }
    return status;
}

static quire_status read_shard(struct mds_shard *shard, const struct place *p, const json_t *object)
{
    const char *format = json_string_value(json_object_get(object, "format"));
    const json_t *version = json_object_get(object, "version"), *compression = json_object_get(object, "compression");
    json_t *zip = json_object_get(object, "zip_data");
    uint64_t n_samples = 0;
    if (!json_is_object(object))
        return bad(p, "shards", "a list of objects");
    if (!format || strcmp(format, "mds") != 0)
        return quire_fail(p->err, QUIRE_ERR_UNSUPPORTED,
                          "'%s/" MDS_INDEX_NAME "', shard %zu has the format '%s'; this build reads mds", p->folder,
                          p->shard, format ? format : "(none)");
    if (json_integer_value(version) != 2)
        return quire_fail(p->err, QUIRE_ERR_UNSUPPORTED, "'%s/" MDS_INDEX_NAME "', shard %zu is not of version 2",
                          p->folder, p->shard);
    quire_status status = read_columns(shard, p, object);
    if (status == QUIRE_OK)
        status = read_count(&n_samples, p, object, "samples");
    if (status == QUIRE_OK)
        status = read_file(&shard->raw, p, json_object_get(object, "raw_data"), "raw_data");
    if (status == QUIRE_OK && zip && !json_is_null(zip))
        status = read_file(&shard->zip, p, zip, "zip_data");
    shard->n_samples = (uint32_t)n_samples;
    if (status == QUIRE_OK && compression && !json_is_null(compression)) {
        const char *name = json_string_value(compression);
        shard->is_zstd = name && (strcmp(name, "zstd") == 0 || strncmp(name, "zstd:", 5) == 0);
        if (!name)
            return bad(p, "compression", "a text or null");
    }
    return status;
}

static quire_status read_index(struct mds_index *index, const json_t *root, quire_error *err)
{
    struct place place = {.folder = index->folder, .err = err};
    const json_t *shards = json_object_get(root, "shards"), *version = json_object_get(root, "version");
    if (json_integer_value(version) != 2)
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "'%s/" MDS_INDEX_NAME "' is not of version 2", index->folder);
    if (!json_is_array(shards))
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s/" MDS_INDEX_NAME "' has no list 'shards'", index->folder);
    index->shards = mem_calloc(json_array_size(shards), sizeof *index->shards, "the shards of an index", err);
    if (!index->shards)
        return QUIRE_ERR_NO_MEMORY;
    index->n_shards = json_array_size(shards);
    for (size_t i = 0; i < index->n_shards; i++) {
        place.shard = i;
        quire_status status = read_shard(&index->shards[i], &place, json_array_get(shards, i));
        if (status != QUIRE_OK)
            return status;
        index->n_samples += index->shards[i].n_samples;
    }
    return QUIRE_OK;
}

static quire_status index_from_json(struct mds_index *out, const json_t *root, const char *folder, quire_error *err)
{
    struct mds_index index = {.folder = mem_strdup(folder, err)};
    quire_status status = index.folder ? read_index(&index, root, err) : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK)
        *out = index;
    else
        mds_index_release(&index);
    return status;
}

quire_status mds_index_parse(struct mds_index *out, const char *text, size_t n, const char *folder, quire_error *err)
{
    json_t *root = NULL;
    quire_status status = json_object_parse(&root, text, n, MDS_INDEX_NAME, err);
    if (status == QUIRE_OK)
        status = index_from_json(out, root, folder, err);
    json_decref(root);
    return status;
}

quire_status mds_index_open(struct mds_index *out, const char *folder, quire_error *err)
{
    json_t *root = NULL;
    char *path = path_join(folder, MDS_INDEX_NAME, err);
    quire_status status = path ? json_object_load(&root, path, err) : QUIRE_ERR_NO_MEMORY;
    free(path);
    if (status == QUIRE_OK)
        status = index_from_json(out, root, folder, err);
    json_decref(root);
    return status;
}

static void release_file(struct mds_file *file)
{
    for (size_t i = 0; i < file->n_hashes; i++) {
        free(file->hashes[i].algorithm);
        free(file->hashes[i].hex);
    }
    free(file->hashes);
    free(file->basename);
}

void mds_index_release(struct mds_index *index)
{
    for (size_t i = 0; i < index->n_shards; i++) {
        struct mds_shard *shard = &index->shards[i];
        for (size_t c = 0; c < shard->n_columns; c++) {
            free(shard->columns[c].name);
            free(shard->columns[c].encoding);
        }
        free(shard->columns);
        release_file(&shard->raw);
        release_file(&shard->zip);
    }
    free(index->shards);
    free(index->folder);
    *index = (struct mds_index){0};
}
