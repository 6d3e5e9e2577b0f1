/* quire kv: the store as its owner sees it. One function for each verb. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "interrupt.h"
#include "json_out.h"
#include "kv_text.h"
#include "output.h"
#include "progress.h"
#include "sandbox.h"
#include "store_path.h"
#include "text.h"

/* A verb at work. */
struct kv_run {
    const struct options *o;
    const char *const *arguments; /* behind the verb */
    size_t n_arguments;
    const char *label; /* of the progress */
    struct output output;
    struct progress progress;
    quire_store *store;
    char *path;
    quire_store_watch watch;
    quire_error error;
    quire_status output_status; /* of what is written from within the work */
    json_t *damage, *done;      /* with --json, what was found and done */
};

/* --- what the library tells while it works ----------------------------------------------------------------------- */

static void on_damage(void *user, const quire_store_damage *damage)
{
    struct kv_run *run = user;
    char id[KV_ID_SIZE];
    kv_text_id(id, damage->book_id);
    if (run->o->json) {
        json_t *place = json_pack("{s:s}", "book", id);
        json_object_set_new(place, "layer", damage->layer >= 0 ? json_integer(damage->layer) : json_null());
        json_object_set_new(place, "head", damage->head >= 0 ? json_integer(damage->head) : json_null());
        json_object_set_new(place, "block", damage->block >= 0 ? json_integer(damage->block) : json_null());
        json_object_set_new(place, "message", json_text(damage->message, strlen(damage->message)));
        json_array_append_new(run->damage, place);
        return;
    }
    progress_clear(&run->progress);
    if (run->output_status == QUIRE_OK)
        run->output_status = output_print(&run->output, &run->error, "%s: %s\n", id, damage->message);
}

static void on_done(void *user, uint64_t book_id, const char *what)
{
    struct kv_run *run = user;
    char id[KV_ID_SIZE];
    kv_text_id(id, book_id);
    if (run->o->json) {
        json_array_append_new(run->done, json_pack("{s:s,s:s}", "book", id, "what", what));
        return;
    }
    progress_clear(&run->progress);
    if (run->output_status == QUIRE_OK)
        run->output_status = output_print(&run->output, &run->error, "%s: %s\n", id, what);
}

static int on_progress(void *user, const quire_store_progress *state)
{
    struct kv_run *run = user;
    progress_bytes(&run->progress, run->label, state->n_bytes, state->n_bytes_total);
    return interrupt_pending() || run->output_status != QUIRE_OK;
}

/* --- ends -------------------------------------------------------------------------------------------------------- */

static enum exit_code fail(struct kv_run *run, quire_status status, enum error_source source)
{
    progress_clear(&run->progress);
    if (status == QUIRE_ERR_CANCELLED && run->output_status == QUIRE_OK)
        progress_error(&run->progress, "interrupted");
    else if (!run->output.is_closed)
        progress_error(&run->progress, "%s", run->error.message);
    return run->output_status == QUIRE_OK ? exit_for(status, source) : EXIT_FAILED;
}

/* What a verb found and did, as one object; `more` is taken over. Also where the work then failed: what was done was
 * done. */
static quire_status write_report(struct kv_run *run, json_t *more)
{
    if (!run->o->json) {
        json_decref(more);
        return run->output_status == QUIRE_OK ? output_flush(&run->output, &run->error) : run->output_status;
    }
    json_t *report = json_pack("{s:o}", "store", json_text(run->path, strlen(run->path)));
    json_object_update(report, more);
    json_object_set(report, "damage", run->damage);
    json_object_set(report, "done", run->done);
    json_decref(more);
    return json_write(report, &run->output, &run->error);
}

static enum exit_code finish(struct kv_run *run, quire_status status, json_t *more, enum exit_code code)
{
    progress_clear(&run->progress);
    quire_error error = run->error;
    if (status != QUIRE_OK)
        quire_error_clear(&run->error);
    quire_status written = write_report(run, more);
    if (status != QUIRE_OK) {
        run->error = error;
        return fail(run, status, FROM_WORK);
    }
    return written == QUIRE_OK ? code : fail(run, written, FROM_WORK);
}

