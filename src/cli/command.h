/* The subcommands. */
#ifndef QUIRE_CLI_COMMAND_H
#define QUIRE_CLI_COMMAND_H

#include "exit.h"
#include "options.h"

enum exit_code cmd_continue(const struct options *o);
enum exit_code cmd_summarize(const struct options *o);
enum exit_code cmd_ask(const struct options *o);
enum exit_code cmd_score(const struct options *o);
enum exit_code cmd_tokenize(const struct options *o);
enum exit_code cmd_detokenize(const struct options *o);
enum exit_code cmd_info(const struct options *o);
enum exit_code cmd_convert(const struct options *o);
enum exit_code cmd_train(const struct options *o); /* and finetune */
enum exit_code cmd_bench(const struct options *o);
enum exit_code cmd_kv(const struct options *o);

/* Runs the command that the options name. */
enum exit_code command_run(const struct options *o);

/* Writes a text to standard output and frees it; NULL: there was no memory for one. */
enum exit_code command_show(const struct options *o, char *text);

/* Reports a mistake in the command line and whose help would do (N_COMMANDS: the program's). */
enum exit_code command_refuse(enum command_id command, const quire_error *err);

#endif
