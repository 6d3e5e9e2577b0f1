#include "info_verify.h"

#include <stdlib.h>
#include <string.h>

#include "interrupt.h"
#include "json_out.h"
#include "model_path.h"
#include "output.h"
#include "progress.h"
#include "sandbox.h"
#include "text.h"

struct verify_run {
    const struct options *o;
    struct output output;
    struct progress progress;
    json_t *findings; /* with --json */
    quire_error error;
    quire_status output_status; /* of what is written while the work goes on */
};

static void on_found(void *user, const quire_finding *finding)
{
    struct verify_run *run = user;
    const char *kind = quire_finding_kind_name(finding->kind), *message = finding->message;
    if (run->o->json) {
        json_t *item = json_pack("{s:s,s:b,s:o}", "kind", kind, "damage", (int)finding->is_damage, "message",
                                 json_text(message, strlen(message)));
        if (finding->tensor)
            json_object_set_new(item, "tensor", json_text(finding->tensor, strlen(finding->tensor)));
        json_array_append_new(run->findings, item);
        return;
    }
    progress_clear(&run->progress);
    if (run->output_status == QUIRE_OK)
        run->output_status = output_print(&run->output, &run->error, "%s: %s: %s\n",
                                          finding->is_damage ? "damage" : "note", kind, message);
}

static int on_progress(void *user, uint64_t n_bytes, uint64_t n_bytes_total)
{
    struct verify_run *run = user;
    progress_bytes(&run->progress, "verifying", n_bytes, n_bytes_total);
    return interrupt_pending() || run->output_status != QUIRE_OK;
}

static quire_status write_report(struct verify_run *run, const char *path, quire_status verified,
                                 const quire_verify_result *result)
{
    if (!run->o->json)
        return run->output_status == QUIRE_OK ? output_flush(&run->output, &run->error) : run->output_status;
    json_t *report = json_pack("{s:o,s:b}", "model", json_text(path, strlen(path)), "sound",
                               verified == QUIRE_OK && result->n_damaged == 0);
    if (verified == QUIRE_OK)
        json_object_update_new(report,
                               json_pack("{s:I,s:I,s:I,s:I}", "tensors", (json_int_t)result->n_tensors, "bytes",
                                         (json_int_t)result->n_bytes, "checksums", (json_int_t)result->n_checksums,
                                         "matching_checksums", (json_int_t)result->n_checksums_good));
    json_object_set(report, "findings", run->findings);
    return json_write(report, &run->output, &run->error);
}

static enum exit_code fail(struct verify_run *run, quire_status status, enum error_source source)
{
    progress_clear(&run->progress);
    if (status == QUIRE_ERR_CANCELLED && run->output_status == QUIRE_OK)
        progress_error(&run->progress, "interrupted");
    else if (!run->output.is_closed)
        progress_error(&run->progress, "%s", run->error.message);
    return exit_for(status, source);
}

/* What was found, in one line; the details went to standard output. */
static enum exit_code conclude(struct verify_run *run, const quire_verify_result *result)
{
    char tensors[TEXT_SIZE], bytes[TEXT_SIZE], checksums[TEXT_SIZE];
    progress_clear(&run->progress);
    if (result->n_damaged > 0) {
        progress_error(&run->progress, "%llu problem%s found", (unsigned long long)result->n_damaged,
                       result->n_damaged == 1 ? "" : "s");
        return EXIT_DAMAGED;
    }
    progress_note(&run->progress, "all is sound: %s tensors, %s, %s checksums agree",
                  text_count(tensors, result->n_tensors), text_bytes(bytes, result->n_bytes),
                  text_count(checksums, result->n_checksums_good));
    return EXIT_DONE;
}

static enum exit_code verify(struct verify_run *run, const char *path)
{
    quire_verify_watch watch = {on_found, on_progress, run};
    quire_verify_result result = {0};
    quire_error error = {0};
    quire_status status = quire_verify(path, run->o->n_threads, &watch, &result, &error);
    if (run->output_status != QUIRE_OK)
        return fail(run, run->output_status, FROM_WORK);
    if (status != QUIRE_ERR_CANCELLED) {
        quire_status written = write_report(run, path, status, &result);
        if (written != QUIRE_OK)
            return fail(run, written, FROM_WORK);
    }
    if (status == QUIRE_OK)
        return conclude(run, &result);
    run->error = error;
    return fail(run, status, FROM_INPUT);
}

static void confine(struct verify_run *run, const char *path)
{
    struct sandbox sandbox;
    char report[SANDBOX_REPORT_SIZE];
    sandbox_begin(&sandbox, SANDBOX_IS_USED && !run->o->no_sandbox);
    sandbox_allow_linked(&sandbox, path);
    sandbox_enter(&sandbox, report);
    progress_detail(&run->progress, "%s", report);
}

enum exit_code info_verify(const struct options *o, const char *given)
{
    struct verify_run run = {.o = o, .findings = json_array()};
    progress_open(&run.progress, o->quiet, o->verbose);
    char *path = NULL;
    quire_status status = model_path_find(&path, given, &run.error);
    if (status == QUIRE_OK)
        status = output_open(&run.output, &run.error);
    if (status == QUIRE_OK)
        confine(&run, path);
    enum exit_code code = status == QUIRE_OK ? verify(&run, path) : fail(&run, status, FROM_OPTIONS);
    output_close(&run.output);
    free(path);
    json_decref(run.findings);
    return code;
}
