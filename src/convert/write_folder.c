/* A HuggingFace folder: config.json, weights in model.safetensors or in shards with an index, the tokenizer's files.
 * From another such folder the files that are neither configuration nor weights are taken over as they are. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "folder.h"
#include "hf_config.h"
#include "hf_tokenizer.h"
#include "model/json.h"
#include "model/model.h"
#include "model/source.h"
#include "model_job.h"
#include "tokenizer/buffer.h"

#define DEFAULT_SHARD_BYTES 5000000000u /* as HuggingFace cuts */

enum { HEADER_ALIGNMENT = 8, COPIED_AT_ONCE = 1 << 20 };

/* --- small files -------------------------------------------------------------------------------------------------- */

/* Takes the object over; NULL: there was no memory to build it. */
static quire_status write_json(struct model_job *job, const char *name, json_t *root, quire_error *err)
{
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(root);
    if (!text)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for %s", name);
    quire_status status = fresh_write(&job->fresh, name, text, strlen(text), err);
    free(text);
    return status;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* Weights, in whatever format, and what is written anew. */
static bool is_left(const char *name)
{
    static const char *const ends[] = {".safetensors", ".bin",  ".onnx_data",  ".npz",     ".distcp",
                                       ".pt",          ".pth",  ".h5",         ".msgpack", ".gguf",
                                       ".ot",          ".onnx", ".index.json", ".ckpt",    ".tmp"};
    if (strcmp(name, "config.json") == 0)
        return true;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends_with(name, ends[i]))
            return true;
    return false;
}

static quire_status copy_bytes(struct model_job *job, const struct fresh_file *to, int fd, uint64_t n_bytes,
                               const char *path, quire_error *err)
{
    const quire_convert_options *o = job->options;
    char *piece = mem_calloc(COPIED_AT_ONCE, 1, "a piece of a file", err);
    quire_status status = piece ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    for (uint64_t at = 0; at < n_bytes && status == QUIRE_OK; at += COPIED_AT_ONCE) {
        size_t n = size_min(COPIED_AT_ONCE, n_bytes - at);
        status = sys_read_all(fd, piece, n, (off_t)at, path, err);
        if (status == QUIRE_OK)
            status = sys_write_all(to->fd, piece, n, (off_t)at, to->path, err);
        if (status == QUIRE_OK && o->progress && o->progress(o->user, 0, job->n_bytes) != 0)
            status = quire_fail(err, QUIRE_ERR_CANCELLED, "stopped on request");
    }
    free(piece);
    return status;
}

