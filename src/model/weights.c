#include "weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

enum scope { MODEL, LAYER };
enum dim { ONE, D_MODEL, D_FF, QKV, KV, VOCAB, POSITIONS };

/* When the model has a tensor. */
enum need { ALWAYS, LEARNED_POSITIONS, UNTIED, LINEAR_BIAS, NORM_BIAS, QK_NORM, QK_NORM_BIAS };

struct row {
    enum scope scope;
    enum need need;
    enum dim rows, cols; /* a vector has ONE row */
    size_t offset;       /* of a matrix, or of a pointer to floats, in quire_model or layer */
    const char *hf;      /* %u is the layer; behind a prefix, see `schemes` */
    const char *old_hf;  /* of the first generation (MosaicGPT, ReplitLM); NULL where it is the same */
    const char *gguf;
};

#define IN_MODEL(field) offsetof(struct quire_model, field)
#define IN_LAYER(field) offsetof(struct layer, field)

static const struct row rows[] = {
    {MODEL, ALWAYS, VOCAB, D_MODEL, IN_MODEL(wte), "wte.weight", NULL, "token_embd.weight"},
    {MODEL, LEARNED_POSITIONS, POSITIONS, D_MODEL, IN_MODEL(wpe), "wpe.weight", NULL, "position_embd.weight"},
    {MODEL, ALWAYS, ONE, D_MODEL, IN_MODEL(norm_f_weight), "norm_f.weight", "ln_f.weight", "output_norm.weight"},
    {MODEL, NORM_BIAS, ONE, D_MODEL, IN_MODEL(norm_f_bias), "norm_f.bias", "ln_f.bias", "output_norm.bias"},
    {MODEL, UNTIED, VOCAB, D_MODEL, IN_MODEL(lm_head), "lm_head.weight", NULL, "output.weight"},

    {LAYER, ALWAYS, ONE, D_MODEL, IN_LAYER(norm_1_weight), "blocks.%u.norm_1.weight", "blocks.%u.ln_1.weight",
     "blk.%u.attn_norm.weight"},
    {LAYER, NORM_BIAS, ONE, D_MODEL, IN_LAYER(norm_1_bias), "blocks.%u.norm_1.bias", "blocks.%u.ln_1.bias",
     "blk.%u.attn_norm.bias"},
    {LAYER, ALWAYS, QKV, D_MODEL, IN_LAYER(Wqkv), "blocks.%u.attn.Wqkv.weight", NULL, "blk.%u.attn_qkv.weight"},
    {LAYER, LINEAR_BIAS, ONE, QKV, IN_LAYER(Wqkv_bias), "blocks.%u.attn.Wqkv.bias", NULL, "blk.%u.attn_qkv.bias"},
    {LAYER, QK_NORM, ONE, D_MODEL, IN_LAYER(q_ln_weight), "blocks.%u.attn.q_ln.weight", NULL,
     "blk.%u.attn_q_norm.weight"},
    {LAYER, QK_NORM_BIAS, ONE, D_MODEL, IN_LAYER(q_ln_bias), "blocks.%u.attn.q_ln.bias", NULL,
     "blk.%u.attn_q_norm.bias"},
    {LAYER, QK_NORM, ONE, KV, IN_LAYER(k_ln_weight), "blocks.%u.attn.k_ln.weight", NULL, "blk.%u.attn_k_norm.weight"},
    {LAYER, QK_NORM_BIAS, ONE, KV, IN_LAYER(k_ln_bias), "blocks.%u.attn.k_ln.bias", NULL, "blk.%u.attn_k_norm.bias"},
    {LAYER, ALWAYS, D_MODEL, D_MODEL, IN_LAYER(out_proj), "blocks.%u.attn.out_proj.weight", NULL,
     "blk.%u.attn_output.weight"},
    {LAYER, LINEAR_BIAS, ONE, D_MODEL, IN_LAYER(out_proj_bias), "blocks.%u.attn.out_proj.bias", NULL,
     "blk.%u.attn_output.bias"},
    {LAYER, ALWAYS, ONE, D_MODEL, IN_LAYER(norm_2_weight), "blocks.%u.norm_2.weight", "blocks.%u.ln_2.weight",
     "blk.%u.ffn_norm.weight"},
    {LAYER, NORM_BIAS, ONE, D_MODEL, IN_LAYER(norm_2_bias), "blocks.%u.norm_2.bias", "blocks.%u.ln_2.bias",
     "blk.%u.ffn_norm.bias"},
    {LAYER, ALWAYS, D_FF, D_MODEL, IN_LAYER(up_proj), "blocks.%u.ffn.up_proj.weight", "blocks.%u.mlp.mlp_up.weight",
     "blk.%u.ffn_up.weight"},
    {LAYER, LINEAR_BIAS, ONE, D_FF, IN_LAYER(up_proj_bias), "blocks.%u.ffn.up_proj.bias", "blocks.%u.mlp.mlp_up.bias",
     "blk.%u.ffn_up.bias"},
    {LAYER, ALWAYS, D_MODEL, D_FF, IN_LAYER(down_proj), "blocks.%u.ffn.down_proj.weight",
     "blocks.%u.mlp.mlp_down.weight", "blk.%u.ffn_down.weight"},
    {LAYER, LINEAR_BIAS, ONE, D_MODEL, IN_LAYER(down_proj_bias), "blocks.%u.ffn.down_proj.bias",
     "blocks.%u.mlp.mlp_down.bias", "blk.%u.ffn_down.bias"},
};

