#include "generate.h"

#include <stdlib.h>
#include <string.h>

#include "interrupt.h"
#include "json_out.h"
#include "receipt.h"
#include "session.h"
#include "text.h"

/* One document's text being written. */
struct writer {
    struct session *s;
    const quire_prompt *prompt;
    quire_book *book;
    quire_sampler *sampler;
    quire_decoder *decoder;
    quire_stop *stop;
    struct receipt receipt;
    bool is_answer; /* white space at its start belongs to the template, not to the answer */
    bool has_begun;
    char *text; /* with --json: all of it */
    size_t n_text, capacity;
};

/* --- where the text goes ------------------------------------------------------------------------------------------- */

static quire_status collect(struct writer *w, const char *bytes, size_t n, quire_error *err)
{
    if (w->n_text + n > w->capacity) {
        size_t capacity = 2 * (w->n_text + n);
        char *grown = realloc(w->text, capacity);
        if (!grown)
            return quire_fail(err, QUIRE_ERR_NO_MEMORY, "no memory for the text written");
        w->text = grown;
        w->capacity = capacity;
    }
    memcpy(w->text + w->n_text, bytes, n);
    w->n_text += n;
    return QUIRE_OK;
}

static quire_status show(struct writer *w, const char *bytes, size_t n, quire_error *err)
{
    if (w->is_answer && !w->has_begun) {
        while (n > 0 && strchr(" \t\r\n", *bytes) && *bytes) {
            bytes++;
            n--;
        }
    }
    if (n == 0)
        return QUIRE_OK;
    w->has_begun = true;
    if (w->s->o->json)
        return collect(w, bytes, n, err);
    quire_status status = output_write(&w->s->output, bytes, n, err);
    if (status == QUIRE_OK)
        status = output_flush(&w->s->output, err);
    w->s->is_stopped = status != QUIRE_OK; /* no other document's text could be written either */
    return status;
}

static quire_status show_until_stop(struct writer *w, const char *bytes, size_t n, quire_error *err)
{
    const char *text;
    size_t n_text;
    quire_status status = quire_stop_feed(w->stop, bytes, n, &text, &n_text, err);
    return status == QUIRE_OK ? show(w, text, n_text, err) : status;
}

/* --- writing ------------------------------------------------------------------------------------------------------- */

static bool is_end(const quire_prompt *prompt, int32_t id)
{
    for (size_t i = 0; i < prompt->n_ends; i++)
        if (prompt->ends[i] == id)
            return true;
    return false;
}

/* A text that a terminal shows as it grows has no bar under it; where nobody sees it, a bar says how far it is. */
static bool has_bar(const struct writer *w)
{
    return w->s->o->json || w->s->output.is_file;
}

static quire_status write_tokens(struct writer *w, quire_error *err)
{
    const struct options *o = w->s->o;
    for (;;) {
        int32_t id;
        const char *bytes;
        size_t n;
        quire_status status = quire_sampler_pick(w->sampler, quire_book_logits(w->book), &id, err);
        if (status != QUIRE_OK)
            return status;
        if (is_end(w->prompt, id)) {
            w->receipt.ending = ENDED_BY_MODEL;
            return QUIRE_OK;
        }
        w->receipt.n_new++;
        status = quire_decoder_feed(w->decoder, id, &bytes, &n, err);
        if (status == QUIRE_OK)
            status = show_until_stop(w, bytes, n, err);
        if (status != QUIRE_OK)
            return status;
        if (quire_stop_found(w->stop)) {
            w->receipt.ending = ENDED_BY_STOP;
            return QUIRE_OK;
        }
        if (w->receipt.n_new == o->max_tokens) {
            w->receipt.ending = ENDED_BY_LENGTH;
            return QUIRE_OK;
        }
        if (has_bar(w))
            progress_writing(&w->s->progress, w->receipt.n_new, o->max_tokens);
        status = quire_book_append(w->book, id, err);
        if (status != QUIRE_OK)
            return status;
    }
}

/* What was held back: as the beginning of a stop string that did not come, or as half a character. A character that the
 * text's end cut in two is not shown; one that the model itself left unfinished is, as U+FFFD. */
static quire_status write_rest(struct writer *w, quire_error *err)
{
    const char *bytes;
    size_t n;
    quire_status status = QUIRE_OK;
    if (w->receipt.ending == ENDED_BY_MODEL) {
        status = quire_decoder_finish(w->decoder, &bytes, &n, err);
        if (status == QUIRE_OK)
            status = show_until_stop(w, bytes, n, err);
    }
    if (status == QUIRE_OK) {
        quire_stop_finish(w->stop, &bytes, &n);
        status = show(w, bytes, n, err);
    }
    return status;
}

