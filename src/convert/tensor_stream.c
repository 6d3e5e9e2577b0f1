#include "tensor_stream.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/blocks.h"
#include "base/mem.h"
#include "base/sys.h"
#include "checksums.h"
#include "model/model.h"
#include "number_pieces.h"

static size_t numbers_of(const struct stream_tensor *tensor)
{
    size_t n = 1;
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        n *= (size_t)tensor->dims[d];
    return n;
}

uint64_t stream_tensor_bytes(const struct stream_tensor *tensor)
{
    return bytes_of(tensor->to, numbers_of(tensor));
}

quire_status tensor_stream_open(struct tensor_stream *stream, const quire_convert_options *options,
                                const quire_model *mapped, uint64_t n_bytes_total, quire_error *err)
{
    uint32_t n_threads = options->n_threads ? options->n_threads : threads_available();
    *stream = (struct tensor_stream){.options = options, .mapped = mapped, .n_bytes_total = n_bytes_total};
    stream->numbers = mem_aligned(n_threads, PIECE_NUMBERS * sizeof(float), "numbers to convert", err);
    stream->packed = mem_aligned(CHUNK_NUMBERS, sizeof(float), "converted numbers", err);
    quire_status status = stream->numbers && stream->packed ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK)
        status = threads_open(&stream->threads, n_threads, err);
    if (status != QUIRE_OK)
        tensor_stream_close(stream);
    return status;
}

void tensor_stream_close(struct tensor_stream *stream)
{
    threads_close(stream->threads);
    free(stream->numbers);
    free(stream->packed);
    *stream = (struct tensor_stream){0};
}

/* A stretch of the tensor at work. */
struct chunk {
    const struct tensor_stream *stream;
    const struct stream_tensor *tensor;
    const unsigned char *data;
    size_t n;
    atomic_bool has_no_place;
};

static void convert_piece(void *context, size_t item, uint32_t worker)
{
    struct chunk *chunk = context;
    const struct stream_tensor *tensor = chunk->tensor;
    size_t first = item * PIECE_NUMBERS, n = size_min(PIECE_NUMBERS, chunk->n - first);
    float *numbers = chunk->stream->numbers + worker * PIECE_NUMBERS;
    blocks_unpack(tensor->from, numbers, chunk->data + bytes_of(tensor->from, first), n);
    if (!blocks_pack(tensor->to, chunk->stream->packed + bytes_of(tensor->to, first), numbers, n))
        atomic_store(&chunk->has_no_place, true);
}

static quire_status fail_place(const struct stream_tensor *tensor, quire_error *err)
{
    return quire_fail(
        err, QUIRE_ERR_NUMERIC,
        "tensor '%s' has numbers that %s cannot hold: too large for it, infinite, or NaN; bf16 and f32 can",
        tensor->name, quire_dtype_name(tensor->to));
}

/* Hashing touches the data before it is written: a page that its disk cannot give is then an error of the input. */
static quire_status write_chunk(struct tensor_stream *stream, struct chunk *chunk, hash_state *state,
                                const struct fresh_file *file, uint64_t offset, quire_error *err)
{
    const struct stream_tensor *tensor = chunk->tensor;
    size_t n_bytes = bytes_of(tensor->to, chunk->n);
    const unsigned char *bytes = chunk->data;
    if (tensor->from != tensor->to) {
        threads_run(stream->threads, pieces_of(chunk->n), convert_piece, chunk);
        bytes = stream->packed;
    }
    hash_add(state, bytes, n_bytes);
    quire_status status = stream->mapped ? model_check_files(stream->mapped, err) : QUIRE_OK;
    if (status == QUIRE_OK && atomic_load(&chunk->has_no_place))
        status = fail_place(tensor, err);
    if (status == QUIRE_OK)
        status = sys_write_all(file->fd, bytes, n_bytes, (off_t)offset, file->path, err);
    if (status == QUIRE_OK && stream->mapped)
        sys_let_go(chunk->data, bytes_of(tensor->from, chunk->n));
    stream->n_bytes += n_bytes;
    const quire_convert_options *o = stream->options;
    if (status == QUIRE_OK && o->progress && o->progress(o->user, stream->n_bytes, stream->n_bytes_total) != 0)
        status = quire_fail(err, QUIRE_ERR_CANCELLED, "stopped after %llu of %llu bytes; nothing is left behind",
                            (unsigned long long)stream->n_bytes, (unsigned long long)stream->n_bytes_total);
    return status;
}

quire_status tensor_stream_write(struct tensor_stream *stream, const struct stream_tensor *tensor,
                                 const struct fresh_file *file, uint64_t offset, char hex[HASH_HEX_SIZE],
                                 quire_error *err)
{
    char type_name[16] = "";
    for (size_t i = 0; i + 1 < sizeof type_name && quire_dtype_name(tensor->to)[i]; i++)
        type_name[i] = (char)toupper((unsigned char)quire_dtype_name(tensor->to)[i]);
    hash_state *state = checksum_begin(tensor->name, type_name, tensor->n_dims, tensor->dims, err);
    if (!state)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = QUIRE_OK;
    size_t n = numbers_of(tensor);
    for (size_t first = 0; first < n && status == QUIRE_OK; first += CHUNK_NUMBERS) {
        struct chunk chunk = {.stream = stream, .tensor = tensor, .n = size_min(CHUNK_NUMBERS, n - first)};
        chunk.data = (const unsigned char *)tensor->data + bytes_of(tensor->from, first);
        status = write_chunk(stream, &chunk, state, file, offset + bytes_of(tensor->to, first), err);
    }
    hash_finish_hex(state, hex);
    hash_close(state);
    return status;
}