#define N_ROWS (sizeof rows / sizeof rows[0])

/* What stands before HuggingFace names: as published, as Composer saves them, and as the bare body is saved. */
static const struct scheme {
    const char *body, *head;
} schemes[] = {{"transformer.", ""}, {"model.transformer.", "model."}, {"", ""}};

#define N_SCHEMES (sizeof schemes / sizeof schemes[0])

struct binder {
    const quire_config *config;
    const struct tensors *tensors;
    bool is_gguf;
    const struct scheme *scheme;
    const char *path;
    quire_error *err;
    struct quire_model *model; /* to be filled; NULL elsewhere */
    size_t n_floats;           /* of all vectors, counted by check_row */
    float *next_vector;        /* where the next vector goes in source->vectors */
    struct weight *list;       /* to be filled, [n_listed]; NULL: counted only */
    size_t n_listed;
    void (*on_problem)(void *user, const char *message);
    void *user;
};

struct name {
    char text[96];
};

static size_t dim_of(const quire_config *c, enum dim dim)
{
    switch (dim) {
    case ONE: return 1;
    case D_MODEL: return c->d_model;
    case D_FF: return c->d_ff;
    case QKV: return c->d_model + (size_t)2 * c->kv_n_heads * c->head_dim;
    case KV: return (size_t)c->kv_n_heads * c->head_dim;
    case VOCAB: return c->vocab_size;
    case POSITIONS: return c->max_seq_len;
    }
    return 0;
}

static bool is_needed(const quire_config *c, enum need need)
{
    bool has_norm_bias = !c->no_bias && c->norm_type == QUIRE_NORM_LAYERNORM; /* an RMS norm has a weight only */
    switch (need) {
    case ALWAYS: return true;
    case LEARNED_POSITIONS: return c->learned_pos_emb;
    case UNTIED: return !c->tie_word_embeddings;
    case LINEAR_BIAS: return !c->no_bias;
    case NORM_BIAS: return has_norm_bias;
    case QK_NORM: return c->qk_ln;
    case QK_NORM_BIAS: return c->qk_ln && has_norm_bias;
    }
    return false;
}

/* Why a tensor that would change the result must not be there; NULL for those that MosaicML's own code leaves aside. */
static const char *why_unwanted(enum need need)
{
    switch (need) {
    case ALWAYS:
    case LEARNED_POSITIONS:
    case UNTIED: return NULL;
    case LINEAR_BIAS: return "no_bias";
    case NORM_BIAS:
    case QK_NORM_BIAS: return "no_bias or an RMS norm";
    case QK_NORM: return "no qk_ln";
    }
    return NULL;
}

