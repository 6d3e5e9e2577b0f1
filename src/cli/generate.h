/* Read a document, write a text: what continue, summarize and ask share. */
#ifndef QUIRE_CLI_GENERATE_H
#define QUIRE_CLI_GENERATE_H

#include "exit.h"
#include "options.h"

/* text: as quire_prompt_make takes it. n_documents: of the arguments, those that are documents. */
enum exit_code generate(const struct options *o, quire_task task, const char *text, size_t n_documents);

#endif
