/* Opening a model looks at samples of its weights, and leaves none of them in this process's memory: where files are
 * cached in large pages, samples spread over a file map all of it. */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "files.h"
#include "quire/model.h"
#include "test.h"

enum { D = 512, VOCAB = 49152, N_LAYERS = 2 };

static const char config[] =
    "{\"model_type\": \"mpt\", \"d_model\": 512, \"n_heads\": 8, \"n_layers\": 2, \"expansion_ratio\": 4,"
    " \"max_seq_len\": 64, \"vocab_size\": 49152, \"no_bias\": true, \"attn_config\": {\"alibi\": true}}";

struct safetensors {
    struct bytes header;
    size_t n_data;
};

static void add(struct safetensors *file, const char *name, int layer, size_t rows, size_t cols)
{
    char prefix[64] = "transformer", shape[64], text[512];
    size_t n_bytes = rows * (cols ? cols : 1) * 2;
    if (layer >= 0)
        snprintf(prefix, sizeof prefix, "transformer.blocks.%d", layer);
    snprintf(shape, sizeof shape, cols ? "%zu, %zu" : "%zu", rows, cols);
    int n = snprintf(text, sizeof text,
                     "%s\"%s.%s.weight\": {\"dtype\": \"BF16\", \"shape\": [%s],"
                     " \"data_offsets\": [%zu, %zu]}",
                     file->header.n > 1 ? "," : "", prefix, name, shape, file->n_data, file->n_data + n_bytes);
    bytes_add(&file->header, text, (size_t)n);
    file->n_data += n_bytes;
}

/* Some 60 MB, written and not a hole, so that they are in the page cache as the file system likes to keep them. */
static void write_model(const char *folder)
{
    struct safetensors file = {0};
    struct bytes whole = {0};
    bytes_add(&file.header, "{", 1);
    add(&file, "wte", -1, VOCAB, D);
    for (int i = 0; i < N_LAYERS; i++) {
        add(&file, "norm_1", i, D, 0);
        add(&file, "attn.Wqkv", i, (size_t)3 * D, D);
        add(&file, "attn.out_proj", i, D, D);
        add(&file, "norm_2", i, D, 0);
        add(&file, "ffn.up_proj", i, (size_t)4 * D, D);
        add(&file, "ffn.down_proj", i, D, (size_t)4 * D);
    }
    add(&file, "norm_f", -1, D, 0);
    bytes_add(&file.header, "}", 1);
    bytes_add_u64(&whole, file.header.n);
    bytes_add(&whole, file.header.data, file.header.n);
    unsigned char row[D * 2];
    memset(row, 0x3c, sizeof row);
    for (size_t i = 0; i < file.n_data; i += sizeof row)
        bytes_add(&whole, row, sizeof row);
    file_write(folder, "model.safetensors", whole.data, whole.n);
    file_write(folder, "config.json", config, strlen(config));
    bytes_release(&file.header);
    bytes_release(&whole);
}

/* Memory of this process that is pages of files, in KiB. */
static uint64_t file_pages_kib(void)
{
    uint64_t n_kib = 0;
    char line[256];
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status))
        sscanf(line, "RssFile: %" SCNu64, &n_kib);
    if (status)
        fclose(status);
    return n_kib;
}

static void opening_leaves_weights_on_disk(void)
{
    char *folder = folder_make();
    quire_error err = {0};
    quire_model *model = NULL;
    write_model(folder);
    uint64_t before = file_pages_kib();
    if (before == 0)
        SKIP("the system does not tell RssFile");
    CHECK_OK(quire_model_open(&model, folder, &err));
    if (model) {
        CHECK(quire_model_weight_bytes(model) > (uint64_t)50 << 20);
        uint64_t after = file_pages_kib();
        if (after > before + 8192)
            fprintf(stderr, "%" PRIu64 " KiB of files in memory, %" PRIu64 " before\n", after, before);
        CHECK(after <= before + 8192);
    }
    quire_model_close(model);
    folder_remove(folder);
}

static const struct test tests[] = {{"opening_leaves_weights_on_disk", opening_leaves_weights_on_disk}};
TEST_MAIN(tests)
