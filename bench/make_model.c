/* Writes an MPT GGUF of any shape and type with random weights, so that cost can be measured at true size without the
 * true weights. The numbers are seeded and of the size that the family's initialisation gives, so that activations stay
 * sane.
 *
 *     make_model OUT.gguf [--shape 7b|30b | --d-model N --n-heads N --n-layers N] [--vocab N] [--type q4_0]
 *                [--kv-heads N] [--bias-max X] [--clip X] [--context N] [--seed N] [--vocabulary FILE.gguf] [--sparse]
 *
 * --sparse leaves the matrices out: zeros that take no room on the disk, for models larger than it.
 * With a vocabulary of another GGUF, texts are split as its models split them; without, any text can be read, a token
 * for a byte. StoryWriter's shape: --shape 7b --bias-max 16 --clip 6 --context 65536. */
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/block_layout.h"
#include "model/ggml_type.h"
#include "model/gguf.h"
#include "quire/quire.h"

enum { ALIGNMENT = 32, TOKEN_NORMAL = 1, TOKEN_CONTROL = 3, TOKEN_UNUSED = 5, N_TENSORS_MAX = 4096 };

/* Halves of a block that make numbers of random bits as large as uniform ones on [-1, 1]: that of the scale and, behind
 * it, that of the offset where there is one. */
static const struct {
    float scale, offset;
} halves[QUIRE_DTYPE_COUNT] = {
    [QUIRE_DTYPE_Q8_0] = {1 / 127.0f, 0},         [QUIRE_DTYPE_Q4_0] = {1 / 8.0f, 0},
    [QUIRE_DTYPE_Q4_1] = {1 / 7.5f, -1},          [QUIRE_DTYPE_Q5_0] = {1 / 16.0f, 0},
    [QUIRE_DTYPE_Q5_1] = {1 / 15.5f, -1},         [QUIRE_DTYPE_Q2_K] = {1 / 24.0f, 1 / 16.0f},
    [QUIRE_DTYPE_Q3_K] = {1 / 73.0f, 0},          [QUIRE_DTYPE_Q4_K] = {1 / 433.0f, 1 / 58.0f},
    [QUIRE_DTYPE_Q5_K] = {1 / 870.0f, 1 / 56.0f}, [QUIRE_DTYPE_Q6_K] = {1 / 2366.0f, 0},
    [QUIRE_DTYPE_IQ4_NL] = {1 / 114.0f, 0},       [QUIRE_DTYPE_IQ4_XS] = {1 / 2078.0f, 0},
};

#define SCALE_AT(TYPE, name, elements, bytes, group, has_offsets, scale_at) [QUIRE_DTYPE_##TYPE] = scale_at,
static const size_t scale_at[QUIRE_DTYPE_COUNT] = {BLOCK_TYPES(SCALE_AT)};

struct shape {
    uint32_t d_model, n_heads, kv_n_heads, n_layers, vocab, context;
    float bias_max, clip;
    quire_dtype type;
    uint64_t seed;
    bool is_sparse;
};

struct tensor {
    char name[64];
    uint64_t dims[2]; /* dims[0] runs fastest; dims[1] is 0 for a vector */
    quire_dtype type;
    float size; /* standard deviation */
};

static FILE *out;
static struct tensor tensors[N_TENSORS_MAX];
static size_t n_tensors;

static void die(const char *what)
{
    fprintf(stderr, "make_model: %s\n", what);
    exit(1);
}

static void put(const void *bytes, size_t n)
{
    if (fwrite(bytes, 1, n, out) != n)
        die("cannot write: is the disk full?");
}

static void put_u32(uint32_t v)
{
    put(&v, sizeof v);
}

static void put_u64(uint64_t v)
{
    put(&v, sizeof v);
}

static void put_string(const char *text)
{
    put_u64(strlen(text));
    put(text, strlen(text));
}

static void put_key(const char *key, uint32_t type)
{
    put_string(key);
    put_u32(type);
}

static void key_u32(const char *key, uint32_t value)
{
    put_key(key, GGUF_U32);
    put_u32(value);
}

static void key_f32(const char *key, float value)
{
    put_key(key, GGUF_F32);
    put(&value, sizeof value);
}

static void key_string(const char *key, const char *value)
{
    put_key(key, GGUF_STRING);
    put_string(value);
}

