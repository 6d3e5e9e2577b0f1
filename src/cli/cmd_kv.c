/* quire kv: the store as its owner sees it. One function for each verb. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "interrupt.h"
#include "json_out.h"
#include "kv_text.h"
#include "session.h"
#include "store_path.h"
#include "text.h"

/* A verb at work. */
struct kv_run {
    struct session s;
    const char *const *arguments; /* behind the verb */
    size_t n_arguments;
    const char *label; /* of the progress */
    quire_store *store;
    quire_store_watch watch;
    json_t *damage, *done; /* with --json, what was found and done */
};

/* --- what the library tells while it works ----------------------------------------------------------------------- */

static void on_damage(void *user, const quire_store_damage *damage)
{
    struct kv_run *run = user;
    char id[KV_ID_SIZE];
    kv_text_id(id, damage->book_id);
    if (run->s.o->json) {
        json_t *place = json_pack("{s:s}", "book", id);
        json_object_set_new(place, "layer", damage->layer >= 0 ? json_integer(damage->layer) : json_null());
        json_object_set_new(place, "head", damage->head >= 0 ? json_integer(damage->head) : json_null());
        json_object_set_new(place, "block", damage->block >= 0 ? json_integer(damage->block) : json_null());
        json_object_set_new(place, "message", json_text(damage->message, strlen(damage->message)));
        json_array_append_new(run->damage, place);
        return;
    }
    session_print(&run->s, "%s: %s\n", id, damage->message);
}

static void on_done(void *user, uint64_t book_id, const char *what)
{
    struct kv_run *run = user;
    char id[KV_ID_SIZE];
    kv_text_id(id, book_id);
    if (run->s.o->json) {
        json_array_append_new(run->done, json_pack("{s:s,s:s}", "book", id, "what", what));
        return;
    }
    session_print(&run->s, "%s: %s\n", id, what);
}

static int on_progress(void *user, const quire_store_progress *state)
{
    struct kv_run *run = user;
    progress_bytes(&run->s.progress, run->label, state->n_bytes, state->n_bytes_total);
    return interrupt_pending() || run->s.is_stopped;
}

/* --- ends -------------------------------------------------------------------------------------------------------- */

/* Before anything was done. */
static enum exit_code refuse(struct kv_run *run)
{
    return session_end(&run->s, FROM_OPTIONS);
}

/* With --json what a verb found and did is one object; `more` is taken over. Also where the work failed: what was done
 * was done. */
static enum exit_code finish(struct kv_run *run, json_t *more, enum error_source source)
{
    struct session *s = &run->s;
    if (s->o->json) {
        json_t *report = json_pack("{s:o}", "store", json_text(s->store, strlen(s->store)));
        json_object_update(report, more);
        json_object_set(report, "damage", run->damage);
        json_object_set(report, "done", run->done);
        json_write(report, &s->output, &s->error);
    }
    json_decref(more);
    session_interrupted(s, "interrupted; what was done until now is done");
    return session_end(s, source);
}

/* The book that an argument names. */
static quire_status find(struct kv_run *run, const char *argument, uint64_t *id)
{
    return quire_store_find(run->store, argument, id, &run->s.error);
}

static json_t *bytes_json(uint64_t n_bytes)
{
    return json_integer((json_int_t)n_bytes);
}

/* --- the verbs --------------------------------------------------------------------------------------------------- */

static enum exit_code list(struct kv_run *run)
{
    struct session *s = &run->s;
    quire_stored_book *books = NULL;
    size_t n = 0;
    uint64_t n_bytes = 0;
    char total[TEXT_SIZE], count[TEXT_SIZE];
    quire_status status = quire_store_list(run->store, &books, &n, &s->error);
    if (status == QUIRE_OK && !s->o->json && n > 0)
        status = kv_text_write_title(&s->output, &s->error);
    for (size_t i = 0; i < n && status == QUIRE_OK; i++) {
        n_bytes += books[i].disk_bytes;
        status = s->o->json ? json_write(kv_text_book(&books[i]), &s->output, &s->error)
                            : kv_text_write_line(&s->output, &books[i], &s->error);
    }
    free(books);
    enum exit_code code = session_end(s, FROM_WORK);
    if (code == EXIT_DONE)
        progress_note(&s->progress, "%s book%s, %s in %s", text_count(count, n), n == 1 ? "" : "s",
                      text_bytes(total, n_bytes), s->store);
    return code;
}

static enum exit_code show(struct kv_run *run)
{
    struct session *s = &run->s;
    quire_stored_book book;
    uint64_t id;
    if (find(run, run->arguments[0], &id) != QUIRE_OK)
        return refuse(run);
    quire_status status = quire_store_show(run->store, id, &book, &s->error);
    if (status == QUIRE_OK && s->o->json)
        json_write(kv_text_book(&book), &s->output, &s->error);
    else if (status == QUIRE_OK)
        kv_text_write_book(&s->output, &book, &s->error);
    return session_end(s, FROM_WORK);
}

