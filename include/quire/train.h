/* Training: a run from a configuration file, one optimiser step at a time.
 *
 *     quire_training_open(&training, &options, &err);
 *     for (bool is_done = false; !is_done;)
 *         quire_training_step(training, &is_done, &err);
 *     quire_training_finish(training, &err);
 *     quire_training_close(training);
 *
 * The configuration (quire-train(1) has every key) names the data, the shape of the model, the optimiser, and a folder
 * that belongs to the run: it holds checkpoints, the log and in the end the model. A run whose folder has a checkpoint
 * goes on from it, bit for bit as if it had not been interrupted. */
#ifndef QUIRE_TRAIN_H
#define QUIRE_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quire_training quire_training;

typedef enum quire_training_event_kind {
    QUIRE_TRAINING_VALUE,   /* a key of the configuration (name) and its value (text); all of them, at the start */
    QUIRE_TRAINING_NOTICE,  /* something to know, a sentence in text: what a run goes on from, memory, a step back */
    QUIRE_TRAINING_READING, /* texts are being tokenised: n_documents, n_bytes so far */
    QUIRE_TRAINING_STEP,    /* a step is done: loss, gradient_norm, learning_rate, speeds */
    QUIRE_TRAINING_EVAL,    /* validation: loss, perplexity, n_tokens scored */
    QUIRE_TRAINING_SAMPLE,  /* what the model writes: text behind the prompt in name */
    QUIRE_TRAINING_SAVED    /* a checkpoint is durable: its path in text */
} quire_training_event_kind;

/* Fields that a kind does not name are 0 or NULL. Texts are valid during the call. */
typedef struct quire_training_event {
    quire_training_event_kind kind;
    const char *name, *text;
    uint64_t step, n_steps; /* done; in all */
    uint64_t n_tokens;      /* trained on since the run began; in an EVAL those that were predicted */
    uint64_t n_documents, n_bytes;
    double loss; /* mean negative log-likelihood of a token, nats */
    double perplexity;
    double gradient_norm; /* before clipping */
    double learning_rate;
    double tokens_per_second;
    double flops;        /* operations a second, counted by the model's shape */
    double seconds_left; /* at the speed of the last steps */
} quire_training_event;

/* The files and folders that a configuration names. Texts are valid during the call. */
typedef struct quire_training_paths {
    const char *read[6]; /* the model, the tokenizer, the texts, the list of what is held out */
    size_t n_read;
    const char *written[2]; /* folders that are there now: the run's, and that of the token files */
    size_t n_written;
} quire_training_paths;

typedef struct quire_training_options {
    const char *config_path;
    const char *model_path; /* NULL: a new model. Else the run starts from this one's weights, shape and tokenizer */
    uint32_t n_threads;     /* 0: the processors that this process may use */
    const char *isa;        /* kernel table; NULL: QUIRE_ISA, else the best that runs here */
    /* NULL: nobody watches. Anything but 0 stops the work, as quire_training_cancel does. */
    int (*on_event)(void *user, const quire_training_event *event);
    /* NULL, or called once while the run opens: the configuration has been read, its folders are made, and nothing else
     * that it names has been opened. Here a program can give up its rights to all other files. */
    void (*on_paths)(void *user, const quire_training_paths *paths);
    /* NULL, or asked once, when everything else is fine and the run is about to begin: operations a second that the
     * machine can do at best, for the log; 0: not known. */
    double (*measure_peak)(void *user);
    void *user;
} quire_training_options;

/* Reads the configuration, the tokenizer, the texts (tokenised once and kept), plans the memory, and goes back to the
 * latest checkpoint where there is one. The options' strings are copied.
 * Errors: FORMAT (configuration: key and line; data), MISMATCH (with a checkpoint or a model, by field), NO_MEMORY (the
 * plan is more than the machine has: what to reduce), BUSY (another process trains in that folder), USAGE, TEXT,
 * UNSUPPORTED (a SentencePiece vocabulary: no model is written with one), IO, NO_SPACE, CANCELLED. */
QUIRE_API quire_status quire_training_open(quire_training **out, const quire_training_options *opts, quire_error *err);

/* One optimiser step, and what falls due after it: log, checkpoint, validation, a sample. A step with a spike of the
 * loss or a NaN is not taken: the run goes back to its last checkpoint and passes over the batches in question, which
 * is told by a notice. A checkpoint that cannot be written is a notice, too; the run goes on, and tries again.
 * *is_done: max_duration is reached; there was then nothing to do.
 * Errors: CANCELLED (the run stands where the last step left it), NUMERIC (more steps back than spike.max_rollbacks),
 * IO, NO_MEMORY. */
QUIRE_API quire_status quire_training_step(quire_training *training, bool *is_done, quire_error *err);

/* Writes a checkpoint now, unless one of this step is there. Errors: NO_SPACE, IO, NO_MEMORY. */
QUIRE_API quire_status quire_training_save(quire_training *training, quire_error *err);

/* Saves, validates, and writes the model where the configuration asks for it: save_folder/model.gguf and
 * save_folder/model/. Errors: as quire_training_save; CANCELLED. */
QUIRE_API quire_status quire_training_finish(quire_training *training, quire_error *err);

/* Stops the work at the next micro-batch; the running call then returns CANCELLED, and so do
 * all after it but quire_training_save. May be called from a signal handler
 * or another thread. */
QUIRE_API void quire_training_cancel(quire_training *training);

QUIRE_API void quire_training_close(quire_training *training); /* NULL is fine */

/* The keys of a configuration, for help and documentation: the index-th, or false behind the last one. */
typedef struct quire_training_key {
    const char *name;
    const char *standard; /* its default as a file would write it; NULL: the key has to be there */
    const char *null_is;  /* what null means; NULL: null is not allowed */
    char range[160];      /* which values there are, in words */
    bool may_change;      /* when a run goes on from a checkpoint */
} quire_training_key;
QUIRE_API bool quire_training_key_at(size_t index, quire_training_key *key);

#ifdef __cplusplus
}
#endif
#endif