/* The book that an argument names. */
static quire_status find(struct kv_run *run, const char *argument, uint64_t *id)
{
    return quire_store_find(run->store, argument, id, &run->error);
}

static json_t *bytes_json(uint64_t n_bytes)
{
    return json_integer((json_int_t)n_bytes);
}

/* --- the verbs --------------------------------------------------------------------------------------------------- */

static enum exit_code list(struct kv_run *run)
{
    quire_stored_book *books = NULL;
    size_t n = 0;
    uint64_t n_bytes = 0;
    char total[TEXT_SIZE], count[TEXT_SIZE];
    quire_status status = quire_store_list(run->store, &books, &n, &run->error);
    if (status == QUIRE_OK && !run->o->json && n > 0)
        status = kv_text_write_title(&run->output, &run->error);
    for (size_t i = 0; i < n && status == QUIRE_OK; i++) {
        n_bytes += books[i].disk_bytes;
        status = run->o->json ? json_write(kv_text_book(&books[i]), &run->output, &run->error)
                              : kv_text_write_line(&run->output, &books[i], &run->error);
    }
    free(books);
    if (status == QUIRE_OK)
        status = output_flush(&run->output, &run->error);
    if (status != QUIRE_OK)
        return fail(run, status, FROM_WORK);
    progress_note(&run->progress, "%s book%s, %s in %s", text_count(count, n), n == 1 ? "" : "s",
                  text_bytes(total, n_bytes), run->path);
    return EXIT_DONE;
}

static enum exit_code show(struct kv_run *run)
{
    quire_stored_book book;
    uint64_t id;
    quire_status status = find(run, run->arguments[0], &id);
    if (status != QUIRE_OK)
        return fail(run, status, FROM_OPTIONS);
    status = quire_store_show(run->store, id, &book, &run->error);
    if (status == QUIRE_OK)
        status = run->o->json ? json_write(kv_text_book(&book), &run->output, &run->error)
                              : kv_text_write_book(&run->output, &book, &run->error);
    if (status == QUIRE_OK)
        status = output_flush(&run->output, &run->error);
    return status == QUIRE_OK ? EXIT_DONE : fail(run, status, FROM_WORK);
}

static enum exit_code verify(struct kv_run *run)
{
    uint64_t id = 0;
    size_t n_damaged = 0;
    quire_status status = run->n_arguments > 0 ? find(run, run->arguments[0], &id) : QUIRE_OK;
    if (status != QUIRE_OK)
        return fail(run, status, FROM_OPTIONS);
    status = quire_store_verify(run->store, id, &run->watch, &n_damaged, &run->error);
    enum exit_code code = finish(run, status, json_pack("{s:I}", "damaged_places", (json_int_t)n_damaged),
                                 n_damaged > 0 ? EXIT_DAMAGED : EXIT_DONE);
    if (code == EXIT_DAMAGED)
        progress_error(&run->progress, "%zu damaged place%s: 'quire kv repair' keeps what is sound", n_damaged,
                       n_damaged == 1 ? "" : "s");
    else if (code == EXIT_DONE)
        progress_note(&run->progress, "all is sound");
    return code;
}

static enum exit_code repair(struct kv_run *run)
{
    uint64_t id = 0;
    size_t n_repaired = 0;
    quire_status status = run->n_arguments > 0 ? find(run, run->arguments[0], &id) : QUIRE_OK;
    if (status != QUIRE_OK)
        return fail(run, status, FROM_OPTIONS);
    status = quire_store_repair(run->store, id, &run->watch, &n_repaired, &run->error);
    enum exit_code code = finish(run, status, json_pack("{s:I}", "repaired_books", (json_int_t)n_repaired), EXIT_DONE);
    if (code == EXIT_DONE && n_repaired == 0)
        progress_note(&run->progress, "all is sound");
    return code;
}

