/* A loaded model as the engine and the tokenizer see it. */
#ifndef QUIRE_MODEL_MODEL_H
#define QUIRE_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/model.h"

/* A weight matrix as torch's Linear stores it: [rows = outputs][cols = inputs], row-major, in the mapped file. A row is
 * cols / block_elements blocks. rows == 0: the model has no such matrix. */
struct matrix {
    const void *data;
    uint32_t rows;
    uint32_t cols;
    quire_dtype type;
    size_t row_bytes;
};

/* Vectors (norms, biases) are small: they are converted to float32 when the model is opened. NULL: there is none. */
struct layer {
    const float *norm_1_weight, *norm_1_bias; /* [d_model] */
    struct matrix Wqkv;                       /* [d_model + 2 * kv_n_heads * head_dim][d_model]: q, k, v; head-major */
    const float *Wqkv_bias;                   /* [rows of Wqkv] */
    const float *q_ln_weight, *q_ln_bias;     /* [d_model] */
    const float *k_ln_weight, *k_ln_bias;     /* [kv_n_heads * head_dim] */
    struct matrix out_proj;                   /* [d_model][d_model] */
    const float *out_proj_bias;               /* [d_model] */
    const float *norm_2_weight, *norm_2_bias; /* [d_model] */
    struct matrix up_proj;                    /* [d_ff][d_model] */
    const float *up_proj_bias;                /* [d_ff] */
    struct matrix down_proj;                  /* [d_model][d_ff] */
    const float *down_proj_bias;              /* [d_model] */
};

struct model_source; /* the mapped files: see source.h */

struct quire_model {
    quire_config config;
    struct matrix wte;     /* [vocab_size][d_model] */
    struct matrix wpe;     /* [max_seq_len][d_model], only with learned positions */
    struct matrix lm_head; /* [vocab_size][d_model]; the same as wte where tied */
    struct layer *layers;  /* [n_layers] */
    const float *norm_f_weight, *norm_f_bias;

    char *path;
    char *name;
    char format_name[64];
    char fingerprint[33];
    char tokenizer_fingerprint[33];
    quire_prompt_format prompt_format;
    uint64_t n_parameters;
    uint64_t weight_bytes;
    uint32_t n_tensors;
    uint32_t n_unused_tensors; /* in the files, but not part of the model */
    uint32_t n_tensors_of[QUIRE_DTYPE_COUNT];
    uint64_t n_bytes_of[QUIRE_DTYPE_COUNT];

    struct model_source *source;
};

/* Whether all that was read from the model's mapped files was there: where a disk failed or a file was cut short, zeros
 * stood in its place (base/map_guard.h), and what was computed is to be thrown away. Errors: IO, naming file and
 * offset; again and again, until the model is closed. */
quire_status model_check_files(const struct quire_model *model, quire_error *err);

/* Why a model is refused, beyond the first reason that quire_model_open gives: a message for each field of its
 * configuration that is wrong or not supported or, where those are in order, for each tensor that is missing or
 * misshaped. Nothing where the reason lies elsewhere (a file that cannot be read). */
void model_report(const char *path, void (*found)(void *user, const char *message), void *user);

/* Where the tokenizer's data is: the GGUF (see gguf.h), or NULL and the path of tokenizer.json (which may not exist).
 */
struct gguf;
const struct gguf *model_gguf(const struct quire_model *model);
const char *model_tokenizer_json_path(const struct quire_model *model);

#endif