static struct name join_name(const char *prefix, const char *pattern, uint32_t layer)
{
    struct name name;
    int n = snprintf(name.text, sizeof name.text, "%s", prefix);
    const char *number = strstr(pattern, "%u");
    if (number)
        snprintf(name.text + n, sizeof name.text - (size_t)n, "%.*s%u%s", (int)(number - pattern), pattern, layer,
                 number + 2);
    else
        snprintf(name.text + n, sizeof name.text - (size_t)n, "%s", pattern);
    return name;
}

static struct name name_of(const struct binder *b, const struct row *row, const char *pattern, uint32_t layer)
{
    const char *prefix = "";
    if (!b->is_gguf)
        prefix = row->need == UNTIED ? b->scheme->head : b->scheme->body;
    return join_name(prefix, pattern, layer);
}

static const struct tensor *find(const struct binder *b, const struct row *row, uint32_t layer)
{
    const struct tensor *tensor =
        tensors_find(b->tensors, name_of(b, row, b->is_gguf ? row->gguf : row->hf, layer).text);
    if (!tensor && !b->is_gguf && row->old_hf)
        tensor = tensors_find(b->tensors, name_of(b, row, row->old_hf, layer).text);
    return tensor;
}

static quire_status check_tensor(const struct binder *b, const struct row *row, const struct tensor *tensor,
                                 uint32_t layer)
{
    const quire_config *c = b->config;
    uint64_t shape[] = {dim_of(c, row->rows), dim_of(c, row->cols)};
    uint32_t n_dims = row->rows == ONE ? 1 : 2;
    const uint64_t *dims = shape + 2 - n_dims;
    if (!tensor)
        return quire_fail(b->err, QUIRE_ERR_FORMAT, "'%s' has no tensor '%s', expected one of shape %s", b->path,
                          name_of(b, row, b->is_gguf ? row->gguf : row->hf, layer).text, shape_text(n_dims, dims).text);
    if (tensor->n_dims != n_dims || memcmp(tensor->dims, dims, n_dims * sizeof *dims) != 0)
        return quire_fail(b->err, QUIRE_ERR_FORMAT,
                          "'%s': tensor '%s' has shape %s, expected %s from the model's configuration", tensor->path,
                          tensor->name, shape_text(tensor->n_dims, tensor->dims).text, shape_text(n_dims, dims).text);
    if (tensor->obstacle)
        return quire_fail(b->err, QUIRE_ERR_UNSUPPORTED, "'%s': tensor '%s' %s", tensor->path, tensor->name,
                          tensor->obstacle);
    bool is_block = tensor->is_number && quire_dtype_block_elements(tensor->type) > 1;
    if (!tensor->is_number || (row->rows == ONE && is_block))
        return quire_fail(b->err, QUIRE_ERR_UNSUPPORTED, "'%s': tensor '%s' is of type %s, expected %s", tensor->path,
                          tensor->name, tensor->type_name,
                          row->rows == ONE
                              ? "F32, F16 or BF16 for a vector"
                              : "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, "
                                "IQ4_NL or IQ4_XS");
    return QUIRE_OK;
}

static struct matrix matrix_of(const struct tensor *tensor)
{
    struct matrix m = {.data = tensor->data, .type = tensor->type};
    m.rows = (uint32_t)tensor->dims[0];
    m.cols = (uint32_t)tensor->dims[1];
    m.row_bytes = (size_t)m.cols / quire_dtype_block_elements(m.type) * quire_dtype_block_bytes(m.type);
    return m;
}

static const float *vector_of(struct binder *b, const struct tensor *tensor)
{
    const unsigned char *p = tensor->data;
    float *vector = b->next_vector;
    size_t n = (size_t)tensor->dims[0];
    for (size_t i = 0; i < n; i++)
        vector[i] = tensor->type == QUIRE_DTYPE_F32   ? f32_from_bits(load_u32(p + 4 * i))
                    : tensor->type == QUIRE_DTYPE_F16 ? f16_to_f32(load_u16(p + 2 * i))
                                                      : bf16_to_f32(load_u16(p + 2 * i));
    b->next_vector += n;
    return vector;
}

