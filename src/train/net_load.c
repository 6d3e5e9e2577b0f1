/* Weights from a model's files. */
#include <string.h>

#include "net_private.h"

/* What must be equal for the weights to mean the same. Norm and head differences show in which tensors there are, and
 * are asked for by name all the same. What has no weights and was changed when StoryWriter was made from the base
 * model, alibi_bias_max and clip_qkv, may differ. */
static const char *differing_field(const quire_config *a, const quire_config *b)
{
    const struct {
        const char *name;
        double a, b;
    } fields[] = {
        {"d_model", a->d_model, b->d_model},
        {"n_heads", a->n_heads, b->n_heads},
        {"kv_n_heads", a->kv_n_heads, b->kv_n_heads},
        {"n_layers", a->n_layers, b->n_layers},
        {"d_ff (expansion_ratio * d_model)", a->d_ff, b->d_ff},
        {"vocab_size", a->vocab_size, b->vocab_size},
        {"max_seq_len", a->learned_pos_emb ? a->max_seq_len : 0, a->learned_pos_emb ? b->max_seq_len : 0},
        {"no_bias", a->no_bias, b->no_bias},
        {"alibi", a->alibi, b->alibi},
        {"qk_ln", a->qk_ln, b->qk_ln},
        {"softmax_scale", (double)a->softmax_scale, (double)b->softmax_scale},
        {"logit_scale", (double)a->logit_scale, (double)b->logit_scale},
        {"learned_pos_emb", a->learned_pos_emb, b->learned_pos_emb},
        {"norm_type", a->norm_type, b->norm_type},
        {"norm_eps", (double)a->norm_eps, (double)b->norm_eps},
        {"tie_word_embeddings", a->tie_word_embeddings, b->tie_word_embeddings},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].a != fields[i].b)
            return fields[i].name;
    return NULL;
}

struct load_job {
    struct net *net;
    const struct quire_model *model;
};

static void load_param(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct load_job *job = context;
    const struct net_param *own = &job->net->net_params[item];
    const struct param *param = &job->net->params[item];
    const char *owner = own->is_in_layer ? (const char *)&job->model->layers[own->layer] : (const char *)job->model;
    const void *field = owner + own->offset;
    if (param->n_dims == 1) {
        memcpy(param->data, *(const float *const *)field, param->n * sizeof(float));
        return;
    }
    const struct matrix *matrix = field;
    for (size_t row = 0; row < matrix->rows; row++)
        job->net->kernels->unpack(matrix->type, param->data + row * matrix->cols,
                                  (const unsigned char *)matrix->data + row * matrix->row_bytes, matrix->cols);
}

quire_status net_load(struct net *net, const quire_model *model, quire_error *err)
{
    const char *field = differing_field(&net->config, &model->config);
    if (field)
        return quire_fail(err, QUIRE_ERR_MISMATCH, "'%s' is a model of another configuration: %s is not the same",
                          model->path, field);
    struct load_job job = {net, model};
    threads_run(net->threads, net->n_params, load_param, &job);
    net_clear_gradients(net);
    return model_check_files(model, err);
}
