#include "identity.h"

#include <stdio.h>

#include "base/c_locale.h"

/* %.9g gives back every float32. */
void identity_make(char identity[IDENTITY_SIZE], const struct quire_model *model, const char *products, const char *isa,
                   float attn_eps)
{
    const quire_config *c = &model->config;
    locale_t before = c_locale_begin();
    snprintf(
        identity, IDENTITY_SIZE,
        "d_model %u n_heads %u kv_n_heads %u head_dim %u n_layers %u d_ff %u max_seq_len %u vocab_size %u no_bias %d "
        "alibi %d alibi_bias_max %.9g clip_qkv %.9g qk_ln %d softmax_scale %.9g logit_scale %.9g learned_pos_emb %d "
        "norm_type %s norm_eps %.9g tie_word_embeddings %d tokenizer %s weights %s path %s-%s attn_eps %.9g",
        c->d_model, c->n_heads, c->kv_n_heads, c->head_dim, c->n_layers, c->d_ff, c->max_seq_len, c->vocab_size,
        c->no_bias, c->alibi, (double)c->alibi_bias_max, (double)c->clip_qkv, c->qk_ln, (double)c->softmax_scale,
        (double)c->logit_scale, c->learned_pos_emb, c->norm_type == QUIRE_NORM_RMSNORM ? "rmsnorm" : "layernorm",
        (double)c->norm_eps, c->tie_word_embeddings, model->tokenizer_fingerprint, model->fingerprint, products, isa,
        (double)attn_eps);
    c_locale_end(before);
}
