/* What the books of an engine are bound to. */
#ifndef QUIRE_ENGINE_IDENTITY_H
#define QUIRE_ENGINE_IDENTITY_H

#include "model/model.h"

enum { IDENTITY_SIZE = 768 }; /* as a store takes at most */

/* Every configuration field, then the tokenizer, the weights and the numeric path, as "name value name value ...": all
 * that decides keys and values besides the tokens and the KV type. The order is that in which a difference is worth
 * telling: another configuration is another fingerprint of the weights, too. products, isa: the numeric path, names of
 * the matrix products and the kernels, and how much attention may leave out. */
void identity_make(char identity[IDENTITY_SIZE], const struct quire_model *model, const char *products, const char *isa,
                   float attn_eps);

#endif
