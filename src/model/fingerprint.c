#include "fingerprint.h"

#include <stdio.h>

#define WHOLE_BYTES  ((size_t)64 << 10) /* a tensor up to this size is hashed whole */
#define N_SAMPLES    16
#define SAMPLE_BYTES ((size_t)4 << 10)

/* As text, so that padding, field order in memory and later fields of the structure do not matter; %a is exact. */
static void add_config(hash_state *state, const quire_config *c)
{
    char text[512];
    snprintf(text, sizeof text,
             "d_model %u n_heads %u kv_n_heads %u n_layers %u d_ff %u max_seq_len %u vocab_size %u no_bias %d alibi %d "
             "alibi_bias_max %a clip_qkv %a qk_ln %d softmax_scale %a logit_scale %a learned_pos_emb %d norm_type %d "
             "norm_eps %a tie_word_embeddings %d",
             c->d_model, c->n_heads, c->kv_n_heads, c->n_layers, c->d_ff, c->max_seq_len, c->vocab_size, c->no_bias,
             c->alibi, (double)c->alibi_bias_max, (double)c->clip_qkv, c->qk_ln, (double)c->softmax_scale,
             (double)c->logit_scale, c->learned_pos_emb, (int)c->norm_type, (double)c->norm_eps,
             c->tie_word_embeddings);
    hash_add_text(state, text);
}

static void add_contents(hash_state *state, const struct tensor *tensor)
{
    const unsigned char *data = tensor->data;
    if (tensor->n_bytes <= WHOLE_BYTES) {
        hash_add(state, data, tensor->n_bytes);
        return;
    }
    size_t step = (tensor->n_bytes - SAMPLE_BYTES) / (N_SAMPLES - 1);
    for (size_t i = 0; i + 1 < N_SAMPLES; i++)
        hash_add(state, data + step * i, SAMPLE_BYTES);
    hash_add(state, data + tensor->n_bytes - SAMPLE_BYTES, SAMPLE_BYTES);
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
