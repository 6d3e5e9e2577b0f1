#include "session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "interrupt.h"
#include "model_path.h"
#include "store_path.h"
#include "text.h"

static void leave_store(struct session *s, const char *why)
{
    progress_note(&s->progress, "nothing is kept for another run: %s; --store names another folder", why);
    free(s->store);
    s->store = NULL;
}

/* A store that nobody named is an offer: where it cannot be used, the run goes on without. */
static quire_status find_store(struct session *s)
{
    const char *named = s->o->store;
    quire_error why = {0};
    quire_store *store = NULL;
    quire_status status = store_path_find(&s->store, named, &why);
    if (status == QUIRE_OK && !s->store)
        status = quire_fail(&why, QUIRE_ERR_USAGE, "neither XDG_CACHE_HOME nor HOME names a folder");
    if (status == QUIRE_OK)
        status = quire_store_open(&store, s->store, true, &why);
    quire_store_close(store);
    if (status != QUIRE_OK && named)
        return quire_fail(&s->error, status, "%s", why.message);
    if (status != QUIRE_OK)
        leave_store(s, why.message);
    return QUIRE_OK;
}

/* What is written then may take as long as the disk does: it would seem that the signal was not heard. */
static void tell_saving(struct session *s)
{
    const uint64_t much = 64 << 20;
    char bytes[TEXT_SIZE];
    uint64_t n_bytes = s->state.n_tokens_total * quire_model_config(s->model)->d_model * sizeof(float);
    if (s->store && !s->has_told_saving && n_bytes > much)
        progress_note(&s->progress,
                      "stopping: what was read is being written to the store, up to %s; a second signal would lose it",
                      text_bytes(bytes, n_bytes));
    s->has_told_saving = true;
}

static int on_progress(void *user, const quire_progress *state)
{
    struct session *s = user;
    s->state = *state;
    if (!state->is_decode) {
        s->prefill_seen_at = progress_now();
        progress_prefill(&s->progress, state);
        if (interrupt_pending() && state->work_done > 0)
            tell_saving(s);
    }
    return interrupt_pending() || s->is_stopped;
}

static void on_logprobs(void *user, uint64_t first, const int32_t *ids, const float *logprobs, size_t n)
{
    struct session *s = user;
    s->on_logprobs(s->logprobs_user, first, ids, logprobs, n);
}

quire_status session_open_engine(struct session *s)
{
    const struct options *o = s->o;
    quire_engine_options options = quire_engine_defaults();
    quire_status status = quire_kv_type_parse(&options.kv_type, o->kv_type, &s->error);
    if (status != QUIRE_OK)
        return status;
    if (s->store)
        status = store_limit_find(&options.store_limit_bytes, o, &s->error);
    if (status != QUIRE_OK)
        return status;
    options.memory_bytes = o->memory_bytes;
    options.store_path = s->store;
    options.no_reuse = s->on_logprobs != NULL; /* log-probabilities are computed, not stored */
    options.commit_seconds = (double)o->commit_seconds;
    options.attn_eps = o->attn_eps;
    options.chunk_tokens = o->chunk_tokens;
    options.span_tokens = o->span_tokens;
    options.draft_tokens = s->draft_tokens;
    options.n_threads = o->n_threads;
    options.isa = o->isa;
    options.progress = on_progress;
    options.logprobs = s->on_logprobs ? on_logprobs : NULL;
    options.user = s;
    quire_engine *engine;
    status = quire_engine_open(&engine, s->model, &options, &s->error);
    if (status != QUIRE_OK)
        return status;
    interrupt_watch_engine(engine);
    quire_engine_close(s->engine);
    s->engine = engine;
    char threads[TEXT_SIZE];
    progress_detail(&s->progress, "engine: %s kernels, %s, %s keys and values", quire_engine_isa(engine),
                    text_counted(threads, quire_engine_n_threads(engine), "thread"),
                    quire_kv_type_name(options.kv_type));
    return QUIRE_OK;
}

