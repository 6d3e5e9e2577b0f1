/* A run as its parts see it; private to src/train.
 *
 * All that a step depends on is in the weights, the optimiser's state, `step`, `batch`, `skips` and the spike's window:
 * those are what a checkpoint holds, with the configuration and the identities that it must be continued with. */
#ifndef QUIRE_TRAIN_TRAINING_H
#define QUIRE_TRAIN_TRAINING_H

#include <stdatomic.h>

#include "checkpoint.h"
#include "convert/about.h"
#include "net.h"
#include "optim.h"
#include "quire/train.h"
#include "run_log.h"
#include "spike.h"
#include "token_set.h"
#include "train_config.h"

/* Batches that are passed over: first .. end - 1. */
struct batch_range {
    uint64_t first, end;
};

struct training_data {
    struct token_file train_file, eval_file; /* eval_file: only where validation has texts of its own */
    struct token_split split;
    struct token_set train, eval;
    struct token_order order;
    struct token_window *windows; /* NULL: there is no validation */
    size_t n_windows;
    uint32_t *tokens, *targets; /* [sequences][max_seq_len] of a micro-batch */
};

struct training_state {
    uint64_t step;  /* done */
    uint64_t batch; /* of the data, the next one: step and those passed over */
    uint64_t n_tokens;
    uint64_t n_rollbacks;
    struct batch_range skips[TRAIN_MAX_ROLLBACKS];
    size_t n_skips;
    struct spike spike;
};

struct quire_training {
    quire_training_options options; /* config_path and model_path are read while it opens */
    char *config_path, *isa;        /* copies; isa may be NULL */
    struct train_config config;
    quire_config model_config;
    quire_model *model; /* that the run starts from; NULL: a new one */
    quire_tokenizer *tokenizer;
    struct about about; /* of the output */
    int lock;
    struct run_log log;
    struct training_data data;
    struct net *net;
    struct optim *optim;
    struct training_state state;
    bool is_resumed;        /* and no step was done since */
    uint64_t n_steps;       /* max_duration */
    uint64_t spiked_at;     /* the step that was last taken back, and one more; 0: none */
    double flops_per_token; /* of forward and backward pass */
    double peak_flops;      /* 0: not known */
    double step_seconds;    /* a running mean */
    uint64_t saved_step;    /* of the latest checkpoint; UINT64_MAX: there is none */
    uint64_t evaluated_step;
    atomic_bool is_cancelled;
};

/* --- telling (training.c) ---------------------------------------------------------------------------------------- */

void training_tell(struct quire_training *t, quire_training_event event);
void training_notice(struct quire_training *t, const char *format, ...) QUIRE_PRINTF(2, 3);

/* A line of the log, with the event's name and the step; takes the object over. A line that cannot be written is a
 * notice: the log is not worth a run. */
void training_log(struct quire_training *t, const char *event, json_t *object);

/* A number as JSON has them; null for what is none. */
json_t *training_number(double x);

/* CANCELLED where somebody asked for it. */
quire_status training_check_cancelled(const struct quire_training *t, quire_error *err);

/* --- the parts --------------------------------------------------------------------------------------------------- */

/* training_model.c: the model's configuration from the file's keys, or from the model that the run starts from, with
 * which given keys must agree. n_tokens: of the tokenizer. Errors: FORMAT, MISMATCH, UNSUPPORTED. */
quire_status training_model_config(struct quire_training *t, const struct train_config_given *given, quire_error *err);

/* training_paths.c. tell_paths: makes the run's folders and tells options.on_paths. texts_folder: *out is malloc'ed;
 * split: "" for none. Errors: IO, NO_SPACE, NO_MEMORY. */
quire_status training_tell_paths(const struct quire_training *t, quire_error *err);
quire_status training_texts_folder(char **out, const char *local, const char *split, quire_error *err);

/* training_data.c */
quire_status training_data_open(struct quire_training *t, quire_error *err);
void training_data_close(struct training_data *data);

/* training_state.c. load_start: the weights of step 0. resume: the latest sound checkpoint of a step
 * before `end`, where there is one; otherwise nothing changes. */
quire_status training_load_start(struct quire_training *t, quire_error *err);
quire_status training_resume(struct quire_training *t, uint64_t end, bool *is_resumed, quire_error *err);
quire_status training_save(struct quire_training *t, quire_error *err);

/* training_eval.c. Errors: CANCELLED, IO. */
quire_status training_evaluate(struct quire_training *t, quire_error *err);

#define TRAINING_GGUF   "model.gguf"
#define TRAINING_FOLDER "model"
#define TRAINING_SAMPLE "sample.gguf"

/* training_output.c: the model as it stands, to path: a GGUF where the name ends so, else a folder. Nothing is told of
 * one that is temporary. */
quire_status training_write_model(struct quire_training *t, const char *path, quire_dtype type, bool is_temporary,
                                  quire_error *err);
quire_status training_write_outputs(struct quire_training *t, quire_error *err);

/* training_sample.c: writes some text by way of a temporary model. */
quire_status training_sample(struct quire_training *t, quire_error *err);

/* training_paths.c: removes what killed runs left half written. Under the folder's lock. */
void training_sweep(const struct quire_training *t);

#endif
