#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ON(command) (1u << (command))
#define ON_WRITING  (ON(COMMAND_CONTINUE) | ON(COMMAND_SUMMARIZE) | ON(COMMAND_ASK))
#define ON_READING  (ON_WRITING | ON(COMMAND_SCORE))
#define ON_TEXT     (ON_READING | ON(COMMAND_TOKENIZE))
#define ON_ENGINE   (ON_READING | ON(COMMAND_INFO) | ON(COMMAND_BENCH))
#define ON_UTF8     (ON_TEXT | ON(COMMAND_BENCH))
#define ON_FILES    (ON_UTF8 | ON(COMMAND_DETOKENIZE))
#define ON_MODEL    (ON_FILES | ON(COMMAND_INFO))
#define ON_TRAIN    (ON(COMMAND_TRAIN) | ON(COMMAND_FINETUNE))
#define ON_ALL      (ON(N_COMMANDS) - 1)

#define FIELD(name) offsetof(struct options, name)
#define MANY        ((size_t)-1)
#define MOST_TOKENS 2147483647.0

const char *const option_group_names[N_GROUPS] = {
    [GROUP_GENERAL] = "General",     [GROUP_CONVERTING] = "Converting", [GROUP_INPUT] = "Input",
    [GROUP_WRITING] = "Writing",     [GROUP_SAMPLING] = "Sampling",     [GROUP_MEASURING] = "Measuring",
    [GROUP_COMPUTING] = "Computing", [GROUP_OUTPUT] = "Output",         [GROUP_TRAINING] = "Training",
};

const struct command_row command_rows[N_COMMANDS] = {
    [COMMAND_CONTINUE] = {"continue", "[FILE...]", "read documents and write what comes next",
                          "Reads each FILE whole, one after the other, and writes a continuation of it. Without FILE, "
                          "or where FILE is -, standard input is read.",
                          "quire continue book.txt -n 300", 0, MANY},
    [COMMAND_SUMMARIZE] = {"summarize", "[FILE...]", "read documents and write a summary of each",
                           "Puts the model's own prompt format around each FILE and asks for a summary. Without FILE, "
                           "or where FILE is -, standard input is read.",
                           "quire summarize -m mpt-7b-instruct/ book.txt", 0, MANY},
    [COMMAND_ASK] =
        {"ask", "[FILE...] QUESTION", "read documents and answer a question about each",
         "The last argument is the question; those before it are documents. Without FILE, or where FILE is -, standard "
         "input is read. A second question about the same text reuses its reading.",
         "quire ask -m mpt-7b-chat/ book.txt \"Who is Klipspringer?\"", 1, MANY},
    [COMMAND_SCORE] =
        {"score", "[FILE...]", "say how well a model predicts documents",
         "Writes the number of tokens, the mean negative log-likelihood in nats, the perplexity, and both by position. "
         "Without FILE, or where FILE is -, standard input is read.",
         "quire score book.txt", 0, MANY},
    [COMMAND_TOKENIZE] = {"tokenize", "[FILE...]", "write the token ids of documents, one per line",
                          "Text of any length passes through in constant memory. Without FILE, or where FILE is -, "
                          "standard input is read.",
                          "quire tokenize book.txt | wc -l", 0, MANY},
    [COMMAND_DETOKENIZE] =
        {"detokenize", "[FILE...]", "write the text of token ids",
         "Reads decimal ids separated by white space and writes exactly the text that they stand for. Without FILE, or "
         "where FILE is -, standard input is read.",
         "quire tokenize book.txt | quire detokenize", 0, MANY},
    [COMMAND_INFO] =
        {"info", "[MODEL]", "describe a model and what it needs",
         "Writes every configuration field, the tensors by type, the tokenizer, and the memory and disk that reading "
         "8,192, 65,536 and 84,000 tokens takes with the options given.",
         "quire info mpt-7b-storywriter/ --memory 16G", 0, 1},
    [COMMAND_CONVERT] =
        {"convert", "MODEL -o OUT", "write a model in another format or number type",
         "Writes MODEL, a HuggingFace folder or a GGUF file, to OUT: a GGUF file where the name ends in .gguf, else a "
         "HuggingFace folder. Configuration, tokenizer and prompt format go along, and checksums of the tensors are "
         "stored for 'quire info --verify'. OUT appears when it is complete.",
         "quire convert mpt-7b-storywriter/ -o storywriter.gguf --type q8_0", 1, 1},
    [COMMAND_TRAIN] =
        {"train", "CONFIG", "train a model",
         "Trains a model as the YAML file CONFIG says, and writes it as a GGUF file and as a HuggingFace folder. The "
         "same command goes on after Ctrl-C or a crash from the last checkpoint, bit for bit as if nothing had "
         "happened.",
         "quire train corpora/train/base.yaml", 0, 1},
    [COMMAND_FINETUNE] =
        {"finetune", "-m MODEL CONFIG", "train a model further",
         "As 'quire train', from the weights, the shape and the tokenizer of MODEL. What CONFIG says of "
         "them has to agree, but for the context and what StoryWriter changed: see the manual.",
         "quire finetune -m base.gguf corpora/train/storywriter.yaml", 1, 1},
    [COMMAND_BENCH] = {"bench", "[FILE]", "measure how fast a model is read and written with",
                       "Reads a text and decodes some tokens at each of several context lengths; each row times only "
                       "what lies between the length before and its own. The text is FILE (standard input where it is "
                       "-), or random tokens. Speeds stand beside their share of what the machine can do at best, "
                       "measured in the same run.",
                       "quire bench -m mpt-7b-storywriter/ --up-to 84000", 0, 1},
    [COMMAND_KV] = {"kv", "VERB [ARGUMENT...]", "look after the store of what was read",
                    "ls\tlist the books, those used last first\n"
                    "show BOOK\tall that is known of one\n"
                    "verify [BOOK]\tcompare one, or all, with the checksums\n"
                    "repair [BOOK]\tput what is damaged back to what of it is sound\n"
                    "rm BOOK...\tremove books\n"
                    "gc\tremove what nobody can use\n"
                    "export BOOK FILE\twrite one to a file of its own\n"
                    "import FILE\ttake one in from such a file\n"
                    "\n"
                    "A BOOK is an id from the list, or the first digits of one, at least four. Each verb works while "
                    "other processes use the store.",
                    "quire kv ls", 0, MANY},
    [COMMAND_HELP] = {"help", "[COMMAND]", "show how a command is used", "", NULL, 0, 1},
    [COMMAND_VERSION] = {"version", "", "show the version", "", NULL, 0, 0},
};

