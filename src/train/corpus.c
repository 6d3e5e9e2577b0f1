#include "corpus.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "mds.h"
#include "model/source.h"

#define TEXT_SUFFIX ".txt"

/* --- texts ------------------------------------------------------------------------------------------------------- */

struct names {
    char **items;
    size_t n, capacity;
};

static void release_names(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->items[i]);
    free(names->items);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_text_name(const char *name)
{
    size_t n = strlen(name), n_suffix = strlen(TEXT_SUFFIX);
    return name[0] != '.' && n > n_suffix && strcmp(name + n - n_suffix, TEXT_SUFFIX) == 0;
}

static quire_status list_texts(struct names *names, const char *folder, quire_error *err)
{
    int fd = sys.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *list = fd < 0 ? NULL : sys.fdopendir(fd);
    if (!list) {
        quire_fail(err, QUIRE_ERR_IO, "cannot open the folder '%s': %s", folder, strerror(errno));
        if (fd >= 0)
            sys.close(fd);
        return QUIRE_ERR_IO;
    }
    quire_status status = QUIRE_OK;
    errno = 0;
    for (struct dirent *entry; status == QUIRE_OK && (entry = sys.readdir(list)); errno = 0) {
        if (!is_text_name(entry->d_name))
            continue;
        status =
            mem_reserve(&names->items, &names->capacity, names->n + 1, sizeof *names->items, "a list of files", err);
        if (status != QUIRE_OK)
            break;
        names->items[names->n] = mem_strdup(entry->d_name, err);
        status = names->items[names->n] ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
        names->n += status == QUIRE_OK;
    }
    if (status == QUIRE_OK && errno != 0)
        status = quire_fail(err, QUIRE_ERR_IO, "cannot list the folder '%s': %s", folder, strerror(errno));
    closedir(list);
    return status;
}

/* name: of the file, cut to that of the document. */
static quire_status visit_text(const char *folder, char *name, corpus_visit visit, void *user, quire_error *err)
{
    struct sys_map map;
    char *path = path_join(folder, name, err);
    if (!path)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = sys_map_file(&map, path, err);
    if (status == QUIRE_OK) {
        name[strlen(name) - strlen(TEXT_SUFFIX)] = '\0';
        const char *text = map.data ? (const char *)map.data : "";
        struct corpus_document document = {.name = name, .where = path, .text = text, .n_bytes = map.n_bytes};
        status = visit(user, &document, err);
        if (status == QUIRE_OK && map.data)
            status = sys_map_check(&map, path, err);
        sys_unmap(&map);
    }
    free(path);
    return status;
}

static quire_status walk_texts(const char *folder, corpus_visit visit, void *user, quire_error *err)
{
    struct names names = {0};
    quire_status status = list_texts(&names, folder, err);
    if (status == QUIRE_OK && names.n == 0)
        status = quire_fail(err, QUIRE_ERR_FORMAT,
                            "the folder '%s' has no text to train on: expected files that end in .txt, or MDS shards "
                            "with " MDS_INDEX_NAME,
                            folder);
    if (names.n > 0)
        qsort(names.items, names.n, sizeof *names.items, by_bytes);
    for (size_t i = 0; i < names.n && status == QUIRE_OK; i++)
        status = visit_text(folder, names.items[i], visit, user, err);
    release_names(&names);
    return status;
}

/* --- shards ------------------------------------------------------------------------------------------------------ */

static quire_status find_column(const struct mds_index *index, const struct mds_shard *shard, size_t *column,
                                bool *is_text, quire_error *err)
{
    char found[256] = "";
    for (size_t pass = 0; pass < 2; pass++) /* tokens are taken before text */
        for (size_t i = 0; i < shard->n_columns; i++) {
            const struct mds_column *c = &shard->columns[i];
            bool is_it = pass == 0 ? strcmp(c->name, "tokens") == 0
                                   : strcmp(c->name, "text") == 0 && strcmp(c->encoding, "str") == 0;
            if (is_it) {
                *column = i;
                *is_text = pass == 1;
                return QUIRE_OK;
            }
        }
    for (size_t i = 0; i < shard->n_columns; i++) {
        size_t n = strlen(found);
        snprintf(found + n, sizeof found - n, "%s%s (%s)", i > 0 ? ", " : "", shard->columns[i].name,
                 shard->columns[i].encoding);
    }
    return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                      "the dataset '%s' has the columns %s; expected 'tokens' or 'text' (str)", index->folder, found);
}

static quire_status visit_sample(const struct mds_reader *reader, uint32_t sample, size_t column, bool is_text,
                                 uint64_t number, corpus_visit visit, void *user, quire_error *err)
{
    char name[32], where[4200];
    struct mds_value value;
    int32_t *ids = NULL;
    snprintf(name, sizeof name, "%06" PRIu64, number);
    snprintf(where, sizeof where, "%s, sample %" PRIu32, reader->path, sample);
    struct corpus_document document = {.name = name, .where = where};
    quire_status status = mds_reader_value(reader, sample, column, &value, err);
    if (status == QUIRE_OK && is_text) {
        document.text = (const char *)value.data;
        document.n_bytes = value.n_bytes;
    } else if (status == QUIRE_OK) {
        status = mds_value_ids(&ids, &document.n_ids, value, reader->shard->columns[column].encoding, where, err);
        document.ids = ids;
    }
    if (status == QUIRE_OK)
        status = visit(user, &document, err);
    free(ids);
    return status;
}

static quire_status walk_shards(const char *folder, corpus_visit visit, void *user, quire_error *err)
{
    struct mds_index index;
    uint64_t number = 0;
    quire_status status = mds_index_open(&index, folder, err);
    if (status != QUIRE_OK)
        return status;
    for (size_t s = 0; s < index.n_shards && status == QUIRE_OK; s++) {
        struct mds_reader reader = {0};
        size_t column = 0;
        bool is_text = false;
        status = find_column(&index, &index.shards[s], &column, &is_text, err);
        if (status == QUIRE_OK)
            status = mds_reader_open(&reader, &index, s, err);
        for (uint32_t i = 0; status == QUIRE_OK && i < index.shards[s].n_samples; i++)
            status = visit_sample(&reader, i, column, is_text, number++, visit, user, err);
        if (status == QUIRE_OK && reader.map.data)
            status = sys_map_check(&reader.map, reader.path, err);
        mds_reader_close(&reader);
    }
    mds_index_release(&index);
    return status;
}

quire_status corpus_walk(const char *folder, corpus_visit visit, void *user, quire_error *err)
{
    char *index = path_join(folder, MDS_INDEX_NAME, err);
    if (!index)
        return QUIRE_ERR_NO_MEMORY;
    bool has_shards = sys_exists(index);
    free(index);
    return has_shards ? walk_shards(folder, visit, user, err) : walk_texts(folder, visit, user, err);
}