static enum exit_code verify(struct kv_run *run)
{
    struct session *s = &run->s;
    uint64_t id = 0;
    size_t n_damaged = 0;
    if (run->n_arguments > 0 && find(run, run->arguments[0], &id) != QUIRE_OK)
        return refuse(run);
    quire_store_verify(run->store, id, &run->watch, &n_damaged, &s->error);
    enum exit_code code = finish(run, json_pack("{s:I}", "damaged_places", (json_int_t)n_damaged), FROM_WORK);
    if (code != EXIT_DONE)
        return code;
    if (n_damaged == 0) {
        progress_note(&s->progress, "all is sound");
        return EXIT_DONE;
    }
    progress_error(&s->progress, "%zu damaged place%s: 'quire kv repair' keeps what is sound", n_damaged,
                   n_damaged == 1 ? "" : "s");
    return EXIT_DAMAGED;
}

static enum exit_code repair(struct kv_run *run)
{
    struct session *s = &run->s;
    uint64_t id = 0;
    size_t n_repaired = 0;
    if (run->n_arguments > 0 && find(run, run->arguments[0], &id) != QUIRE_OK)
        return refuse(run);
    quire_store_repair(run->store, id, &run->watch, &n_repaired, &s->error);
    enum exit_code code = finish(run, json_pack("{s:I}", "repaired_books", (json_int_t)n_repaired), FROM_WORK);
    if (code == EXIT_DONE && n_repaired == 0)
        progress_note(&s->progress, "all is sound");
    return code;
}

/* In any order, though a book that others begin with goes after them: as long as one goes, those that could not are
 * tried again. The session's error is what kept the last ones. */
static void remove_all(struct kv_run *run, uint64_t *ids, size_t n)
{
    struct session *s = &run->s;
    for (size_t n_before = SIZE_MAX; n > 0 && n < n_before;) {
        size_t n_kept = 0;
        n_before = n;
        for (size_t i = 0; i < n; i++) {
            quire_error_clear(&s->error);
            quire_status status = quire_store_remove(run->store, ids[i], s->o->force, &run->watch, &s->error);
            if (status == QUIRE_ERR_BUSY)
                ids[n_kept++] = ids[i];
            else if (status == QUIRE_ERR_MISMATCH) /* it went with one before, or another process was first */
                quire_error_clear(&s->error);
            else if (status != QUIRE_OK)
                return;
        }
        n = n_kept;
    }
}

/* Which books are meant is settled before the first one goes. */
static enum exit_code rm(struct kv_run *run)
{
    struct session *s = &run->s;
    uint64_t *ids = calloc(run->n_arguments, sizeof *ids);
    quire_status status = ids ? QUIRE_OK : quire_fail(&s->error, QUIRE_ERR_NO_MEMORY, "no memory for a list of books");
    for (size_t i = 0; i < run->n_arguments && status == QUIRE_OK; i++)
        status = find(run, run->arguments[i], &ids[i]);
    if (status != QUIRE_OK) {
        free(ids);
        return refuse(run);
    }
    remove_all(run, ids, run->n_arguments);
    free(ids);
    return finish(run, json_object(), FROM_WORK);
}

static enum exit_code gc(struct kv_run *run)
{
    struct session *s = &run->s;
    uint64_t n_freed = 0, n_left = 0, limit = s->o->store_limit_bytes;
    char freed[TEXT_SIZE], left[TEXT_SIZE];
    quire_status status = quire_store_collect(run->store, &run->watch, &n_freed, &s->error);
    if (status == QUIRE_OK && limit > 0)
        quire_store_evict(run->store, limit, &run->watch, &n_left, &s->error);
    json_t *more = json_pack("{s:o}", "freed_bytes", bytes_json(n_freed));
    if (limit > 0)
        json_object_set_new(more, "left_bytes", bytes_json(n_left));
    enum exit_code code = finish(run, more, FROM_WORK);
    if (code == EXIT_DONE)
        progress_note(&s->progress, "%s of no use to anybody freed", text_bytes(freed, n_freed));
    if (code == EXIT_DONE && n_left > limit)
        progress_note(&s->progress, "%s are left: books in use, and those that they begin with",
                      text_bytes(left, n_left));
    return code;
}