static void count(struct quire_model *model, const struct tensor *tensor)
{
    uint64_t n_elements = 1;
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        n_elements *= tensor->dims[d];
    model->n_tensors++;
    model->n_parameters += n_elements;
    model->weight_bytes += tensor->n_bytes;
    model->n_tensors_of[tensor->type]++;
    model->n_bytes_of[tensor->type] += tensor->n_bytes;
}

/* First pass: everything is there, and nothing else that would change the result. What a hostile configuration claims
 * is so bounded by what the files hold before memory is asked for. */
static quire_status check_row(struct binder *b, const struct row *row, uint32_t layer)
{
    const struct tensor *tensor = find(b, row, layer);
    const char *why = why_unwanted(row->need);
    if (is_needed(b->config, row->need)) {
        b->n_floats += row->rows == ONE ? dim_of(b->config, row->cols) : 0;
        return check_tensor(b, row, tensor, layer);
    }
    if (tensor && why)
        return quire_fail(b->err, QUIRE_ERR_FORMAT, "'%s' has a tensor '%s', but the model's configuration says %s",
                          tensor->path, tensor->name, why);
    return QUIRE_OK;
}

/* Second pass. */
static quire_status bind_row(struct binder *b, const struct row *row, uint32_t layer)
{
    if (!is_needed(b->config, row->need))
        return QUIRE_OK;
    const struct tensor *tensor = find(b, row, layer);
    char *owner = row->scope == MODEL ? (char *)b->model : (char *)&b->model->layers[layer];
    void *field = owner + row->offset;
    count(b->model, tensor);
    if (row->rows == ONE)
        *(const float **)field = vector_of(b, tensor);
    else
        *(struct matrix *)field = matrix_of(tensor);
    return QUIRE_OK;
}

static quire_status for_each_row(struct binder *b, quire_status (*visit)(struct binder *, const struct row *, uint32_t))
{
    quire_status status = QUIRE_OK;
    for (size_t i = 0; status == QUIRE_OK && i < N_ROWS; i++)
        if (rows[i].scope == MODEL)
            status = visit(b, &rows[i], 0);
    for (uint32_t layer = 0; layer < b->config->n_layers; layer++)
        for (size_t i = 0; status == QUIRE_OK && i < N_ROWS; i++)
            if (rows[i].scope == LAYER)
                status = visit(b, &rows[i], layer);
    return status;
}

static quire_status allocate(struct binder *b)
{
    struct quire_model *model = b->model;
    /* A PyTorch file may name one storage any number of times. Sound vectors are far smaller than the matrices. */
    if (b->n_floats > source_n_bytes(model->source) / sizeof(float))
        return quire_fail(
            b->err, QUIRE_ERR_UNSUPPORTED,
            "'%s': its norms and biases have %zu numbers, more than its files of %zu bytes can hold; they "
            "share their storage",
            b->path, b->n_floats, source_n_bytes(model->source));
    model->layers = mem_calloc(model->config.n_layers, sizeof *model->layers, "the layers of a model", b->err);
    model->source->vectors = mem_calloc(b->n_floats, sizeof(float), "the norms and biases of a model", b->err);
    b->next_vector = model->source->vectors;
    return model->layers && b->next_vector ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
}

/* llama.cpp's activation-aware scales divide what the feed-forward part computes; no row has a place for them. */
static quire_status refuse_activation_scales(const struct binder *b)
{
    for (size_t i = 0; i < b->tensors->n; i++) {
        const struct tensor *tensor = &b->tensors->items[i];
        if (strstr(tensor->name, ".act.scales"))
            return quire_fail(b->err, QUIRE_ERR_UNSUPPORTED,
                              "'%s': tensor '%s' scales activations (AWQ), which this build does not compute",
                              tensor->path, tensor->name);
    }
    return QUIRE_OK;
}

