/* The configuration, from either format. Every field of the family is honoured, or refused by name where it asks for
 * what this build does not compute, never ignored. What has no meaning for the forward pass (dropout, initialisation,
 * the choice of an attention implementation) is passed over. */
#ifndef QUIRE_MODEL_CONFIG_H
#define QUIRE_MODEL_CONFIG_H

#include <jansson.h>

#include "gguf.h"
#include "quire/model.h"

/* From config.json. path: for messages. Errors: FORMAT (a field of the wrong kind, or values that contradict each
 * other), UNSUPPORTED (model type or value, named). */
quire_status config_from_json(quire_config *out, const json_t *root, const char *path, quire_error *err);

/* From the keys of a GGUF of architecture mpt, and from which tensors it holds: the format has no keys for biases,
 * query and key norms, vocabulary size and an untied head. Errors as above. */
quire_status config_from_gguf(quire_config *out, const struct gguf *gguf, quire_error *err);

/* All that is wrong with a configuration, not the first alone: a message for each field. Nothing where all is well. */
struct config_problems {
    void (*found)(void *user, const char *message);
    void *user;
};
void config_report_json(const json_t *root, const char *path, const struct config_problems *problems);
void config_report_gguf(const struct gguf *gguf, const struct config_problems *problems);

/* Hands on the message in err and empties it, so that the next one has a place. problems may be NULL: then the first
 * message stays. */
void config_tell(const struct config_problems *problems, quire_error *err);

/* softmax_scale where nothing else is said: 1 / sqrt(head_dim). */
float config_usual_scale(uint32_t head_dim);

/* What both have in common at the end: computes head_dim, fills in softmax_scale where it is 0, and checks ranges and
 * divisibility. Errors: FORMAT, UNSUPPORTED. */
quire_status config_finish(quire_config *config, const char *path, quire_error *err);

#endif
