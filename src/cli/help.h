/* Help, from the table of options. */
#ifndef QUIRE_CLI_HELP_H
#define QUIRE_CLI_HELP_H

#include "options.h"

/* Texts, malloc'ed; NULL: no memory. */
char *help_program(void);
char *help_command(enum command_id command);
char *help_version(void);

/* One line per command and option, for the check of the man pages: command, --name, letter or -, argument or -,
 * separated by tabs. */
char *help_list(void);

#endif
