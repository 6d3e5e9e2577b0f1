#include "kv/kv_part.h"

#include <fcntl.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "kv/kv_format.h"
#include "kv/kv_use.h"

enum { PREFETCH_BYTES = 1024 * 1024 };

quire_status kv_part_init(struct kv_part *part, const struct kv_geometry *geometry, uint64_t book_id,
                          const char *folder, size_t first_block, size_t end_block, size_t capacity_blocks,
                          quire_error *err)
{
    *part = (struct kv_part){.geometry = *geometry,
                             .block_bytes = kv_block_bytes(geometry),
                             .capacity_blocks = capacity_blocks,
                             .first_block = first_block,
                             .end_block = end_block,
                             .book_id = book_id,
                             .use_fd = -1};
    quire_status status = kv_layer_file_bytes(&part->layer_bytes, &part->summary_bytes, geometry, capacity_blocks, err);
    if (status != QUIRE_OK)
        return status;
    part->folder = mem_strdup(folder, err);
    part->layers = mem_calloc(geometry->n_layers, sizeof *part->layers, "the mapped layers", err);
    part->check_ends = mem_calloc(geometry->n_layers, sizeof *part->check_ends, "the layers' checks", err);
    part->checked =
        mem_calloc((size_t)geometry->n_layers * geometry->n_heads, sizeof *part->checked, "the layers' checks", err);
    size_t n_norms;
    if (!size_mul(&n_norms, (size_t)geometry->n_layers * geometry->n_heads, capacity_blocks))
        return quire_fail(err, QUIRE_ERR_USAGE, "a KV book of %zu blocks is too large", capacity_blocks);
    part->norms = mem_calloc(n_norms, sizeof *part->norms, "the norms of keys", err);
    return part->folder && part->layers && part->check_ends && part->checked && part->norms ? QUIRE_OK
                                                                                            : QUIRE_ERR_NO_MEMORY;
}

void kv_part_release(struct kv_part *part)
{
    if (!part->is_borrowed) {
        for (uint32_t i = 0; part->layers && i < part->geometry.n_layers; i++)
            sys_unmap(&part->layers[i]);
        free(part->layers);
        free(part->check_ends);
        free(part->checked);
        free(part->norms);
        if (part->block_bytes > 0) /* it was initialised */
            kv_file_close(&part->use_fd);
        free(part->folder);
    }
    *part = (struct kv_part){.use_fd = -1};
}

quire_status kv_part_share(struct kv_part *part, quire_error *err)
{
    bool is_missing;
    quire_error why = {0};
    quire_status status = kv_use_share(&part->use_fd, part->folder, &is_missing, &why);
    if (status != QUIRE_OK)
        return quire_fail(err, is_missing ? QUIRE_ERR_FORMAT : status, "%s", why.message);
    kv_use_note(part->use_fd);
    return QUIRE_OK;
}

void kv_part_path(char path[KV_PATH_SIZE], const struct kv_part *part, const char *kind, uint32_t layer)
{
    kv_path(path, part->folder, "%s%s.%03u", part->book_id ? "" : "temporary ", kind, layer);
}

quire_status kv_part_open_file(int *fd, const struct kv_part *part, const char *kind, uint32_t layer, int flags,
                               quire_error *err)
{
    char path[KV_PATH_SIZE];
    uint64_t size, expected = strcmp(kind, "layer") == 0 ? part->layer_bytes : part->summary_bytes;
    kv_part_path(path, part, kind, layer);
    quire_status status = kv_file_open_own(fd, path, flags, err);
    if (status == QUIRE_OK)
        status = kv_file_size(*fd, &size, path, err);
    if (status == QUIRE_OK && size != expected)
        status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has %llu bytes, expected %llu (KV-8)", path,
                            (unsigned long long)size, (unsigned long long)expected);
    return status;
}

quire_status kv_part_map_layer(struct kv_part *part, uint32_t layer, int fd, quire_error *err)
{
    char path[KV_PATH_SIZE];
    kv_part_path(path, part, "layer", layer);
    return sys_map_open_file(&part->layers[layer], fd, part->layer_bytes, path, err);
}