/* splitmix64. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* layer < 0: a tensor outside the layers. rows == 0: a vector. */
static void add_tensor(int layer, const char *name, uint64_t cols, uint64_t rows, quire_dtype type, double size)
{
    if (n_tensors == N_TENSORS_MAX)
        die("too many layers");
    struct tensor *t = &tensors[n_tensors++];
    if (layer < 0)
        snprintf(t->name, sizeof t->name, "%s", name);
    else
        snprintf(t->name, sizeof t->name, "blk.%d.%s", layer, name);
    t->dims[0] = cols;
    t->dims[1] = rows;
    t->type = type;
    t->size = (float)size;
}

static void list_tensors(const struct shape *s)
{
    uint64_t d = s->d_model, kv = (uint64_t)s->kv_n_heads * (s->d_model / s->n_heads);
    double in = sqrt(2.0 / (double)d), residual = 1.0 / sqrt(2.0 * s->n_layers);
    add_tensor(-1, "token_embd.weight", d, s->vocab, s->type, in);
    for (int i = 0; i < (int)s->n_layers; i++) {
        add_tensor(i, "attn_norm.weight", d, 0, QUIRE_DTYPE_F32, 0);
        add_tensor(i, "attn_qkv.weight", d, d + 2 * kv, s->type, in);
        add_tensor(i, "attn_output.weight", d, d, s->type, in * residual);
        add_tensor(i, "ffn_norm.weight", d, 0, QUIRE_DTYPE_F32, 0);
        add_tensor(i, "ffn_up.weight", d, 4 * d, s->type, in);
        add_tensor(i, "ffn_down.weight", 4 * d, d, s->type, in / 2 * residual);
    }
    add_tensor(-1, "output_norm.weight", d, 0, QUIRE_DTYPE_F32, 0);
}

static size_t row_bytes(const struct tensor *t)
{
    return (size_t)t->dims[0] / quire_dtype_block_elements(t->type) * quire_dtype_block_bytes(t->type);
}

static size_t tensor_bytes(const struct tensor *t)
{
    return row_bytes(t) * (t->dims[1] ? (size_t)t->dims[1] : 1);
}

/* One row: uniform numbers of the standard deviation asked for; ones in a norm. Whole blocks of random bits are legal
 * quantised weights as they are; only their scales are set. */
static void fill_row(unsigned char *row, const struct tensor *t, uint64_t *seed)
{
    size_t step = quire_dtype_block_elements(t->type), bytes = quire_dtype_block_bytes(t->type);
    float spread = t->size * 1.7320508f; /* a uniform number on [-a, a] has standard deviation a / sqrt 3 */
    for (size_t i = 0; i < t->dims[0]; i += step, row += bytes) {
        uint64_t r = next_random(seed);
        float x = t->size > 0 ? spread * ((float)(r >> 40) * 0x1p-23f - 1.0f) : 1.0f;
        uint32_t bits = f32_bits(x);
        uint16_t half = t->type == QUIRE_DTYPE_BF16 ? f32_to_bf16(x) : f32_to_f16(x);
        if (t->type == QUIRE_DTYPE_F32)
            memcpy(row, &bits, 4);
        else
            memcpy(row, &half, 2);
        if (step == 1)
            continue;
        for (size_t b = 2; b < bytes; b += 8) {
            r = next_random(seed);
            memcpy(row + b, &r, bytes - b < 8 ? bytes - b : 8);
        }
        uint16_t scale = f32_to_f16(spread * halves[t->type].scale),
                 offset = f32_to_f16(spread * halves[t->type].offset);
        memcpy(row + scale_at[t->type], &scale, sizeof scale);
        if (halves[t->type].offset != 0)
            memcpy(row + scale_at[t->type] + 2, &offset, sizeof offset);
    }
}

static void put_padding(size_t n)
{
    static const char zeros[ALIGNMENT];
    if (n % ALIGNMENT)
        put(zeros, ALIGNMENT - n % ALIGNMENT);
}

/* The token of a byte, as GPT-2 spells bytes: printable Latin-1 as it is, the others from U+0100 on in order. */
static void byte_token(char text[4], uint32_t byte)
{
    uint32_t code_point = 0x100;
    for (uint32_t b = 0; b <= byte; b++) {
        int is_printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
        if (b == byte && is_printable)
            code_point = b;
        else if (!is_printable && b < byte)
            code_point++;
    }
    if (code_point < 0x80)
        snprintf(text, 4, "%c", (int)code_point);
    else
        snprintf(text, 4, "%c%c", (int)(0xC0 | code_point >> 6), (int)(0x80 | (code_point & 0x3F)));
}

