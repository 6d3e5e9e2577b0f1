/* The run's texts: training and validation. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/source.h"
#include "training.h"

static int on_reading(void *user, uint64_t n_documents, uint64_t n_bytes)
{
    struct quire_training *t = user;
    training_tell(
        t, (quire_training_event){.kind = QUIRE_TRAINING_READING, .n_documents = n_documents, .n_bytes = n_bytes});
    return atomic_load_explicit(&t->is_cancelled, memory_order_relaxed);
}

static quire_status open_file(struct quire_training *t, struct token_file *file, const char *local, const char *split,
                              quire_error *err)
{
    struct token_watch watch = {on_reading, t};
    bool is_new = false;
    char *folder = NULL;
    quire_status status = training_texts_folder(&folder, local, split, err);
    char *cache = t->config.data_cache[0] ? mem_strdup(t->config.data_cache, err)
                                          : path_join(t->config.save_folder, "tokens", err);
    if (status == QUIRE_OK && !cache)
        status = QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK)
        status = token_file_open(file, &is_new, folder, cache, t->tokenizer, t->model_config.vocab_size, &watch, err);
    if (status == QUIRE_OK)
        training_notice(t, "%s: %zu documents, %" PRIu64 " tokens%s", folder, file->n_documents, file->n_ids,
                        is_new ? ", now kept as a token file" : "");
    free(folder);
    free(cache);
    return status;
}

static quire_status open_split(struct quire_training *t, quire_error *err)
{
    if (t->config.holdout.list[0])
        return token_split_load(&t->data.split, t->config.holdout.list, err);
    t->data.split.fraction = t->config.holdout.fraction;
    return QUIRE_OK;
}

/* Validation has texts of its own, or documents that training leaves out, or there is none. */
static quire_status open_eval(struct quire_training *t, bool has_split, quire_error *err)
{
    const struct train_config *c = &t->config;
    struct training_data *d = &t->data;
    uint32_t batch = c->device_eval_batch_size ? c->device_eval_batch_size : c->device_train_microbatch_size;
    quire_status status;
    if (c->eval_data.local[0]) {
        status = open_file(t, &d->eval_file, c->eval_data.local, c->eval_data.split, err);
        if (status == QUIRE_OK)
            status = token_set_make(&d->eval, &d->eval_file, NULL, false, err);
    } else if (has_split) {
        status = token_set_make(&d->eval, &d->train_file, &d->split, true, err);
    } else {
        return QUIRE_OK;
    }
    if (status != QUIRE_OK)
        return status;
    return token_windows(&d->windows, &d->n_windows, &d->eval, t->model_config.max_seq_len,
                         (size_t)c->eval_subset_num_batches * batch, err);
}

quire_status training_data_open(struct quire_training *t, quire_error *err)
{
    const struct train_config *c = &t->config;
    struct training_data *d = &t->data;
    uint32_t seq_len = t->model_config.max_seq_len;
    bool has_split = c->holdout.list[0] || c->holdout.fraction > 0;
    size_t n = size_max(c->device_train_microbatch_size, c->device_eval_batch_size), n_ids;
    if (!size_mul(&n_ids, n, seq_len))
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a micro-batch of %zu x %u tokens", n, seq_len);
    quire_status status = open_file(t, &d->train_file, c->train_data.local, c->train_data.split, err);
    if (status == QUIRE_OK)
        status = open_split(t, err);
    if (status == QUIRE_OK)
        status = token_set_make(&d->train, &d->train_file, has_split ? &d->split : NULL, false, err);
    if (status == QUIRE_OK)
        status = token_order_make(&d->order, &d->train, seq_len, c->seed, c->train_data.shuffle, err);
    if (status == QUIRE_OK)
        status = open_eval(t, has_split, err);
    if (status != QUIRE_OK)
        return status;
    d->tokens = mem_calloc(n_ids, sizeof *d->tokens, "a micro-batch", err);
    d->targets = mem_calloc(n_ids, sizeof *d->targets, "a micro-batch", err);
    if (!d->tokens || !d->targets)
        return QUIRE_ERR_NO_MEMORY;
    training_notice(t,
                    "training on %zu documents: %" PRIu64 " tokens, %" PRIu64 " samples of %u in an epoch; "
                    "validation on %zu documents, %zu windows",
                    d->train.n_documents, d->train.n_ids, d->order.n_samples, seq_len, d->eval.n_documents,
                    d->n_windows);
    return QUIRE_OK;
}

void training_data_close(struct training_data *data)
{
    free(data->tokens);
    free(data->targets);
    free(data->windows);
    token_order_release(&data->order);
    token_set_release(&data->train);
    token_set_release(&data->eval);
    token_split_release(&data->split);
    token_file_close(&data->train_file);
    token_file_close(&data->eval_file);
}
