#include "checkpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "test.h"

static const char *copy_text(const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        exit(1);
    return copy;
}

/* FNV-1a */
static uint64_t seed_of(const char *name)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001B3u;
    return h;
}

void checkpoint_add(struct checkpoint *c, uint64_t rows, uint64_t cols, const char *name, ...)
{
    char text[128];
    va_list arguments;
    va_start(arguments, name);
    vsnprintf(text, sizeof text, name, arguments);
    va_end(arguments);
    if (c->n == c->capacity) {
        c->capacity = c->capacity ? 2 * c->capacity : 64;
        c->tensors = realloc(c->tensors, c->capacity * sizeof *c->tensors);
    }
    size_t n = (size_t)((rows ? rows : 1) * cols), n_element = c->is_f32 ? 4 : 2;
    unsigned char *data = malloc(n * n_element);
    if (!c->tensors || !data)
        exit(1);
    uint64_t state = seed_of(text), random = 0;
    for (size_t i = 0; i < n; i++, random >>= 8) {
        if (i % 8 == 0)
            random = test_random(&state);
        uint32_t bits = f32_bits((float)(int8_t)random / 128);
        memcpy(data + i * n_element, (char *)&bits + (4 - n_element), n_element); /* the upper half is the bfloat16 */
    }
    c->tensors[c->n++] = (struct torch_tensor){copy_text(text),
                                               c->is_f32 ? "FloatStorage" : "BFloat16Storage",
                                               rows ? 2u : 1u,
                                               {rows ? rows : cols, cols},
                                               data,
                                               n * n_element,
                                               0};
}

const struct torch_tensor *checkpoint_find(const struct checkpoint *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->tensors[i].name, name) == 0)
            return &c->tensors[i];
    return NULL;
}

void checkpoint_release(struct checkpoint *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free((void *)(uintptr_t)c->tensors[i].name);
        free((void *)(uintptr_t)c->tensors[i].data);
    }
    free(c->tensors);
    *c = (struct checkpoint){0};
}

void checkpoint_write_safetensors(const struct checkpoint *c, const char *folder)
{
    struct bytes header = {0}, file = {0};
    size_t at = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct torch_tensor *t = &c->tensors[i];
        char text[512], shape[64];
        if (t->n_dims == 2)
            snprintf(shape, sizeof shape, "%llu,%llu", (unsigned long long)t->dims[0], (unsigned long long)t->dims[1]);
        else
            snprintf(shape, sizeof shape, "%llu", (unsigned long long)t->dims[0]);
        int n = snprintf(text, sizeof text, "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                         i ? ',' : '{', t->name, c->is_f32 ? "F32" : "BF16", shape, at, at + t->n_bytes);
        bytes_add(&header, text, (size_t)n);
        at += t->n_bytes;
    }
    bytes_add(&header, "}", 1);
    bytes_add_u64(&file, header.n);
    bytes_add(&file, header.data, header.n);
    for (size_t i = 0; i < c->n; i++)
        bytes_add(&file, c->tensors[i].data, c->tensors[i].n_bytes);
    file_write(folder, "model.safetensors", file.data, file.n);
    bytes_release(&header);
    bytes_release(&file);
}

static void write_part(const struct torch_tensor *tensors, size_t n, const char *folder, const char *name)
{
    struct bytes file = torch_archive(torch_pickle(tensors, n), tensors, n);
    file_write(folder, name, file.data, file.n);
    bytes_release(&file);
}

void checkpoint_write_bin(const struct checkpoint *c, const char *folder)
{
    write_part(c->tensors, c->n, folder, "pytorch_model.bin");
}

void checkpoint_write_bin_shards(const struct checkpoint *c, const char *folder, size_t n_shards)
{
    struct bytes index = {0};
    static const char head[] = "{\"metadata\":{\"total_size\":1},\"weight_map\":{";
    bytes_add(&index, head, sizeof head - 1);
    for (size_t shard = 0; shard < n_shards; shard++) {
        size_t begin = c->n * shard / n_shards, end = c->n * (shard + 1) / n_shards;
        char name[64], text[256];
        snprintf(name, sizeof name, "pytorch_model-%05zu-of-%05zu.bin", shard + 1, n_shards);
        write_part(c->tensors + begin, end - begin, folder, name);
        for (size_t i = begin; i < end; i++) {
            int n = snprintf(text, sizeof text, "%s\"%s\":\"%s\"", i ? "," : "", c->tensors[i].name, name);
            bytes_add(&index, text, (size_t)n);
        }
    }
    bytes_add(&index, "}}", 2);
    file_write(folder, "pytorch_model.bin.index.json", index.data, index.n);
    bytes_release(&index);
}
