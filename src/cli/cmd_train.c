/* quire train and quire finetune: a run, with what a person sees of it; the table of keys; a picture of a log. */
#include <inttypes.h>
#include <stdio.h>

#include "command.h"
#include "interrupt.h"
#include "output.h"
#include "progress.h"
#include "sandbox.h"
#include "text.h"
#include "train_plot.h"

struct train_run {
    const struct options *o;
    struct progress progress;
    double peak_flops; /* 0: not measured */
    quire_error error;
};

static enum exit_code fail(struct train_run *run, quire_status status, enum error_source source)
{
    progress_error(&run->progress, "%s", run->error.message);
    return exit_for(status, source);
}

/* --- what is told ------------------------------------------------------------------------------------------------- */

static int on_event(void *user, const quire_training_event *event)
{
    struct train_run *run = user;
    struct progress *progress = &run->progress;
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
static void measure_peak(struct train_run *run)
{
    quire_peaks peaks = {0};
    if (run->o->quiet || quire_peaks_measure_units(&peaks, run->o->isa, run->o->n_threads, NULL) != QUIRE_OK)
        return;
    for (size_t i = 0; i < peaks.n_units; i++)
        if (peaks.units[i].flops > run->peak_flops)
            run->peak_flops = peaks.units[i].flops;
    progress_note(&run->progress, "the machine multiplies matrices at most at %.1f GFLOP/s", run->peak_flops * 1e-9);
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

/* A configuration is its user's own, as a command line is: it says what may be written, and is read before. A sample is
 * written by an engine. */
static void confine(void *user, const quire_training_paths *paths)
{
    struct train_run *run = user;
    struct sandbox sandbox;
    char report[SANDBOX_REPORT_SIZE];
    sandbox_begin(&sandbox, SANDBOX_IS_USED && !run->o->no_sandbox);
    for (size_t i = 0; i < paths->n_read; i++)
        sandbox_allow_linked(&sandbox, paths->read[i]);
    for (size_t i = 0; i < paths->n_written; i++)
        sandbox_allow(&sandbox, paths->written[i], SANDBOX_WRITE);
    sandbox_allow_temporary(&sandbox);
    sandbox_enter(&sandbox, report);
    progress_detail(&run->progress, "%s", report);
}

/* A signal stops the run between two micro-batches: what is done is saved, and it is said how to go on. */
static enum exit_code interrupted(struct train_run *run, quire_training *training)
{
    quire_error_clear(&run->error);
    quire_status status = quire_training_save(training, &run->error);
    if (status != QUIRE_OK)
        return fail(run, status, FROM_WORK);
    progress_error(&run->progress, "interrupted; the run is saved, and the same command goes on with it");
    return EXIT_INTERRUPTED;
}

static enum exit_code train(struct train_run *run, quire_training *training)
{
    quire_status status = QUIRE_OK;
    progress_begin(&run->progress);
    for (bool is_done = false; !is_done && status == QUIRE_OK;)
        status = quire_training_step(training, &is_done, &run->error);
    progress_clear(&run->progress);
    if (status == QUIRE_OK)
        status = quire_training_finish(training, &run->error);
    if (status == QUIRE_ERR_CANCELLED)
        return interrupted(run, training);
    return status == QUIRE_OK ? EXIT_DONE : fail(run, status, FROM_WORK);
}

static enum exit_code run_training(struct train_run *run)
{
    const struct options *o = run->o;
    quire_training *training = NULL;
    measure_peak(run);
    const quire_training_options options = {.config_path = o->arguments[0],
                                            .model_path = o->command == COMMAND_FINETUNE ? o->model : NULL,
                                            .n_threads = o->n_threads,
                                            .isa = o->isa,
                                            .peak_flops = run->peak_flops,
                                            .on_event = on_event,
                                            .on_paths = confine,
                                            .user = run};
    quire_status status = quire_training_open(&training, &options, &run->error);
    if (status == QUIRE_ERR_CANCELLED) {
        progress_error(&run->progress, "interrupted before the first step");
        return EXIT_INTERRUPTED;
    }
    if (status != QUIRE_OK)
        return fail(run, status, FROM_INPUT);
    interrupt_watch_training(training);
    enum exit_code code = train(run, training);
    interrupt_watch_training(NULL);
    quire_training_close(training);
    return code;
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

static enum exit_code print_keys(struct train_run *run)
{
    struct output output;
    quire_training_key key;
    quire_status status = output_open(&output, &run->error);
    if (status != QUIRE_OK)
        return fail(run, status, FROM_WORK);
    for (size_t i = 0; status == QUIRE_OK && quire_training_key_at(i, &key); i++) {
        status = output_print(&output, &run->error, "%-50s %-24s %s", key.name,
                              key.standard ? key.standard : "(required)", key.range);
        if (status == QUIRE_OK && key.null_is)
            status = output_print(&output, &run->error, "; null: %s", key.null_is);
        if (status == QUIRE_OK)
            status = output_print(&output, &run->error, "\n");
    }
    if (status == QUIRE_OK)
        status = output_flush(&output, &run->error);
    bool is_closed = output.is_closed;
    output_close(&output);
    return status == QUIRE_OK ? EXIT_DONE : is_closed ? EXIT_FAILED : fail(run, status, FROM_WORK);
}

/* Starts a program, so that it stays out of the sandbox; it reads a log of Quire's own. */
static enum exit_code plot(struct train_run *run)
{
    const char *to = run->o->out ? run->o->out : "loss.svg";
    quire_status status = train_plot(run->o->plot, to, &run->error);
    if (status != QUIRE_OK)
        return fail(run, status, FROM_INPUT);
    progress_note(&run->progress, "the picture is in '%s'", to);
    return EXIT_DONE;
}

enum exit_code cmd_train(const struct options *o)
{
    struct train_run run = {.o = o};
    progress_open(&run.progress, o->quiet, o->verbose);
    return o->keys ? print_keys(&run) : o->plot ? plot(&run) : run_training(&run);
}
