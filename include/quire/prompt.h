/* Prompts: how a document and a task become the token ids that a model of the family expects.
 *
 * Document text is always encoded as plain text: what a book spells is never taken for a special token. Only the
 * template around it may use them. The document comes first and the task last, so that several questions about one
 * book share its reading. */
#ifndef QUIRE_PROMPT_H
#define QUIRE_PROMPT_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "model.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum quire_task {
    QUIRE_TASK_CONTINUE,  /* text: NULL, or words that the continuation starts with ("Epilogue") */
    QUIRE_TASK_SUMMARIZE, /* text: NULL for the default request */
    QUIRE_TASK_ASK        /* text: the question */
} quire_task;

enum { QUIRE_PROMPT_MAX_ENDS = 2 };

/* The ids around a document, before[n_before] document after[n_after], and what ends the text written after them. */
typedef struct quire_prompt {
    int32_t *before;
    size_t n_before;
    int32_t *after;
    size_t n_after;
    int32_t ends[QUIRE_PROMPT_MAX_ENDS]; /* ids that end the text: end of text, and the format's end of turn */
    size_t n_ends;
    const char *stop; /* a string that ends the text too (the next question), or NULL; static storage */
} quire_prompt;

/* With QUIRE_TASK_CONTINUE and the plain format the document stands alone, so that its tokens are exactly the text's.
 * Errors: USAGE (a question without text); TEXT (the task is no UTF-8); MISMATCH (the format needs tokens that the
 * vocabulary does not have, named); NO_MEMORY. */
QUIRE_API quire_status quire_prompt_make(quire_prompt *out, const quire_tokenizer *tokenizer,
                                         quire_prompt_format format, quire_task task, const char *text,
                                         quire_error *err);

/* Frees the ids and empties the prompt. An empty one and NULL are fine. */
QUIRE_API void quire_prompt_release(quire_prompt *prompt);

#ifdef __cplusplus
}
#endif
#endif
