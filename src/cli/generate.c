#include "generate.h"

#include <stdlib.h>
#include <string.h>

#include "json_out.h"
#include "receipt.h"
#include "session.h"
#include "writer.h"

enum { WORDS_SIZE = 512 };

/* What all documents of a run have in common. */
struct request {
    quire_task task;
    quire_prompt prompt;
};

/* One document's way through: read, written, accounted for. */
struct job {
    struct session *s;
    struct document *document;
    const struct request *request;
    char name[DOCUMENT_NAME_SIZE];
    char first_words[WORDS_SIZE];
    quire_book *book;
    struct writer writer;
    struct receipt receipt;
    size_t n_noticed; /* of the book's notices, those that were shown */
};

/* The document's ids with the prompt's around them, in the document's own array. */
static quire_status wrap_document(struct document *d, const quire_prompt *prompt, size_t *n, quire_error *err)
{
    size_t n_document = (size_t)d->n_tokens;
    *n = prompt->n_before + n_document + prompt->n_after;
    int32_t *ids = realloc(d->ids, *n * sizeof *ids);
    if (!ids)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "no memory for the ids of %zu tokens", *n);
    d->ids = ids;
    d->capacity = *n;
    if (prompt->n_before > 0) {
        memmove(ids + prompt->n_before, ids, n_document * sizeof *ids);
        memcpy(ids, prompt->before, prompt->n_before * sizeof *ids);
    }
    if (prompt->n_after > 0)
        memcpy(ids + prompt->n_before + n_document, prompt->after, prompt->n_after * sizeof *ids);
    return QUIRE_OK;
}

/* Reading tells what the store could not give or take; the first token written can, too. */
static void say_notices(struct job *job)
{
    for (const char *notice; (notice = quire_book_notice(job->book, job->n_noticed)) != NULL; job->n_noticed++)
        progress_note(&job->s->progress, "%s", notice);
}

static void take_reading(struct job *job)
{
    job->receipt.n_reused = quire_book_n_reused(job->book);
    job->receipt.n_resumed = quire_book_n_resumed(job->book);
    job->receipt.n_blocks_met = quire_book_n_blocks_met(job->book);
    job->receipt.n_blocks_skipped = quire_book_n_blocks_skipped(job->book);
    job->receipt.disk_bytes = quire_book_disk_bytes(job->book);
}

static quire_status use_drafts(struct session *s, uint32_t draft_tokens)
{
    if (s->draft_tokens == draft_tokens)
        return QUIRE_OK;
    s->draft_tokens = draft_tokens;
    return session_open_engine(s);
}

/* The plan comes first: what cannot be done is known before the work starts. Drafts are left out where there is room
 * for all but them. */
static quire_status plan(struct job *job, size_t n, quire_error *err)
{
    struct session *s = job->s;
    const struct options *o = s->o;
    quire_plan *plan = &job->receipt.plan;
    quire_error why = {0};
    quire_status status = use_drafts(s, o->draft_tokens);
    if (status == QUIRE_OK)
        status = quire_engine_plan(s->engine, n, o->max_tokens, plan, &why);
    if (status == QUIRE_ERR_NO_MEMORY && o->draft_tokens > 0) {
        quire_error_clear(&why);
        status = use_drafts(s, 0);
        if (status == QUIRE_OK)
            status = quire_engine_plan(s->engine, n, o->max_tokens, plan, &why);
        if (status == QUIRE_OK)
            progress_note(&s->progress, "%s: no memory is left to compute ahead in; done as with --draft 0", job->name);
    }
    if (status != QUIRE_OK)
        return quire_fail(err, status, "%s", why.message);
    receipt_print_plan(s, job->name, plan);
    return QUIRE_OK;
}

static quire_status read_book(struct job *job, size_t n, quire_error *err)
{
    struct session *s = job->s;
    quire_status status = quire_book_open(&job->book, s->engine, err);
    if (status != QUIRE_OK)
        return status;

    char label[DOCUMENT_NAME_SIZE];
    document_label(label, job->document);
    quire_book_describe(job->book, label, job->first_words);
    double start = progress_now();
    s->state = (quire_progress){0};
    progress_begin(&s->progress);
    status = quire_book_read(job->book, job->document->ids, n, (size_t)s->o->max_tokens, err);
    progress_clear(&s->progress);
    say_notices(job);
    job->receipt.read_seconds = progress_now() - start;
    take_reading(job);
    return status;
}

/* What the default store has of the text may be used even where nothing can be added to it. */
static quire_status read_anywhere(struct job *job, size_t n, quire_error *err)
{
    quire_status status = read_book(job, n, err);
    if (status != QUIRE_ERR_IO)
        return status;
    quire_book_close(job->book);
    job->book = NULL;
    job->n_noticed = 0;
    if (!session_leave_store(job->s))
        return status;
    status = plan(job, n, err);
    return status == QUIRE_OK ? read_book(job, n, err) : status;
}

