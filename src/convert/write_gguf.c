/* A GGUF, version 3. The checksums stand in front of the data: the head is written last. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "gguf_bytes.h"
#include "gguf_metadata.h"
#include "model/config.h"
#include "model/ggml_type.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model_job.h"

enum { GGUF_VERSION = 3, ALIGNMENT = 32 };

/* llama.cpp's number for a file that has most weights in a type. */
static int32_t file_type_of(quire_dtype type)
{
    switch (type) {
    case QUIRE_DTYPE_F32: return 0;
    case QUIRE_DTYPE_F16: return 1;
    case QUIRE_DTYPE_Q4_0: return 2;
    case QUIRE_DTYPE_Q8_0: return 7;
    case QUIRE_DTYPE_Q4_K: return 14;
    case QUIRE_DTYPE_Q6_K: return 18;
    case QUIRE_DTYPE_BF16: return 32;
    default: return -1; /* not written by this build, so that it is kept from another file */
    }
}

/* The directory: offsets count from the start of the data, each a multiple of the alignment. Gives the data's bytes. */
static uint64_t put_directory(struct gguf_bytes *head, const struct model_job *job)
{
    uint64_t at = 0;
    for (size_t i = 0; i < job->content->n_weights; i++) {
        const struct stream_tensor *tensor = &job->tensors[i];
        put_string(head, tensor->name, strlen(tensor->name));
        put_u32(head, tensor->n_dims);
        for (uint32_t d = tensor->n_dims; d-- > 0;)
            put_u64(head, tensor->dims[d]);
        put_u32(head, ggml_type_id(tensor->to));
        put_u64(head, at);
        at += size_round_up(stream_tensor_bytes(tensor), ALIGNMENT);
    }
    return at;
}

/* *n_data: bytes of the data behind the head, *checksums_at: where their string is in the head. */
static quire_status make_head(struct buffer *to, const struct model_job *job, uint64_t *n_data, size_t *checksums_at,
                              quire_error *err)
{
    static const char zeros[ALIGNMENT];
    const struct model_content *content = job->content;
    const struct gguf *from = content->model ? model_gguf(content->model) : NULL;
    struct gguf_bytes writer = {.to = to, .err = err}, *head = &writer;
    struct gguf_pairs pairs = {0};
    struct gguf_metadata metadata = {.config = content->config,
                                     .about = content->about,
                                     .tokenizer = content->tokenizer,
                                     .from = from,
                                     .n_checksum_bytes = checksums_length(content->n_weights)};
    metadata.file_type = from && !job->options->has_type ? -1 : file_type_of(job->type);
    quire_status status = gguf_metadata_make(&pairs, &metadata, err);
    if (status != QUIRE_OK)
        return status;
    put(head, "GGUF", 4);
    put_u32(head, GGUF_VERSION);
    put_u64(head, content->n_weights);
    put_u64(head, pairs.n);
    *checksums_at = to->n + pairs.checksums_at;
    put(head, pairs.bytes.bytes, pairs.bytes.n);
    *n_data = put_directory(head, job);
    put(head, zeros, size_round_up(to->n, ALIGNMENT) - to->n);
    buffer_release(&pairs.bytes);
    return head->status;
}

static quire_status write_tensors(struct model_job *job, const struct fresh_file *file, uint64_t offset,
                                  quire_error *err)
{
    static const char zeros[ALIGNMENT];
    quire_status status = QUIRE_OK;
    for (size_t i = 0; i < job->content->n_weights && status == QUIRE_OK; i++) {
        const struct stream_tensor *tensor = &job->tensors[i];
        uint64_t n = stream_tensor_bytes(tensor);
        job->checksums[i].name = tensor->name;
        status = tensor_stream_write(&job->stream, tensor, file, offset, job->checksums[i].hex, err);
        if (status == QUIRE_OK)
            status =
                sys_write_all(file->fd, zeros, size_round_up(n, ALIGNMENT) - n, (off_t)(offset + n), file->path, err);
        offset += size_round_up(n, ALIGNMENT);
    }
    return status;
}

/* What llama.cpp computes otherwise, having no key for it or ignoring the one there is. */
static void tell_losses(const struct model_job *job)
{
    const quire_config *c = job->content->config;
    const char *const losses[] = {
        c->logit_scale != 1 ? "logit_scale" : NULL,
        c->softmax_scale != config_usual_scale(c->head_dim) ? "softmax_scale" : NULL,
        c->norm_type == QUIRE_NORM_RMSNORM ? "norm_type rmsnorm" : NULL,
        c->qk_ln && c->kv_n_heads != c->n_heads ? "qk_ln with grouped heads" : NULL,
    };
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++)
        if (losses[i])
            job_notice(job, "%s is in the file, but programs other than Quire ignore it or refuse it", losses[i]);
}

quire_status write_gguf(struct model_job *job, quire_error *err)
{
    struct buffer head = {0};
    struct fresh_file file = {.fd = -1};
    uint64_t n_data = 0;
    size_t checksums_at = 0, n_checksums = checksums_length(job->content->n_weights);
    char *checksums = mem_calloc(n_checksums + 1, 1, "checksums", err);
    quire_status status = checksums ? make_head(&head, job, &n_data, &checksums_at, err) : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK)
        status = fresh_make_file(&file, &job->fresh, NULL, head.n + n_data, err);
    if (status == QUIRE_OK)
        status = write_tensors(job, &file, head.n, err);
    if (status == QUIRE_OK) {
        checksums_join(checksums, job->checksums, job->content->n_weights);
        memcpy(head.bytes + checksums_at, checksums, n_checksums);
        status = sys_write_all(file.fd, head.bytes, head.n, 0, file.path, err);
    }
    if (status == QUIRE_OK)
        status = fresh_finish_file(&file, err);
    fresh_drop_file(&file);
    free(checksums);
    buffer_release(&head);
    if (status == QUIRE_OK)
        tell_losses(job);
    return status;
}