const struct option_row option_rows[] = {
    {"model", 'm', "MODEL", OPTION_TEXT, FIELD(model), 0, 0, ON_MODEL, GROUP_GENERAL,
     "a HuggingFace checkpoint folder or a GGUF file", "$QUIRE_MODEL, else the model that ships"},
    {"model", 'm', "MODEL", OPTION_TEXT, FIELD(model), 0, 0, ON(COMMAND_FINETUNE), GROUP_GENERAL,
     "the HuggingFace checkpoint folder or GGUF file to start from", NULL},
    {"help", 'h', NULL, OPTION_FLAG, FIELD(wants_help), 0, 0, ON_ALL, GROUP_GENERAL, "show this help", NULL},
    {"version", 0, NULL, OPTION_FLAG, FIELD(wants_version), 0, 0, ON_ALL, GROUP_GENERAL, "show the version", NULL},
    {"no-sandbox", 0, NULL, OPTION_FLAG, FIELD(no_sandbox), 0, 0,
     ON_MODEL | ON(COMMAND_KV) | ON(COMMAND_CONVERT) | ON_TRAIN, GROUP_GENERAL,
     "keep all rights of the user: network, programs, files", "they are given up"},

    {"out", 'o', "OUT", OPTION_TEXT, FIELD(out), 0, 0, ON(COMMAND_CONVERT), GROUP_CONVERTING,
     "the file or folder to write", NULL},
    {"type", 0, "TYPE", OPTION_TEXT, FIELD(type), 0, 0, ON(COMMAND_CONVERT), GROUP_CONVERTING,
     "store matrices as f32, f16, bf16, q8_0, q4_0, q4_k or q6_k; a folder takes the first three",
     "as they are; in a folder f32 for what is quantised"},
    {"force", 0, NULL, OPTION_FLAG, FIELD(force), 0, 0, ON(COMMAND_CONVERT), GROUP_CONVERTING,
     "replace OUT where it exists", NULL},
    {"threads", 0, "N", OPTION_COUNT, FIELD(n_threads), 1, 1024, ON(COMMAND_CONVERT), GROUP_CONVERTING,
     "threads that convert numbers", "the processors that may be used"},
    {"keys", 0, NULL, OPTION_FLAG, FIELD(keys), 0, 0, ON(COMMAND_TRAIN), GROUP_TRAINING,
     "write every key of a configuration, its default and its range", NULL},
    {"plot", 0, "LOG", OPTION_TEXT, FIELD(plot), 0, 0, ON(COMMAND_TRAIN), GROUP_TRAINING,
     "draw the losses of a run's log.jsonl, with gnuplot", NULL},
    {"out", 'o', "FILE", OPTION_TEXT, FIELD(out), 0, 0, ON(COMMAND_TRAIN), GROUP_TRAINING,
     "of --plot: the SVG file to write", "loss.svg"},
    {"verify", 0, NULL, OPTION_FLAG, FIELD(verify), 0, 0, ON(COMMAND_INFO), GROUP_GENERAL,
     "check the model's files instead: checksums, numbers, tensors, tokenizer", NULL},

    {"join", 0, NULL, OPTION_FLAG, FIELD(join), 0, 0, ON_READING, GROUP_INPUT,
     "the FILEs are parts of one text, in this order", "each FILE is a text of its own"},
    {"head", 0, "TOKENS", OPTION_COUNT64, FIELD(head_tokens), 1, MOST_TOKENS, ON_READING, GROUP_INPUT,
     "read only the first TOKENS of a document", "all of it"},
    {"tail", 0, "TOKENS", OPTION_COUNT64, FIELD(tail_tokens), 1, MOST_TOKENS, ON_READING, GROUP_INPUT,
     "read only the last TOKENS of a document", "all of it"},
    {"lossy", 0, NULL, OPTION_FLAG, FIELD(lossy), 0, 0, ON_UTF8, GROUP_INPUT,
     "replace what is not valid UTF-8 and say how often", "it is an error"},
    {"no-uring", 0, NULL, OPTION_FLAG, FIELD(no_uring), 0, 0, ON_FILES, GROUP_INPUT, "read files without io_uring",
     NULL},
    {"special", 0, NULL, OPTION_FLAG, FIELD(parse_special), 0, 0, ON(COMMAND_TOKENIZE), GROUP_INPUT,
     "text that spells a special token becomes that token", "it is text"},

    {"mds", 0, "DIR", OPTION_TEXT, FIELD(mds), 0, 0, ON(COMMAND_TOKENIZE), GROUP_OUTPUT,
     "write MDS shards to the new folder DIR, one sample for each document, as training reads them", NULL},

    {"max-tokens", 'n', "N", OPTION_COUNT64, FIELD(max_tokens), 0, MOST_TOKENS, ON_WRITING, GROUP_WRITING,
     "write at most N tokens; 0 reads, for later questions, and writes nothing", NULL},
    {"prompt", 0, "TEXT", OPTION_WORDS, FIELD(prompt), 0, 0, ON(COMMAND_CONTINUE), GROUP_WRITING,
     "the continuation starts with a paragraph of TEXT (not repeated in the output)", NULL},
    {"prompt-format", 0, "FORMAT", OPTION_TEXT, FIELD(format), 0, 0, ON_WRITING, GROUP_WRITING,
     "how the text is wrapped: plain, instruct or chatml", "plain for continue, else the model's own"},
    {"stop", 0, "TEXT", OPTION_LIST, FIELD(stop), 0, 0, ON_WRITING, GROUP_WRITING,
     "end before TEXT is written; may be given up to 16 times", NULL},

    {"temperature", 0, "T", OPTION_NUMBER, FIELD(sampler.temperature), 0, 1000, ON_WRITING, GROUP_SAMPLING,
     "0 always takes the most likely token; higher is freer", NULL},
    {"top-k", 0, "K", OPTION_COUNT, FIELD(sampler.top_k), 0, MOST_TOKENS, ON_WRITING, GROUP_SAMPLING,
     "choose among the K most likely tokens", "0, all"},
    {"top-p", 0, "P", OPTION_NUMBER, FIELD(sampler.top_p), 1e-6, 1, ON_WRITING, GROUP_SAMPLING,
     "choose among the likeliest tokens that together have probability P", NULL},
    {"min-p", 0, "P", OPTION_NUMBER, FIELD(sampler.min_p), 0, 1, ON_WRITING, GROUP_SAMPLING,
     "leave out tokens less than P times as likely as the best", "0, none"},
    {"repetition-penalty", 0, "R", OPTION_NUMBER, FIELD(sampler.repetition_penalty), 1e-3, 1000, ON_WRITING,
     GROUP_SAMPLING, "divide the logits of tokens that the text has already by R, multiply those below 0", "1, none"},
    {"seed", 0, "N", OPTION_COUNT64, FIELD(sampler.seed), 0, 9007199254740991.0, ON_WRITING, GROUP_SAMPLING,
     "the same seed gives the same text", "0"},

    {"contexts", 0, "LIST", OPTION_TEXT, FIELD(contexts), 0, 0, ON(COMMAND_BENCH), GROUP_MEASURING,
     "context lengths to measure at, such as 512,2048,8192", "512, then 2048 and its doubles"},
    {"up-to", 0, "TOKENS", OPTION_COUNT, FIELD(most_context), 1, MOST_TOKENS, ON(COMMAND_BENCH), GROUP_MEASURING,
     "the last context length, such as 84000", NULL},
    {"decode", 0, "N", OPTION_COUNT, FIELD(n_decode), 0, 1e6, ON(COMMAND_BENCH), GROUP_MEASURING,
     "tokens to decode at each context length; 0: none", NULL},
    {"repeats", 0, "N", OPTION_COUNT, FIELD(n_repeats), 1, 100, ON(COMMAND_BENCH), GROUP_MEASURING,
     "read the text N times and show medians", NULL},
    {"peak", 0, NULL, OPTION_FLAG, FIELD(peak), 0, 0, ON(COMMAND_BENCH), GROUP_MEASURING,
     "measure the machine alone: arithmetic, memory, disk", NULL},

    {"memory", 0, "SIZE", OPTION_SIZE, FIELD(memory_bytes), 1, 0x1p62, ON_ENGINE, GROUP_COMPUTING,
     "stay under SIZE of memory, such as 800M or 1.5G, for weights, activations, keys and values together",
     "three quarters of what is free"},
    {"store", 0, "DIR", OPTION_TEXT, FIELD(store), 0, 0, ON_WRITING, GROUP_COMPUTING,
     "keep keys and values in DIR, to be used again", "$XDG_CACHE_HOME/quire or ~/.cache/quire"},
    {"no-store", 0, NULL, OPTION_FLAG, FIELD(no_store), 0, 0, ON_WRITING, GROUP_COMPUTING,
     "keep nothing: use temporary files that vanish", NULL},
    {"store-limit", 0, "SIZE", OPTION_SIZE, FIELD(store_limit_bytes), 1, 0x1p62, ON_WRITING, GROUP_COMPUTING,
     "keep the store under SIZE, such as 50G, by removing what was not used for the longest time",
     "$QUIRE_STORE_LIMIT, else no limit"},
    {"store", 0, "DIR", OPTION_TEXT, FIELD(store), 0, 0, ON(COMMAND_KV), GROUP_GENERAL, "the store's folder",
     "$XDG_CACHE_HOME/quire or ~/.cache/quire"},
    {"store-limit", 0, "SIZE", OPTION_SIZE, FIELD(store_limit_bytes), 1, 0x1p62, ON(COMMAND_KV), GROUP_GENERAL,
     "gc, import: remove what was not used for the longest time, so that the store takes at most SIZE", NULL},
    {"force", 0, NULL, OPTION_FLAG, FIELD(force), 0, 0, ON(COMMAND_KV), GROUP_GENERAL,
     "rm: also the books that begin with the one named", NULL},
    {"commit-every", 0, "SECONDS", OPTION_NUMBER, FIELD(commit_seconds), 0, 86400, ON_WRITING, GROUP_COMPUTING,
     "save a reading in the store at least every SECONDS, so that a crash costs no more", NULL},
    {"kv-type", 0, "TYPE", OPTION_TEXT, FIELD(kv_type), 0, 0, ON_ENGINE, GROUP_COMPUTING,
     "store keys and values as f32, f16, bf16, int8 or int4", NULL},
    {"attn-eps", 0, "E", OPTION_NUMBER, FIELD(attn_eps), 0, 1, ON_READING | ON(COMMAND_BENCH), GROUP_COMPUTING,
     "leave out older keys whose attention weights are proved to be at most E together; 0 reads all", "6e-08, 2^-24"},
    {"chunk", 0, "TOKENS", OPTION_COUNT, FIELD(chunk_tokens), 1, 1 << 20, ON_ENGINE, GROUP_COMPUTING,
     "tokens that go through a layer together", "512"},
    {"span", 0, "TOKENS", OPTION_COUNT, FIELD(span_tokens), 1, MOST_TOKENS, ON_ENGINE, GROUP_COMPUTING,
     "tokens that go through the model layer by layer", "as many as memory allows"},
    {"draft", 0, "N", OPTION_COUNT, FIELD(draft_tokens), 0, QUIRE_DRAFT_MOST, ON_WRITING, GROUP_COMPUTING,
     "where the text repeats itself, compute up to N tokens ahead; what is written stays the same; 0: none", NULL},
    {"threads", 0, "N", OPTION_COUNT, FIELD(n_threads), 1, 1024, ON_ENGINE | ON_TRAIN, GROUP_COMPUTING,
     "threads that compute", "the processors that may be used"},
    {"isa", 0, "NAME", OPTION_TEXT, FIELD(isa), 0, 0, ON_ENGINE | ON_TRAIN, GROUP_COMPUTING,
     "kernels to use: ref, base, avx2, avx2-i16, avx2-vnni, avx512, avx512-vnni, avx512-bf16 or amx-bf16",
     "$QUIRE_ISA, else the best that runs here"},

    {"per-token", 0, NULL, OPTION_FLAG, FIELD(per_token), 0, 0, ON(COMMAND_SCORE), GROUP_OUTPUT,
     "write position, id and log-probability of each token, separated by tabs", NULL},
    {"csv", 0, NULL, OPTION_FLAG, FIELD(csv), 0, 0, ON(COMMAND_BENCH), GROUP_OUTPUT,
     "write comma-separated values under a line of names", NULL},
    {"json", 0, NULL, OPTION_FLAG, FIELD(json), 0, 0, ON_READING, GROUP_OUTPUT,
     "write one JSON object per document instead of text", NULL},
    {"json", 0, NULL, OPTION_FLAG, FIELD(json), 0, 0, ON(COMMAND_INFO) | ON(COMMAND_BENCH), GROUP_OUTPUT,
     "write one JSON object instead of text", NULL},
    {"json", 0, NULL, OPTION_FLAG, FIELD(json), 0, 0, ON(COMMAND_KV), GROUP_OUTPUT,
     "write JSON instead of text: an object per book for ls, one object else", NULL},
    {"json", 0, NULL, OPTION_FLAG, FIELD(json), 0, 0, ON(COMMAND_CONVERT), GROUP_OUTPUT,
     "write one JSON object about what was done", NULL},
    {"quiet", 'q', NULL, OPTION_FLAG, FIELD(quiet), 0, 0, ON_MODEL | ON(COMMAND_KV) | ON(COMMAND_CONVERT) | ON_TRAIN,
     GROUP_OUTPUT, "write nothing but errors to standard error", NULL},
    {"verbose", 'v', NULL, OPTION_FLAG, FIELD(verbose), 0, 0, ON_MODEL | ON(COMMAND_CONVERT) | ON_TRAIN, GROUP_OUTPUT,
     "say more about how the work is done", NULL},
};
const size_t n_option_rows = sizeof option_rows / sizeof option_rows[0];

