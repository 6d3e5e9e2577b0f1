/* Which parts of the mapped weights stay in memory. Hints to the system: they cannot fail and do not change a result.
 */
#ifndef QUIRE_ENGINE_RESIDENCY_H
#define QUIRE_ENGINE_RESIDENCY_H

#include "model/model.h"

/* Asks for the layer's matrices to be read from the file ahead of their use. */
void residency_prefetch_layer(const struct layer *layer);

/* Lets the layer's matrices leave this process's memory; they are read from the file again when touched. */
void residency_release_layer(const struct layer *layer);
void residency_release_matrix(const struct matrix *matrix);

/* Bytes of a layer's matrices as stored. */
uint64_t residency_layer_bytes(const struct layer *layer);

#endif
