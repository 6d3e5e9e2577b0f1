/* Every byte of every tensor: hashed, and looked at for what is no number. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/blocks.h"
#include "base/mem.h"
#include "base/printable.h"
#include "base/sys.h"
#include "base/threads.h"
#include "checksums.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "model/source.h"
#include "number_pieces.h"
#include "verify_job.h"

struct counts {
    uint64_t n_nan, n_infinite, first; /* first: index of the first of either */
};

struct scan {
    struct threads *threads;
    float *numbers; /* a piece for each thread */
    struct counts pieces[CHUNK_PIECES];
    const struct tensor *tensor; /* at work, and where in it */
    const unsigned char *data;
    size_t n;
};

/* The checksums of one file, as they are stored: the n-th is that of its n-th tensor by name. */
struct stored {
    const char *path;
    char *text; /* owned; NULL: none */
    size_t n_text, n_tensors, next;
};

/* --- numbers ------------------------------------------------------------------------------------------------------ */

static void scan_piece(void *context, size_t item, uint32_t worker)
{
    struct scan *scan = context;
    size_t first = item * PIECE_NUMBERS, n = size_min(PIECE_NUMBERS, scan->n - first);
    float *numbers = scan->numbers + worker * PIECE_NUMBERS;
    struct counts counts = {0};
    blocks_unpack(scan->tensor->type, numbers, scan->data + bytes_of(scan->tensor->type, first), n);
    for (size_t i = 0; i < n; i++) {
        if (isfinite(numbers[i]))
            continue;
        if (counts.n_nan + counts.n_infinite == 0)
            counts.first = first + i;
        counts.n_nan += isnan(numbers[i]) != 0;
        counts.n_infinite += isinf(numbers[i]) != 0;
    }
    scan->pieces[item] = counts;
}

/* Numbers [at, at + scan->n) of the tensor. */
static void count_chunk(struct scan *scan, size_t at, struct counts *total)
{
    size_t n_pieces = pieces_of(scan->n);
    threads_run(scan->threads, n_pieces, scan_piece, scan);
    for (size_t i = 0; i < n_pieces; i++) {
        const struct counts *counts = &scan->pieces[i];
        if (total->n_nan + total->n_infinite == 0)
            total->first = at + counts->first;
        total->n_nan += counts->n_nan;
        total->n_infinite += counts->n_infinite;
    }
}

static void report_counts(struct verify_job *job, const struct tensor *tensor, const char *name,
                          const struct counts *counts)
{
    if (counts->n_nan + counts->n_infinite == 0)
        return;
    uint64_t n_cols = tensor->n_dims > 1 ? tensor->dims[tensor->n_dims - 1] : 0;
    char place[80];
    if (n_cols > 0)
        snprintf(place, sizeof place, "row %llu, column %llu", (unsigned long long)(counts->first / n_cols),
                 (unsigned long long)(counts->first % n_cols));
    else
        snprintf(place, sizeof place, "element %llu", (unsigned long long)counts->first);
    verify_found(job, QUIRE_FINDING_NUMBERS, true, name,
                 "'%s': tensor '%s' has %llu NaNs and %llu infinities, the first at %s", tensor->path, name,
                 (unsigned long long)counts->n_nan, (unsigned long long)counts->n_infinite, place);
}

/* --- checksums ---------------------------------------------------------------------------------------------------- */

static quire_status copy_gguf(struct stored *stored, const struct gguf *gguf, quire_error *err)
{
    struct gguf_string text;
    bool found = false;
    quire_status status = gguf_get_string(gguf, CHECKSUMS_KEY, &text, &found, err);
    if (status != QUIRE_OK || !found)
        return status;
    stored->text = mem_calloc(text.n + 1, 1, "checksums", err);
    if (!stored->text)
        return QUIRE_ERR_NO_MEMORY;
    memcpy(stored->text, text.bytes, text.n);
    stored->n_text = text.n;
    return QUIRE_OK;
}

static bool is_safetensors(const char *path)
{
    static const char end[] = ".safetensors";
    return strlen(path) >= strlen(end) && strcmp(path + strlen(path) - strlen(end), end) == 0;
}

