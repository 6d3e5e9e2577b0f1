/* Writing a model, wherever it comes from, as a GGUF file or a HuggingFace folder.
 *
 * For one whose parameters lie in memory, such as one that was trained:
 *
 *     struct weight *weights;             // which tensors the configuration has, and what they are called
 *     struct weight_data *data;           // where each lies: the same order
 *     weights_list(&weights, &n, &config, err);
 *     data = mem_calloc(n, sizeof *data, ...);
 *     for (size_t i = 0; i < n; i++)
 *         data[i] = (struct weight_data){QUIRE_DTYPE_F32, parameter_named(weights[i].hf_name)};
 *     about_init(&about, "my-model", QUIRE_PROMPT_PLAIN, tokenizer, err);
 *     struct model_content content = {.config = &config, .weights = weights, .data = data, .n_weights = n,
 *                                     .about = &about, .tokenizer = tokenizer};
 *     quire_convert_options options = quire_convert_defaults();
 *     options.has_type = true;
 *     options.type = QUIRE_DTYPE_BF16;
 *     model_writer_write(&content, "model.gguf", &options, err);
 *
 * config has all its fields, head_dim and softmax_scale too. A matrix is [rows][cols], row-major, as torch's Linear has
 * it; Wqkv is q, k and v below each other. The tokenizer is any that quire_tokenizer_open_path gives. */
#ifndef QUIRE_CONVERT_MODEL_WRITER_H
#define QUIRE_CONVERT_MODEL_WRITER_H

#include "about.h"
#include "model/weights.h"
#include "quire/convert.h"

/* rows * cols numbers in blocks of the type. Read while the model is written, not released. */
struct weight_data {
    quire_dtype type;
    const void *data;
};

struct model_content {
    const quire_config *config;
    const struct weight *weights; /* as weights_list gives them for config */
    const struct weight_data *data;
    size_t n_weights;
    const struct about *about;
    const quire_tokenizer *tokenizer; /* NULL: none, or the one that `model` carries in a form that is kept */
    const quire_model *model;         /* whose mapped files the data lies in, and whose other keys or files are kept;
                                         NULL: the data lies in memory */
};

/* Whether a path names a GGUF, or else a folder. */
bool model_writer_makes_gguf(const char *path);

/* As quire_convert does; path is not empty. Errors: as there. */
quire_status model_writer_write(const struct model_content *content, const char *path,
                                const quire_convert_options *options, quire_error *err);

#endif