/* Subfolders, and what is no regular file, stay behind. */
static quire_status keep_file(void *user, const char *path, const char *name, quire_error *err)
{
    struct model_job *job = user;
    struct stat st;
    struct fresh_file to = {.fd = -1};
    int fd;
    if (is_left(name))
        return QUIRE_OK;
    if (sys.stat(path, &st) != 0) /* a link is followed: HuggingFace's cache has them */
        return quire_fail(err, QUIRE_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return QUIRE_OK;
    quire_status status = sys_open_file(&fd, &st, path, err);
    if (status != QUIRE_OK)
        return status;
    status = fresh_make_file(&to, &job->fresh, name, (uint64_t)st.st_size, err);
    if (status == QUIRE_OK)
        status = copy_bytes(job, &to, fd, (uint64_t)st.st_size, path, err);
    if (status == QUIRE_OK)
        status = fresh_finish_file(&to, err);
    fresh_drop_file(&to);
    sys.close(fd);
    return status;
}

static quire_status write_tokenizer(struct model_job *job, quire_error *err)
{
    const struct about *about = job->content->about;
    const quire_tokenizer *tokenizer = job->content->tokenizer;
    json_t *root = NULL;
    quire_status status = hf_tokenizer_json(&root, tokenizer, err);
    if (status == QUIRE_OK)
        status = write_json(job, "tokenizer.json", root, err);
    if (status == QUIRE_OK)
        status = write_json(job, "tokenizer_config.json", hf_tokenizer_config(about, tokenizer), err);
    if (status == QUIRE_OK)
        status = write_json(job, "special_tokens_map.json", hf_special_tokens_map(about, tokenizer), err);
    if (status == QUIRE_OK)
        status = write_json(job, "generation_config.json", hf_generation_config(about, tokenizer), err);
    return status;
}

static quire_status write_config(struct model_job *job, const char *folder, quire_error *err)
{
    json_t *from = NULL, *config = NULL;
    char *path = folder ? path_join(folder, "config.json", err) : NULL;
    quire_status status = folder && !path ? QUIRE_ERR_NO_MEMORY : QUIRE_OK;
    if (path)
        status = json_object_load(&from, path, err);
    if (status == QUIRE_OK)
        status = hf_config(&config, job->content->config, job->type, job->content->about, from, err);
    if (status == QUIRE_OK)
        status = write_json(job, "config.json", config, err);
    json_decref(from);
    free(path);
    return status;
}

/* --- weights ------------------------------------------------------------------------------------------------------ */

/* Tensors [first, end) of the model, in one file. */
struct shard {
    size_t first, end;
    char name[64];
};

static const char *type_name(quire_dtype type)
{
    return type == QUIRE_DTYPE_F32 ? "F32" : type == QUIRE_DTYPE_F16 ? "F16" : "BF16";
}

/* The header as it stands in the file: padded, its length in front. */
static quire_status make_header(struct buffer *out, const struct model_job *job, const struct shard *shard,
                                const char *checksums, quire_error *err)
{
    json_t *root = json_object();
    uint64_t at = 0;
    json_object_set_new(root, "__metadata__", json_pack("{s:s,s:s}", "format", "pt", CHECKSUMS_KEY, checksums));
    for (size_t i = shard->first; i < shard->end; i++) {
        const struct stream_tensor *tensor = &job->tensors[i];
        uint64_t n = stream_tensor_bytes(tensor);
        json_t *shape = json_array();
        for (uint32_t d = 0; d < tensor->n_dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)tensor->dims[d]));
        json_object_set_new(root, tensor->name,
                            json_pack("{s:s,s:o,s:[I,I]}", "dtype", type_name(tensor->to), "shape", shape,
                                      "data_offsets", (json_int_t)at, (json_int_t)(at + n)));
        at += n;
    }
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a safetensors header");
    uint64_t n_padded = size_round_up(strlen(text), HEADER_ALIGNMENT);
    out->n = 0;
    quire_status status = buffer_append(out, &n_padded, sizeof n_padded, err);
    if (status == QUIRE_OK)
        status = buffer_append(out, text, strlen(text), err);
    if (status == QUIRE_OK)
        status = buffer_append(out, "       ", n_padded - strlen(text), err);
    free(text);
    return status;
}

static quire_status write_tensors(struct model_job *job, const struct shard *shard, const struct fresh_file *file,
                                  uint64_t offset, quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (size_t i = shard->first; i < shard->end && status == QUIRE_OK; i++) {
        job->checksums[i].name = job->tensors[i].name;
        status = tensor_stream_write(&job->stream, &job->tensors[i], file, offset, job->checksums[i].hex, err);
        offset += stream_tensor_bytes(&job->tensors[i]);
    }
    return status;
}

/* The header is written last, when the checksums in it are known; until then spaces stand for them. */
static quire_status write_shard(struct model_job *job, const struct shard *shard, quire_error *err)
{
    struct buffer header = {0};
    struct fresh_file file = {.fd = -1};
    size_t n = shard->end - shard->first, n_checksums = checksums_length(n);
    uint64_t n_data = 0;
    for (size_t i = shard->first; i < shard->end; i++)
        n_data += stream_tensor_bytes(&job->tensors[i]);
    char *checksums = mem_calloc(n_checksums + 1, 1, "checksums", err);
    if (!checksums)
        return QUIRE_ERR_NO_MEMORY;
    memset(checksums, ' ', n_checksums);
    quire_status status = make_header(&header, job, shard, checksums, err);
    size_t n_header = header.n;
    if (status == QUIRE_OK)
        status = fresh_make_file(&file, &job->fresh, shard->name, n_header + n_data, err);
    if (status == QUIRE_OK)
        status = write_tensors(job, shard, &file, n_header, err);
    if (status == QUIRE_OK) {
        checksums_join(checksums, job->checksums + shard->first, n);
        status = make_header(&header, job, shard, checksums, err);
    }
    if (status == QUIRE_OK)
        status = sys_write_all(file.fd, header.bytes, header.n, 0, file.path, err);
    if (status == QUIRE_OK)
        status = fresh_finish_file(&file, err);
    fresh_drop_file(&file);
    buffer_release(&header);
    free(checksums);
    return status;
}