static quire_status copy_shard(struct stored *stored, const struct mapped_file *file, quire_error *err)
{
    stored->path = file->path;
    if (!is_safetensors(file->path))
        return QUIRE_OK;
    quire_status status =
        safetensors_metadata(&stored->text, file->map.data, file->map.n_bytes, file->path, CHECKSUMS_KEY, err);
    if (status == QUIRE_OK && stored->text)
        stored->n_text = strlen(stored->text);
    return status;
}

static struct stored *find_stored(struct stored *files, size_t n, const struct tensor *tensor)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(files[i].path, tensor->path) == 0)
            return &files[i];
    return NULL;
}

static quire_status open_stored(struct stored **out, size_t *n, const struct model_source *source, quire_error *err)
{
    size_t n_files = source->gguf ? 1 : source->n_files;
    struct stored *files = mem_calloc(n_files, sizeof *files, "checksums", err);
    if (!files)
        return QUIRE_ERR_NO_MEMORY;
    *out = files;
    *n = n_files;
    quire_status status = QUIRE_OK;
    for (size_t i = 0; i < n_files && status == QUIRE_OK; i++) {
        if (source->gguf)
            files[i].path = gguf_path(source->gguf);
        status = source->gguf ? copy_gguf(&files[i], source->gguf, err) : copy_shard(&files[i], &source->files[i], err);
    }
    for (size_t i = 0; i < source->tensors.n && status == QUIRE_OK; i++)
        find_stored(files, n_files, &source->tensors.items[i])->n_tensors++;
    return status;
}

/* A string of another length is not to be read by places. */
static void check_lengths(struct verify_job *job, struct stored *files, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct stored *file = &files[i];
        if (!file->text)
            verify_found(job, QUIRE_FINDING_CHECKSUM, false, NULL,
                         "'%s' has no checksums: 'quire convert' would write them", file->path);
        else if (file->n_text != checksums_length(file->n_tensors))
            verify_found(job, QUIRE_FINDING_CHECKSUM, true, NULL,
                         "'%s' has %zu tensors, but %zu checksums: tensors were added or removed", file->path,
                         file->n_tensors, (file->n_text + 1) / HASH_HEX_SIZE);
        if (file->text && file->n_text != checksums_length(file->n_tensors)) {
            free(file->text);
            file->text = NULL;
        }
    }
}

static void compare(struct verify_job *job, struct stored *file, const struct tensor *tensor, const char *name,
                    const char hex[HASH_HEX_SIZE])
{
    size_t at = HASH_HEX_SIZE * file->next++;
    if (!file->text)
        return;
    job->result.n_checksums++;
    if (memcmp(file->text + at, hex, HASH_HEX_SIZE - 1) == 0)
        job->result.n_checksums_good++;
    else
        verify_found(job, QUIRE_FINDING_CHECKSUM, true, name,
                     "'%s': tensor '%s' is damaged: its checksum is %s, stored is %.32s", tensor->path, name, hex,
                     file->text + at);
}

/* --- all tensors -------------------------------------------------------------------------------------------------- */

static quire_status tell_progress(struct verify_job *job, size_t n_bytes, uint64_t n_bytes_total, quire_error *err)
{
    job->result.n_bytes += n_bytes;
    const quire_verify_watch *watch = job->watch;
    if (watch && watch->progress && watch->progress(watch->user, job->result.n_bytes, n_bytes_total) != 0)
        return quire_fail(err, QUIRE_ERR_CANCELLED, "stopped after %llu of %llu bytes",
                          (unsigned long long)job->result.n_bytes, (unsigned long long)n_bytes_total);
    return QUIRE_OK;
}

/* Types that are no numbers to this build are only hashed. */
static quire_status check_tensor(struct verify_job *job, struct scan *scan, const struct tensor *tensor,
                                 struct stored *file, const quire_model *model, uint64_t n_bytes_total,
                                 quire_error *err)
{
    struct printable name = printable(tensor->name, strlen(tensor->name));
    struct counts counts = {0};
    char hex[HASH_HEX_SIZE];
    hash_state *state = checksum_begin(tensor->name, tensor->type_name, tensor->n_dims, tensor->dims, err);
    if (!state)
        return QUIRE_ERR_NO_MEMORY;
    quire_dtype type = tensor->is_number ? tensor->type : QUIRE_DTYPE_F32;
    size_t step = bytes_of(type, CHUNK_NUMBERS);
    quire_status status = QUIRE_OK;
    scan->tensor = tensor;
    for (size_t at = 0; at < tensor->n_bytes && status == QUIRE_OK; at += step) {
        size_t n = size_min(step, tensor->n_bytes - at);
        scan->data = (const unsigned char *)tensor->data + at;
        scan->n = n / quire_dtype_block_bytes(type) * quire_dtype_block_elements(type);
        hash_add(state, scan->data, n);
        if (tensor->is_number)
            count_chunk(scan, at / quire_dtype_block_bytes(type) * quire_dtype_block_elements(type), &counts);
        status = model_check_files(model, err);
        sys_let_go(scan->data, n);
        if (status == QUIRE_OK)
            status = tell_progress(job, n, n_bytes_total, err);
    }
    hash_finish_hex(state, hex);
    hash_close(state);
    if (status == QUIRE_OK) {
        job->result.n_tensors++;
        compare(job, file, tensor, name.text, hex);
        report_counts(job, tensor, name.text, &counts);
    }
    return status;
}

