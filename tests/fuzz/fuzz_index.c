/* The index of a model's shards, of which there are two in its folder. Byte 0: bit 0: the shards are safetensors, else
 * PyTorch's. To open a file outside of the folder ends the program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "fuzz.h"
#include "model/torch_writer.h"
#include "quire/model.h"

static const char config[] = "{\"model_type\": \"mpt\", \"d_model\": 4, \"n_heads\": 2, \"n_layers\": 1, "
                             "\"expansion_ratio\": 1, \"vocab_size\": 3, \"no_bias\": true, "
                             "\"attn_config\": {\"alibi\": true}}";

/* Of every shard, two of them in both. */
static const struct {
    const char *name;
    uint32_t n_dims;
    uint64_t dims[2];
    unsigned shards;
} shapes[] = {
    {"transformer.wte.weight", 2, {3, 4}, 1},
    {"transformer.norm_f.weight", 1, {4}, 2},
    {"transformer.blocks.0.norm_1.weight", 1, {4}, 1},
    {"transformer.blocks.0.norm_2.weight", 1, {4}, 2},
    {"transformer.blocks.0.attn.Wqkv.weight", 2, {12, 4}, 1},
    {"transformer.blocks.0.attn.out_proj.weight", 2, {4, 4}, 2},
    {"transformer.blocks.0.ffn.up_proj.weight", 2, {4, 4}, 1},
    {"transformer.blocks.0.ffn.down_proj.weight", 2, {4, 4}, 2},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static int open_inside(const char *path, int flags, mode_t mode)
{
    size_t n = strlen(fuzz_folder());
    if (strncmp(path, fuzz_folder(), n) != 0 || (path[n] && (path[n] != '/' || strchr(path + n + 1, '/')))) {
        fprintf(stderr, "opened %s\n", path);
        abort();
    }
    return sys_real.open(path, flags, mode);
}

static void write_file(const char *name, const void *data, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    fuzz_write(path, data, n);
}

static void write_shard(unsigned shard)
{
    static const float numbers[48];
    struct torch_tensor tensors[N_SHAPES];
    struct bytes header = {0}, file = {0};
    char text[256];
    size_t n = 0, at = 0;
    for (size_t i = 0; i < N_SHAPES; i++) {
        if (shapes[i].shards != shard)
            continue;
        uint64_t cols = shapes[i].n_dims == 2 ? shapes[i].dims[1] : 1;
        size_t n_bytes = (size_t)(shapes[i].dims[0] * cols) * sizeof(float);
        tensors[n++] = (struct torch_tensor){.name = shapes[i].name,
                                             .storage = "FloatStorage",
                                             .n_dims = shapes[i].n_dims,
                                             .dims = {shapes[i].dims[0], shapes[i].dims[1]},
                                             .data = numbers,
                                             .n_bytes = n_bytes};
        int n_text =
            snprintf(text, sizeof text, "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[%d%s],\"data_offsets\":[%zu,%zu]}",
                     at ? ',' : '{', shapes[i].name, (int)shapes[i].dims[0], cols == 4 ? ",4" : "", at, at + n_bytes);
        bytes_add(&header, text, (size_t)n_text);
        bytes_add(&file, numbers, n_bytes);
        at += n_bytes;
    }
    bytes_add(&header, "}", 1);
    struct bytes safe = {0};
    bytes_add_u64(&safe, header.n);
    bytes_add(&safe, header.data, header.n);
    bytes_add(&safe, file.data, file.n);
    snprintf(text, sizeof text, "%u.safetensors", shard);
    write_file(text, safe.data, safe.n);
    struct bytes archive = torch_archive(torch_pickle(tensors, n), tensors, n);
    snprintf(text, sizeof text, "%u.bin", shard);
    write_file(text, archive.data, archive.n);
    bytes_release(&header);
    bytes_release(&file);
    bytes_release(&safe);
    bytes_release(&archive);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"pytorch_model.bin.index.json", "model.safetensors.index.json"};
    static bool is_ready;
    quire_model *model;
    if (!is_ready) {
        write_file("config.json", config, sizeof config - 1);
        write_shard(1);
        write_shard(2);
        sys.open = open_inside;
        is_ready = true;
    }
    if (size < 1)
        return 0;
    char path[512];
    write_file(names[data[0] & 1], data + 1, size - 1);
    if (quire_model_open(&model, fuzz_folder(), NULL) == QUIRE_OK)
        quire_model_close(model);
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), names[data[0] & 1]);
    remove(path);
    return 0;
}