bool session_leave_store(struct session *s)
{
    char why[sizeof s->error.message];
    if (s->error.status != QUIRE_ERR_IO || !s->store || s->o->store || access(s->store, W_OK) == 0)
        return false;
    snprintf(why, sizeof why, "%s", s->error.message);
    leave_store(s, why);
    quire_error_clear(&s->error);
    return session_open_engine(s) == QUIRE_OK;
}

/* The sandbox lets no ring be made. Where this one cannot be, documents are read without. */
static void make_ring(struct session *s)
{
    quire_error ignored = {0};
    if (quire_reader_ring_open(&s->ring, &ignored) != QUIRE_OK)
        s->ring = NULL;
}

/* Everything that the run may read or write is known; everything that it did not write itself comes after this. An
 * argument that names nothing, such as a question, lets nothing be read. */
static void confine(struct session *s, enum session_need need)
{
    const struct options *o = s->o;
    struct sandbox sandbox;
    sandbox_begin(&sandbox, SANDBOX_IS_USED && !o->no_sandbox);
    if (s->model_path)
        sandbox_allow_linked(&sandbox, s->model_path);
    for (size_t i = 0; i < o->n_arguments; i++)
        sandbox_allow(&sandbox, o->arguments[i], SANDBOX_READ);
    if (s->store) /* it is there by now */
        sandbox_allow(&sandbox, s->store, SANDBOX_WRITE);
    if (o->mds)
        sandbox_allow(&sandbox, o->mds, SANDBOX_WRITE);
    if (!o->no_sandbox && !o->no_uring)
        make_ring(s);
    if (need != NEED_TOKENIZER)
        sandbox_allow_temporary(&sandbox);
    session_confine(s, &sandbox);
}

quire_status session_begin(struct session *s, const struct options *o)
{
    s->o = o;
    s->source = FROM_OPTIONS;
    progress_open(&s->progress, o->quiet, o->verbose);
    return output_open(&s->output, &s->error);
}

void session_confine(struct session *s, struct sandbox *sandbox)
{
    char report[SANDBOX_REPORT_SIZE];
    sandbox_enter(sandbox, report);
    progress_detail(&s->progress, "%s", report);
}

quire_status session_open(struct session *s, const struct options *o, const char *model, enum session_need need,
                          bool keeps)
{
    quire_status status = session_begin(s, o);
    if (status == QUIRE_OK && need == NEED_OUTPUT)
        confine(s, need);
    if (status != QUIRE_OK || need == NEED_OUTPUT)
        return status;
    status = model_path_find(&s->model_path, model ? model : o->model, &s->error);
    if (status == QUIRE_OK && keeps && !o->no_store)
        status = find_store(s);
    if (status != QUIRE_OK)
        return status;
    confine(s, need);

    s->source = FROM_INPUT;
    if (need == NEED_TOKENIZER)
        return quire_tokenizer_open_path(&s->tokenizer, s->model_path, &s->error);
    status = quire_model_open(&s->model, s->model_path, &s->error);
    if (status == QUIRE_OK)
        progress_detail(&s->progress, "model: %s (%s), %s", s->model_path, quire_model_format_name(s->model),
                        quire_model_name(s->model));
    if (status == QUIRE_OK)
        status = quire_tokenizer_open(&s->tokenizer, s->model, &s->error);
    if (status != QUIRE_OK)
        return status;

    s->source = FROM_OPTIONS;
    s->draft_tokens = o->draft_tokens;
    return session_open_engine(s);
}

void session_print(struct session *s, const char *format, ...)
{
    va_list args;
    progress_clear(&s->progress);
    va_start(args, format);
    if (!s->is_stopped)
        s->is_stopped = output_vprint(&s->output, &s->error, format, args) != QUIRE_OK;
    va_end(args);
}

void session_interrupted(struct session *s, const char *format, ...)
{
    char message[sizeof s->error.message];
    va_list args;
    if (s->error.status != QUIRE_ERR_CANCELLED || s->output.failure.status != QUIRE_OK)
        return;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    quire_error_clear(&s->error);
    quire_fail(&s->error, QUIRE_ERR_CANCELLED, "%s", message);
}

