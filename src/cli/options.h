/* The command line: one table of subcommands and options. Parsing, help, the listing that the man pages are checked
 * against: all read this table. */
#ifndef QUIRE_CLI_OPTIONS_H
#define QUIRE_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/quire.h"

enum command_id {
    COMMAND_CONTINUE,
    COMMAND_SUMMARIZE,
    COMMAND_ASK,
    COMMAND_SCORE,
    COMMAND_TOKENIZE,
    COMMAND_DETOKENIZE,
    COMMAND_INFO,
    COMMAND_CONVERT,
    COMMAND_TRAIN,
    COMMAND_FINETUNE,
    COMMAND_BENCH,
    COMMAND_KV,
    COMMAND_HELP,
    COMMAND_VERSION,
    N_COMMANDS
};

enum { MAX_STOP_STRINGS = 16 };

struct options {
    enum command_id command;
    const char *const *arguments; /* what is no option: documents, for ask the question as the last one */
    size_t n_arguments;

    bool wants_help;
    bool wants_version;
    const char *model; /* NULL: the model that ships */
    bool no_uring;
    bool no_sandbox;
    bool lossy;
    bool join;
    bool parse_special;
    const char *mds;      /* of tokenize: a folder for shards; NULL: ids as text */
    uint64_t head_tokens; /* 0: all */
    uint64_t tail_tokens;

    const char *prompt; /* NULL: none */
    const char *format; /* NULL: the model's own */
    const char *stop[MAX_STOP_STRINGS];
    size_t n_stop;
    uint64_t max_tokens;
    quire_sampler_options sampler;
    bool per_token;

    uint64_t memory_bytes;
    const char *store; /* NULL: the user's cache folder */
    bool no_store;
    uint64_t store_limit_bytes; /* 0: QUIRE_STORE_LIMIT, else none */
    const char *out;            /* of convert: NULL only where help is asked for; of train --plot */
    const char *plot;           /* a log to make a picture of; NULL: train */
    bool keys;
    const char *type; /* NULL: as the input */
    bool verify;
    bool force;
    float commit_seconds;
    const char *kv_type;
    float attn_eps;
    uint32_t chunk_tokens;
    uint32_t span_tokens;
    uint32_t draft_tokens;
    uint32_t n_threads;
    const char *isa;

    const char *contexts; /* NULL: doubled up to most_context */
    uint32_t most_context;
    uint32_t n_decode;
    uint32_t n_repeats;
    bool peak;

    bool csv;
    bool json;
    bool quiet;
    bool verbose;
};

/* What the value of an option is, and so how it is read and shown. */
enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char *; a path or a name */
    OPTION_WORDS,   /* const char *; UTF-8 */
    OPTION_LIST,    /* UTF-8, appended to stop */
    OPTION_COUNT,   /* uint32_t */
    OPTION_COUNT64, /* uint64_t */
    OPTION_SIZE,    /* uint64_t bytes: 800M, 1.5G */
    OPTION_NUMBER   /* float */
};

enum option_group {
    GROUP_GENERAL,
    GROUP_CONVERTING,
    GROUP_TRAINING,
    GROUP_INPUT,
    GROUP_WRITING,
    GROUP_SAMPLING,
    GROUP_MEASURING,
    GROUP_COMPUTING,
    GROUP_OUTPUT,
    N_GROUPS
};

struct option_row {
    const char *name;     /* without dashes */
    char letter;          /* 0: none */
    const char *argument; /* its value's name in help; NULL for flags */
    enum option_kind kind;
    size_t offset;      /* in struct options */
    double least, most; /* of numbers */
    unsigned commands;  /* bit 1 << command_id for each that takes it */
    enum option_group group;
    const char *help;
    const char *shown_default; /* words; NULL: the value in options_defaults where that is not zero */
};

struct command_row {
    const char *name;
    const char *arguments; /* as in a usage line */
    const char *summary;   /* one line, starts in lower case */
    const char *about;     /* paragraphs */
    const char *example;
    size_t least_arguments, most_arguments;
};

extern const struct command_row command_rows[N_COMMANDS];
extern const struct option_row option_rows[];
extern const size_t n_option_rows;
extern const char *const option_group_names[N_GROUPS];

/* What a command does when no option is given. */
struct options options_defaults(enum command_id command);

/* A size such as 800M or 1.5G as a number of bytes. */
bool options_read_size(const char *text, double *bytes);

/* Whether the row belongs to the command. */
bool option_applies(const struct option_row *row, enum command_id command);

/* Reads a command line. *out is filled on success; its strings are argv's, which is rewritten so that the arguments
 * stand together. Errors: USAGE; *command then tells whose help would do (N_COMMANDS: the program's). */
quire_status options_parse(struct options *out, int argc, char **argv, enum command_id *command, quire_error *err);

#endif
