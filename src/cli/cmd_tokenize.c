#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "receipt.h"
#include "session.h"
#include "text.h"

/* With --mds: the shards, and the ids of the document at work. */
struct tokenizing {
    quire_shards *shards;
    int32_t *ids;
    size_t n, capacity;
};

static quire_status keep_ids(void *user, const int32_t *ids, size_t n, bool *is_enough, quire_error *err)
{
    struct tokenizing *t = user;
    (void)is_enough;
    if (n > t->capacity - t->n) {
        size_t capacity = 2 * (t->n + n);
        int32_t *grown = realloc(t->ids, capacity * sizeof *grown);
        if (!grown)
            return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a document's tokens");
        t->ids = grown;
        t->capacity = capacity;
    }
    if (n > 0)
        memcpy(t->ids + t->n, ids, n * sizeof *ids);
    t->n += n;
    return QUIRE_OK;
}

static quire_status write_ids(void *user, const int32_t *ids, size_t n, bool *is_enough, quire_error *err)
{
    struct session *s = user;
    quire_status status = QUIRE_OK;
    for (size_t i = 0; i < n && status == QUIRE_OK; i++) {
        char line[16];
        int length = snprintf(line, sizeof line, "%" PRId32 "\n", ids[i]);
        status = output_write(&s->output, line, (size_t)length, err);
    }
    (void)is_enough;
    return status;
}

static enum exit_code tokenize_document(struct session *s, struct document *d, void *user)
{
    struct tokenizing *t = user;
    char name[DOCUMENT_NAME_SIZE], bytes[TEXT_SIZE], tokens[TEXT_SIZE];
    document_name(name, d);
    t->n = 0;
    quire_status status = t->shards ? document_stream(d, s->o, s->tokenizer, &s->progress, keep_ids, t, &s->error)
                                    : document_stream(d, s->o, s->tokenizer, &s->progress, write_ids, s, &s->error);
    enum error_source source = FROM_INPUT;
    if (status == QUIRE_OK) {
        source = FROM_WORK;
        status = t->shards ? quire_shards_add(t->shards, t->ids, t->n, &s->error) : output_flush(&s->output, &s->error);
    }
    text_counted(bytes, d->n_bytes, "byte");
    text_counted(tokens, d->n_tokens, "token");
    if (status == QUIRE_OK) {
        receipt_print_changes(s, d);
        progress_note(&s->progress, "%s: %s, %s", name, bytes, tokens);
    }
    session_interrupted(s, "interrupted after %s, %s of %s", bytes, tokens, name);
    return session_end(s, source);
}

/* The shards are complete when every document is in them; a folder without an index is none. */
static enum exit_code tokenize_all(struct session *s, struct tokenizing *t)
{
    enum exit_code code = session_each(s, s->o->n_arguments, tokenize_document, t);
    if (code == EXIT_DONE && t->shards && quire_shards_finish(t->shards, &s->error) != QUIRE_OK)
        code = session_end(s, FROM_WORK);
    return code;
}

enum exit_code cmd_tokenize(const struct options *o)
{
    struct session s = {0};
    struct tokenizing tokenizing = {0};
    /* The shards' folder has to be there before the sandbox, which the session enters. */
    quire_status status = o->mds ? quire_shards_open(&tokenizing.shards, o->mds, false, &s.error) : QUIRE_OK;
    if (status == QUIRE_OK)
        status = session_open(&s, o, NULL, NEED_TOKENIZER, false);
    enum exit_code code = status == QUIRE_OK ? tokenize_all(&s, &tokenizing) : session_end(&s, s.source);
    quire_shards_close(tokenizing.shards);
    free(tokenizing.ids);
    return session_close(&s, code);
}