struct options options_defaults(enum command_id command)
{
    return (struct options){
        .command = command,
        .max_tokens = command == COMMAND_CONTINUE ? 200 : 300,
        .sampler = quire_sampler_defaults(),
        .commit_seconds = (float)quire_engine_defaults().commit_seconds,
        .attn_eps = quire_engine_defaults().attn_eps,
        .kv_type = quire_kv_type_name(quire_engine_defaults().kv_type),
        .draft_tokens = ON(command) & ON_WRITING ? 7 : 0,
        .most_context = 4096,
        .n_decode = 16,
        .n_repeats = 1,
    };
}

bool option_applies(const struct option_row *row, enum command_id command)
{
    return (row->commands & ON(command)) != 0;
}

/* --- values ------------------------------------------------------------------------------------------------------ */

static quire_status out_of_range(const struct option_row *row, const char *text, quire_error *err)
{
    double bytes;
    if (row->kind == OPTION_SIZE && options_read_size(text, &bytes))
        return quire_fail(err, QUIRE_ERR_USAGE, "option '--%s': '%s' is not a size from 1 byte to %.0fG", row->name,
                          text, row->most / 0x1p30);
    if (row->kind == OPTION_SIZE)
        return quire_fail(err, QUIRE_ERR_USAGE, "option '--%s': '%s' is not a size such as 800M or 1.5G", row->name,
                          text);
    if (row->kind == OPTION_NUMBER)
        return quire_fail(err, QUIRE_ERR_USAGE, "option '--%s': '%s' is not a number from %g to %g", row->name, text,
                          row->least, row->most);
    return quire_fail(err, QUIRE_ERR_USAGE, "option '--%s': '%s' is not a whole number from %.0f to %.0f", row->name,
                      text, row->least, row->most);
}