/* Id 0 ends texts, 1 to 256 are the bytes, the others are padding: any text can be read, a token a byte. */
static void put_vocabulary(uint32_t n)
{
    char text[32];
    put_key("tokenizer.ggml.tokens", GGUF_ARRAY);
    put_u32(GGUF_STRING);
    put_u64(n);
    for (uint32_t i = 0; i < n; i++) {
        if (i >= 1 && i <= 256)
            byte_token(text, i - 1);
        else
            snprintf(text, sizeof text, i == 0 ? "<|endoftext|>" : "[PAD%u]", i);
        put_string(text);
    }
    put_key("tokenizer.ggml.token_type", GGUF_ARRAY);
    put_u32(GGUF_I32);
    put_u64(n);
    for (uint32_t i = 0; i < n; i++)
        put_u32(i == 0 ? TOKEN_CONTROL : i <= 256 ? TOKEN_NORMAL : TOKEN_UNUSED);
    put_key("tokenizer.ggml.merges", GGUF_ARRAY);
    put_u32(GGUF_STRING);
    put_u64(0);
    key_u32("tokenizer.ggml.bos_token_id", 0);
    key_u32("tokenizer.ggml.eos_token_id", 0);
}

static void put_array(const struct gguf_array *array, size_t n_bytes)
{
    put_u32(array->element_type);
    put_u64(array->n);
    put(array->data, n_bytes);
}

static void need(quire_status status, bool found, const quire_error *err)
{
    if (status != QUIRE_OK)
        die(err->message);
    if (!found)
        die("the vocabulary's file lacks a key: tokens, token_type, merges, bos and eos ids are needed");
}

