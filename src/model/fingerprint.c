#include "fingerprint.h"

#include <stdio.h>
#include <string.h>

#include "base/c_locale.h"
#include "base/sys.h"
#include "gguf_file.h"
#include "source.h"

#define WHOLE_BYTES  ((size_t)64 << 10) /* a tensor up to this size is hashed whole */
#define N_SAMPLES    16
#define SAMPLE_BYTES ((size_t)4 << 10)

/* As text, so that padding, field order in memory and later fields of the structure do not matter; %a is exact. */
static void add_config(hash_state *state, const quire_config *c)
{
    char text[512];
    locale_t before = c_locale_begin();
    snprintf(text, sizeof text,
             "d_model %u n_heads %u kv_n_heads %u n_layers %u d_ff %u max_seq_len %u vocab_size %u no_bias %d alibi %d "
             "alibi_bias_max %a clip_qkv %a qk_ln %d softmax_scale %a logit_scale %a learned_pos_emb %d norm_type %d "
             "norm_eps %a tie_word_embeddings %d",
             c->d_model, c->n_heads, c->kv_n_heads, c->n_layers, c->d_ff, c->max_seq_len, c->vocab_size, c->no_bias,
             c->alibi, (double)c->alibi_bias_max, (double)c->clip_qkv, c->qk_ln, (double)c->softmax_scale,
             (double)c->logit_scale, c->learned_pos_emb, (int)c->norm_type, (double)c->norm_eps,
             c->tie_word_embeddings);
    c_locale_end(before);
    hash_add_text(state, text);
}

static void add_contents(hash_state *state, const struct tensor *tensor)
{
    const unsigned char *data = tensor->data;
    size_t n = tensor->n_bytes;
    if (n <= WHOLE_BYTES) {
        hash_add(state, data, n);
    } else {
        size_t step = (n - SAMPLE_BYTES) / (N_SAMPLES - 1);
        for (size_t i = 0; i + 1 < N_SAMPLES; i++)
            hash_add(state, data + step * i, SAMPLE_BYTES);
        hash_add(state, data + n - SAMPLE_BYTES, SAMPLE_BYTES);
    }
    /* Where files are cached in large pages, each touch brings in up to two megabytes: together the whole file. */
    sys_let_go(data, n);
}

quire_status fingerprint(char hex[HASH_HEX_SIZE], const quire_config *config, const struct tensors *tensors,
                         quire_error *err)
{
    hash_state *state = hash_open();
    if (!state)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for the fingerprint of a model");
    add_config(state, config);
    for (size_t i = 0; i < tensors->n; i++) {
        const struct tensor *tensor = &tensors->items[i];
        hash_add_text(state, tensor->name);
        hash_add_text(state, tensor->type_name);
        hash_add_text(state, shape_text(tensor->n_dims, tensor->dims).text);
        add_contents(state, tensor);
    }
    hash_finish_hex(state, hex);
    hash_close(state);
    return QUIRE_OK;
}

static void add_string(hash_state *state, struct gguf_string string)
{
    hash_add(state, &string.n, sizeof string.n);
    hash_add(state, string.bytes, string.n);
}

static void add_array(hash_state *state, const struct gguf_array *array)
{
    hash_add(state, &array->element_type, sizeof array->element_type);
    hash_add(state, &array->n, sizeof array->n);
    struct gguf_place place = {0};
    size_t n_element = gguf_value_type_bytes(array->element_type);
    if (n_element > 0)
        hash_add(state, array->data, array->n * n_element);
    for (uint64_t i = 0; array->element_type == GGUF_STRING && i < array->n; i++)
        add_string(state, gguf_array_string(array, &place));
}

static bool begins_with(struct gguf_string key, const char *prefix)
{
    return key.n >= strlen(prefix) && memcmp(key.bytes, prefix, strlen(prefix)) == 0;
}

static size_t add_gguf(hash_state *state, const struct gguf *gguf)
{
    size_t n_keys = 0;
    for (uint64_t i = 0; i < gguf->n_pairs; i++) {
        const struct gguf_pair *pair = &gguf->pairs[i];
        if (!begins_with(pair->key, "tokenizer.") && !begins_with(pair->key, "quire.tokenizer."))
            continue;
        n_keys++;
        add_string(state, pair->key);
        hash_add(state, &pair->type, sizeof pair->type);
        if (pair->type == GGUF_STRING)
            add_string(state, pair->value.string);
        else if (pair->type == GGUF_ARRAY)
            add_array(state, &pair->value.array);
        else
            hash_add(state, pair->value.number, gguf_value_type_bytes(pair->type));
    }
    return n_keys;
}

quire_status fingerprint_tokenizer(char hex[HASH_HEX_SIZE], const struct model_source *source, quire_error *err)
{
    struct sys_map map = {0};
    bool has_file = !source->gguf && sys_exists(source->tokenizer_path);
    quire_status status = has_file ? sys_map_file(&map, source->tokenizer_path, err) : QUIRE_OK;
    if (status != QUIRE_OK)
        return status;
    hash_state *state = hash_open();
    if (!state) {
        sys_unmap(&map);
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for the fingerprint of a tokenizer");
    }
    bool is_there = has_file || (source->gguf && add_gguf(state, source->gguf) > 0);
    hash_add(state, map.data, map.n_bytes);
    if (is_there)
        hash_finish_hex(state, hex);
    else
        snprintf(hex, HASH_HEX_SIZE, "none");
    hash_close(state);
    sys_unmap(&map);
    return QUIRE_OK;
}