/* On the tensors of a source, with the prefix that its names have. */
static struct binder binder_of(const quire_config *config, const struct model_source *source, const char *path,
                               quire_error *err)
{
    struct binder b = {.config = config,
                       .tensors = &source->tensors,
                       .is_gguf = source->is_gguf,
                       .scheme = &schemes[0],
                       .path = path,
                       .err = err};
    for (size_t i = 1; i < N_SCHEMES && !find(&b, &rows[0], 0); i++)
        b.scheme = &schemes[i];
    if (!find(&b, &rows[0], 0))
        b.scheme = &schemes[0]; /* the name to miss is the published one */
    return b;
}

quire_status weights_bind(struct quire_model *model, const char *path, quire_error *err)
{
    struct binder b = binder_of(&model->config, model->source, path, err);
    b.model = model;
    quire_status status = for_each_row(&b, check_row);
    if (status == QUIRE_OK)
        status = refuse_activation_scales(&b);
    if (status == QUIRE_OK)
        status = allocate(&b);
    if (status == QUIRE_OK)
        status = for_each_row(&b, bind_row);
    if (status != QUIRE_OK)
        return status;
    if (model->config.tie_word_embeddings)
        model->lm_head = model->wte;
    model->n_unused_tensors = (uint32_t)(b.tensors->n - model->n_tensors);
    return QUIRE_OK;
}

/* --- all problems, not the first ---------------------------------------------------------------------------------- */

static quire_status report_row(struct binder *b, const struct row *row, uint32_t layer)
{
    quire_error why = {0};
    struct binder alone = *b;
    alone.err = &why;
    if (check_row(&alone, row, layer) != QUIRE_OK)
        b->on_problem(b->user, why.message);
    return QUIRE_OK;
}

void weights_report(const quire_config *config, const struct model_source *source, const char *path,
                    void (*on_problem)(void *user, const char *message), void *user)
{
    quire_error why = {0};
    struct binder b = binder_of(config, source, path, &why);
    b.on_problem = on_problem;
    b.user = user;
    (void)for_each_row(&b, report_row);
    if (refuse_activation_scales(&b) != QUIRE_OK)
        on_problem(user, why.message);
}

/* --- the list ----------------------------------------------------------------------------------------------------- */

static quire_status list_row(struct binder *b, const struct row *row, uint32_t layer)
{
    if (!is_needed(b->config, row->need))
        return QUIRE_OK;
    struct weight *weight = b->list ? &b->list[b->n_listed] : NULL;
    b->n_listed++;
    if (!weight)
        return QUIRE_OK;
    struct binder published = {.config = b->config, .scheme = &schemes[0]};
    snprintf(weight->hf_name, sizeof weight->hf_name, "%s", name_of(&published, row, row->hf, layer).text);
    published.is_gguf = true;
    snprintf(weight->gguf_name, sizeof weight->gguf_name, "%s", name_of(&published, row, row->gguf, layer).text);
    weight->rows = (uint32_t)dim_of(b->config, row->rows);
    weight->cols = (uint32_t)dim_of(b->config, row->cols);
    weight->is_vector = row->rows == ONE;
    weight->is_in_layer = row->scope == LAYER;
    weight->layer = layer;
    weight->offset = row->offset;
    weight->is_position = row->need == LEARNED_POSITIONS;
    weight->tensor = b->tensors ? find(b, row, layer) : NULL;
    return QUIRE_OK;
}

static quire_status list(struct binder *b, struct weight **out, size_t *n)
{
    (void)for_each_row(b, list_row);
    b->list = mem_calloc(b->n_listed, sizeof *b->list, "the names of a model's tensors", b->err);
    if (!b->list)
        return QUIRE_ERR_NO_MEMORY;
    b->n_listed = 0;
    (void)for_each_row(b, list_row);
    *out = b->list;
    *n = b->n_listed;
    return QUIRE_OK;
}

quire_status weights_list(struct weight **out, size_t *n, const quire_config *config, quire_error *err)
{
    struct binder b = {.config = config, .err = err};
    return list(&b, out, n);
}

quire_status weights_list_of(struct weight **out, size_t *n, const struct quire_model *model, quire_error *err)
{
    struct binder b = binder_of(&model->config, model->source, model->path, err);
    return list(&b, out, n);
}
