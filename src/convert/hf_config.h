/* A configuration as HuggingFace and MosaicML's code read it. */
#ifndef QUIRE_CONVERT_HF_CONFIG_H
#define QUIRE_CONVERT_HF_CONFIG_H

#include <jansson.h>

#include "about.h"

/* The content of config.json for tensors of an unquantised type. from: the config.json that the model came with, whose
 * fields without a meaning for what is computed (dropout, initialisation, auto_map, ...) are kept, or NULL.
 *
 * What is peculiar to Quire is the object "quire": name and prompt format. Errors: NO_MEMORY. */
quire_status hf_config(json_t **out, const quire_config *config, quire_dtype type, const struct about *about,
                       const json_t *from, quire_error *err);

#endif
