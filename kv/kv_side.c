#include "kv/kv_side.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"

static const char *const names[KV_SIDE_COUNT] = {
    [KV_SIDE_TAIL] = "tail", [KV_SIDE_LOGITS] = "logits", [KV_SIDE_FLIGHT] = "flight", [KV_SIDE_RESIDUAL] = "residual"};

static void side_path(char path[KV_PATH_SIZE], const char *folder, enum kv_side kind, uint64_t generation)
{
    kv_path(path, folder, "%s.%llu", names[kind], (unsigned long long)generation);
}

quire_status kv_side_create(struct kv_side_file *file, const char *folder, enum kv_side kind, uint64_t generation,
                            quire_error *err)
{
    file->fd = -1;
    file->ref = (struct kv_side_ref){.generation = generation};
    side_path(file->path, folder, kind, generation);
    return kv_file_open(&file->fd, file->path, O_CREAT | O_TRUNC | O_WRONLY, NULL, err);
}

quire_status kv_side_write(struct kv_side_file *file, const void *data, size_t n_bytes, quire_error *err)
{
    quire_status status = sys_write_all(file->fd, data, n_bytes, (off_t)file->ref.n_bytes, file->path, err);
    if (status == QUIRE_OK) {
        file->ref.n_bytes += n_bytes;
        file->ref.hash = kv_hash_add(file->ref.hash, data, n_bytes);
    }
    return status;
}

quire_status kv_side_finish(struct kv_side_file *file, struct kv_side_ref *ref, quire_error *err)
{
    quire_status status = kv_file_sync(file->fd, file->path, err);
    if (status == QUIRE_OK) {
        kv_file_close(&file->fd);
        *ref = file->ref;
    }
    return status;
}

void kv_side_abandon(struct kv_side_file *file)
{
    if (file->fd >= 0)
        sys.unlink(file->path);
    kv_file_close(&file->fd);
}

quire_status kv_side_open(struct kv_side_file *file, const char *folder, enum kv_side kind,
                          const struct kv_side_ref *ref, quire_error *err)
{
    uint64_t size;
    file->fd = -1;
    file->ref = (struct kv_side_ref){.generation = ref->generation};
    side_path(file->path, folder, kind, ref->generation);
    quire_status status = kv_file_open_own(&file->fd, file->path, O_RDONLY, err);
    if (status == QUIRE_OK)
        status = kv_file_size(file->fd, &size, file->path, err);
    if (status == QUIRE_OK && size != ref->n_bytes)
        status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has %llu bytes, expected %llu (KV-8)", file->path,
                            (unsigned long long)size, (unsigned long long)ref->n_bytes);
    if (status != QUIRE_OK)
        kv_side_close(file);
    return status;
}

quire_status kv_side_read(struct kv_side_file *file, void *data, size_t n_bytes, quire_error *err)
{
    quire_status status = sys_read_all(file->fd, data, n_bytes, (off_t)file->ref.n_bytes, file->path, err);
    if (status == QUIRE_OK) {
        file->ref.n_bytes += n_bytes;
        file->ref.hash = kv_hash_add(file->ref.hash, data, n_bytes);
    }
    return status;
}

quire_status kv_side_check(const struct kv_side_file *file, const struct kv_side_ref *ref, quire_error *err)
{
    if (file->ref.n_bytes == ref->n_bytes && file->ref.hash == ref->hash)
        return QUIRE_OK;
    return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged: its checksum is wrong (KV-6)", file->path);
}

void kv_side_close(struct kv_side_file *file)
{
    kv_file_close(&file->fd);
}

void kv_side_remove(const char *folder, enum kv_side kind, const struct kv_side_ref *ref)
{
    char path[KV_PATH_SIZE];
    if (ref->generation == 0)
        return;
    side_path(path, folder, kind, ref->generation);
    sys.unlink(path);
}

struct leftovers {
    const char *folder;
    const struct kv_manifest *manifest;
    bool is_removing;
    size_t n;
};

static void visit_leftover(void *context, const char *name)
{
    struct leftovers *leftovers = context;
    char path[KV_PATH_SIZE];
    size_t n_suffix = strlen(KV_TEMPORARY_SUFFIX), n_name = strlen(name);
    bool is_left = n_name > n_suffix && strcmp(name + n_name - n_suffix, KV_TEMPORARY_SUFFIX) == 0;
    for (int i = 0; i < KV_SIDE_COUNT; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(name, names[i], n) == 0 && name[n] == '.')
            is_left = strtoull(name + n + 1, NULL, 10) != leftovers->manifest->sides[i].generation;
    }
    leftovers->n += is_left;
    kv_path(path, leftovers->folder, "%s", name);
    if (is_left && leftovers->is_removing)
        sys.unlink(path);
}

bool kv_side_has_leftovers(const char *folder, const struct kv_manifest *manifest)
{
    struct leftovers leftovers = {.folder = folder, .manifest = manifest};
    kv_folder_list(folder, visit_leftover, &leftovers, NULL);
    return leftovers.n > 0;
}

void kv_side_remove_leftovers(const char *folder, const struct kv_manifest *manifest)
{
    struct leftovers leftovers = {.folder = folder, .manifest = manifest, .is_removing = true};
    /* A writer that was killed after its rename leaves a manifest whose name is not sure: after a power cut the one
     * before it may be back, and needs its files (KV-5). */
    if (kv_side_has_leftovers(folder, manifest) && sys_sync_folder(folder, NULL) == QUIRE_OK)
        kv_folder_list(folder, visit_leftover, &leftovers, NULL);
}
