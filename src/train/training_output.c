/* The model as it stands, in the formats that others read. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "convert/model_writer.h"
#include "model/source.h"
#include "training.h"

static const float *param_named(const struct quire_training *t, const char *name)
{
    size_t n;
    const struct param *params = net_params(t->net, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(params[i].name, name) == 0)
            return params[i].data;
    return NULL;
}

static int on_writing(void *user, uint64_t n_bytes, uint64_t n_bytes_total)
{
    const struct quire_training *t = user;
    (void)n_bytes;
    (void)n_bytes_total;
    return atomic_load_explicit(&t->is_cancelled, memory_order_relaxed);
}

static void on_notice(void *user, const char *text)
{
    training_notice(user, "%s", text);
}

quire_status training_write_model(struct quire_training *t, const char *path, quire_dtype type, bool is_temporary,
                                  quire_error *err)
{
    struct weight *weights = NULL;
    struct weight_data *data = NULL;
    size_t n = 0;
    quire_status status = weights_list(&weights, &n, &t->model_config, err);
    if (status == QUIRE_OK && !(data = mem_calloc(n, sizeof *data, "the tensors of a model", err)))
        status = QUIRE_ERR_NO_MEMORY;
    for (size_t i = 0; i < n && status == QUIRE_OK; i++) {
        data[i] = (struct weight_data){QUIRE_DTYPE_F32, param_named(t, weights[i].hf_name)};
        if (!data[i].data)
            status = quire_fail(err, QUIRE_ERR_UNSUPPORTED, "the net has no parameter '%s'", weights[i].hf_name);
    }
    if (status == QUIRE_OK) {
        const struct model_content content = {.config = &t->model_config,
                                              .weights = weights,
                                              .data = data,
                                              .n_weights = n,
                                              .about = &t->about,
                                              .tokenizer = t->tokenizer};
        quire_convert_options options = quire_convert_defaults();
        options.has_type = true;
        options.type = type;
        options.replaces = true;
        options.n_threads = t->options.n_threads;
        options.progress = on_writing;
        options.notice = is_temporary ? NULL : on_notice;
        options.user = t;
        status = model_writer_write(&content, path, &options, err);
    }
    free(data);
    free(weights);
    return status;
}

static quire_status write_output(struct quire_training *t, const char *name, quire_dtype type, quire_error *err)
{
    char *path = path_join(t->config.save_folder, name, err);
    quire_status status = path ? training_write_model(t, path, type, false, err) : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK) {
        training_notice(t, "the model is in '%s' (%s)", path, quire_dtype_name(type));
        training_log(t, "output", json_pack("{s:s,s:s}", "path", path, "type", quire_dtype_name(type)));
    }
    free(path);
    return status;
}

quire_status training_write_outputs(struct quire_training *t, quire_error *err)
{
    static const quire_dtype gguf_types[] = {[TRAIN_GGUF_F32] = QUIRE_DTYPE_F32,
                                             [TRAIN_GGUF_BF16] = QUIRE_DTYPE_BF16,
                                             [TRAIN_GGUF_F16] = QUIRE_DTYPE_F16,
                                             [TRAIN_GGUF_Q8_0] = QUIRE_DTYPE_Q8_0};
    static const quire_dtype folder_types[] = {[FOLDER_F32] = QUIRE_DTYPE_F32, [FOLDER_BF16] = QUIRE_DTYPE_BF16};
    quire_status status = QUIRE_OK;
    if (t->config.output.gguf != TRAIN_GGUF_NONE)
        status = write_output(t, TRAINING_GGUF, gguf_types[t->config.output.gguf], err);
    if (status == QUIRE_OK && t->config.output.huggingface != FOLDER_NONE)
        status = write_output(t, TRAINING_FOLDER, folder_types[t->config.output.huggingface], err);
    return status;
}