enum exit_code session_end(struct session *s, enum error_source source)
{
    const quire_error *failure = &s->output.failure;
    quire_error *error = &s->error;
    (void)output_flush(&s->output, error); /* the first error stays */
    quire_status status = error->status;
    /* The work may have ended for its output, which handed its failure on, or before that failed, too. */
    bool is_of_output = failure->status != QUIRE_OK && strcmp(failure->message, error->message) == 0;
    s->is_stopped = failure->status != QUIRE_OK;
    progress_clear(&s->progress);
    if (status != QUIRE_OK && !is_of_output)
        progress_error(&s->progress, "%s", error->message);
    if (s->is_stopped && !s->output.is_closed)
        progress_error(&s->progress, "%s", failure->message);
    quire_error_clear(error);
    return exit_for(status, is_of_output ? FROM_WORK : source);
}

enum exit_code session_close(struct session *s, enum exit_code code)
{
    if (code == EXIT_DONE)
        code = session_end(s, FROM_WORK);
    interrupt_watch_engine(NULL);
    quire_engine_close(s->engine);
    quire_tokenizer_close(s->tokenizer);
    quire_model_close(s->model);
    quire_reader_ring_close(s->ring);
    free(s->model_path);
    free(s->store);
    output_close(&s->output);
    return code;
}

/* What cannot be opened is said first. Gives the exit code of the first. */
static enum exit_code check_paths(struct session *s, const char *const *paths, size_t n_paths, bool *is_missing)
{
    enum exit_code first_failure = EXIT_DONE;
    for (size_t i = 0; i < n_paths; i++) {
        is_missing[i] = document_check_path(paths[i], &s->error) != QUIRE_OK;
        enum exit_code code = session_end(s, FROM_INPUT);
        if (first_failure == EXIT_DONE)
            first_failure = code;
    }
    return first_failure;
}

/* Parts of one thing are of no use without the others. */
static bool is_one_thing(const struct options *o)
{
    return o->join || o->mds;
}

/* The work on what is there. */
static enum exit_code work_on(struct session *s, const char *const *paths, size_t n_paths, const bool *is_missing,
                              session_work work, void *user)
{
    enum exit_code first_failure = EXIT_DONE;
    size_t n_together = s->o->join ? n_paths : 1;
    s->n_documents = n_paths / n_together;
    for (size_t i = 0; i < n_paths; i += n_together) {
        struct document document = {.paths = paths + i, .n_paths = n_together, .ring = s->ring};
        if (is_missing[i])
            continue;
        if (interrupt_pending()) {
            char name[DOCUMENT_NAME_SIZE];
            quire_fail(&s->error, QUIRE_ERR_CANCELLED, "interrupted before %s", document_path_name(name, paths[i]));
            return session_end(s, FROM_WORK);
        }
        enum exit_code code = work(s, &document, user);
        document_release(&document);
        if (first_failure == EXIT_DONE || code == EXIT_INTERRUPTED)
            first_failure = code;
        if (code == EXIT_INTERRUPTED || s->is_stopped || (code != EXIT_DONE && is_one_thing(s->o)))
            break;
    }
    return first_failure;
}

enum exit_code session_each(struct session *s, size_t n_arguments, session_work work, void *user)
{
    const char *const *paths;
    size_t n_paths;
    if (documents_find(&paths, &n_paths, s->o->arguments, n_arguments, &s->error) != QUIRE_OK)
        return session_end(s, FROM_OPTIONS);
    bool *is_missing = calloc(n_paths, sizeof *is_missing);
    if (!is_missing) {
        quire_fail(&s->error, QUIRE_ERR_NO_MEMORY, "no memory for a list of documents");
        return session_end(s, FROM_WORK);
    }
    enum exit_code first_failure = check_paths(s, paths, n_paths, is_missing);
    if (first_failure == EXIT_DONE || !is_one_thing(s->o)) {
        enum exit_code code = work_on(s, paths, n_paths, is_missing, work, user);
        if (first_failure == EXIT_DONE || code == EXIT_INTERRUPTED)
            first_failure = code;
    }
    free(is_missing);
    return first_failure;
}
