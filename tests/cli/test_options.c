#include "cli/options.h"

#include "test.h"

/* Parses words (up to a NULL) behind the program's name. */
static quire_status parse(struct options *out, quire_error *err, const char *const *words)
{
    static char text[1024]; /* the strings that *out points to, until the next call */
    static char *argv[32];
    char *to = text;
    int argc = 0;
    enum command_id command;
    *err = (quire_error){0};
    argv[argc++] = strcpy(to, "quire");
    for (; *words; words++) {
        to += strlen(to) + 1;
        argv[argc++] = strcpy(to, *words);
    }
    argv[argc] = NULL;
    return options_parse(out, argc, argv, &command, err);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void options_and_arguments_may_be_mixed(void)
{
    struct options o;
    quire_error err;
    CHECK_OK(parse(&o, &err,
                   WORDS("continue", "a.txt", "-n", "300", "b.txt", "--temperature=0", "-m", "x.gguf", "-", "-q")));
    CHECK_EQ_INT(o.command, COMMAND_CONTINUE);
    CHECK_EQ_INT(o.n_arguments, 3);
    CHECK_EQ_STR(o.arguments[0], "a.txt");
    CHECK_EQ_STR(o.arguments[1], "b.txt");
    CHECK_EQ_STR(o.arguments[2], "-");
    CHECK_EQ_INT(o.max_tokens, 300);
    CHECK(o.sampler.temperature == 0);
    CHECK_EQ_STR(o.model, "x.gguf");
    CHECK(o.quiet && !o.json);

    CHECK_OK(parse(&o, &err, WORDS("ask", "-n5", "a.txt", "-q", "--", "-n?", "--", "--json")));
    CHECK_EQ_INT(o.n_arguments, 4);
    CHECK_EQ_STR(o.arguments[0], "a.txt");
    CHECK_EQ_STR(o.arguments[1], "-n?");
    CHECK_EQ_STR(o.arguments[2], "--");
    CHECK_EQ_STR(o.arguments[3], "--json");
    CHECK(o.quiet && !o.json && o.max_tokens == 5);
}

static void the_environment_does_not_decide_where_options_stand(void)
{
    CHECK_EQ_INT(setenv("POSIXLY_CORRECT", "1", 1), 0);
    options_and_arguments_may_be_mixed();
    unsetenv("POSIXLY_CORRECT");
}

static void every_option_of_the_table_is_read(void)
{
    for (size_t i = 0; i < n_option_rows; i++) {
        const struct option_row *row = &option_rows[i];
        for (int id = 0; id < N_COMMANDS; id++) {
            if (!option_applies(row, (enum command_id)id))
                continue;
            static const char *const values[] = {
                [OPTION_TEXT] = "f32",  [OPTION_WORDS] = "text", [OPTION_LIST] = "text", [OPTION_COUNT] = "7",
                [OPTION_COUNT64] = "7", [OPTION_SIZE] = "7K",    [OPTION_NUMBER] = "1",
            };
            char name[64];
            struct options o;
            quire_error err;
            const char *value = strcmp(row->name, "prompt-format") == 0 ? "chatml" : values[row->kind];
            snprintf(name, sizeof name, "--%s%s%s", row->name, row->argument ? "=" : "", row->argument ? value : "");
            const char *words[6] = {command_rows[id].name, name}; /* and what the command cannot do without */
            bool is_plot = strcmp(row->name, "plot") == 0, is_out = strcmp(row->name, "out") == 0;
            if (id == COMMAND_ASK)
                words[2] = "?";
            if (id == COMMAND_CONVERT || id == COMMAND_FINETUNE) {
                words[1] = id == COMMAND_CONVERT ? "-ox" : "-mx";
                words[2] = name;
                words[3] = "file";
            }
            if (id == COMMAND_TRAIN && !is_plot && strcmp(row->name, "keys") != 0)
                words[2] = is_out ? "--plot=x" : "file";
            CHECK_OK(parse(&o, &err, words));
            const char *field = (const char *)&o + row->offset;
            switch (row->kind) {
            case OPTION_FLAG: CHECK(*(const bool *)(const void *)field); break;
            case OPTION_TEXT:
            case OPTION_WORDS: CHECK_EQ_STR(*(const char *const *)(const void *)field, value); break;
            case OPTION_LIST: CHECK_EQ_INT(o.n_stop, 1); break;
            case OPTION_COUNT: CHECK_EQ_INT(*(const uint32_t *)(const void *)field, 7); break;
            case OPTION_COUNT64: CHECK_EQ_INT(*(const uint64_t *)(const void *)field, 7); break;
            case OPTION_SIZE: CHECK_EQ_INT(*(const uint64_t *)(const void *)field, 7 * 1024); break;
            case OPTION_NUMBER: CHECK(*(const float *)(const void *)field == 1.0f); break;
            }
        }
    }
}

static void no_numeric_option_takes_what_is_no_number(void)
{
    static const char *const wrong[] = {"",
                                        " ",
                                        "x",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "1x",
                                        "0x10",
                                        "1,5",
                                        "inf",
                                        "nan",
                                        "-0",
                                        "1e",
                                        "1e+",
                                        "1e400",
                                        "1.5.5",
                                        "99999999999999999999999999",
                                        "9999999999G",
                                        "1\n",
                                        "\xff"};
    for (size_t i = 0; i < n_option_rows; i++) {
        const struct option_row *row = &option_rows[i];
        enum command_id id = 0;
        while (!option_applies(row, id))
            id++;
        if (row->kind != OPTION_COUNT && row->kind != OPTION_COUNT64 && row->kind != OPTION_SIZE &&
            row->kind != OPTION_NUMBER)
            continue;
        for (size_t j = 0; j < sizeof wrong / sizeof wrong[0]; j++) {
            char name[80], shown[40];
            struct options o;
            quire_error err;
            snprintf(name, sizeof name, "--%s=%s", row->name, wrong[j]);
            CHECK_EQ_INT(parse(&o, &err, WORDS(command_rows[id].name, name, "x", "-ox")), QUIRE_ERR_USAGE);
            quire_printable(shown, sizeof shown, wrong[j], strlen(wrong[j]));
            snprintf(name, sizeof name, "option '--%s': '%s' is not a ", row->name, shown);
            CHECK_MESSAGE(err, name);
        }
    }
}

static void sizes_have_suffixes(void)
{
    static const struct {
        const char *text;
        double bytes;
    } cases[] = {{"1000", 1000},     {"1K", 1024},         {"800M", 838860800}, {"1.5G", 1610612736},
                 {"2g", 2147483648}, {"1GiB", 1073741824}, {"3MB", 3145728},    {"1T", 1099511627776}};
    static const char *const wrong[] = {"", "G", "-1G", "1X", "1G2", "0", "1e99G", "nan", "inf", "0x10", " 1G", "1GiX"};
    struct options o;
    quire_error err;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_OK(parse(&o, &err, WORDS("info", "--memory", cases[i].text)));
        CHECK(o.memory_bytes == (uint64_t)cases[i].bytes);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_EQ_INT(parse(&o, &err, WORDS("info", "--memory", wrong[i])), QUIRE_ERR_USAGE);
        CHECK_MESSAGE(err, "--memory");
    }
}

