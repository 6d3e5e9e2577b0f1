#include "head.h"

#include <math.h>

#include "base/mem.h"
#include "layer.h"
#include "linear.h"

static void unpack_row(const struct quire_engine *engine, float *dst, const struct matrix *matrix, size_t row)
{
    engine->kernels->unpack(matrix->type, dst, (const unsigned char *)matrix->data + row * matrix->row_bytes,
                            matrix->cols);
}

void head_embed(const struct quire_engine *engine, float *x, const int32_t *ids, size_t first, size_t n)
{
    const struct quire_model *model = engine->model;
    size_t d_model = model->config.d_model;
    for (size_t i = 0; i < n; i++)
        unpack_row(engine, x + i * d_model, &model->wte, (size_t)ids[i]);
    if (!model->config.learned_pos_emb)
        return;
    enum { PART = 256 }; /* positions are added part by part: a multiple of every block size */
    float part[PART];
    const struct matrix *wpe = &model->wpe;
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < d_model; c += PART) {
            size_t width = size_min(PART, d_model - c);
            size_t offset = c / quire_dtype_block_elements(wpe->type) * quire_dtype_block_bytes(wpe->type);
            const unsigned char *row = (const unsigned char *)wpe->data + (first + i) * wpe->row_bytes;
            engine->kernels->unpack(wpe->type, part, row + offset, width);
            for (size_t j = 0; j < width; j++)
                x[i * d_model + c + j] += part[j];
        }
}

void head_logits(struct quire_engine *engine, float *logits, const float *x, float *normed, size_t n)
{
    const struct quire_model *model = engine->model;
    layer_norm_rows(engine, normed, x, n, model->norm_f_weight, model->norm_f_bias);
    linear_few(engine, &(struct linear_few){.y = logits, .matrix = &model->lm_head, .x = normed, .n = n});
    if (model->config.logit_scale != 1.0f)
        for (size_t i = 0; i < n * model->config.vocab_size; i++)
            logits[i] *= model->config.logit_scale;
}

size_t head_buffers_floats(const quire_config *config, const struct kernels *kernels, size_t n_threads)
{
    const struct gemm *gemm = kernels->gemm_exact;
    size_t per_row = (size_t)config->d_model + config->vocab_size + 1;
    return PLAN_LOGIT_ROWS * per_row + linear_strips_bytes(gemm, PLAN_LOGIT_ROWS, config->d_model) / sizeof(float) +
           n_threads * (gemm_part_bytes(gemm, config->d_model) / sizeof(float) + gemm_sums_floats(gemm));
}

void head_buffers_cut(struct head_buffers *out, float *memory, const quire_config *config,
                      const struct kernels *kernels, size_t n_threads)
{
    const struct gemm *gemm = kernels->gemm_exact;
    out->normed = memory;
    out->logits = out->normed + (size_t)PLAN_LOGIT_ROWS * config->d_model;
    out->logprobs = out->logits + (size_t)PLAN_LOGIT_ROWS * config->vocab_size;
    out->strips = out->logprobs + PLAN_LOGIT_ROWS;
    out->parts = out->strips + linear_strips_bytes(gemm, PLAN_LOGIT_ROWS, config->d_model) / sizeof(float);
    out->sums = out->parts + n_threads * (gemm_part_bytes(gemm, config->d_model) / sizeof(float));
}

struct logits_job {
    struct quire_engine *engine;
    const struct head_buffers *buffers;
    const int32_t *targets;
    size_t n;
};

/* All rows' logits for one panel of the vocabulary. */
static void logits_panel(void *context, size_t item, uint32_t worker)
{
    const struct logits_job *job = context;
    const struct quire_model *model = job->engine->model;
    const struct kernels *kernels = job->engine->kernels;
    const struct gemm *gemm = kernels->gemm_exact;
    const struct matrix *w = &model->lm_head;
    const struct stored_matrix stored = linear_stored(w);
    size_t first = item * gemm->panel_columns, n = size_min(gemm->panel_columns, w->rows - first);
    const struct gemm_block block = {.n_rows = job->n, .column = first, .n_columns = n};
    void *part = (unsigned char *)job->buffers->parts + worker * gemm_part_bytes(gemm, w->cols);
    kernels_multiply_stored(kernels, gemm, job->buffers->logits, model->config.vocab_size, job->buffers->strips,
                            &stored, part, job->buffers->sums + worker * gemm_sums_floats(gemm), block, w->cols,
                            &(struct gemm_edge){0});
}

static void logprob_row(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct logits_job *job = context;
    const quire_config *config = &job->engine->model->config;
    float *logits = job->buffers->logits + item * config->vocab_size, largest;
    double sum;
    if (config->logit_scale != 1.0f)
        for (size_t i = 0; i < config->vocab_size; i++)
            logits[i] *= config->logit_scale;
    job->engine->kernels->softmax_sum(logits, config->vocab_size, &largest, &sum);
    job->buffers->logprobs[item] = (float)((double)logits[job->targets[item]] - (double)largest - log(sum));
}

void head_logprobs(struct quire_engine *engine, const struct head_buffers *buffers, const float *x,
                   const int32_t *targets, size_t n)
{
    const struct quire_model *model = engine->model;
    const struct gemm *gemm = engine->kernels->gemm_exact;
    struct logits_job job = {engine, buffers, targets, n};
    layer_norm_rows(engine, buffers->normed, x, n, model->norm_f_weight, model->norm_f_bias);
    linear_pack_strips(engine, gemm, buffers->strips, buffers->normed, model->config.d_model, n, model->config.d_model);
    threads_run(engine->threads, (model->lm_head.rows + gemm->panel_columns - 1) / gemm->panel_columns, logits_panel,
                &job);
    threads_run(engine->threads, n, logprob_row, &job);
}
