/* quire info --verify. */
#ifndef QUIRE_CLI_INFO_VERIFY_H
#define QUIRE_CLI_INFO_VERIFY_H

#include "exit.h"
#include "options.h"

/* Checks the model at `given`, NULL for the one that ships; EXIT_DAMAGED where damage was found. Neither a tokenizer
 * nor an engine is opened first: what is to be checked may not have what they need. */
enum exit_code info_verify(const struct options *o, const char *given);

#endif
