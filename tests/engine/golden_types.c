#include "golden_types.h"

#include "base/block_layout.h"
#include "golden.h"
#include "model/ggml_type.h"
#include "model/gguf.h"
#include "test.h"

/* TYPES_CONFIG of make_golden.py. */
enum { D_MODEL = 256, ALIGNMENT = 32, MAX_TENSORS = 16 };

struct recipe {
    char name[64];
    uint64_t rows; /* 0: a vector of ones */
    quire_dtype type;
    float scale, offset;
    uint64_t seed;
};

static void put(FILE *f, const void *data, size_t n)
{
    if (fwrite(data, 1, n, f) != n) {
        fprintf(stderr, "cannot write a model\n");
        exit(1);
    }
}

static void put_u32(FILE *f, uint32_t value)
{
    put(f, &value, sizeof value);
}

static void put_u64(FILE *f, uint64_t value)
{
    put(f, &value, sizeof value);
}

static void put_text(FILE *f, const char *text)
{
    put_u64(f, strlen(text));
    put(f, text, strlen(text));
}

static void put_padding(FILE *f)
{
    static const char zeros[ALIGNMENT];
    put(f, zeros, (ALIGNMENT - (size_t)ftell(f) % ALIGNMENT) % ALIGNMENT);
}

static size_t bytes_of(const struct recipe *r)
{
    size_t n = D_MODEL * (size_t)(r->rows ? r->rows : 1);
    return n / quire_dtype_block_elements(r->type) * quire_dtype_block_bytes(r->type);
}

static size_t read_recipes(struct recipe recipes[MAX_TENSORS], const char *name)
{
    static const char *const norms[] = {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"};
    FILE *f = fopen(golden_path(name, "recipe.txt"), "re");
    char type[16];
    quire_error err = {0};
    unsigned long long rows, seed;
    size_t n = 0;
    for (struct recipe *r = recipes;
         f && fscanf(f, "%63s %llu %15s %f %f %llu", r->name, &rows, type, &r->scale, &r->offset, &seed) == 6;
         r = &recipes[++n]) {
        r->rows = rows;
        r->seed = seed;
        REQUIRE_OK(quire_dtype_parse(&r->type, type, &err));
    }
    CHECK_EQ_INT(n, 5);
    for (size_t i = 0; i < 3; i++) {
        recipes[n] = (struct recipe){.type = QUIRE_DTYPE_F32};
        strcpy(recipes[n++].name, norms[i]);
    }
    if (f)
        fclose(f);
    return n;
}

static void put_keys(FILE *f)
{
    static const struct {
        const char *key;
        uint32_t value;
    } numbers[] = {{"mpt.context_length", 64},      {"mpt.embedding_length", D_MODEL},
                   {"mpt.block_count", 1},          {"mpt.feed_forward_length", D_MODEL},
                   {"mpt.attention.head_count", 4}, {"mpt.attention.head_count_kv", 1}};
    float eps = 1e-5f, bias = 8;
    put_text(f, "general.architecture");
    put_u32(f, GGUF_STRING);
    put_text(f, "mpt");
    for (size_t i = 0; i < 6; i++) {
        put_text(f, numbers[i].key);
        put_u32(f, GGUF_U32);
        put_u32(f, numbers[i].value);
    }
    put_text(f, "mpt.attention.layer_norm_epsilon");
    put_u32(f, GGUF_F32);
    put(f, &eps, sizeof eps);
    put_text(f, "mpt.attention.max_alibi_bias");
    put_u32(f, GGUF_F32);
    put(f, &bias, sizeof bias);
}

static void put_blocks(FILE *f, const struct recipe *r)
{
#define HALF_ROW(TYPE, name, elements, bytes, group, has_offsets, scale_at) [QUIRE_DTYPE_##TYPE] = scale_at,
    static const size_t scale_at[QUIRE_DTYPE_COUNT] = {BLOCK_TYPES(HALF_ROW)};
    unsigned char block[512];
    size_t n_bytes = quire_dtype_block_bytes(r->type), at = scale_at[r->type];
    uint64_t seed = r->seed;
    uint16_t scale = f32_to_f16(r->scale), offset = f32_to_f16(r->offset);
    for (size_t done = 0; done < bytes_of(r); done += n_bytes) {
        for (size_t b = 0; b < n_bytes; b++)
            block[b] = (unsigned char)(test_random(&seed) >> 56);
        memcpy(block + at, &scale, sizeof scale);
        if (r->offset != 0)
            memcpy(block + at + 2, &offset, sizeof offset);
        put(f, block, n_bytes);
    }
}

void golden_write_types(const char *path, const char *name)
{
    struct recipe recipes[MAX_TENSORS];
    size_t n = read_recipes(recipes, name);
    uint64_t at = 0;
    float ones[D_MODEL];
    FILE *f = fopen(path, "wbe");
    if (!f)
        exit(1);
    for (size_t i = 0; i < D_MODEL; i++)
        ones[i] = 1;
    put(f, "GGUF", 4);
    put_u32(f, 3);
    put_u64(f, n);
    put_u64(f, 9);
    put_keys(f);
    for (size_t i = 0; i < n; i++) {
        put_text(f, recipes[i].name);
        put_u32(f, recipes[i].rows ? 2 : 1);
        put_u64(f, D_MODEL);
        if (recipes[i].rows)
            put_u64(f, recipes[i].rows);
        put_u32(f, ggml_type_id(recipes[i].type));
        put_u64(f, at);
        at += (bytes_of(&recipes[i]) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    for (size_t i = 0; i < n; i++) {
        put_padding(f);
        if (recipes[i].rows)
            put_blocks(f, &recipes[i]);
        else
            put(f, ones, sizeof ones);
    }
    put_padding(f);
    if (fclose(f) != 0)
        exit(1);
}
