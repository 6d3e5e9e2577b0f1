/* A GGUF file, as a model and as a vocabulary. Bytes that start with 'P' are a plan: a file is made that has its pairs
 * and tensors, under names that mean something, with counts, lengths and offsets that are right but for those it
 * spoils. */
#include <stdio.h>
#include <string.h>

#include "fuzz.h"
#include "quire/quire.h"

enum { MOST = 1 << 17, DATA_BYTES = 1 << 15 };

static uint8_t file[MOST];
static size_t n_file;

static const char *const keys[] = {
    "general.architecture",
    "general.alignment",
    "general.name",
    "mpt.context_length",
    "mpt.embedding_length",
    "mpt.block_count",
    "mpt.feed_forward_length",
    "mpt.attention.head_count",
    "mpt.attention.head_count_kv",
    "mpt.attention.clamp_kqv",
    "mpt.attention.max_alibi_bias",
    "mpt.attention.layer_norm_epsilon",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.ggml.precompiled_charsmap",
    "tokenizer.chat_template",
};
static const char *const words[] = {"mpt",   "gpt2", "llama",    "t5",  "gpt-neox",
                                    "<unk>", "a",    "\xC4\xA0", "a b", "<0x41>"};
static const char *const tensors[] = {
    "token_embd.weight",        "blk.0.attn_norm.weight", "blk.0.attn_qkv.weight",
    "blk.0.attn_output.weight", "blk.0.ffn_norm.weight",  "blk.0.ffn_up.weight",
    "blk.0.ffn_down.weight",    "output_norm.weight",     "position_embd.weight",
};

#define PICK(list, byte) list[(byte) % (sizeof list / sizeof *list)]

static void add(const void *bytes, size_t n)
{
    if (n > MOST - DATA_BYTES - n_file)
        return;
    memcpy(file + n_file, bytes, n);
    n_file += n;
}

static void add_u32(uint32_t value)
{
    add(&value, sizeof value);
}

static void add_u64(uint64_t value)
{
    add(&value, sizeof value);
}

static void add_string(const char *text)
{
    add_u64(strlen(text));
    add(text, strlen(text));
}

/* A number that a plan's byte stands for: small, or at an edge. */
static uint64_t number(uint8_t byte)
{
    static const uint64_t edges[] = {1ull << 31,     UINT32_MAX, 1ull << 32, (1ull << 42) + 1,
                                     (uint64_t)1e12, INT64_MAX,  1ull << 63, UINT64_MAX};
    return byte < 0xF0 ? byte : PICK(edges, byte);
}

/* step: key, type, number, element type, three more. */
static void add_pair(const uint8_t *step)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    uint32_t type = step[1] % 14u, element = step[3] % 14u;
    uint64_t n = number(step[2]);
    add_string(PICK(keys, step[0]));
    add_u32(type);
    if (type == 8) {
        add_string(PICK(words, step[2]));
    } else if (type == 9) {
        add_u32(element);
        add_u64(n);
        for (uint64_t i = 0; i < n && i < 64; i++) {
            if (element == 8)
                add_string(PICK(words, step[4 + i % 3]));
            else if (element < sizeof sizes)
                add((const uint8_t[8]){step[4], step[5], step[6]}, sizes[element]);
        }
    } else if (type < sizeof sizes) {
        add(&n, sizes[type]);
    }
}

/* step: name, dimensions and type, offset, up to four dimensions. */
static void add_tensor(const uint8_t *step)
{
    uint32_t n_dims = step[1] & 7u;
    add_string(PICK(tensors, step[0]));
    add_u32(n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        add_u64(number(step[3 + i % 4]));
    add_u32(step[1] >> 3);
    add_u64(32 * number(step[2]));
}

static void make_file(const uint8_t *plan, size_t n)
{
    enum { STEP = 7 };
    size_t n_steps = n / STEP, n_tensors = n_steps > 0 ? plan[n - 1] % (n_steps + 1) : 0;
    n_file = 0;
    add("GGUF\3\0\0\0", 8);
    add_u64(n_tensors);
    add_u64(n_steps - n_tensors);
    for (size_t i = 0; i < n_steps; i++)
        i < n_steps - n_tensors ? add_pair(plan + i * STEP) : add_tensor(plan + i * STEP);
    memset(file + n_file, 0, DATA_BYTES);
    n_file += DATA_BYTES;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[128];
    quire_model *model;
    quire_tokenizer *tokenizer;
    snprintf(path, sizeof path, "%s/model.gguf", fuzz_folder());
    if (size > 0 && data[0] == 'P') {
        make_file(data + 1, size - 1);
        fuzz_write(path, file, n_file);
    } else {
        fuzz_write(path, data, size);
    }
    if (quire_model_open(&model, path, NULL) == QUIRE_OK)
        quire_model_close(model);
    if (quire_tokenizer_open_path(&tokenizer, path, NULL) == QUIRE_OK)
        quire_tokenizer_close(tokenizer);
    return 0;
}
