#include "help.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 80, HELP_COLUMN = 31, VERB_COLUMN = 20 };

/* Writes text from column `at` on, breaking lines between words and starting each at column `indent`. */
static void wrap(FILE *to, const char *text, int at, int indent)
{
    while (*text) {
        int n = (int)strcspn(text, " ");
        bool is_first = at <= indent;
        if (!is_first && at + 1 + n > COLUMNS) {
            fprintf(to, "\n%*s", indent, "");
            at = indent;
            is_first = true;
        }
        at += fprintf(to, "%s%.*s", is_first ? "" : " ", n, text);
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', to);
}

/* Lines; one with a tab is a verb and what it does. */
static void print_about(FILE *to, const char *about)
{
    char line[400];
    for (const char *end; *about; about = *end ? end + 1 : end) {
        end = about + strcspn(about, "\n");
        snprintf(line, sizeof line, "%.*s", (int)(end - about), about);
        char *tab = strchr(line, '\t');
        if (tab) {
            *tab = '\0';
            int at = fprintf(to, "  %s", line);
            fprintf(to, "%*s", VERB_COLUMN - at, "");
        }
        wrap(to, tab ? tab + 1 : line, tab ? VERB_COLUMN : 0, tab ? VERB_COLUMN : 0);
    }
}

/* The default in words, or the value that stands in the options when nothing is given. */
static void format_default(char *text, size_t size, const struct option_row *row, const struct options *defaults)
{
    const char *field = (const char *)defaults + row->offset;
    uint64_t whole = 0;
    text[0] = '\0';
    if (row->shown_default) {
        snprintf(text, size, " [%s]", row->shown_default);
        return;
    }
    switch (row->kind) {
    case OPTION_FLAG:
    case OPTION_LIST:
    case OPTION_SIZE: break;
    case OPTION_TEXT:
    case OPTION_WORDS: {
        const char *value = *(const char *const *)(const void *)field;
        if (value)
            snprintf(text, size, " [%s]", value);
        break;
    }
    case OPTION_COUNT: whole = *(const uint32_t *)(const void *)field; break;
    case OPTION_COUNT64: whole = *(const uint64_t *)(const void *)field; break;
    case OPTION_NUMBER: snprintf(text, size, " [%g]", (double)*(const float *)(const void *)field); break;
    }
    if (whole > 0)
        snprintf(text, size, " [%" PRIu64 "]", whole);
}

static void print_option(FILE *to, const struct option_row *row, const struct options *defaults)
{
    char help[400], shown[120], letter[8] = "   ";
    format_default(shown, sizeof shown, row, defaults);
    snprintf(help, sizeof help, "%s%s", row->help, shown);
    if (row->letter)
        snprintf(letter, sizeof letter, "-%c,", row->letter);
    int at =
        fprintf(to, "  %s --%s%s%s", letter, row->name, row->argument ? " " : "", row->argument ? row->argument : "");
    if (at >= HELP_COLUMN) {
        fputc('\n', to);
        at = 0;
    }
    fprintf(to, "%*s", HELP_COLUMN - at, "");
    wrap(to, help, HELP_COLUMN, HELP_COLUMN);
}

static void print_command(FILE *to, enum command_id command)
{
    const struct command_row *row = &command_rows[command];
    struct options defaults = options_defaults(command);
    fprintf(to, "usage: quire %s [OPTION...] %s\n\n", row->name, row->arguments);
    if (row->about[0] != '\0') {
        print_about(to, row->about);
        fputc('\n', to);
    }
    for (int group = 0; group < N_GROUPS; group++) {
        bool has_title = false;
        for (size_t i = 0; i < n_option_rows; i++) {
            const struct option_row *option = &option_rows[i];
            if (option->group != (enum option_group)group || !option_applies(option, command))
                continue;
            if (!has_title)
                fprintf(to, "%s:\n", option_group_names[group]);
            has_title = true;
            print_option(to, option, &defaults);
        }
        if (has_title)
            fputc('\n', to);
    }
    if (row->example)
        fprintf(to, "Example: %s\n", row->example);
    if (command == COMMAND_HELP || command == COMMAND_VERSION)
        fprintf(to, "See also: man quire\n");
    else
        fprintf(to, "Defaults are in brackets. See also: man quire-%s\n", row->name);
}

static void print_program(FILE *to, enum command_id command)
{
    (void)command;
    fprintf(to, "usage: quire COMMAND [OPTION...] [ARGUMENT...]\n\n");
    wrap(to,
         "Quire reads book-length text into an MPT language model and writes what comes next, a summary, or an answer. "
         "The text goes to standard output, everything else to standard error.",
         0, 0);
    fprintf(to, "\nCommands:\n");
    for (int id = 0; id < N_COMMANDS; id++)
        fprintf(to, "  %-12s %s\n", command_rows[id].name, command_rows[id].summary);
    fprintf(to, "\nExamples:\n");
    for (int id = 0; id < N_COMMANDS; id++)
        if (command_rows[id].example)
            fprintf(to, "  %s\n", command_rows[id].example);
    fprintf(to, "\nThe options of a command: quire COMMAND --help. The manual: man quire\n");
}

static void print_version(FILE *to, enum command_id command)
{
    (void)command;
    fprintf(to, "quire %s\n", quire_version());
}

static void print_list(FILE *to, enum command_id command)
{
    (void)command;
    for (int id = 0; id < N_COMMANDS; id++)
        for (size_t i = 0; i < n_option_rows; i++) {
            const struct option_row *row = &option_rows[i];
            if (option_applies(row, (enum command_id)id))
                fprintf(to, "%s\t--%s\t%c\t%s\n", command_rows[id].name, row->name, row->letter ? row->letter : '-',
                        row->argument ? row->argument : "-");
        }
}

static char *make(void (*print)(FILE *to, enum command_id command), enum command_id command)
{
    char *text = NULL;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    if (!to)
        return NULL;
    print(to, command);
    bool is_whole = !ferror(to);
    if (fclose(to) == 0 && is_whole)
        return text;
    free(text);
    return NULL;
}

char *help_program(void)
{
    return make(print_program, N_COMMANDS);
}

char *help_command(enum command_id command)
{
    return make(print_command, command);
}

char *help_version(void)
{
    return make(print_version, N_COMMANDS);
}

char *help_list(void)
{
    return make(print_list, N_COMMANDS);
}
