/* quire train and quire finetune: a run, with what a person sees of it; the table of keys; a picture of a log. */
#include <inttypes.h>
#include <stdio.h>

#include "command.h"
#include "interrupt.h"
#include "model_path.h"
#include "session.h"
#include "text.h"
#include "train_plot.h"

struct train_run {
    struct session s;
    double peak_flops; /* 0: not measured */
};

/* --- what is told ------------------------------------------------------------------------------------------------- */

static int on_event(void *user, const quire_training_event *event)
{
    struct train_run *run = user;
    struct progress *progress = &run->s.progress;
    char tokens[TEXT_SIZE];
    switch (event->kind) {
    case QUIRE_TRAINING_VALUE: progress_note(progress, "  %s: %s", event->name, event->text); break;
    case QUIRE_TRAINING_NOTICE: progress_note(progress, "%s", event->text); break;
    case QUIRE_TRAINING_READING: progress_documents(progress, event->n_documents, event->n_bytes); break;
    case QUIRE_TRAINING_STEP:
        progress_training(progress, event, run->peak_flops > 0 ? event->flops / run->peak_flops : 0);
        break;
    case QUIRE_TRAINING_EVAL:
        progress_note(progress, "step %" PRIu64 ": validation loss %.6f nats, perplexity %.4f, over %s tokens",
                      event->step, event->loss, event->perplexity, text_count(tokens, event->n_tokens));
        break;
    case QUIRE_TRAINING_SAMPLE:
        progress_note(progress, "step %" PRIu64 ": %s%s", event->step, event->name, event->text);
        break;
    case QUIRE_TRAINING_SAVED: progress_note(progress, "step %" PRIu64 " is in '%s'", event->step, event->text);
    }
    return interrupt_pending();
}

/* The best of what the run's kernels can do: of all tables that the processor runs, or of the one named. */
static double measure_peak(void *user)
{
    struct train_run *run = user;
    quire_peaks peaks = {.stop = interrupt_asked};
    const struct options *o = run->s.o;
    if (o->quiet || quire_peaks_measure_units(&peaks, o->isa, o->n_threads, NULL) != QUIRE_OK)
        return 0;
    for (size_t i = 0; i < peaks.n_units; i++)
        if (peaks.units[i].flops > run->peak_flops)
            run->peak_flops = peaks.units[i].flops;
    progress_note(&run->s.progress, "the machine multiplies matrices at most at %.1f GFLOP/s", run->peak_flops * 1e-9);
    return run->peak_flops;
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

/* A configuration is its user's own, as a command line is: it says what may be written, and is read before. A sample is
 * written by an engine. */
static void confine(void *user, const quire_training_paths *paths)
{
    struct train_run *run = user;
    struct sandbox sandbox;
    sandbox_begin(&sandbox, SANDBOX_IS_USED && !run->s.o->no_sandbox);
    for (size_t i = 0; i < paths->n_read; i++)
        sandbox_allow_linked(&sandbox, paths->read[i]);
    for (size_t i = 0; i < paths->n_written; i++)
        sandbox_allow(&sandbox, paths->written[i], SANDBOX_WRITE);
    sandbox_allow_temporary(&sandbox);
    session_confine(&run->s, &sandbox);
}

/* A signal stops the run between two micro-batches: what is done is saved, and it is said how to go on. */
static void save_interrupted(struct session *s, quire_training *training)
{
    quire_error_clear(&s->error);
    if (quire_training_save(training, &s->error) == QUIRE_OK)
        quire_fail(&s->error, QUIRE_ERR_CANCELLED,
                   "interrupted; the run is saved, and the same command goes on with it");
}

static enum exit_code train(struct session *s, quire_training *training)
{
    quire_status status = QUIRE_OK;
    progress_begin(&s->progress);
    for (bool is_done = false; !is_done && status == QUIRE_OK;)
        status = quire_training_step(training, &is_done, &s->error);
    progress_clear(&s->progress);
    if (status == QUIRE_OK)
        status = quire_training_finish(training, &s->error);
    if (status == QUIRE_ERR_CANCELLED)
        save_interrupted(s, training);
    return session_end(s, FROM_WORK);
}

static enum exit_code run_training(struct train_run *run)
{
    struct session *s = &run->s;
    const struct options *o = s->o;
    quire_training *training = NULL;
    if (o->command == COMMAND_FINETUNE && model_path_find(&s->model_path, o->model, &s->error) != QUIRE_OK)
        return session_end(s, FROM_OPTIONS);
    const quire_training_options options = {.config_path = o->arguments[0],
                                            .model_path = s->model_path,
                                            .n_threads = o->n_threads,
                                            .isa = o->isa,
                                            .on_event = on_event,
                                            .on_paths = confine,
                                            .measure_peak = measure_peak,
                                            .user = run};
    if (quire_training_open(&training, &options, &s->error) != QUIRE_OK) {
        session_interrupted(s, "interrupted before the first step");
        return session_end(s, FROM_INPUT);
    }
    interrupt_watch_training(training);
    enum exit_code code = train(s, training);
    interrupt_watch_training(NULL);
    quire_training_close(training);
    return code;
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

static enum exit_code print_keys(struct session *s)
{
    quire_training_key key;
    for (size_t i = 0; !s->is_stopped && quire_training_key_at(i, &key); i++)
        session_print(s, "%-50s %-24s %s%s%s\n", key.name, key.standard ? key.standard : "(required)", key.range,
                      key.null_is ? "; null: " : "", key.null_is ? key.null_is : "");
    return session_end(s, FROM_WORK);
}

/* Starts a program, so that it stays out of the sandbox; it reads a log of Quire's own. */
static enum exit_code plot(struct session *s)
{
    const char *to = s->o->out ? s->o->out : "loss.svg";
    if (train_plot(s->o->plot, to, &s->error) == QUIRE_OK)
        progress_note(&s->progress, "the picture is in '%s'", to);
    return session_end(s, FROM_INPUT);
}

enum exit_code cmd_train(const struct options *o)
{
    struct train_run run = {0};
    struct session *s = &run.s;
    enum exit_code code;
    if (session_begin(s, o) != QUIRE_OK)
        code = session_end(s, FROM_WORK);
    else
        code = o->keys ? print_keys(s) : o->plot ? plot(s) : run_training(&run);
    return session_close(s, code);
}
