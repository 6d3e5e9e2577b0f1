#include "command.h"

#include <stdio.h>
#include <string.h>

#include "help.h"

static enum exit_code show_help(const struct options *o)
{
    if (o->n_arguments == 0)
        return help_print_program(stdout);
    for (int id = 0; id < N_COMMANDS; id++)
        if (strcmp(o->arguments[0], command_rows[id].name) == 0)
            return help_print_command(stdout, (enum command_id)id);
    fprintf(stderr, "quire: there is no command '%s'\ntry 'quire --help'\n", o->arguments[0]);
    return EXIT_USAGE;
}

enum exit_code command_run(const struct options *o)
{
    if (o->wants_version)
        return help_print_version(stdout);
    if (o->wants_help)
        return help_print_command(stdout, o->command);
    switch (o->command) {
    case COMMAND_CONTINUE: return cmd_continue(o);
    case COMMAND_SUMMARIZE: return cmd_summarize(o);
    case COMMAND_ASK: return cmd_ask(o);
    case COMMAND_SCORE: return cmd_score(o);
    case COMMAND_TOKENIZE: return cmd_tokenize(o);
    case COMMAND_DETOKENIZE: return cmd_detokenize(o);
    case COMMAND_INFO: return cmd_info(o);
    case COMMAND_CONVERT: return cmd_convert(o);
    case COMMAND_TRAIN:
    case COMMAND_FINETUNE: return cmd_train(o);
    case COMMAND_BENCH: return cmd_bench(o);
    case COMMAND_KV: return o->n_arguments > 0 ? cmd_kv(o) : help_print_command(stdout, o->command);
    case COMMAND_HELP: return show_help(o);
    case COMMAND_VERSION: return help_print_version(stdout);
    case N_COMMANDS: break;
    }
    return EXIT_USAGE;
}
