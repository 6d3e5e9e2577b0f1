/* safetensors: a JSON directory in front of the tensors' data. */
#ifndef QUIRE_MODEL_SAFETENSORS_H
#define QUIRE_MODEL_SAFETENSORS_H

#include <stddef.h>

#include "tensors.h"

/* Adds the tensors of a file of n bytes at data to the directory. Their data points into the file; path, for messages
 * and tensor->path, must live as long as the directory. Errors: FORMAT (cut short, a malformed header, tensors that
 * overlap or leave holes or do not end with the file), UNSUPPORTED (an element type that this build has never heard
 * of), NO_MEMORY. */
quire_status safetensors_add(struct tensors *tensors, const unsigned char *data, size_t n, const char *path,
                             quire_error *err);

/* *out: the string under key in the file's __metadata__, malloc'ed; NULL where there is none. Errors: as above. */
quire_status safetensors_metadata(char **out, const unsigned char *data, size_t n, const char *path, const char *key,
                                  quire_error *err);

#endif
