/* What the commands work with: output, progress, model, tokenizer, engine, opened from the options. */
#ifndef QUIRE_CLI_SESSION_H
#define QUIRE_CLI_SESSION_H

#include "document.h"
#include "exit.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "sandbox.h"

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
    size_t n_documents;            /* of session_each; joined ones are one */
    uint32_t draft_tokens;         /* that the engine has room for */
    quire_progress state;          /* as the engine last reported it */
    double prefill_seen_at;        /* when a progress of prefill was last reported; on progress_now's clock */
    quire_logprobs_fn on_logprobs; /* NULL: not wanted */
    void *logprobs_user;
    bool is_stopped; /* output failed: the work is to end */
    bool has_told_saving;
    quire_error error;
    enum error_source source; /* of error */
};

/* What a session is opened for. */
enum session_need { NEED_OUTPUT, NEED_TOKENIZER, NEED_ENGINE };

/* Output and progress, which every command has. Errors: NO_MEMORY. */
quire_status session_begin(struct session *s, const struct options *o);

/* The same, and opens what is needed. model: NULL for --model or the one that ships. keeps: whether the command uses
 * the store. On failure error and source say what happened. After this and after session_begin the session is to be
 * closed, whether they fail or not. */
quire_status session_open(struct session *s, const struct options *o, const char *model, enum session_need need,
                          bool keeps);

/* Opens the engine with `store` and `draft_tokens` as they are now, in place of the one that is open. Errors, in error:
 * those of quire_engine_open; the one that is open stays. */
quire_status session_open_engine(struct session *s);

/* Where error is that nothing can be written to a store that nobody named: says so and opens the engine without it.
 * Gives whether the work can be tried again. */
bool session_leave_store(struct session *s);

/* Enters the sandbox and says what is in force. */
void session_confine(struct session *s, struct sandbox *sandbox);

/* Writes to the output while the work goes on; where that fails, is_stopped says so, and error why. */
void session_print(struct session *s, const char *format, ...) QUIRE_PRINTF(2, 3);

/* Where error is an interruption of the work: says it in these words, which begin with "interrupted". */
void session_interrupted(struct session *s, const char *format, ...) QUIRE_PRINTF(2, 3);

/* How all work ends, whether error is one or not: what was produced is written, the bar wiped, the error reported (an
 * output whose reader has gone needs no words) and emptied. Gives the exit code; is_stopped where output failed. */
enum exit_code session_end(struct session *s, enum error_source source);

/* Closes everything and gives the exit code: `code`, or where that is EXIT_DONE and output is left, of writing that. */
enum exit_code session_close(struct session *s, enum exit_code code);

/* Does `work` on each document of the command line (with --join, on all as one). A document that cannot be opened or is
 * rejected is reported, and the others are read all the same, unless they are parts of one thing (--join, --mds); an
 * interruption or an output that cannot be written ends the run. Gives the exit code of the first failure. n_arguments:
 * of the arguments, those that are documents. */
typedef enum exit_code (*session_work)(struct session *s, struct document *document, void *user);
enum exit_code session_each(struct session *s, size_t n_arguments, session_work work, void *user);

#endif
