/* quire convert: a model in another format or number type. */
#include <string.h>

#include "command.h"
#include "interrupt.h"
#include "json_out.h"
#include "output.h"
#include "progress.h"
#include "sandbox.h"
#include "text.h"

struct convert_run {
    const struct options *o;
    struct progress progress;
    uint64_t n_bytes;
    json_t *notices; /* with --json */
};

static int on_progress(void *user, uint64_t n_bytes, uint64_t n_bytes_total)
{
    struct convert_run *run = user;
    run->n_bytes = n_bytes;
    progress_bytes(&run->progress, "writing", n_bytes, n_bytes_total);
    return interrupt_pending();
}

static void on_notice(void *user, const char *text)
{
    struct convert_run *run = user;
    if (run->o->json)
        json_array_append_new(run->notices, json_text(text, strlen(text)));
    progress_note(&run->progress, "%s", text);
}

static enum exit_code fail(struct convert_run *run, quire_status status, enum error_source source,
                           const quire_error *err)
{
    progress_clear(&run->progress);
    progress_error(&run->progress, "%s", status == QUIRE_ERR_CANCELLED ? "interrupted" : err->message);
    return exit_for(status, source);
}

static quire_status write_report(const struct convert_run *run, quire_error *err)
{
    const char *in = run->o->arguments[0], *out = run->o->out;
    struct output output;
    quire_status status = output_open(&output, err);
    if (status != QUIRE_OK)
        return status;
    status =
        json_write(json_pack("{s:o,s:o,s:I,s:O}", "model", json_text(in, strlen(in)), "output",
                             json_text(out, strlen(out)), "bytes", (json_int_t)run->n_bytes, "notices", run->notices),
                   &output, err);
    output_close(&output);
    return status;
}

static enum exit_code convert(struct convert_run *run, const quire_model *model, const quire_convert_options *options)
{
    quire_error err = {0};
    char bytes[TEXT_SIZE];
    progress_detail(&run->progress, "model: %s (%s), %s", run->o->arguments[0], quire_model_format_name(model),
                    quire_model_name(model));
    quire_status status = quire_convert(model, run->o->out, options, &err);
    if (status != QUIRE_OK)
        return fail(run, status, status == QUIRE_ERR_USAGE ? FROM_OPTIONS : FROM_WORK, &err);
    progress_clear(&run->progress);
    progress_note(&run->progress, "%s of tensors written to %s", text_bytes(bytes, run->n_bytes), run->o->out);
    if (run->o->json && (status = write_report(run, &err)) != QUIRE_OK)
        return fail(run, status, FROM_WORK, &err);
    return EXIT_DONE;
}

static void confine(struct convert_run *run)
{
    const struct options *o = run->o;
    struct sandbox sandbox;
    char report[SANDBOX_REPORT_SIZE];
    sandbox_begin(&sandbox, SANDBOX_IS_USED && !o->no_sandbox);
    sandbox_allow_linked(&sandbox, o->arguments[0]);
    sandbox_allow_output(&sandbox, o->out);
    sandbox_enter(&sandbox, report);
    progress_detail(&run->progress, "%s", report);
}

enum exit_code cmd_convert(const struct options *o)
{
    struct convert_run run = {.o = o, .notices = json_array()};
    quire_convert_options options = quire_convert_defaults();
    quire_model *model = NULL;
    quire_error err = {0};
    progress_open(&run.progress, o->quiet, o->verbose);
    options.replaces = o->force;
    options.n_threads = o->n_threads;
    options.progress = on_progress;
    options.notice = on_notice;
    options.user = &run;
    options.has_type = o->type != NULL;
    quire_status status = o->type ? quire_dtype_parse(&options.type, o->type, &err) : QUIRE_OK;
    enum exit_code code = EXIT_DONE;
    confine(&run);
    if (status != QUIRE_OK)
        code = fail(&run, status, FROM_OPTIONS, &err);
    else if ((status = quire_model_open(&model, o->arguments[0], &err)) != QUIRE_OK)
        code = fail(&run, status, FROM_INPUT, &err);
    else
        code = convert(&run, model, &options);
    quire_model_close(model);
    json_decref(run.notices);
    return code;
}
