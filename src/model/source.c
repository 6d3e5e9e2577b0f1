#include "source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "ggml_type.h"
#include "gguf_file.h"

char *path_join(const char *folder, const char *name, quire_error *err)
{
    size_t n = strlen(folder) + 1 + strlen(name) + 1;
    char *path = mem_calloc(n, 1, "a path", err);
    const char *slash = *folder && folder[strlen(folder) - 1] == '/' ? "" : "/";
    if (path)
        snprintf(path, n, "%s%s%s", folder, slash, name);
    return path;
}

static quire_status add_gguf_tensor(struct model_source *source, const struct gguf_tensor *from, quire_error *err)
{
    const struct ggml_type *type = ggml_type_of(from->ggml_type);
    struct tensor tensor = {
        .path = gguf_path(source->gguf),
        .type_name = type->name,
        .type = type->dtype,
        .is_number = type->dtype != QUIRE_DTYPE_COUNT,
        .n_dims = from->n_dims,
        .data = from->data,
        .n_bytes = from->n_bytes,
    };
    for (uint32_t d = 0; d < from->n_dims; d++)
        tensor.dims[d] = from->dims[from->n_dims - 1 - d];
    if (memchr(from->name.bytes, '\0', from->name.n))
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has a tensor whose name contains a NUL byte", tensor.path);
    tensor.name = mem_calloc(from->name.n + 1, 1, "a tensor's name", err);
    if (!tensor.name)
        return QUIRE_ERR_NO_MEMORY;
    memcpy(tensor.name, from->name.bytes, from->name.n);
    return tensors_add(&source->tensors, &tensor, err);
}

quire_status source_open_gguf(struct model_source *source, const char *path, quire_error *err)
{
    source->is_gguf = true;
    quire_status status = gguf_open(&source->gguf, path, err);
    for (uint64_t i = 0; status == QUIRE_OK && i < gguf_n_tensors(source->gguf); i++)
        status = add_gguf_tensor(source, gguf_tensor_at(source->gguf, i), err);
    return status == QUIRE_OK ? tensors_sort(&source->tensors, err) : status;
}

static void advise(const struct sys_map *map, int advice)
{
    if (map->data) /* advice only: a failure does not matter */
        (void)madvise((void *)(uintptr_t)map->data, map->n_bytes, advice);
}

void source_read_ahead(const struct model_source *source, bool is_on)
{
    int advice = is_on ? MADV_NORMAL : MADV_RANDOM;
    if (source->is_gguf)
        advise(&source->gguf->map, advice);
    for (size_t i = 0; i < source->n_files; i++)
        advise(&source->files[i].map, advice);
}

quire_status source_check(const struct model_source *source, quire_error *err)
{
    quire_status status = QUIRE_OK;
    if (source->gguf)
        status = gguf_check(source->gguf, err);
    for (size_t i = 0; i < source->n_files && status == QUIRE_OK; i++)
        status = sys_map_check(&source->files[i].map, source->files[i].path, err);
    return status;
}

void source_close(struct model_source *source)
{
    if (!source)
        return;
    tensors_release(&source->tensors);
    gguf_close(source->gguf);
    for (size_t i = 0; i < source->n_files; i++) {
        sys_unmap(&source->files[i].map);
        free(source->files[i].path);
    }
    free(source->files);
    free(source->config_path);
    free(source->tokenizer_json_path);
    free(source->vectors);
    free(source);
}