/* Special tokens other than those that end the text make no sense in it; ids without a token are no text at all. */
static void ban_tokens(struct writer *w)
{
    const quire_tokenizer *tokenizer = w->s->tokenizer;
    uint32_t n_tokens = quire_tokenizer_n_tokens(tokenizer);
    for (int32_t id = 0; (uint32_t)id < n_tokens; id++) {
        const char *bytes;
        size_t n;
        if (!quire_tokenizer_bytes(tokenizer, id, &bytes, &n) ||
            (quire_tokenizer_is_special(tokenizer, id) && !is_end(w->prompt, id)))
            quire_sampler_ban(w->sampler, id);
    }
}

static quire_status open_tools(struct writer *w, const int32_t *ids, size_t n_ids, quire_error *err)
{
    const struct options *o = w->s->o;
    const char *stops[MAX_STOP_STRINGS + 1];
    size_t n_stops = o->n_stop;
    memcpy(stops, o->stop, o->n_stop * sizeof *stops);
    if (w->prompt->stop)
        stops[n_stops++] = w->prompt->stop;

    quire_status status = quire_stop_open(&w->stop, stops, n_stops, err);
    if (status == QUIRE_OK)
        status = quire_decoder_open(&w->decoder, w->s->tokenizer, false, err);
    if (status == QUIRE_OK)
        status = quire_sampler_open(&w->sampler, &o->sampler, quire_model_config(w->s->model)->vocab_size,
                                    quire_tokenizer_n_tokens(w->s->tokenizer), err);
    if (status != QUIRE_OK)
        return status;
    ban_tokens(w);
    for (size_t i = 0; i < n_ids; i++)
        quire_sampler_see(w->sampler, ids[i]);
    return QUIRE_OK;
}

static void close_tools(struct writer *w)
{
    quire_stop_close(w->stop);
    quire_decoder_close(w->decoder);
    quire_sampler_close(w->sampler);
    free(w->text);
}

/* --- reading ------------------------------------------------------------------------------------------------------- */

/* The document's ids with the prompt's around them, in the document's own array. */
static quire_status wrap(struct document *d, const quire_prompt *prompt, size_t *n, quire_error *err)
{
    size_t n_document = (size_t)d->n_tokens;
    *n = prompt->n_before + n_document + prompt->n_after;
    int32_t *ids = realloc(d->ids, *n * sizeof *ids);
    if (!ids)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "no memory for the ids of %zu tokens", *n);
    d->ids = ids;
    d->capacity = *n;
    memmove(ids + prompt->n_before, ids, n_document * sizeof *ids);
    if (prompt->n_before > 0)
        memcpy(ids, prompt->before, prompt->n_before * sizeof *ids);
    if (prompt->n_after > 0)
        memcpy(ids + prompt->n_before + n_document, prompt->after, prompt->n_after * sizeof *ids);
    return QUIRE_OK;
}

static quire_status read_book(struct writer *w, struct document *d, quire_error *err)
{
    struct session *s = w->s;
    size_t n_new = (size_t)s->o->max_tokens, n;
    char name[512];
    quire_plan plan;
    quire_status status = wrap(d, w->prompt, &n, err);
    if (status == QUIRE_OK)
        status = open_tools(w, d->ids, n, err);
    if (status == QUIRE_OK)
        status = quire_engine_plan(s->engine, n, n_new, &plan, err);
    if (status != QUIRE_OK)
        return status;
    document_name(d, name, sizeof name);
    receipt_print_plan(s, name, &plan);
    status = quire_book_open(&w->book, s->engine, err);
    if (status != QUIRE_OK)
        return status;
    progress_begin(&s->progress);
    double start = progress_now();
    s->state = (quire_progress){0};
    status = quire_book_read(w->book, d->ids, n, n_new, err);
    w->receipt.read_seconds = progress_now() - start;
    progress_clear(&s->progress);
    return status;
}

static quire_status write_book(struct writer *w, quire_error *err)
{
    struct session *s = w->s;
    progress_begin(&s->progress);
    double start = progress_now();
    quire_status status = write_tokens(w, err);
    w->receipt.write_seconds = progress_now() - start;
    progress_clear(&s->progress);
    if (status == QUIRE_ERR_CANCELLED)
        w->receipt.ending = ENDED_BY_INTERRUPT;
    if (s->output.is_closed)
        w->receipt.ending = ENDED_BY_OUTPUT;
    if (status == QUIRE_OK || status == QUIRE_ERR_CANCELLED) {
        quire_status written = write_rest(w, err);
        status = status == QUIRE_OK ? written : status;
    }
    if (!s->o->json && !s->output.is_closed) {
        quire_status written = output_end_line(&s->output, err);
        status = status == QUIRE_OK ? written : status;
    }
    return status;
}

