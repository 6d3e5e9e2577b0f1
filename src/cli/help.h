/* Help, from the table of options. */
#ifndef QUIRE_CLI_HELP_H
#define QUIRE_CLI_HELP_H

#include <stdio.h>

#include "exit.h"
#include "options.h"

/* Each gives EXIT_FAILED where the file cannot be written. */
enum exit_code help_print_program(FILE *to);
enum exit_code help_print_command(FILE *to, enum command_id command);
enum exit_code help_print_version(FILE *to);

/* One line per command and option, for the check of the man pages: command, --name, letter or -, argument or -,
 * separated by tabs. */
enum exit_code help_print_list(FILE *to);

#endif