quire_status kv_part_check_map(const struct kv_part *part, uint32_t layer, quire_error *err)
{
    char path[KV_PATH_SIZE];
    kv_part_path(path, part, "layer", layer);
    return sys_map_check(&part->layers[layer], path, err);
}

/* The descriptor is closed at once: a chain of parents with many layers must not use up the process's descriptors. */
static quire_status map_layer(struct kv_part *part, uint32_t layer, quire_error *err)
{
    int fd = -1;
    quire_status status = kv_part_open_file(&fd, part, "summary", layer, O_RDONLY, err);
    kv_file_close(&fd);
    if (status == QUIRE_OK)
        status = kv_part_open_file(&fd, part, "layer", layer, O_RDONLY, err);
    if (status == QUIRE_OK)
        status = kv_part_map_layer(part, layer, fd, err);
    kv_file_close(&fd);
    return status;
}

quire_status kv_part_map(struct kv_part *part, quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (uint32_t i = 0; i < part->geometry.n_layers && status == QUIRE_OK; i++) {
        status = map_layer(part, i, err);
        kv_part_distrust(part, i, part->end_block);
    }
    return status;
}

/* Advice on the pages of [begin, end) of a mapping: all that the bytes touch, or only those wholly inside. */
static void advise(const unsigned char *begin, const unsigned char *end, bool is_whole_pages, int advice)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = is_whole_pages ? ((uintptr_t)begin + page - 1) / page * page : (uintptr_t)begin / page * page;
    uintptr_t last = is_whole_pages ? (uintptr_t)end / page * page : (uintptr_t)end;
    if (first < last)
        madvise((void *)first, last - first, advice);
}

static bool cut(const struct kv_part *part, uint32_t layer, size_t *first, size_t *end)
{
    *first = size_max(*first, part->first_block);
    *end = size_min(*end, part->end_block);
    return part->layers[layer].data && *first < *end;
}

void kv_part_prefetch(const struct kv_part *part, uint32_t layer, uint32_t head, size_t first, size_t end)
{
    if (!cut(part, layer, &first, &end))
        return;
    /* In pieces, so that the newest are asked for first. */
    size_t n_at_once = size_max(1, PREFETCH_BYTES / part->block_bytes);
    for (size_t piece_end = end, n; piece_end > first; piece_end -= n) {
        n = size_min(n_at_once, piece_end - first);
        advise(kv_part_block(part, layer, head, piece_end - n), kv_part_block(part, layer, head, piece_end), false,
               MADV_WILLNEED);
    }
}

void kv_part_release_blocks(const struct kv_part *part, uint32_t layer, uint32_t head, size_t first, size_t end)
{
    if (cut(part, layer, &first, &end))
        advise(kv_part_block(part, layer, head, first), kv_part_block(part, layer, head, end), true, MADV_DONTNEED);
}

void kv_part_release_layer(const struct kv_part *part, uint32_t layer)
{
    const struct sys_map *map = &part->layers[layer];
    if (map->data)
        advise(map->data, map->data + map->n_bytes, false, MADV_DONTNEED);
}

void kv_part_take_norm(const struct kv_part *part, uint32_t layer, uint32_t head, size_t block, float norm)
{
    float *norms = kv_part_norms(part, layer, head) + (block - part->first_block);
    float before = block > part->first_block ? norms[-1] : FLT_MIN;
    *norms = norm > before ? norm : before;
}

void kv_part_distrust(struct kv_part *part, uint32_t layer, size_t end)
{
    part->check_ends[layer] = end;
    for (uint32_t h = 0; h < part->geometry.n_heads; h++)
        atomic_store(&part->checked[(size_t)layer * part->geometry.n_heads + h], 0);
}

bool kv_part_is_checked(const struct kv_part *part, uint32_t layer)
{
    bool is_checked = true;
    for (uint32_t h = 0; h < part->geometry.n_heads && part->check_ends[layer] > part->first_block; h++)
        is_checked = is_checked && atomic_load(&part->checked[(size_t)layer * part->geometry.n_heads + h]);
    return is_checked;
}