static enum exit_code export_book(struct kv_run *run)
{
    struct session *s = &run->s;
    uint64_t id;
    char text[KV_ID_SIZE];
    const char *file = run->arguments[1];
    if (strcmp(file, "-") == 0) {
        quire_fail(&s->error, QUIRE_ERR_USAGE, "a book is exported to a file, not to standard output: name one");
        return refuse(run);
    }
    if (find(run, run->arguments[0], &id) != QUIRE_OK)
        return refuse(run);
    quire_status status = quire_store_export(run->store, id, file, &run->watch, &s->error);
    json_t *file_json = status == QUIRE_OK ? json_text(file, strlen(file)) : json_null();
    enum exit_code code = finish(run, json_pack("{s:s,s:o}", "book", kv_text_id(text, id), "file", file_json),
                                 status == QUIRE_ERR_USAGE ? FROM_OPTIONS : FROM_WORK);
    if (code == EXIT_DONE)
        progress_note(&s->progress, "book %s is in %s; it holds what was read, and is as private", text, file);
    return code;
}

static enum exit_code import_book(struct kv_run *run)
{
    struct session *s = &run->s;
    uint64_t id = 0, limit;
    char text[KV_ID_SIZE];
    if (store_limit_find(&limit, s->o, &s->error) != QUIRE_OK)
        return refuse(run);
    quire_status status = quire_store_import(run->store, run->arguments[0], limit, &run->watch, &id, &s->error);
    json_t *book_json = status == QUIRE_OK ? json_string(kv_text_id(text, id)) : json_null();
    enum exit_code code =
        finish(run, json_pack("{s:o}", "book", book_json), status == QUIRE_ERR_IO ? FROM_INPUT : FROM_WORK);
    if (code == EXIT_DONE)
        progress_note(&s->progress, "book %s is in %s", text, s->store);
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
    const struct options *o = run->s.o;
    quire_error *err = &run->s.error;
    const char *name = o->arguments[0];
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        const struct verb *verb = &verbs[i];
        if (strcmp(verb->name, name) != 0)
            continue;
        if (run->n_arguments < verb->least || run->n_arguments > verb->most)
            quire_fail(err, QUIRE_ERR_USAGE, "'kv %s': %s; try 'quire kv --help'", name,
                       run->n_arguments < verb->least ? "an argument is missing" : "too many arguments");
        if (o->force && !verb->takes_force)
            quire_fail(err, QUIRE_ERR_USAGE, "'kv %s' does not take the option '--force'", name);
        if (o->store_limit_bytes && !verb->takes_limit)
            quire_fail(err, QUIRE_ERR_USAGE, "'kv %s' does not take the option '--store-limit'", name);
        return verb;
    }
    char all[128] = "";
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i > 0 ? ", " : "", verbs[i].name);
    quire_fail(err, QUIRE_ERR_USAGE, "unknown verb '%s'; there are %s", name, all);
    return NULL;
}

/* Once the store is open: what opening looks at is one small file of our own, and a folder that is to be made is there.
 */
static void confine(struct kv_run *run, const struct verb *verb)
{
    struct sandbox sandbox;
    const char *file = verb->file == NO_FILE ? NULL : run->arguments[run->n_arguments - 1];
    sandbox_begin(&sandbox, SANDBOX_IS_USED && !run->s.o->no_sandbox);
    sandbox_allow(&sandbox, run->s.store, SANDBOX_WRITE);
    if (verb->file == READS_FILE)
        sandbox_allow(&sandbox, file, SANDBOX_READ);
    if (verb->file == WRITES_FILE)
        sandbox_allow_output(&sandbox, file);
    session_confine(&run->s, &sandbox);
}

static quire_status open_store(struct kv_run *run, const struct verb *verb)
{
    struct session *s = &run->s;
    quire_status status = store_path_find(&s->store, s->o->store, &s->error);
    if (status == QUIRE_OK && !s->store)
        status = quire_fail(&s->error, QUIRE_ERR_USAGE,
                            "neither XDG_CACHE_HOME nor HOME names a folder: name the store with --store");
    if (status == QUIRE_OK)
        status = quire_store_open(&run->store, s->store, verb->makes_store, &s->error);
    if (status == QUIRE_OK)
        confine(run, verb);
    return status;
}

enum exit_code cmd_kv(const struct options *o)
{
    struct kv_run run = {.arguments = o->arguments + 1, .n_arguments = o->n_arguments - 1};
    struct session *s = &run.s;
    const struct verb *verb = NULL;
    enum exit_code code;
    run.watch = (quire_store_watch){on_damage, on_done, on_progress, &run};
    run.damage = json_array();
    run.done = json_array();
    if (session_begin(s, o) == QUIRE_OK)
        verb = find_verb(&run);
    if (s->error.status == QUIRE_OK && open_store(&run, verb) == QUIRE_OK) {
        run.label = verb->label;
        progress_begin(&s->progress);
        code = verb->work(&run);
    } else {
        code = session_end(s, s->error.status == QUIRE_ERR_USAGE ? FROM_OPTIONS : FROM_INPUT);
    }
    quire_store_close(run.store);
    json_decref(run.damage);
    json_decref(run.done);
    return session_close(s, code);
}
