#include "head.h"

#include <math.h>

#include "base/mem.h"
#include "layer.h"
#include "linear.h"

static void unpack_row(const struct quire_engine *engine, float *dst, const struct matrix *matrix, size_t row)
{
    engine->kernels->unpack[matrix->type](dst, (const unsigned char *)matrix->data + row * matrix->row_bytes,
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
            engine->kernels->unpack[wpe->type](part, row + offset, width);
            for (size_t j = 0; j < width; j++)
                x[i * d_model + c + j] += part[j];
        }
}

void head_logits(struct quire_engine *engine, float *logits, const float *x, float *normed)
{
    const struct quire_model *model = engine->model;
    layer_norm_rows(engine, normed, x, 1, model->norm_f_weight, model->norm_f_bias);
    linear_vector(engine, logits, &model->lm_head, NULL, normed, false);
    if (model->config.logit_scale != 1.0f)
        for (size_t i = 0; i < model->config.vocab_size; i++)
            logits[i] *= model->config.logit_scale;
}

struct logits_job {
    struct quire_engine *engine;
    const struct head_buffers *buffers;
    const int32_t *targets;
    float *logprobs;
    size_t n;
};

/* All rows' logits for PLAN_LOGIT_COLUMNS entries of the vocabulary: unpacked once for all of them. */
static void logits_columns(void *context, size_t item, uint32_t worker)
{
    const struct logits_job *job = context;
    const struct quire_model *model = job->engine->model;
    size_t d_model = model->config.d_model, vocab_size = model->config.vocab_size;
    size_t first = item * PLAN_LOGIT_COLUMNS, n = size_min(PLAN_LOGIT_COLUMNS, vocab_size - first);
    float *weights = job->buffers->unpacked + worker * PLAN_LOGIT_COLUMNS * d_model;
    for (size_t i = 0; i < n; i++)
        unpack_row(job->engine, weights + i * d_model, &model->lm_head, first + i);
    kernels_gemm(job->buffers->logits + first, vocab_size, job->buffers->normed, d_model, weights, job->n, n, d_model,
                 false);
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
    job->logprobs[item] = (float)((double)logits[job->targets[item]] - (double)largest - log(sum));
}

void head_logprobs(struct quire_engine *engine, const struct head_buffers *buffers, float *logprobs, const float *x,
                   const int32_t *targets, size_t n)
{
    const struct quire_model *model = engine->model;
    struct logits_job job = {engine, buffers, targets, logprobs, n};
    layer_norm_rows(engine, buffers->normed, x, n, model->norm_f_weight, model->norm_f_bias);
    threads_run(engine->threads, (model->config.vocab_size + PLAN_LOGIT_COLUMNS - 1) / PLAN_LOGIT_COLUMNS,
                logits_columns, &job);
    threads_run(engine->threads, n, logprob_row, &job);
}
