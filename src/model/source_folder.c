/* A HuggingFace folder: config.json, and weights in one file or in shards that an index names. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/printable.h"
#include "json.h"
#include "safetensors.h"
#include "source.h"
#include "torch_bin.h"

/* In the order in which transformers looks for them. */
static const struct weights_format {
    const char *name, *single, *index;
    quire_status (*add)(struct tensors *tensors, const unsigned char *data, size_t n, const char *path,
                        quire_error *err);
} formats[] = {
    {"safetensors", "model.safetensors", "model.safetensors.index.json", safetensors_add},
    {"pytorch", "pytorch_model.bin", "pytorch_model.bin.index.json", torch_bin_add},
};

/* Without memory that could be missing: that would look like a file that is. */
static bool has_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path && sys_exists(path);
}

/* Maps a file of the folder and adds its tensors. source->files has room for it. */
static quire_status open_file(struct model_source *source, const struct weights_format *format, const char *folder,
                              const char *name, quire_error *err)
{
    struct mapped_file *file = &source->files[source->n_files];
    file->path = path_join(folder, name, err);
    if (!file->path)
        return QUIRE_ERR_NO_MEMORY;
    source->n_files++;
    quire_status status = sys_map_file(&file->map, file->path, err);
    if (status != QUIRE_OK)
        return status;
    return format->add(&source->tensors, file->map.data, file->map.n_bytes, file->path, err);
}

static quire_status check_shard_name(const char *index_path, const json_t *value, quire_error *err)
{
    const char *name = json_string_value(value);
    if (!name)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s': 'weight_map' holds %s, expected file names", index_path,
                          json_kind(value));
    /* A shard lies in the folder itself; a name that leads elsewhere is not followed. */
    if (*name == '\0' || strchr(name, '/') || strchr(name, '\\') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' names the file '%s', expected a name in the same folder",
                          index_path, printable(name, strlen(name)).text);
    return QUIRE_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static quire_status open_shards(struct model_source *source, const struct weights_format *format, const char *folder,
                                const char *index_path, json_t *weight_map, quire_error *err)
{
    size_t n = json_object_size(weight_map), n_names = 0;
    const char **names = mem_calloc(n, sizeof *names, "the names of shards", err);
    source->files = mem_calloc(n, sizeof *source->files, "shards", err);
    quire_status status = names && source->files ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    const char *tensor_name;
    json_t *value;
    json_object_foreach(weight_map, tensor_name, value)
    {
        if (status != QUIRE_OK)
            break;
        status = check_shard_name(index_path, value, err);
        if (status == QUIRE_OK)
            names[n_names++] = json_string_value(value);
    }
    if (status == QUIRE_OK)
        qsort(names, n_names, sizeof *names, compare_names);
    for (size_t i = 0; status == QUIRE_OK && i < n_names; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            status = open_file(source, format, folder, names[i], err);
    free(names);
    return status;
}

/* Every tensor that the index names is in the file that it names. */
static quire_status check_index(const struct model_source *source, const char *index_path, json_t *weight_map,
                                quire_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(weight_map, name, value)
    {
        const struct tensor *tensor = tensors_find(&source->tensors, name);
        const char *file = tensor ? strrchr(tensor->path, '/') + 1 : "no file";
        if (strcmp(file, json_string_value(value)) != 0)
            return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' says that tensor '%s' is in '%s', but %s has it", index_path,
                              printable(name, strlen(name)).text, json_string_value(value), file);
    }
    return QUIRE_OK;
}

static quire_status open_index(struct model_source *source, const struct weights_format *format, const char *folder,
                               quire_error *err)
{
    json_t *root = NULL;
    char *index_path = path_join(folder, format->index, err);
    quire_status status = index_path ? json_object_load(&root, index_path, err) : QUIRE_ERR_NO_MEMORY;
    json_t *weight_map = json_object_get(root, "weight_map");
    if (status == QUIRE_OK && json_object_size(weight_map) == 0)
        status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has no object 'weight_map' that names files", index_path);
    if (status == QUIRE_OK)
        status = open_shards(source, format, folder, index_path, weight_map, err);
    if (status == QUIRE_OK)
        status = tensors_sort(&source->tensors, err);
    if (status == QUIRE_OK)
        status = check_index(source, index_path, weight_map, err);
    json_decref(root);
    free(index_path);
    return status;
}

static quire_status open_single(struct model_source *source, const struct weights_format *format, const char *folder,
                                quire_error *err)
{
    source->files = mem_calloc(1, sizeof *source->files, "a model's file", err);
    quire_status status = source->files ? open_file(source, format, folder, format->single, err) : QUIRE_ERR_NO_MEMORY;
    return status == QUIRE_OK ? tensors_sort(&source->tensors, err) : status;
}

/* tokenizer.json is the whole pipeline; a SentencePiece model beside it is what that was made from. */
quire_status source_find_tokenizer(char **path, const char *folder, quire_error *err)
{
    static const char *const names[] = {"tokenizer.json", "spiece.model", "tokenizer.model"};
    size_t found = 0;
    for (size_t i = sizeof names / sizeof *names; i-- > 0;)
        found = has_file(folder, names[i]) ? i : found;
    *path = path_join(folder, names[found], err);
    return *path ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
}

quire_status source_find_folder(struct model_source *source, const char *path, quire_error *err)
{
    source->config_path = path_join(path, "config.json", err);
    if (!source->config_path)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = source_find_tokenizer(&source->tokenizer_path, path, err);
    if (status != QUIRE_OK)
        return status;
    if (!sys_exists(source->config_path))
        return quire_fail(err, QUIRE_ERR_IO,
                          "folder '%s' has no config.json; a model is a folder with config.json and model.safetensors "
                          "or pytorch_model.bin, or a .gguf file",
                          path);
    return QUIRE_OK;
}

quire_status source_open_weights(struct model_source *source, const char *path, quire_error *err)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        source->format_name = formats[i].name;
        if (has_file(path, formats[i].single))
            return open_single(source, &formats[i], path, err);
        if (has_file(path, formats[i].index))
            return open_index(source, &formats[i], path, err);
    }
    return quire_fail(
        err, QUIRE_ERR_IO,
        "folder '%s' has no weights, expected model.safetensors or pytorch_model.bin, or an index of shards "
        "(model.safetensors.index.json, pytorch_model.bin.index.json)",
        path);
}