/* --- what is said about it ------------------------------------------------------------------------------------------ */

static quire_status write_json(struct writer *w, quire_error *err)
{
    json_t *object = json_object();
    receipt_add_json(object, w->s, &w->receipt);
    json_object_set_new(object, "seed", json_integer((json_int_t)w->s->o->sampler.seed));
    json_object_set_new(object, "text", json_text(w->text ? w->text : "", w->n_text));
    quire_status status = json_write(object, &w->s->output, err);
    w->s->is_stopped = status != QUIRE_OK;
    return status;
}

static enum exit_code say_interrupted(struct writer *w, bool has_book, const char *name)
{
    struct session *s = w->s;
    quire_error_clear(&s->error);
    if (w->receipt.ending != NOTHING_WRITTEN)
        progress_error(&s->progress, "interrupted while writing; %s",
                       s->store ? "the reading is kept, and the same command starts writing at once"
                                : "nothing is kept, since there is no store");
    else if (has_book && s->store)
        progress_error(&s->progress, "interrupted after %.0f %% of the reading of %s; it is kept in %s, and the same command "
                                     "goes on from there", 100 * s->state.work_done, name, s->store);
    else if (has_book)
        progress_error(&s->progress, "interrupted after %.0f %% of the reading of %s; nothing is kept, since there is no store",
                       100 * s->state.work_done, name);
    else
        progress_error(&s->progress, "interrupted before the reading of %s began", name);
    return EXIT_INTERRUPTED;
}

/* --- a document ----------------------------------------------------------------------------------------------------- */

struct request {
    quire_task task;
    quire_prompt prompt;
};

static enum exit_code write_document(struct session *s, struct document *d, void *user)
{
    const struct request *request = user;
    struct writer w = {.s = s, .prompt = &request->prompt, .is_answer = request->task != QUIRE_TASK_CONTINUE};
    char name[512];
    document_name(d, name, sizeof name);
    w.receipt.document = d;
    w.receipt.n_prompt = request->prompt.n_before + request->prompt.n_after;

    enum error_source source = FROM_INPUT;
    quire_status status = document_read(d, s->o, s->tokenizer, &s->progress, &s->error);
    if (status == QUIRE_OK) {
        source = FROM_WORK;
        status = read_book(&w, d, &s->error);
    }
    if (status == QUIRE_OK)
        status = write_book(&w, &s->error);
    if (w.book) {
        w.receipt.n_reused = quire_book_n_reused(w.book);
        w.receipt.disk_bytes = quire_book_disk_bytes(w.book);
    }
    bool has_text = w.receipt.ending != NOTHING_WRITTEN;
    if (has_text && s->o->json && (status == QUIRE_OK || status == QUIRE_ERR_CANCELLED)) {
        quire_status written = write_json(&w, &s->error);
        status = status == QUIRE_OK ? written : status;
    }
    bool has_book = w.book != NULL;
    quire_book_close(w.book);

    enum exit_code code = EXIT_DONE;
    if (has_text)
        receipt_print(s, &w.receipt);
    if (status == QUIRE_ERR_CANCELLED)
        code = say_interrupted(&w, has_book, name);
    else if (status != QUIRE_OK)
        code = session_fail(s, source);
    close_tools(&w);
    return code;
}

enum exit_code generate(const struct options *o, quire_task task, const char *text, size_t n_documents)
{
    struct session s = {0};
    struct request request = {.task = task};
    quire_prompt_format format = QUIRE_PROMPT_PLAIN;
    enum exit_code code;
    quire_status status = session_open(&s, o, NULL, NEED_ENGINE, true);
    if (status == QUIRE_OK) {
        if (task != QUIRE_TASK_CONTINUE)
            format = quire_model_prompt_format(s.model);
        if (o->format)
            status = quire_prompt_format_parse(&format, o->format, &s.error);
    }
    if (status == QUIRE_OK) {
        s.source = FROM_OPTIONS;
        status = quire_prompt_make(&request.prompt, s.tokenizer, format, task, text, &s.error);
    }
    if (status == QUIRE_OK) {
        progress_detail(&s.progress, "prompt format: %s", quire_prompt_format_name(format));
        code = session_each(&s, n_documents, write_document, &request);
    } else {
        code = session_fail(&s, s.source);
    }
    quire_prompt_release(&request.prompt);
    return session_close(&s, code);
}
