/* Which prompt format a model was trained with. */
#ifndef QUIRE_MODEL_PROMPT_GUESS_H
#define QUIRE_MODEL_PROMPT_GUESS_H

#include "quire/model.h"
#include "source.h"

/* What a model written by Quire states of itself says it best ("quire.prompt_format" in a GGUF, `stated` from a
 * folder's config.json or NULL), then the chat template, the vocabulary, and the model's name. folder is NULL for a
 * GGUF. Where nothing points anywhere, and where files that would tell cannot be read, the answer is plain. */
quire_prompt_format prompt_guess(const struct model_source *source, const char *folder, const char *name,
                                 const char *stated);

#endif
