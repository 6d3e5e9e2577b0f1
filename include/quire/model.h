/* A model: configuration, weights (memory-mapped) and where its tokenizer lies.
 *
 * Models come as people have them: a HuggingFace folder (config.json, model.safetensors or shards with an index,
 * tokenizer.json) or a GGUF file of architecture "mpt". Files are mapped, not read: opening is quick, and weights enter
 * memory when they are used. A model is immutable and may be shared between threads and engines; it must outlive them.
 */
#ifndef QUIRE_MODEL_H
#define QUIRE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dtype.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quire_model quire_model;

typedef enum quire_norm_type { QUIRE_NORM_LAYERNORM, QUIRE_NORM_RMSNORM } quire_norm_type;

/* Every field that changes what the model computes, under the names of MosaicML's configuration. A field that a file
 * does not carry has MosaicML's default. */
typedef struct quire_config {
    uint32_t d_model;
    uint32_t n_heads;
    uint32_t kv_n_heads; /* n_heads unless keys and values are shared between heads */
    uint32_t head_dim;   /* d_model / n_heads */
    uint32_t n_layers;
    uint32_t d_ff;        /* width of the feed-forward part: expansion_ratio * d_model */
    uint32_t max_seq_len; /* trained context; ALiBi models read on beyond it, learned positions end there */
    uint32_t vocab_size;  /* rows of the embedding, padding rows included */
    bool no_bias;
    bool alibi;
    float alibi_bias_max;
    float clip_qkv; /* 0: no clipping */
    bool qk_ln;
    float softmax_scale;  /* what scores are multiplied by; 1/sqrt(head_dim) where the file says null */
    float logit_scale;    /* what logits are multiplied by; 1 where the file says null */
    bool learned_pos_emb; /* true only when positions are learned and used, that is, without ALiBi */
    quire_norm_type norm_type;
    float norm_eps;
    bool tie_word_embeddings;
} quire_config;

/* How documents are wrapped for this model. */
typedef enum quire_prompt_format {
    QUIRE_PROMPT_PLAIN,    /* base models and StoryWriter: text as it is */
    QUIRE_PROMPT_INSTRUCT, /* "### Instruction:" with blank lines, as the 7B instruct model was trained */
    QUIRE_PROMPT_CHATML    /* <|im_start|>role ... <|im_end|> */
} quire_prompt_format;

/* "plain", "instruct", "chatml". Static storage. */
QUIRE_API const char *quire_prompt_format_name(quire_prompt_format format);

/* Errors: USAGE, with the names that exist. */
QUIRE_API quire_status quire_prompt_format_parse(quire_prompt_format *out, const char *name, quire_error *err);

/* Opens the model at path: a folder or a .gguf file.
 * Errors: IO; FORMAT (cut short, wrong shape, missing tensor: names file, tensor, found and expected); UNSUPPORTED (an
 * architecture, tensor type or configuration value that this build does not do, named); NO_MEMORY. */
QUIRE_API quire_status quire_model_open(quire_model **out, const char *path, quire_error *err);

/* Unmaps and frees. NULL is fine. */
QUIRE_API void quire_model_close(quire_model *model);

/* The following return pointers that live as long as the model. */
QUIRE_API const quire_config *quire_model_config(const quire_model *model);
QUIRE_API const char *quire_model_path(const quire_model *model);
QUIRE_API const char *quire_model_name(const quire_model *model);        /* the files', or else the folder's name */
QUIRE_API const char *quire_model_format_name(const quire_model *model); /* "gguf v3", "huggingface safetensors" */

QUIRE_API uint64_t quire_model_n_parameters(const quire_model *model);
QUIRE_API uint32_t quire_model_n_tensors(const quire_model *model);
QUIRE_API uint32_t quire_model_n_unused_tensors(const quire_model *model); /* in the files, but not of the model */
QUIRE_API uint64_t quire_model_weight_bytes(const quire_model *model);     /* as stored */

/* How many tensors, and how many bytes, are stored in a type. */
QUIRE_API void quire_model_type_totals(const quire_model *model, quire_dtype type, uint32_t *n_tensors,
                                       uint64_t *n_bytes);

/* The prompt format that the model's files name, or else the one that its chat template, vocabulary or name points to;
 * plain where nothing does. */
QUIRE_API quire_prompt_format quire_model_prompt_format(const quire_model *model);

/* 128 bits in hexadecimal over the configuration, the names, types and shapes of all tensors, and their contents (all
 * of each tensor up to 64 KiB; beyond that 16 evenly spaced samples of 4 KiB, so that the fingerprint of a 13 GB
 * checkpoint takes milliseconds). Two checkpoints of one shape have different fingerprints; it is not a cryptographic
 * proof. */
QUIRE_API const char *quire_model_fingerprint(const quire_model *model);

#ifdef __cplusplus
}
#endif
#endif