static bool is_in_range(const struct option_row *row, double value)
{
    return value >= row->least && value <= row->most;
}

/* Digits only: strtoull would also take a sign, white space and a hexadecimal prefix. */
static bool read_whole(const char *text, uint64_t *value)
{
    char *end;
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0;
}

static bool read_number(const char *text, const char **rest, double *value)
{
    char *end;
    if (strspn(text, "0123456789.") == 0 || strpbrk(text, "xX")) /* no sign, no white space, nothing hexadecimal */
        return false;
    *value = strtod(text, &end);
    *rest = end;
    return end != text && isfinite(*value);
}

/* Bytes, or K, M, G, T in steps of 1024, with or without B or iB behind. */
bool options_read_size(const char *text, double *bytes)
{
    static const char suffixes[] = "KMGT";
    const char *rest;
    if (!read_number(text, &rest, bytes))
        return false;
    const char *found = *rest ? strchr(suffixes, *rest >= 'a' ? *rest - 'a' + 'A' : *rest) : NULL;
    if (found) {
        *bytes = ldexp(*bytes, 10 * (int)(found - suffixes + 1));
        rest++;
        if (*rest == 'i' && rest[1] == 'B')
            rest++;
    }
    if (*rest == 'B' || *rest == 'b')
        rest++;
    return *rest == '\0';
}

