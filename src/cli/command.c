#include "command.h"

#include <stdlib.h>
#include <string.h>

#include "help.h"
#include "session.h"

enum exit_code command_show(const struct options *o, char *text)
{
    struct session s = {0};
    quire_status status = session_begin(&s, o);
    if (status == QUIRE_OK && !text)
        quire_fail(&s.error, QUIRE_ERR_NO_MEMORY, "no memory for a text");
    else if (status == QUIRE_OK)
        output_write(&s.output, text, strlen(text), &s.error);
    free(text);
    return session_close(&s, session_end(&s, FROM_WORK));
}

enum exit_code command_refuse(enum command_id command, const quire_error *err)
{
    struct progress progress;
    progress_open(&progress, false, false);
    if (command == N_COMMANDS)
        progress_error(&progress, "%s\ntry 'quire --help'", err->message);
    else
        progress_error(&progress, "%s\ntry 'quire %s --help'", err->message, command_rows[command].name);
    return EXIT_USAGE;
}

static enum exit_code show_help(const struct options *o)
{
    quire_error err = {0};
    if (o->n_arguments == 0)
        return command_show(o, help_program());
    for (int id = 0; id < N_COMMANDS; id++)
        if (strcmp(o->arguments[0], command_rows[id].name) == 0)
            return command_show(o, help_command((enum command_id)id));
    quire_fail(&err, QUIRE_ERR_USAGE, "there is no command '%s'", o->arguments[0]);
    return command_refuse(N_COMMANDS, &err);
}

enum exit_code command_run(const struct options *o)
{
    if (o->wants_version)
        return command_show(o, help_version());
    if (o->wants_help)
        return command_show(o, help_command(o->command));
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
    case COMMAND_KV: return o->n_arguments > 0 ? cmd_kv(o) : command_show(o, help_command(o->command));
    case COMMAND_HELP: return show_help(o);
    case COMMAND_VERSION: return command_show(o, help_version());
    case N_COMMANDS: break;
    }
    return EXIT_USAGE;
}
