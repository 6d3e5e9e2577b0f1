#include <inttypes.h>
#include <stdio.h>

#include "command.h"
#include "receipt.h"
#include "session.h"
#include "text.h"

static quire_status write_ids(void *user, const int32_t *ids, size_t n, bool *is_enough, quire_error *err)
{
    struct session *s = user;
    quire_status status = QUIRE_OK;
    for (size_t i = 0; i < n && status == QUIRE_OK; i++) {
        char line[16];
        int length = snprintf(line, sizeof line, "%" PRId32 "\n", ids[i]);
        status = output_write(&s->output, line, (size_t)length, err);
    }
    s->is_stopped = status != QUIRE_OK;
    *is_enough = s->is_stopped;
    return status;
}

static enum exit_code tokenize_document(struct session *s, struct document *d, void *user)
{
    (void)user;
    char name[512], bytes[TEXT_SIZE], tokens[TEXT_SIZE];
    document_name(d, name, sizeof name);
    quire_status status = document_stream(d, s->o, s->tokenizer, &s->progress, write_ids, s, &s->error);
    enum error_source source = s->is_stopped ? FROM_WORK : FROM_INPUT;
    if (status == QUIRE_OK) {
        source = FROM_WORK;
        status = output_flush(&s->output, &s->error);
        s->is_stopped = status != QUIRE_OK;
    }
    if (status != QUIRE_OK)
        return session_fail(s, source);
    receipt_print_changes(s, d);
    progress_note(&s->progress, "%s: %s bytes, %s tokens", name, text_count(bytes, d->n_bytes),
                  text_count(tokens, d->n_tokens));
    return EXIT_DONE;
}

enum exit_code cmd_tokenize(const struct options *o)
{
    struct session s = {0};
    quire_status status = session_open(&s, o, NULL, NEED_TOKENIZER, false);
    enum exit_code code =
        status == QUIRE_OK ? session_each(&s, o->n_arguments, tokenize_document, NULL) : session_fail(&s, s.source);
    return session_close(&s, code);
}