/* Cuts before a tensor that would make a file larger than it may be. */
static size_t cut(struct shard *shards, const struct model_job *job)
{
    uint64_t most = job->options->shard_bytes ? job->options->shard_bytes : DEFAULT_SHARD_BYTES, n_bytes = 0;
    size_t n = 0;
    for (size_t i = 0; i < job->content->n_weights; i++) {
        uint64_t more = stream_tensor_bytes(&job->tensors[i]);
        if (n == 0 || n_bytes + more > most) {
            shards[n++] = (struct shard){.first = i};
            n_bytes = 0;
        }
        n_bytes += more;
        shards[n - 1].end = i + 1;
    }
    for (size_t i = 0; i < n; i++) {
        if (n == 1)
            snprintf(shards[i].name, sizeof shards[i].name, "model.safetensors");
        else
            snprintf(shards[i].name, sizeof shards[i].name, "model-%05zu-of-%05zu.safetensors", i + 1, n);
    }
    return n;
}

static quire_status write_index(struct model_job *job, const struct shard *shards, size_t n, quire_error *err)
{
    json_t *map = json_object();
    for (size_t s = 0; s < n; s++)
        for (size_t i = shards[s].first; i < shards[s].end; i++)
            json_object_set_new(map, job->tensors[i].name, json_string(shards[s].name));
    return write_json(job, "model.safetensors.index.json",
                      json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)job->n_bytes, "weight_map", map),
                      err);
}

static quire_status write_weights(struct model_job *job, quire_error *err)
{
    struct shard *shards = mem_calloc(job->content->n_weights, sizeof *shards, "a list of shards", err);
    if (!shards)
        return QUIRE_ERR_NO_MEMORY;
    size_t n = cut(shards, job);
    quire_status status = QUIRE_OK;
    for (size_t i = 0; i < n && status == QUIRE_OK; i++)
        status = write_shard(job, &shards[i], err);
    if (status == QUIRE_OK && n > 1)
        status = write_index(job, shards, n, err);
    free(shards);
    return status;
}

/* What HuggingFace's own class computes otherwise than MosaicML's code, on which the names of the fields rely. */
static void tell_losses(const struct model_job *job)
{
    const quire_config *c = job->content->config;
    const char *const losses[] = {
        c->alibi && c->alibi_bias_max != 8 ? "alibi_bias_max" : NULL,
        c->no_bias ? NULL : "biases",
        c->qk_ln ? "qk_ln" : NULL,
        c->kv_n_heads != c->n_heads ? "kv_n_heads" : NULL,
        c->logit_scale != 1 ? "logit_scale" : NULL,
        c->d_ff != 4 * c->d_model ? "expansion_ratio" : NULL,
        c->alibi ? NULL : "alibi false",
        c->norm_type == QUIRE_NORM_RMSNORM ? "norm_type rmsnorm" : NULL,
    };
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++)
        if (losses[i])
            job_notice(job,
                       "%s is in config.json; Quire and MosaicML's code honour it, transformers' own MptForCausalLM "
                       "may ignore it",
                       losses[i]);
}

quire_status write_folder(struct model_job *job, quire_error *err)
{
    const struct model_content *content = job->content;
    bool is_from_folder = content->model && !model_gguf(content->model);
    const char *folder = is_from_folder ? quire_model_path(content->model) : NULL;
    quire_status status = write_config(job, folder, err);
    if (status == QUIRE_OK && is_from_folder)
        status = folder_each(folder, keep_file, job, err);
    else if (status == QUIRE_OK && content->tokenizer)
        status = write_tokenizer(job, err);
    if (status == QUIRE_OK)
        status = write_weights(job, err);
    if (status == QUIRE_OK)
        tell_losses(job);
    return status;
}