/* jansson takes nothing else. */
static bool is_utf8(const char *text)
{
    json_t *string = json_string(text);
    json_decref(string);
    return string != NULL;
}

static quire_status set_value(struct options *out, const struct option_row *row, const char *text, quire_error *err)
{
    char *field = (char *)out + row->offset;
    uint64_t whole = 0;
    double number = 0;
    const char *rest;
    bool is_valid = true;
    if ((row->kind == OPTION_WORDS || row->kind == OPTION_LIST) && !is_utf8(text))
        return quire_fail(err, QUIRE_ERR_USAGE, "option '--%s': the text is not valid UTF-8", row->name);
    switch (row->kind) {
    case OPTION_FLAG: *(bool *)(void *)field = true; break;
    case OPTION_TEXT:
    case OPTION_WORDS: *(const char **)(void *)field = text; break;
    case OPTION_LIST:
        if (out->n_stop == MAX_STOP_STRINGS)
            return quire_fail(err, QUIRE_ERR_USAGE, "option '--%s' is given more than %d times", row->name,
                              MAX_STOP_STRINGS);
        if (text[0] == '\0')
            return quire_fail(err, QUIRE_ERR_USAGE, "option '--%s': the text is empty", row->name);
        out->stop[out->n_stop++] = text;
        break;
    case OPTION_COUNT:
        is_valid = read_whole(text, &whole) && is_in_range(row, (double)whole);
        *(uint32_t *)(void *)field = (uint32_t)whole;
        break;
    case OPTION_COUNT64:
        is_valid = read_whole(text, &whole) && is_in_range(row, (double)whole);
        *(uint64_t *)(void *)field = whole;
        break;
    case OPTION_SIZE:
        is_valid = options_read_size(text, &number) && is_in_range(row, number);
        *(uint64_t *)(void *)field = is_valid ? (uint64_t)number : 0;
        break;
    case OPTION_NUMBER:
        is_valid = read_number(text, &rest, &number) && *rest == '\0' && is_in_range(row, number);
        *(float *)(void *)field = (float)number;
        break;
    }
    return is_valid ? QUIRE_OK : out_of_range(row, text, err);
}

