#include "info_verify.h"

#include <string.h>

#include "interrupt.h"
#include "json_out.h"
#include "model_path.h"
#include "session.h"
#include "text.h"

struct verify_run {
    struct session s;
    json_t *findings; /* with --json */
};

static void on_found(void *user, const quire_finding *finding)
{
    struct verify_run *run = user;
    const char *kind = quire_finding_kind_name(finding->kind), *message = finding->message;
    if (!run->s.o->json) {
        session_print(&run->s, "%s: %s: %s\n", finding->is_damage ? "damage" : "note", kind, message);
        return;
    }
    json_t *item = json_pack("{s:s,s:b,s:o}", "kind", kind, "damage", (int)finding->is_damage, "message",
                             json_text(message, strlen(message)));
    if (finding->tensor)
        json_object_set_new(item, "tensor", json_text(finding->tensor, strlen(finding->tensor)));
    json_array_append_new(run->findings, item);
}

static int on_progress(void *user, uint64_t n_bytes, uint64_t n_bytes_total)
{
    struct verify_run *run = user;
    progress_bytes(&run->s.progress, "verifying", n_bytes, n_bytes_total);
    return interrupt_pending() || run->s.is_stopped;
}

/* Also where the work failed: what was found was found. */
static void write_report(struct verify_run *run, const char *path, quire_status verified,
                         const quire_verify_result *result)
{
    json_t *report = json_pack("{s:o}", "model", json_text(path, strlen(path)));
    json_object_set_new(report, "sound",
                        verified != QUIRE_OK && result->n_damaged == 0 ? json_null()
                                                                       : json_boolean(result->n_damaged == 0));
    if (verified == QUIRE_OK)
        json_object_update_new(report,
                               json_pack("{s:I,s:I,s:I,s:I}", "tensors", (json_int_t)result->n_tensors, "bytes",
                                         (json_int_t)result->n_bytes, "checksums", (json_int_t)result->n_checksums,
                                         "matching_checksums", (json_int_t)result->n_checksums_good));
    json_object_set(report, "findings", run->findings);
    json_write(report, &run->s.output, &run->s.error);
}

/* What was found, in one line; the details went to standard output. */
static enum exit_code conclude(struct session *s, const quire_verify_result *result)
{
    char tensors[TEXT_SIZE], bytes[TEXT_SIZE], checksums[TEXT_SIZE];
    if (result->n_damaged > 0) {
        progress_error(&s->progress, "%llu problem%s found", (unsigned long long)result->n_damaged,
                       result->n_damaged == 1 ? "" : "s");
        return EXIT_DAMAGED;
    }
    if (result->n_checksums == 0)
        progress_note(&s->progress,
                      "nothing wrong was found in %s tensors, %s; there are no checksums, by which changed bytes would "
                      "be known",
                      text_count(tensors, result->n_tensors), text_bytes(bytes, result->n_bytes));
    else
        progress_note(&s->progress, "all is sound: %s tensors, %s, %s checksums agree",
                      text_count(tensors, result->n_tensors), text_bytes(bytes, result->n_bytes),
                      text_count(checksums, result->n_checksums_good));
    return EXIT_DONE;
}

static enum exit_code verify(struct verify_run *run)
{
    struct session *s = &run->s;
    quire_verify_watch watch = {on_found, on_progress, run};
    quire_verify_result result = {0};
    quire_status status = quire_verify(s->model_path, s->o->n_threads, &watch, &result, &s->error);
    if (s->o->json)
        write_report(run, s->model_path, status, &result);
    session_interrupted(s, "interrupted; the rest of %s was not looked at", s->model_path);
    if (result.n_damaged > 0 && status != QUIRE_OK && !s->is_stopped) /* it stands among the findings */
        quire_error_clear(&s->error);
    enum exit_code code = session_end(s, FROM_INPUT);
    return code == EXIT_DONE ? conclude(s, &result) : code;
}

static void confine(struct session *s)
{
    struct sandbox sandbox;
    sandbox_begin(&sandbox, SANDBOX_IS_USED && !s->o->no_sandbox);
    sandbox_allow_linked(&sandbox, s->model_path);
    session_confine(s, &sandbox);
}

enum exit_code info_verify(const struct options *o, const char *given)
{
    struct verify_run run = {.findings = json_array()};
    struct session *s = &run.s;
    quire_status status = session_begin(s, o);
    if (status == QUIRE_OK)
        status = model_path_find(&s->model_path, given, &s->error);
    if (status == QUIRE_OK)
        confine(s);
    enum exit_code code = status == QUIRE_OK ? verify(&run) : session_end(s, FROM_OPTIONS);
    json_decref(run.findings);
    return session_close(s, code);
}
