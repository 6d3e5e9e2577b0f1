/* A safetensors file beside a sound config.json. Byte 0: bit 0: the others are a header, and its length and room for
 * the tensors are put around it; else they are the file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "quire/quire.h"

enum { DATA_BYTES = 1 << 16 };

static const char config[] =
    "{\"architectures\": [\"MPTForCausalLM\"], \"model_type\": \"mpt\", \"torch_dtype\": \"float32\", \"d_model\": 24,"
    "\"n_heads\": 6, \"n_layers\": 2, \"expansion_ratio\": 2, \"max_seq_len\": 64, \"vocab_size\": 56, \"no_bias\": "
    "true,"
    "\"attn_config\": {\"alibi\": true, \"attn_type\": \"grouped_query_attention\", \"kv_n_heads\": 3}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[128];
    quire_model *model;
    if (size < 1)
        return 0;
    snprintf(path, sizeof path, "%s/config.json", fuzz_folder());
    fuzz_write(path, config, sizeof config - 1);
    snprintf(path, sizeof path, "%s/model.safetensors", fuzz_folder());
    if (data[0] & 1) {
        uint64_t n_header = size - 1;
        unsigned char *file = calloc(1, sizeof n_header + n_header + DATA_BYTES);
        memcpy(file, &n_header, sizeof n_header);
        memcpy(file + sizeof n_header, data + 1, n_header);
        fuzz_write(path, file, sizeof n_header + n_header + DATA_BYTES);
        free(file);
    } else {
        fuzz_write(path, data + 1, size - 1);
    }
    if (quire_model_open(&model, fuzz_folder(), NULL) == QUIRE_OK)
        quire_model_close(model);
    return 0;
}