static void write_json(struct job *job, quire_error *err)
{
    struct session *s = job->s;
    json_t *object = json_object();
    receipt_add_json(object, s, &job->receipt);
    json_object_set_new(object, "seed", json_integer((json_int_t)s->o->sampler.seed));
    json_object_set_new(object, "text", json_text(job->writer.text ? job->writer.text : "", job->writer.n_text));
    (void)json_write(object, &s->output, err);
}

/* Whose text it is, where there are several: the line that head(1) has for files. */
static quire_status write_heading(struct job *job, quire_error *err)
{
    struct session *s = job->s;
    if (s->n_documents == 1 || s->o->json || s->o->max_tokens == 0)
        return QUIRE_OK;
    return output_print(&s->output, err, "%s==> %s <==\n", s->output.last ? "\n" : "", job->name);
}

/* Text that an interruption or an error left unfinished is still given out: it was paid for. */
static void write_text(struct job *job, quire_error *err)
{
    double start = progress_now();
    progress_begin(&job->s->progress);
    (void)writer_run(&job->writer, job->book, err); /* what ends the text is no reason to keep it back */
    say_notices(job);
    job->receipt.write_seconds = progress_now() - start;
    if (quire_book_n_reused(job->book) <
        job->receipt.n_reused) { /* damage: a part was read again before the first token */
        double again = job->s->prefill_seen_at - start;
        job->receipt.read_seconds += again;
        job->receipt.write_seconds -= again;
        take_reading(job);
    }
    job->receipt.n_new = job->writer.n_tokens;
    job->receipt.n_drafted = quire_book_n_drafted(job->book);
    job->receipt.n_accepted = quire_book_n_accepted(job->book);
    job->receipt.ending = job->writer.ending;
    if (job->s->o->json)
        write_json(job, err);
}

static void say_interrupted(const struct job *job)
{
    struct session *s = job->s;
    if (!job->book)
        session_interrupted(s, "interrupted before the reading of %s began", job->name);
    else if (!s->store)
        session_interrupted(s, "interrupted; nothing of the reading of %s is kept, since there is no store", job->name);
    else if (job->receipt.ending != NOTHING_WRITTEN)
        session_interrupted(
            s, "interrupted while writing; the reading is kept in %s, and the same command writes at once", s->store);
    else
        session_interrupted(s,
                            "interrupted after %.0f %% of the reading of %s; it is kept in %s, and the same command "
                            "goes on from there",
                            100 * s->state.work_done, job->name, s->store);
}

static enum exit_code generate_document(struct session *s, struct document *d, void *user)
{
    const struct request *request = user;
    const quire_prompt *prompt = &request->prompt;
    struct job job = {.s = s, .document = d, .request = request};
    size_t n = 0;
    document_name(job.name, d);
    job.receipt.document = d;
    job.receipt.n_prompt = prompt->n_before + prompt->n_after;

    enum error_source source = FROM_INPUT;
    quire_status status = document_read(d, s->o, s->tokenizer, &s->progress, &s->error);
    if (status == QUIRE_OK)
        status = document_first_words(d, s->tokenizer, job.first_words, sizeof job.first_words, &s->error);
    if (status == QUIRE_OK) {
        source = FROM_WORK;
        status = wrap_document(d, prompt, &n, &s->error);
    }
    if (status == QUIRE_OK)
        status = plan(&job, n, &s->error);
    if (status == QUIRE_OK)
        status = writer_open(&job.writer, s, prompt, request->task != QUIRE_TASK_CONTINUE, d->ids, n, &s->error);
    if (status == QUIRE_OK)
        status = read_anywhere(&job, n, &s->error);
    if (status == QUIRE_OK)
        status = write_heading(&job, &s->error);
    if (status == QUIRE_OK)
        write_text(&job, &s->error);
    quire_book_close(job.book);

    if (job.receipt.ending != NOTHING_WRITTEN)
        receipt_print(s, &job.receipt);
    say_interrupted(&job);
    writer_close(&job.writer);
    return session_end(s, source);
}

enum exit_code generate(const struct options *o, quire_task task, const char *text, size_t n_documents)
{
    struct session s = {0};
    struct request request = {.task = task};
    quire_prompt_format format = QUIRE_PROMPT_PLAIN;
    quire_status status = session_open(&s, o, NULL, NEED_ENGINE, true);
    if (status == QUIRE_OK && o->format)
        status = quire_prompt_format_parse(&format, o->format, &s.error);
    else if (status == QUIRE_OK && task != QUIRE_TASK_CONTINUE)
        format = quire_model_prompt_format(s.model);
    if (status == QUIRE_OK)
        status = quire_prompt_make(&request.prompt, s.tokenizer, format, task, text, &s.error);

    enum exit_code code;
    if (status == QUIRE_OK) {
        progress_detail(&s.progress, "prompt format: %s", quire_prompt_format_name(format));
        code = session_each(&s, n_documents, generate_document, &request);
    } else {
        code = session_end(&s, s.source);
    }
    quire_prompt_release(&request.prompt);
    return session_close(&s, code);
}
