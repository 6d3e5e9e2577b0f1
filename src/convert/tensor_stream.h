/* Tensors on their way from memory or mapped files into a file: unpacked, packed in the type that is wanted, hashed and
 * written, a few megabytes at a time. */
#ifndef QUIRE_CONVERT_TENSOR_STREAM_H
#define QUIRE_CONVERT_TENSOR_STREAM_H

#include "base/hash.h"
#include "base/threads.h"
#include "fresh.h"
#include "quire/convert.h"

/* A tensor as it is and as it is to be. Rows are contiguous and whole blocks in both types. */
struct stream_tensor {
    const char *name; /* in the file that is written */
    uint32_t n_dims;
    uint64_t dims[2]; /* outermost first */
    quire_dtype from, to;
    const void *data;
};

struct tensor_stream {
    const quire_convert_options *options;
    const quire_model *mapped; /* whose files the data lies in; NULL: it lies in memory */
    uint64_t n_bytes, n_bytes_total;
    struct threads *threads;
    float *numbers; /* a piece for each thread */
    unsigned char *packed;
};

/* n_bytes_total: of all tensors in the types that are wanted, for the progress. On failure nothing is to be closed.
 * Errors: NO_MEMORY. */
quire_status tensor_stream_open(struct tensor_stream *stream, const quire_convert_options *options,
                                const quire_model *mapped, uint64_t n_bytes_total, quire_error *err);
void tensor_stream_close(struct tensor_stream *stream);

uint64_t stream_tensor_bytes(const struct stream_tensor *tensor);

/* Writes the tensor's stream_tensor_bytes at offset and gives its checksum (checksums.h). Errors: NUMERIC (a number has
 * no place in the type), CANCELLED, NO_SPACE, IO (also of the mapped files), NO_MEMORY. */
quire_status tensor_stream_write(struct tensor_stream *stream, const struct stream_tensor *tensor,
                                 const struct fresh_file *file, uint64_t offset, char hex[HASH_HEX_SIZE],
                                 quire_error *err);

#endif
