/* From a directory of tensors to the fields of a model, and back to names: one table has every tensor of the family in
 * each format, where it goes, its shape and when it must be there. */
#ifndef QUIRE_MODEL_WEIGHTS_H
#define QUIRE_MODEL_WEIGHTS_H

#include "model.h"
#include "source.h"

/* Fills in the matrices, vectors and counts of a model whose config and source are set; allocates model->layers and
 * source->vectors. path names the model in messages about tensors that are missing.
 * Errors: FORMAT (a tensor is missing, has another shape, or is there although the configuration says that the model
 * has none), UNSUPPORTED (a type that this build does not compute with), NO_MEMORY. */
quire_status weights_bind(struct quire_model *model, const char *path, quire_error *err);

/* Everything that weights_bind would stumble over, not the first alone: a message for each. */
void weights_report(const quire_config *config, const struct model_source *source, const char *path,
                    void (*on_problem)(void *user, const char *message), void *user);

/* A tensor that a model of some configuration has. */
struct weight {
    char hf_name[96];    /* "transformer.blocks.0.attn.Wqkv.weight", as published */
    char gguf_name[96];  /* "blk.0.attn_qkv.weight" */
    uint32_t rows, cols; /* rows is 1 where it is a vector */
    bool is_vector;      /* a norm or a bias, of one dimension */
    bool is_position;    /* the table of learned positions */
    bool is_in_layer;    /* or in the model itself */
    uint32_t layer;
    size_t offset;               /* in struct quire_model or struct layer: of a struct matrix, or where is_vector of a
                                    pointer to floats */
    const struct tensor *tensor; /* in the model's files; NULL where there are none */
};

/* The tensors of a configuration, or of an open model together with where they are stored, in the same order: those
 * outside the layers, then layer by layer. Released with free. Errors: NO_MEMORY. */
quire_status weights_list(struct weight **out, size_t *n, const quire_config *config, quire_error *err);
quire_status weights_list_of(struct weight **out, size_t *n, const struct quire_model *model, quire_error *err);

#endif