/* --- the command line -------------------------------------------------------------------------------------------- */

static enum command_id find_command(const char *name)
{
    for (int id = 0; id < N_COMMANDS; id++)
        if (strcmp(command_rows[id].name, name) == 0)
            return (enum command_id)id;
    return N_COMMANDS;
}

/* Letters that two words begin with alike, '-' and '_' being the same. */
static size_t n_common(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && (a[n] == b[n] || (a[n] == '_' && b[n] == '-')))
        n++;
    return n;
}

enum { LEAST_COMMON = 2, HINT_BYTES = 256 };

/* The options of the command that begin most like the name: "; did you mean '--head' or '--help'?"; empty where none
 * does. */
static void hint_at_options(char hint[HINT_BYTES], enum command_id command, const char *name)
{
    size_t best = LEAST_COMMON, n = 0;
    hint[0] = '\0';
    for (size_t i = 0; i < n_option_rows; i++) {
        size_t common = option_applies(&option_rows[i], command) ? n_common(name, option_rows[i].name) : 0;
        if (common > best)
            n = 0;
        if (common < best || n >= HINT_BYTES)
            continue;
        best = common;
        n += (size_t)snprintf(hint + n, HINT_BYTES - n, "%s'--%s'", n > 0 ? " or " : "; did you mean ",
                              option_rows[i].name);
    }
    if (n > 0 && n < HINT_BYTES)
        snprintf(hint + n, HINT_BYTES - n, "?");
}

