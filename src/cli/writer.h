/* The writer: logits of a book to text on standard output, token by token. */
#ifndef QUIRE_CLI_WRITER_H
#define QUIRE_CLI_WRITER_H

#include "receipt.h"
#include "session.h"

struct writer {
    struct session *s;
    const quire_prompt *prompt;
    quire_sampler *sampler;
    quire_draft *draft; /* NULL: nothing is computed ahead */
    quire_decoder *decoder;
    quire_stop *stop;
    bool is_answer; /* white space at its start belongs to the template, not to the answer */
    bool has_begun;
    char *text; /* with --json: all of it */
    size_t n_text;
    size_t capacity;
    uint64_t n_tokens; /* written */
    enum ending ending;
};

/* ids[0..n): what the book holds, the prompt included. The writer is to be closed even where this fails. */
quire_status writer_open(struct writer *w, struct session *s, const quire_prompt *prompt, bool is_answer,
                         const int32_t *ids, size_t n, quire_error *err);

/* Writes until something ends the text; w->ending says what. Text that is already there is shown also when that is an
 * error. Errors: those of the engine and of the output. */
quire_status writer_run(struct writer *w, quire_book *book, quire_error *err);

void writer_close(struct writer *w);

#endif