/* The same keys from a file, whose tokens are padded to n as converters pad them. */
static void copy_vocabulary(const char *path, uint32_t n)
{
    struct gguf *gguf = NULL;
    quire_error err = {0};
    struct gguf_array array;
    struct gguf_place end = {0};
    bool found = true;
    need(gguf_open(&gguf, path, &err), found, &err);
    need(gguf_get_array(gguf, "tokenizer.ggml.tokens", GGUF_STRING, &array, &found, &err), found, &err);
    if (array.n > n)
        die("the vocabulary has more tokens than the model");
    for (uint64_t i = 0; i < array.n; i++)
        gguf_array_string(&array, &end);
    uint32_t n_read = (uint32_t)array.n;
    put_key("tokenizer.ggml.tokens", GGUF_ARRAY);
    array.n = n;
    put_array(&array, end.at);
    for (uint32_t i = n_read; i < n; i++) {
        char text[32];
        snprintf(text, sizeof text, "[PAD%u]", i);
        put_string(text);
    }
    need(gguf_get_array(gguf, "tokenizer.ggml.token_type", GGUF_I32, &array, &found, &err), found, &err);
    if (array.n != n_read)
        die("the vocabulary has not one type for each token");
    put_key("tokenizer.ggml.token_type", GGUF_ARRAY);
    array.n = n;
    put_array(&array, n_read * sizeof(uint32_t));
    for (uint32_t i = n_read; i < n; i++)
        put_u32(TOKEN_UNUSED);
    need(gguf_get_array(gguf, "tokenizer.ggml.merges", GGUF_STRING, &array, &found, &err), found, &err);
    end = (struct gguf_place){0};
    for (uint64_t i = 0; i < array.n; i++)
        gguf_array_string(&array, &end);
    put_key("tokenizer.ggml.merges", GGUF_ARRAY);
    put_array(&array, end.at);
    static const char *const ids[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"};
    for (size_t i = 0; i < 2; i++) {
        uint32_t id = 0;
        need(gguf_get_u32(gguf, ids[i], &id, &found, &err), found, &err);
        key_u32(ids[i], id);
    }
    gguf_close(gguf);
}

/* The file has its name when it is complete: scripts take one that is there for a whole one. */
static void write_model(const char *path, const struct shape *s, const char *vocabulary)
{
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        die("the output file's name is too long");
    out = fopen(part, "we");
    if (!out)
        die("cannot make the output file");
    setvbuf(out, NULL, _IOFBF, 1 << 22);
    list_tensors(s);
    put("GGUF", 4);
    put_u32(3);
    put_u64(n_tensors);
    put_u64(18); /* keys, below */
    key_string("general.architecture", "mpt");
    key_string("general.name", "random weights");
    key_u32("general.alignment", ALIGNMENT);
    key_u32("mpt.context_length", s->context);
    key_u32("mpt.embedding_length", s->d_model);
    key_u32("mpt.block_count", s->n_layers);
    key_u32("mpt.feed_forward_length", 4 * s->d_model);
    key_u32("mpt.attention.head_count", s->n_heads);
    key_u32("mpt.attention.head_count_kv", s->kv_n_heads);
    key_f32("mpt.attention.layer_norm_epsilon", 1e-5f);
    key_f32("mpt.attention.clamp_kqv", s->clip);
    key_f32("mpt.attention.max_alibi_bias", s->bias_max);
    key_string("tokenizer.ggml.model", "gpt2");
    if (vocabulary)
        copy_vocabulary(vocabulary, s->vocab);
    else
        put_vocabulary(s->vocab);
    uint64_t offset = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        const struct tensor *t = &tensors[i];
        put_string(t->name);
        put_u32(t->dims[1] ? 2 : 1);
        put_u64(t->dims[0]);
        if (t->dims[1])
            put_u64(t->dims[1]);
        put_u32(ggml_type_id(t->type));
        put_u64(offset);
        offset += (tensor_bytes(t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    put_padding((size_t)ftell(out));
    uint64_t seed = s->seed;
    for (size_t i = 0; i < n_tensors; i++) {
        const struct tensor *t = &tensors[i];
        if (s->is_sparse && t->dims[1]) { /* never last in the file: a norm follows */
            if (fseeko(out, (off_t)((tensor_bytes(t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT), SEEK_CUR) != 0)
                die("cannot write: is the disk full?");
            continue;
        }
        unsigned char *row = malloc(row_bytes(t));
        if (!row)
            die("out of memory");
        for (uint64_t r = 0; r < (t->dims[1] ? t->dims[1] : 1); r++) {
            fill_row(row, t, &seed);
            put(row, row_bytes(t));
        }
        free(row);
        put_padding(tensor_bytes(t));
    }
    if (fclose(out) != 0 || rename(part, path) != 0)
        die("cannot write: is the disk full?");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"shape", 1, 0, 's'},  {"d-model", 1, 0, 'd'}, {"n-heads", 1, 0, 'h'},  {"n-layers", 1, 0, 'l'},
        {"vocab", 1, 0, 'v'},  {"type", 1, 0, 't'},    {"kv-heads", 1, 0, 'k'}, {"bias-max", 1, 0, 'b'},
        {"clip", 1, 0, 'c'},   {"context", 1, 0, 'x'}, {"seed", 1, 0, 'r'},     {"vocabulary", 1, 0, 'f'},
        {"sparse", 0, 0, 'z'}, {0, 0, 0, 0},
    };
    struct shape s = {4096, 32, 0, 32, 50432, 2048, 8.0f, 0.0f, QUIRE_DTYPE_Q4_0, 1, false};
    const char *vocabulary = NULL;
    quire_error err = {0};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 's':
            if (strcmp(optarg, "30b") == 0)
                s.d_model = 7168, s.n_heads = 64, s.n_layers = 48;
            else if (strcmp(optarg, "7b") != 0)
                die("the named shapes are 7b and 30b");
            break;
        case 'd': s.d_model = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'h': s.n_heads = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'k': s.kv_n_heads = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'l': s.n_layers = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'v': s.vocab = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'x': s.context = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'b': s.bias_max = strtof(optarg, NULL); break;
        case 'c': s.clip = strtof(optarg, NULL); break;
        case 'z': s.is_sparse = true; break;
        case 'f': vocabulary = optarg; break;
        case 'r': s.seed = strtoull(optarg, NULL, 10); break;
        case 't':
            if (quire_dtype_parse(&s.type, optarg, &err) != QUIRE_OK)
                die(err.message);
            break;
        default: die("see the top of bench/make_model.c for its options");
        }
    }
    if (optind + 1 != argc)
        die("expected one output file");
    s.kv_n_heads = s.kv_n_heads ? s.kv_n_heads : s.n_heads;
    if (s.n_heads == 0 || s.n_layers == 0 || s.d_model % s.n_heads || s.n_heads % s.kv_n_heads || s.d_model % 32)
        die("d_model must be a multiple of n_heads and of 32, and n_heads of kv-heads");
    if (s.vocab < 257)
        die("a vocabulary of at least 257 is needed: the bytes and the end of a text");
    write_model(argv[optind], &s, vocabulary);
    return 0;
}