/* What getopt_long found to be no option of this command: one of another, or none at all. */
static quire_status unknown_option(enum command_id command, const char *word, int letter, quire_error *err)
{
    for (size_t i = 0; i < n_option_rows; i++) {
        const struct option_row *row = &option_rows[i];
        size_t n_name = strlen(row->name);
        bool is_it = letter
                         ? row->letter == letter
                         : strncmp(word + 2, row->name, n_name) == 0 && (!word[2 + n_name] || word[2 + n_name] == '=');
        if (is_it && !option_applies(row, command))
            return quire_fail(err, QUIRE_ERR_USAGE, "'%s' does not take the option '--%s'", command_rows[command].name,
                              row->name);
    }
    if (letter)
        return quire_fail(err, QUIRE_ERR_USAGE, "unknown option '-%c'", letter);
    char hint[HINT_BYTES];
    hint_at_options(hint, command, word + 2);
    return quire_fail(err, QUIRE_ERR_USAGE, "unknown option '%s'%s", word, hint);
}

static quire_status unknown_command(const char *name, quire_error *err)
{
    size_t best = LEAST_COMMON, found = N_COMMANDS;
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (n_common(name, command_rows[i].name) >= best) {
            best = n_common(name, command_rows[i].name) + 1;
            found = i;
        }
    if (name[0] == '-')
        return quire_fail(err, QUIRE_ERR_USAGE, "unknown option '%s'", name);
    if (found == N_COMMANDS)
        return quire_fail(err, QUIRE_ERR_USAGE, "unknown command '%s'", name);
    return quire_fail(err, QUIRE_ERR_USAGE, "unknown command '%s'; did you mean '%s'?", name, command_rows[found].name);
}

static quire_status check_together(const struct options *o, quire_error *err)
{
    const struct command_row *row = &command_rows[o->command];
    if (o->n_arguments < row->least_arguments)
        return quire_fail(err, QUIRE_ERR_USAGE, "the %s is missing",
                          o->command == COMMAND_CONVERT    ? "model"
                          : o->command == COMMAND_FINETUNE ? "configuration"
                                                           : "question");
    if (o->command == COMMAND_ASK && o->n_arguments == 1 && access(o->arguments[0], F_OK) == 0)
        return quire_fail(err, QUIRE_ERR_USAGE, "'%s' is a file, and the question is missing: quire ask FILE QUESTION",
                          o->arguments[0]);
    if (o->command == COMMAND_ASK && !is_utf8(o->arguments[o->n_arguments - 1]))
        return quire_fail(err, QUIRE_ERR_USAGE, "the question is not valid UTF-8");
    if (o->n_arguments > row->most_arguments)
        return quire_fail(err, QUIRE_ERR_USAGE, "unexpected argument '%s'", o->arguments[row->most_arguments]);
    if (o->command == COMMAND_CONVERT && !o->out)
        return quire_fail(err, QUIRE_ERR_USAGE, "'convert' needs the option '--out': where to write to");
    if (o->out && strcmp(o->out, "-") == 0)
        return quire_fail(err, QUIRE_ERR_USAGE, "'--out -': nothing is written to standard output; name a file");
    if (o->command == COMMAND_FINETUNE && !o->model)
        return quire_fail(err, QUIRE_ERR_USAGE, "'finetune' needs the option '--model': what to start from");
    if (o->command == COMMAND_TRAIN && (o->n_arguments > 0) + (o->plot != NULL) + o->keys != 1)
        return quire_fail(err, QUIRE_ERR_USAGE, "'train' needs one thing: a configuration, '--plot' or '--keys'");
    if (o->command == COMMAND_TRAIN && o->out && !o->plot)
        return quire_fail(err, QUIRE_ERR_USAGE, "option '--out' belongs to '--plot'; a run writes to its save_folder");
    if (o->head_tokens && o->tail_tokens)
        return quire_fail(err, QUIRE_ERR_USAGE, "options '--head' and '--tail' exclude each other");
    if (o->store && o->no_store)
        return quire_fail(err, QUIRE_ERR_USAGE, "options '--store' and '--no-store' exclude each other");
    if (o->peak && o->n_arguments > 0)
        return quire_fail(err, QUIRE_ERR_USAGE, "option '--peak' reads no text: unexpected argument '%s'",
                          o->arguments[0]);
    if (o->csv && o->json)
        return quire_fail(err, QUIRE_ERR_USAGE, "options '--csv' and '--json' exclude each other");
    if (o->quiet && o->verbose)
        return quire_fail(err, QUIRE_ERR_USAGE, "options '--quiet' and '--verbose' exclude each other");
    if (o->command == COMMAND_INFO && o->model && o->n_arguments > 0)
        return quire_fail(err, QUIRE_ERR_USAGE, "the model is given twice: '%s' and '%s'", o->model, o->arguments[0]);

    quire_kv_type kv_type;
    quire_prompt_format format;
    quire_status status = quire_kv_type_parse(&kv_type, o->kv_type, NULL);
    if (status != QUIRE_OK)
        return quire_fail(err, status, "option '--kv-type': '%s' is not f32, f16, bf16, int8 or int4", o->kv_type);
    if (status == QUIRE_OK && o->format)
        status = quire_prompt_format_parse(&format, o->format, err);
    return status;
}