/* Which books are meant is settled before the first one goes. */
static enum exit_code rm(struct kv_run *run)
{
    uint64_t *ids = calloc(run->n_arguments, sizeof *ids);
    quire_status status =
        ids ? QUIRE_OK : quire_fail(&run->error, QUIRE_ERR_NO_MEMORY, "no memory for a list of books");
    for (size_t i = 0; i < run->n_arguments && status == QUIRE_OK; i++)
        status = find(run, run->arguments[i], &ids[i]);
    if (status != QUIRE_OK) {
        free(ids);
        return fail(run, status, FROM_OPTIONS);
    }
    for (size_t i = 0; i < run->n_arguments && status == QUIRE_OK; i++) {
        status = quire_store_remove(run->store, ids[i], run->o->force, &run->watch, &run->error);
        if (status == QUIRE_ERR_MISMATCH) { /* it went with one before, or another process was first */
            quire_error_clear(&run->error);
            status = QUIRE_OK;
        }
    }
    free(ids);
    return finish(run, status, json_object(), EXIT_DONE);
}

static enum exit_code gc(struct kv_run *run)
{
    uint64_t n_freed = 0, n_left = 0, limit = run->o->store_limit_bytes;
    char freed[TEXT_SIZE], left[TEXT_SIZE];
    quire_status status = quire_store_collect(run->store, &run->watch, &n_freed, &run->error);
    if (status == QUIRE_OK && limit > 0)
        status = quire_store_evict(run->store, limit, &run->watch, &n_left, &run->error);
    json_t *more = json_pack("{s:o}", "freed_bytes", bytes_json(n_freed));
    if (limit > 0)
        json_object_set_new(more, "left_bytes", bytes_json(n_left));
    enum exit_code code = finish(run, status, more, EXIT_DONE);
    if (code == EXIT_DONE)
        progress_note(&run->progress, "%s of no use to anybody freed", text_bytes(freed, n_freed));
    if (code == EXIT_DONE && n_left > limit)
        progress_note(&run->progress, "%s are left: books in use, and those that they begin with",
                      text_bytes(left, n_left));
    return code;
}

static enum exit_code export_book(struct kv_run *run)
{
    uint64_t id;
    char text[KV_ID_SIZE];
    const char *file = run->arguments[1];
    quire_status status = find(run, run->arguments[0], &id);
    if (status != QUIRE_OK)
        return fail(run, status, FROM_OPTIONS);
    status = quire_store_export(run->store, id, file, &run->watch, &run->error);
    if (status != QUIRE_OK)
        return fail(run, status, status == QUIRE_ERR_USAGE ? FROM_OPTIONS : FROM_WORK);
    enum exit_code code =
        finish(run, status, json_pack("{s:s,s:o}", "book", kv_text_id(text, id), "file", json_text(file, strlen(file))),
               EXIT_DONE);
    if (code == EXIT_DONE)
        progress_note(&run->progress, "book %s is in %s; it holds what was read, and is as private", text, file);
    return code;
}

static enum exit_code import_book(struct kv_run *run)
{
    uint64_t id = 0, limit;
    char text[KV_ID_SIZE];
    quire_status status = store_limit_find(&limit, run->o, &run->error);
    if (status != QUIRE_OK)
        return fail(run, status, FROM_OPTIONS);
    status = quire_store_import(run->store, run->arguments[0], limit, &run->watch, &id, &run->error);
    if (status != QUIRE_OK)
        return fail(run, status, status == QUIRE_ERR_IO ? FROM_INPUT : FROM_WORK);
    kv_text_id(text, id);
    enum exit_code code = finish(run, status, json_pack("{s:s}", "book", text), EXIT_DONE);
    if (code == EXIT_DONE)
        progress_note(&run->progress, "book %s is in %s", text, run->path);
    return code;
}