static void mistakes_are_named(void)
{
    static const struct {
        const char *words[6];
        const char *message;
    } cases[] = {
        {{"kontinue"}, "unknown command 'kontinue'"},
        {{"contiune"}, "unknown command 'contiune'; did you mean 'continue'?"},
        {{"continue", "--tempature", "1"}, "unknown option '--tempature'; did you mean '--temperature'?"},
        {{"continue", "--max_tokens", "1"}, "unknown option '--max_tokens'; did you mean '--max-tokens'?"},
        {{"continue", "--he"}, "unknown option '--he'; did you mean '--help' or '--head'?"},
        {{"ask", QUIRE_SOURCE_DIR "/README.md"}, "is a file, and the question is missing"},
        {{"--frob"}, "unknown option '--frob'"},
        {{"continue", "--frob"}, "'--frob'"},
        {{"continue", "-x"}, "unknown option '-x'"},
        {{"tokenize", "--temperature", "1"}, "'tokenize' does not take the option '--temperature'"},
        {{"tokenize", "--temperature=1"}, "'tokenize' does not take the option '--temperature'"},
        {{"tokenize", "-n", "1"}, "'tokenize' does not take the option '--max-tokens'"},
        {{"continue", "-n"}, "option '-n' needs a value"},
        {{"continue", "--max-tokens"}, "option '--max-tokens' needs a value"},
        {{"continue", "--json=yes"}, "option '--json' takes no value"},
        {{"continue", "-n", "-5"}, "'-5' is not a whole number from 0 to 2147483647"},
        {{"continue", "--chunk", "0"}, "'0'"},
        {{"continue", "-n", "12x"}, "'12x'"},
        {{"continue", "-n", "99999999999999999999"},
         "'99999999999999999999' is not a whole number from 0 to 2147483647"},
        {{"info", "--memory", "9999999999G"}, "'9999999999G' is not a size from 1 byte to 4294967296G"},
        {{"info", "--memory", "0"}, "'0' is not a size from 1 byte"},
        {{"continue", "--prompt", "\xff"}, "option '--prompt': the text is not valid UTF-8"},
        {{"continue", "--stop", "caf\xc3"}, "option '--stop': the text is not valid UTF-8"},
        {{"ask", "a.txt", "who\xff"}, "the question is not valid UTF-8"},
        {{"continue", "--top-p", "1.5"}, "not a number from 1e-06 to 1"},
        {{"continue", "--top-p", "nan"}, "'nan' is not a number"},
        {{"continue", "--temperature", "-1"}, "'-1' is not a number from 0 to 1000"},
        {{"continue", "--stop", ""}, "the text is empty"},
        {{"continue", "--kv-type", "q8_0"}, "not f32, f16, bf16, int8 or int4"},
        {{"continue", "--kv-type", "int3"}, "int3"},
        {{"ask", "--prompt-format", "alpaca", "q"}, "alpaca"},
        {{"continue", "--head", "3", "--tail", "3"}, "exclude each other"},
        {{"continue", "--store", "x", "--no-store"}, "exclude each other"},
        {{"continue", "-qv"}, "exclude each other"},
        {{"ask"}, "the question is missing"},
        {{"convert", "-o", "x"}, "the model is missing"},
        {{"convert", "x"}, "needs the option '--out'"},
        {{"info", "a", "b"}, "unexpected argument 'b'"},
        {{"info", "-m", "a", "b"}, "given twice"},
        {{"version", "x"}, "unexpected argument 'x'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct options o = {.n_stop = 77};
        quire_error err;
        CHECK_EQ_INT(parse(&o, &err, cases[i].words), QUIRE_ERR_USAGE);
        CHECK_MESSAGE(err, cases[i].message);
        CHECK_EQ_INT(o.n_stop, 77); /* untouched */
    }
}

static void help_wins_over_what_is_missing(void)
{
    struct options o;
    quire_error err;
    CHECK_OK(parse(&o, &err, WORDS("ask", "--help")));
    CHECK(o.wants_help);
    CHECK_OK(parse(&o, &err, WORDS("--help")));
    CHECK_EQ_INT(o.command, COMMAND_HELP);
    CHECK_OK(parse(&o, &err, WORDS("--version")));
    CHECK_EQ_INT(o.command, COMMAND_VERSION);
}

static void stop_strings_are_collected_in_order(void)
{
    struct options o;
    quire_error err;
    CHECK_OK(parse(&o, &err, WORDS("continue", "--stop", "a", "--stop=b", "--stop", "-c")));
    CHECK_EQ_INT(o.n_stop, 3);
    CHECK_EQ_STR(o.stop[1], "b");
    CHECK_EQ_STR(o.stop[2], "-c");
}

static const struct test tests[] = {
    {"options_and_arguments_may_be_mixed", options_and_arguments_may_be_mixed},
    {"the_environment_does_not_decide_where_options_stand", the_environment_does_not_decide_where_options_stand},
    {"no_numeric_option_takes_what_is_no_number", no_numeric_option_takes_what_is_no_number},
    {"every_option_of_the_table_is_read", every_option_of_the_table_is_read},
    {"sizes_have_suffixes", sizes_have_suffixes},
    {"mistakes_are_named", mistakes_are_named},
    {"help_wins_over_what_is_missing", help_wins_over_what_is_missing},
    {"stop_strings_are_collected_in_order", stop_strings_are_collected_in_order},
};
TEST_MAIN(tests)
