/* Which type each tensor gets, and the frame around the two formats. */
#include "model_writer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/blocks.h"
#include "base/mem.h"
#include "base/printable.h"
#include "model/model.h"
#include "model_job.h"

void job_notice(const struct model_job *job, const char *format, ...)
{
    char text[600];
    va_list args;
    if (!job->options->notice)
        return;
    va_start(args, format);
    printable_vprint(text, sizeof text, format, args);
    va_end(args);
    job->options->notice(job->options->user, text);
}

static bool is_plain(quire_dtype type)
{
    return quire_dtype_block_elements(type) == 1;
}

bool model_writer_makes_gguf(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".gguf") == 0;
}

/* --- types -------------------------------------------------------------------------------------------------------- */

/* The type that all matrices have, or f32. */
static quire_dtype common_type(const struct model_content *content)
{
    quire_dtype type = QUIRE_DTYPE_COUNT;
    for (size_t i = 0; i < content->n_weights; i++) {
        if (content->weights[i].is_vector)
            continue;
        if (type != QUIRE_DTYPE_COUNT && type != content->data[i].type)
            return QUIRE_DTYPE_F32;
        type = content->data[i].type;
    }
    return type != QUIRE_DTYPE_COUNT && is_plain(type) ? type : QUIRE_DTYPE_F32;
}

/* Rows that are not whole blocks of a type get the next finer one. */
static quire_dtype fitting_type(quire_dtype type, uint32_t cols)
{
    if (cols % quire_dtype_block_elements(type) == 0)
        return type;
    return cols % quire_dtype_block_elements(QUIRE_DTYPE_Q8_0) == 0 ? QUIRE_DTYPE_Q8_0 : QUIRE_DTYPE_F16;
}

/* Where nothing was asked for a vector stays as it is: rounded to the type of the matrices it could lose something. */
static quire_dtype folder_type(const struct model_job *job, size_t i)
{
    quire_dtype type = job->content->data[i].type;
    return !job->options->has_type && job->content->weights[i].is_vector && is_plain(type) ? type : job->type;
}

/* Learned positions are looked up, not multiplied by: quantising them gains nothing, and llama.cpp does not do it. */
static quire_dtype gguf_type(const struct model_job *job, size_t i)
{
    const struct weight *weight = &job->content->weights[i];
    if (weight->is_vector)
        return QUIRE_DTYPE_F32;
    if (!job->options->has_type)
        return job->content->data[i].type;
    if (weight->is_position && !is_plain(job->options->type))
        return QUIRE_DTYPE_F32;
    return fitting_type(job->options->type, weight->cols);
}

static quire_status choose_types(struct model_job *job, bool is_folder, quire_error *err)
{
    const struct model_content *content = job->content;
    const quire_convert_options *o = job->options;
    uint64_t n_bytes_of[QUIRE_DTYPE_COUNT] = {0};
    size_t n_unfit = 0;
    if (o->has_type && is_folder && !is_plain(o->type))
        return quire_fail(err, QUIRE_ERR_USAGE, "a HuggingFace folder has tensors in f32, f16 or bf16, not in %s",
                          quire_dtype_name(o->type));
    if (o->has_type && !blocks_can_pack(o->type))
        return quire_fail(err, QUIRE_ERR_USAGE, "this build reads the type %s and does not write it",
                          quire_dtype_name(o->type));
    job->type = o->has_type ? o->type : common_type(content);
    for (size_t i = 0; i < content->n_weights; i++) {
        const struct weight *weight = &content->weights[i];
        struct stream_tensor *tensor = &job->tensors[i];
        tensor->name = is_folder ? weight->hf_name : weight->gguf_name;
        tensor->n_dims = weight->is_vector ? 1 : 2;
        tensor->dims[0] = weight->is_vector ? weight->cols : weight->rows;
        tensor->dims[1] = weight->is_vector ? 0 : weight->cols;
        tensor->from = content->data[i].type;
        tensor->to = is_folder ? folder_type(job, i) : gguf_type(job, i);
        tensor->data = content->data[i].data;
        n_unfit += !weight->is_vector && !weight->is_position && o->has_type && tensor->to != o->type;
        job->n_bytes += stream_tensor_bytes(tensor);
        n_bytes_of[tensor->to] += weight->is_vector ? 0 : stream_tensor_bytes(tensor);
    }
    for (int type = 0; type < QUIRE_DTYPE_COUNT; type++)
        if (n_bytes_of[type] > n_bytes_of[job->type])
            job->type = (quire_dtype)type;
    if (n_unfit > 0)
        job_notice(job, "%zu matrices have rows that are not whole blocks of %s; they are stored in a finer type",
                   n_unfit, quire_dtype_name(o->type));
    return QUIRE_OK;
}

/* --- the frame ---------------------------------------------------------------------------------------------------- */

static quire_status write_all(struct model_job *job, const char *path, quire_error *err)
{
    bool is_folder = !model_writer_makes_gguf(path);
    quire_status status = choose_types(job, is_folder, err);
    if (status == QUIRE_OK)
        status = fresh_open(&job->fresh, path, is_folder, job->options->replaces, err);
    if (status == QUIRE_OK)
        status = fresh_check_space(&job->fresh, job->n_bytes, err);
    if (status == QUIRE_OK)
        status = tensor_stream_open(&job->stream, job->options, job->content->model, job->n_bytes, err);
    if (status == QUIRE_OK)
        status = is_folder ? write_folder(job, err) : write_gguf(job, err);
    if (status == QUIRE_OK && job->content->model)
        status = model_check_files(job->content->model, err);
    if (status == QUIRE_OK)
        status = fresh_commit(&job->fresh, err);
    return status;
}

quire_status model_writer_write(const struct model_content *content, const char *path,
                                const quire_convert_options *options, quire_error *err)
{
    struct model_job job = {.content = content, .options = options};
    job.tensors = mem_calloc(content->n_weights, sizeof *job.tensors, "a list of tensors", err);
    job.checksums = mem_calloc(content->n_weights, sizeof *job.checksums, "checksums of tensors", err);
    quire_status status = job.tensors && job.checksums ? write_all(&job, path, err) : QUIRE_ERR_NO_MEMORY;
    tensor_stream_close(&job.stream);
    fresh_close(&job.fresh);
    free(job.tensors);
    free(job.checksums);
    return status;
}