/* Tensors of a pickle may share their bytes, any number of them, and without the model having any: those that it does
 * not have are looked at as long as all together are no more than the files. What has an obstacle is no part of the
 * model either, or it would not have been opened; verify.c tells it. */
static quire_status choose(bool **out, uint64_t *n_bytes, struct verify_job *job, const quire_model *model,
                           quire_error *err)
{
    const struct model_source *source = model->source;
    const struct tensors *tensors = &source->tensors;
    uint64_t n_total = 0, n_most = source->gguf ? UINT64_MAX : 0;
    size_t n_left = 0;
    bool *is_chosen;
    quire_status status = verify_used(&is_chosen, model, err);
    if (status != QUIRE_OK)
        return status;
    for (size_t i = 0; i < source->n_files; i++)
        n_most += source->files[i].map.n_bytes;
    for (size_t i = 0; i < tensors->n; i++)
        n_total += is_chosen[i] ? tensors->items[i].n_bytes : 0;
    for (size_t i = 0; i < tensors->n; i++) {
        const struct tensor *tensor = &tensors->items[i];
        if (is_chosen[i] || tensor->obstacle)
            continue;
        is_chosen[i] = n_total <= n_most && tensor->n_bytes <= n_most - n_total;
        n_total += is_chosen[i] ? tensor->n_bytes : 0;
        n_left += !is_chosen[i];
    }
    if (n_left > 0)
        verify_found(job, QUIRE_FINDING_UNUSED, false, NULL,
                     "the data of %zu tensor%s no part of the model was not checked: it is shared with others", n_left,
                     n_left == 1 ? " that is" : "s that are");
    *out = is_chosen;
    *n_bytes = n_total;
    return QUIRE_OK;
}

static quire_status check_all(struct verify_job *job, struct scan *scan, const quire_model *model, struct stored *files,
                              size_t n_files, quire_error *err)
{
    const struct tensors *tensors = &model->source->tensors;
    bool *is_chosen = NULL;
    uint64_t n_bytes_total = 0;
    quire_status status = choose(&is_chosen, &n_bytes_total, job, model, err);
    for (size_t i = 0; i < tensors->n && status == QUIRE_OK; i++) {
        const struct tensor *tensor = &tensors->items[i];
        if (is_chosen[i])
            status = check_tensor(job, scan, tensor, find_stored(files, n_files, tensor), model, n_bytes_total, err);
    }
    free(is_chosen);
    return status;
}

quire_status verify_tensors(struct verify_job *job, const quire_model *model, uint32_t n_threads, quire_error *err)
{
    struct stored *files = NULL;
    size_t n_files = 0;
    struct scan *scan = mem_calloc(1, sizeof *scan, "a check", err);
    if (!scan)
        return QUIRE_ERR_NO_MEMORY;
    n_threads = n_threads ? n_threads : threads_available();
    scan->numbers = mem_aligned(n_threads, PIECE_NUMBERS * sizeof(float), "numbers to check", err);
    quire_status status = scan->numbers ? threads_open(&scan->threads, n_threads, err) : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK)
        status = open_stored(&files, &n_files, model->source, err);
    if (status == QUIRE_OK) {
        check_lengths(job, files, n_files);
        status = check_all(job, scan, model, files, n_files, err);
    }
    for (size_t i = 0; i < n_files; i++)
        free(files[i].text);
    free(files);
    threads_close(scan->threads);
    free(scan->numbers);
    free(scan);
    return status;
}
