/* What the commands work with: output, progress, model, tokenizer, engine, opened from the options. */
#ifndef QUIRE_CLI_SESSION_H
#define QUIRE_CLI_SESSION_H

#include "document.h"
#include "exit.h"
#include "options.h"
#include "output.h"
#include "progress.h"

struct session {
    const struct options *o;
    struct output output;
    struct progress progress;
    char *model_path;
    quire_model *model; /* NULL where the tokenizer alone is needed */
    quire_tokenizer *tokenizer;
    quire_engine *engine;
    quire_reader_ring *ring;       /* to read documents with in the sandbox, or NULL */
    char *store;                   /* NULL: nothing is kept */
    quire_progress state;          /* as the engine last reported it */
    double prefill_seen_at;        /* when a progress of prefill was last reported; on progress_now's clock */
    quire_logprobs_fn on_logprobs; /* NULL: not wanted */
    void *logprobs_user;
    bool is_stopped; /* set by on_logprobs to end the work */
    quire_error error;
    enum error_source source; /* of error */
};

/* What a session is opened for. */
enum session_need { NEED_OUTPUT, NEED_TOKENIZER, NEED_ENGINE };

/* Opens what is needed. model: NULL for --model or the one that ships. keeps: whether the command uses the store.
 * On failure error and source say what happened; the session is to be closed either way. */
quire_status session_open(struct session *s, const struct options *o, const char *model, enum session_need need,
                          bool keeps);

/* Closes everything and gives the exit code: `code`, or where that is EXIT_DONE and output is left, of writing that. */
enum exit_code session_close(struct session *s, enum exit_code code);

/* Reports error (unless the output's reader has gone, which needs no words), empties it, and gives the exit code. */
enum exit_code session_fail(struct session *s, enum error_source source);

/* Does `work` on each document of the command line (with --join, on all as one). A document that is rejected is
 * reported and the others are still read; an interruption or an output that cannot be written ends the run. Gives the
 * exit code of the first failure. n_arguments: of the arguments, those that are documents. */
typedef enum exit_code (*session_work)(struct session *s, struct document *document, void *user);
enum exit_code session_each(struct session *s, size_t n_arguments, session_work work, void *user);

#endif
