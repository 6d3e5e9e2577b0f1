/* PyTorch checkpoints: a zip archive with a pickle that says which tensors there are, and an entry for each storage. */
#ifndef QUIRE_MODEL_TORCH_BIN_H
#define QUIRE_MODEL_TORCH_BIN_H

#include <stddef.h>

#include "tensors.h"

/* Adds the tensors of a file of n bytes at data to the directory. Their data points into the file; path, for messages
 * and tensor->path, must live as long as the directory. A tensor that does not lie in one piece, row after row, is in
 * the directory with an obstacle.
 * Errors: FORMAT (cut short, malformed, a tensor outside its storage, a storage that is not there), UNSUPPORTED (a
 * compressed archive, a pickle that asks for more than tensors, TorchScript, big-endian numbers, the formats from
 * before PyTorch 1.6), NO_MEMORY. */
quire_status torch_bin_add(struct tensors *tensors, const unsigned char *data, size_t n, const char *path,
                           quire_error *err);

#endif
