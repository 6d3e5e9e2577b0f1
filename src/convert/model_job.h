/* A model that is being written: what both formats share. Private to src/convert. */
#ifndef QUIRE_CONVERT_MODEL_JOB_H
#define QUIRE_CONVERT_MODEL_JOB_H

#include "checksums.h"
#include "fresh.h"
#include "model_writer.h"
#include "tensor_stream.h"

struct model_job {
    const struct model_content *content;
    const quire_convert_options *options;
    struct fresh fresh;
    struct tensor_stream stream;
    struct stream_tensor *tensors; /* [content->n_weights] */
    struct checksum *checksums;    /* of the tensors, in their order until they are joined */
    quire_dtype type;              /* of a folder's tensors; of most bytes of a GGUF's matrices */
    uint64_t n_bytes;              /* of all tensors */
};

void job_notice(const struct model_job *job, const char *format, ...) QUIRE_PRINTF(2, 3);

/* Each writes and finishes its files; the output is then ready to be committed. */
quire_status write_gguf(struct model_job *job, quire_error *err);
quire_status write_folder(struct model_job *job, quire_error *err);

#endif