static const struct verb {
    const char *name, *label;
    enum exit_code (*work)(struct kv_run *run);
    size_t least, most; /* arguments */
    bool makes_store, takes_force, takes_limit;
    enum verb_file { NO_FILE, READS_FILE, WRITES_FILE } file; /* whether the last argument is one */
} verbs[] = {
    {"ls", "", list, 0, 0, false, false, false, NO_FILE},
    {"show", "", show, 1, 1, false, false, false, NO_FILE},
    {"verify", "verifying", verify, 0, 1, false, false, false, NO_FILE},
    {"repair", "verifying", repair, 0, 1, false, false, false, NO_FILE},
    {"rm", "", rm, 1, SIZE_MAX, false, true, false, NO_FILE},
    {"gc", "", gc, 0, 0, false, false, true, NO_FILE},
    {"export", "exporting", export_book, 2, 2, false, false, false, WRITES_FILE},
    {"import", "importing", import_book, 1, 1, true, false, true, READS_FILE},
};

/* --- the command ------------------------------------------------------------------------------------------------- */

static const struct verb *find_verb(struct kv_run *run)
{
    const char *name = run->o->arguments[0];
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        const struct verb *verb = &verbs[i];
        if (strcmp(verb->name, name) != 0)
            continue;
        if (run->n_arguments < verb->least || run->n_arguments > verb->most)
            quire_fail(&run->error, QUIRE_ERR_USAGE, "'kv %s': %s\ntry 'quire kv --help'", name,
                       run->n_arguments < verb->least ? "an argument is missing" : "too many arguments");
        if (run->o->force && !verb->takes_force)
            quire_fail(&run->error, QUIRE_ERR_USAGE, "'kv %s' does not take the option '--force'", name);
        if (run->o->store_limit_bytes && !verb->takes_limit)
            quire_fail(&run->error, QUIRE_ERR_USAGE, "'kv %s' does not take the option '--store-limit'", name);
        return verb;
    }
    quire_fail(&run->error, QUIRE_ERR_USAGE, "unknown verb '%s'\ntry 'quire kv --help'", name);
    return NULL;
}

/* Once the store is open: what opening looks at is one small file of our own, and a folder that is to be made is there.
 */
static void confine(struct kv_run *run, const struct verb *verb)
{
    struct sandbox sandbox;
    char report[SANDBOX_REPORT_SIZE];
    const char *file = verb->file == NO_FILE ? NULL : run->arguments[run->n_arguments - 1];
    sandbox_begin(&sandbox, SANDBOX_IS_USED && !run->o->no_sandbox);
    sandbox_allow(&sandbox, run->path, SANDBOX_WRITE);
    if (verb->file == READS_FILE)
        sandbox_allow(&sandbox, file, SANDBOX_READ);
    if (verb->file == WRITES_FILE)
        sandbox_allow_output(&sandbox, file);
    sandbox_enter(&sandbox, report);
}

static quire_status open_store(struct kv_run *run, const struct verb *verb)
{
    quire_status status = store_path_find(&run->path, run->o->store, &run->error);
    if (status == QUIRE_OK && !run->path)
        status = quire_fail(&run->error, QUIRE_ERR_USAGE,
                            "neither XDG_CACHE_HOME nor HOME names a folder: name the store with --store");
    if (status == QUIRE_OK)
        status = quire_store_open(&run->store, run->path, verb->makes_store, &run->error);
    if (status == QUIRE_OK)
        confine(run, verb);
    return status;
}

enum exit_code cmd_kv(const struct options *o)
{
    struct kv_run run = {.o = o, .arguments = o->arguments + 1, .n_arguments = o->n_arguments - 1};
    enum exit_code code;
    progress_open(&run.progress, o->quiet, false);
    run.watch = (quire_store_watch){on_damage, on_done, on_progress, &run};
    run.damage = json_array();
    run.done = json_array();
    const struct verb *verb = find_verb(&run);
    quire_status status = run.error.status;
    if (status == QUIRE_OK)
        status = output_open(&run.output, &run.error);
    if (status == QUIRE_OK)
        status = open_store(&run, verb);
    if (status == QUIRE_OK) {
        run.label = verb->label;
        progress_begin(&run.progress);
        code = verb->work(&run);
    } else {
        code = fail(&run, status, status == QUIRE_ERR_USAGE ? FROM_OPTIONS : FROM_INPUT);
    }
    quire_store_close(run.store);
    output_close(&run.output);
    json_decref(run.damage);
    json_decref(run.done);
    free(run.path);
    return code;
}
