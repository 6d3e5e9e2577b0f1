/* From a directory of tensors to the fields of a model: one table names every tensor of the family in each format,
 * where it goes, its shape and when it must be there. */
#ifndef QUIRE_MODEL_WEIGHTS_H
#define QUIRE_MODEL_WEIGHTS_H

#include "model.h"
#include "source.h"

/* Fills in the matrices, vectors and counts of a model whose config and source are set; allocates model->layers and
 * source->vectors. path names the model in messages about tensors that are missing.
 * Errors: FORMAT (a tensor is missing, has another shape, or is there although the configuration says that the model
 * has none), UNSUPPORTED (a type that this build does not compute with), NO_MEMORY. */
quire_status weights_bind(struct quire_model *model, const char *path, quire_error *err);

#endif
