#include "run_case.h"

#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static char folder[256];
static pid_t owner;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void remove_folder(void)
{
    if (getpid() == owner)
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *case_folder(void)
{
    if (folder[0] == '\0') {
        const char *above = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/quire-train-XXXXXX", above ? above : "/tmp");
        if (!mkdtemp(folder)) {
            perror(folder);
            exit(1);
        }
        owner = getpid();
        atexit(remove_folder);
    }
    return folder;
}

const char *case_path(const char *format, ...)
{
    static char paths[16][512];
    static size_t next;
    char *path = paths[next++ % 16];
    int n = snprintf(path, sizeof paths[0], "%s/", case_folder());
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path + n, sizeof paths[0] - (size_t)n, format, arguments);
    va_end(arguments);
    return path;
}

void case_write(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

void case_write_text(const char *path, const char *text)
{
    case_write(path, text, strlen(text));
}

unsigned char *case_read(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    if (!f || fstat(fileno(f), &st) != 0) {
        perror(path);
        exit(1);
    }
    unsigned char *data = malloc((size_t)st.st_size + 1);
    *n = fread(data, 1, (size_t)st.st_size, f);
    fclose(f);
    return data;
}

void case_make_corpus(const char *where, size_t n_documents, size_t n_words, uint64_t seed)
{
    static const char *const words[] = {"the",   "keeper",  "of",    "light", "wrote", "down", "weather",
                                        "every", "evening", "and",   "ships", "what",  "sea",  "had",
                                        "left",  "nothing", "today", "he",    "said",  "then"};
    mkdir(where, 0700);
    for (size_t i = 0; i < n_documents; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/doc-%03zu.txt", where, i);
        FILE *f = fopen(path, "w");
        for (size_t w = 0; f && w < n_words + i; w++)
            fprintf(f, "%s%s", w > 0 ? " " : "", words[test_random(&seed) % (sizeof words / sizeof words[0])]);
        if (!f || fclose(f) != 0) {
            perror(path);
            exit(1);
        }
    }
}

const char *case_config(const char *texts, const char *run, const char *more)
{
    const char *path = case_path("run.yaml");
    FILE *f = fopen(path, "w");
    if (!f) {
        perror(path);
        exit(1);
    }
    fprintf(f,
            "model:\n  d_model: 16\n  n_heads: 2\n  n_layers: 2\n  max_seq_len: 32\n"
            "tokenizer: {name: " QUIRE_SOURCE_DIR "/tests/tokenizer/data/tokenizer.json}\n"
            "train_loader: {dataset: {local: %s/%s}}\n"
            "save_folder: %s/%s\n"
            "data_cache: %s/tokens\n"
            "global_train_batch_size: 4\ndevice_train_microbatch_size: 2\n%s",
            case_folder(), texts, case_folder(), run, case_folder(), more);
    fclose(f);
    return path;
}

int case_on_event(void *user, const quire_training_event *event)
{
    struct case_watch *watch = user;
    size_t n = strlen(watch->notices);
    switch (event->kind) {
    case QUIRE_TRAINING_VALUE: watch->n_values++; break;
    case QUIRE_TRAINING_NOTICE: snprintf(watch->notices + n, sizeof watch->notices - n, "%s\n", event->text); break;
    case QUIRE_TRAINING_READING: break;
    case QUIRE_TRAINING_STEP:
        watch->n_steps++;
        watch->loss = event->loss;
        if (watch->cancels && --watch->steps_left == 0)
            quire_training_cancel(watch->cancels);
        break;
    case QUIRE_TRAINING_EVAL:
        watch->n_evals++;
        watch->eval_loss = event->loss;
        watch->perplexity = event->perplexity;
        watch->eval_tokens = event->n_tokens;
        break;
    case QUIRE_TRAINING_SAMPLE: watch->n_samples++; break;
    case QUIRE_TRAINING_SAVED: watch->n_saves++; break;
    }
    return 0;
}

quire_training_options case_options(const char *config, struct case_watch *watch)
{
    *watch = (struct case_watch){0};
    return (quire_training_options){.config_path = config, .n_threads = 2, .on_event = case_on_event, .user = watch};
}

quire_status case_train(const quire_training_options *options, quire_error *err)
{
    quire_training *training = NULL;
    quire_status status = quire_training_open(&training, options, err);
    for (bool is_done = false; status == QUIRE_OK && !is_done;)
        status = quire_training_step(training, &is_done, err);
    if (status == QUIRE_OK)
        status = quire_training_finish(training, err);
    quire_training_close(training);
    return status;
}

const char *case_checkpoint(const char *run, unsigned step)
{
    return case_path("%s/step-%09u.checkpoint", run, step);
}