/* Tables for getopt_long of what the command takes. A long option's value is its row, moved beyond the letters. */
enum { IS_ARGUMENT = 1, FIRST_ROW_VALUE = 1000, MAX_ROWS = 64 };
_Static_assert(sizeof option_rows / sizeof option_rows[0] < MAX_ROWS, "the option table has outgrown getopt's");

static void make_getopt_tables(enum command_id command, struct option longs[MAX_ROWS], char shorts[2 * MAX_ROWS + 3])
{
    size_t n_longs = 0, n_shorts = 0;
    shorts[n_shorts++] = '-'; /* arguments come as values of 1, in their place, whatever POSIXLY_CORRECT says */
    shorts[n_shorts++] = ':'; /* a missing value is told apart from an unknown option */
    for (size_t i = 0; i < n_option_rows; i++) {
        const struct option_row *row = &option_rows[i];
        if (!option_applies(row, command))
            continue;
        longs[n_longs++] =
            (struct option){row->name, row->argument ? required_argument : no_argument, NULL, FIRST_ROW_VALUE + (int)i};
        if (row->letter) {
            shorts[n_shorts++] = row->letter;
            if (row->argument)
                shorts[n_shorts++] = ':';
        }
    }
    longs[n_longs] = (struct option){0};
    shorts[n_shorts] = '\0';
}

static const struct option_row *find_row(int value)
{
    if (value >= FIRST_ROW_VALUE)
        return &option_rows[value - FIRST_ROW_VALUE];
    for (size_t i = 0; i < n_option_rows; i++)
        if (option_rows[i].letter == value)
            return &option_rows[i];
    return NULL;
}

/* argv[0] is the command's name. */
static quire_status parse_options(struct options *out, int argc, char **argv, quire_error *err)
{
    struct option longs[MAX_ROWS];
    char shorts[2 * MAX_ROWS + 3];
    make_getopt_tables(out->command, longs, shorts);
    char **arguments = argv + 1; /* they are moved to the front, over what has been read */
    size_t n_arguments = 0;
    optind = 0; /* start afresh */
    opterr = 0;
    for (int value; (value = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        const char *word = argv[optind - 1];
        if (value == IS_ARGUMENT) {
            arguments[n_arguments++] = optarg;
            continue;
        }
        if (value == ':' && optopt < FIRST_ROW_VALUE)
            return quire_fail(err, QUIRE_ERR_USAGE, "option '-%c' needs a value", optopt);
        if (value == ':')
            return quire_fail(err, QUIRE_ERR_USAGE, "option '%s' needs a value", word);
        if (value == '?' && optopt >= FIRST_ROW_VALUE)
            return quire_fail(err, QUIRE_ERR_USAGE, "option '--%s' takes no value", find_row(optopt)->name);
        if (value == '?')
            return unknown_option(out->command, word, optopt, err);
        quire_status status = set_value(out, find_row(value), optarg, err);
        if (status != QUIRE_OK)
            return status;
    }
    while (optind < argc) /* behind -- */
        arguments[n_arguments++] = argv[optind++];
    out->arguments = (const char *const *)arguments;
    out->n_arguments = n_arguments;
    return QUIRE_OK;
}

quire_status options_parse(struct options *out, int argc, char **argv, enum command_id *command, quire_error *err)
{
    *command = N_COMMANDS;
    if (argc < 2)
        return quire_fail(err, QUIRE_ERR_USAGE, "no command is given");

    /* `quire --help` is `quire help`, `quire --version` is `quire version`. */
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    enum command_id id = find_command(name);
    if (id == N_COMMANDS)
        return unknown_command(name, err);

    *command = id;
    struct options options = options_defaults(id);
    quire_status status = parse_options(&options, argc - 1, argv + 1, err);
    if (status == QUIRE_OK && !options.wants_help && !options.wants_version)
        status = check_together(&options, err);
    if (status == QUIRE_OK)
        *out = options;
    return status;
}
