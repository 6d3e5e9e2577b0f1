/* quire convert: a model in another format or number type. */
#include <string.h>

#include "command.h"
#include "interrupt.h"
#include "json_out.h"
#include "session.h"
#include "text.h"

struct convert_run {
    struct session s;
    uint64_t n_bytes;
    json_t *notices; /* with --json */
};

static int on_progress(void *user, uint64_t n_bytes, uint64_t n_bytes_total)
{
    struct convert_run *run = user;
    run->n_bytes = n_bytes;
    progress_bytes(&run->s.progress, "writing", n_bytes, n_bytes_total);
    return interrupt_pending();
}

static void on_notice(void *user, const char *text)
{
    struct convert_run *run = user;
    if (run->s.o->json)
        json_array_append_new(run->notices, json_text(text, strlen(text)));
    progress_note(&run->s.progress, "%s", text);
}

static void write_report(struct convert_run *run)
{
    struct session *s = &run->s;
    const char *in = s->o->arguments[0], *out = s->o->out;
    json_write(json_pack("{s:o,s:o,s:I,s:O}", "model", json_text(in, strlen(in)), "output", json_text(out, strlen(out)),
                         "bytes", (json_int_t)run->n_bytes, "notices", run->notices),
               &s->output, &s->error);
}

static enum exit_code convert(struct convert_run *run, const quire_model *model, const quire_convert_options *options)
{
    struct session *s = &run->s;
    char bytes[TEXT_SIZE];
    progress_detail(&s->progress, "model: %s (%s), %s", s->o->arguments[0], quire_model_format_name(model),
                    quire_model_name(model));
    quire_status status = quire_convert(model, s->o->out, options, &s->error);
    if (status == QUIRE_OK) {
        progress_note(&s->progress, "%s of tensors written to %s", text_bytes(bytes, run->n_bytes), s->o->out);
        if (s->o->json)
            write_report(run);
    }
    session_interrupted(s, "interrupted after %s of tensors; nothing is left behind", text_bytes(bytes, run->n_bytes));
    return session_end(s, status == QUIRE_ERR_USAGE ? FROM_OPTIONS : FROM_WORK);
}

static void confine(struct session *s)
{
    const struct options *o = s->o;
    struct sandbox sandbox;
    sandbox_begin(&sandbox, SANDBOX_IS_USED && !o->no_sandbox);
    sandbox_allow_linked(&sandbox, o->arguments[0]);
    sandbox_allow_output(&sandbox, o->out);
    session_confine(s, &sandbox);
}

enum exit_code cmd_convert(const struct options *o)
{
    struct convert_run run = {.notices = json_array()};
    struct session *s = &run.s;
    quire_convert_options options = quire_convert_defaults();
    quire_model *model = NULL;
    options.replaces = o->force;
    options.n_threads = o->n_threads;
    options.progress = on_progress;
    options.notice = on_notice;
    options.user = &run;
    options.has_type = o->type != NULL;
    quire_status status = session_begin(s, o);
    if (status == QUIRE_OK && o->type)
        status = quire_dtype_parse(&options.type, o->type, &s->error);
    if (status == QUIRE_OK) {
        s->source = FROM_INPUT;
        confine(s);
        status = quire_model_open(&model, o->arguments[0], &s->error);
    }
    enum exit_code code = status == QUIRE_OK ? convert(&run, model, &options) : session_end(s, s->source);
    quire_model_close(model);
    json_decref(run.notices);
    return session_close(s, code);
}
