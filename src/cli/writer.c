#include "writer.h"

#include <stdlib.h>
#include <string.h>

/* --- where the text goes ------------------------------------------------------------------------------------------ */

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

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static quire_status show(struct writer *w, const char *bytes, size_t n, quire_error *err)
{
    while (w->is_answer && !w->has_begun && n > 0 && is_white(*bytes)) {
        bytes++;
        n--;
    }
    if (n == 0)
        return QUIRE_OK;
    w->has_begun = true;
    if (w->s->o->json)
        return collect(w, bytes, n, err);
    quire_status status = output_write(&w->s->output, bytes, n, err);
    return status == QUIRE_OK ? output_flush(&w->s->output, err) : status;
}

static quire_status show_until_stop(struct writer *w, const char *bytes, size_t n, quire_error *err)
{
    const char *text;
    size_t n_text;
    quire_status status = quire_stop_feed(w->stop, bytes, n, &text, &n_text, err);
    return status == QUIRE_OK ? show(w, text, n_text, err) : status;
}

/* A text that a terminal shows as it grows has no bar under it; where nobody sees it, a bar says how far it is. */
static bool has_bar(const struct writer *w)
{
    return w->s->o->json || w->s->output.is_file;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static bool is_end(const quire_prompt *prompt, int32_t id)
{
    for (size_t i = 0; i < prompt->n_ends; i++)
        if (prompt->ends[i] == id)
            return true;
    return false;
}

/* One token: picked, and its text shown. w->ending is set where it was the last. */
static quire_status write_token(struct writer *w, const float *logits, int32_t *id, quire_error *err)
{
    const char *bytes;
    size_t n;
    quire_status status = quire_sampler_pick(w->sampler, logits, id, err);
    if (status != QUIRE_OK)
        return status;
    if (is_end(w->prompt, *id)) {
        w->ending = ENDED_BY_MODEL;
        return QUIRE_OK;
    }
    w->n_tokens++;
    status = quire_decoder_feed(w->decoder, *id, &bytes, &n, err);
    if (status == QUIRE_OK)
        status = show_until_stop(w, bytes, n, err);
    if (quire_stop_found(w->stop))
        w->ending = ENDED_BY_STOP;
    else if (w->n_tokens == w->s->o->max_tokens)
        w->ending = ENDED_BY_LENGTH;
    return status;
}

/* With what may follow, where that has been seen. */
static quire_status append(struct writer *w, quire_book *book, int32_t id, quire_error *err)
{
    int32_t ids[QUIRE_DRAFT_MOST];
    if (!w->draft)
        return quire_book_append(book, id, err);
    quire_draft_see(w->draft, id);
    return quire_book_append_draft(book, id, ids, quire_draft_next(w->draft, ids), err);
}

static quire_status write_tokens(struct writer *w, quire_book *book, quire_error *err)
{
    for (;;) {
        int32_t id;
        quire_status status = write_token(w, quire_book_logits(book), &id, err);
        if (status != QUIRE_OK || w->ending != NOTHING_WRITTEN)
            return status;
        if (has_bar(w))
            progress_writing(&w->s->progress, w->n_tokens, w->s->o->max_tokens);
        status = append(w, book, id, err);
        if (status != QUIRE_OK)
            return status;
    }
}

/* What was held back: as the beginning of a stop string that did not come, or as half a character. A character that the
 * limit cut in two is not shown; one that the model itself left unfinished is, as U+FFFD. */
static quire_status write_rest(struct writer *w, quire_error *err)
{
    const char *bytes;
    size_t n;
    quire_status status = QUIRE_OK;
    if (w->ending == ENDED_BY_MODEL) {
        status = quire_decoder_finish(w->decoder, &bytes, &n, err);
        if (status == QUIRE_OK)
            status = show_until_stop(w, bytes, n, err);
    }
    if (status == QUIRE_OK) {
        quire_stop_finish(w->stop, &bytes, &n);
        status = show(w, bytes, n, err);
    }
    if (status == QUIRE_OK && !w->s->o->json)
        status = output_end_line(&w->s->output, err);
    return status;
}

quire_status writer_run(struct writer *w, quire_book *book, quire_error *err)
{
    if (w->s->o->max_tokens == 0) { /* reading was all that was asked for */
        w->ending = ENDED_BY_LENGTH;
        return QUIRE_OK;
    }
    quire_status status = write_tokens(w, book, err);
    progress_clear(&w->s->progress);
    if (status != QUIRE_OK)
        w->ending = status == QUIRE_ERR_CANCELLED ? ENDED_BY_INTERRUPT : ENDED_BY_ERROR;
    quire_status written = write_rest(w, err);
    if (w->s->output.is_closed)
        w->ending = ENDED_BY_OUTPUT;
    return status == QUIRE_OK ? written : status;
}

/* --- lifetime -------------------------------------------------------------------------------------------------- */

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

quire_status writer_open(struct writer *w, struct session *s, const quire_prompt *prompt, bool is_answer,
                         const int32_t *ids, size_t n, quire_error *err)
{
    const struct options *o = s->o;
    const char *stops[MAX_STOP_STRINGS + 1];
    size_t n_stops = o->n_stop;
    *w = (struct writer){.s = s, .prompt = prompt, .is_answer = is_answer};
    memcpy(stops, o->stop, n_stops * sizeof *stops);
    if (prompt->stop)
        stops[n_stops++] = prompt->stop;

    quire_status status = quire_stop_open(&w->stop, stops, n_stops, err);
    if (status == QUIRE_OK)
        status = quire_decoder_open(&w->decoder, s->tokenizer, false, err);
    if (status == QUIRE_OK)
        status = quire_sampler_open(&w->sampler, &o->sampler, quire_model_config(s->model)->vocab_size,
                                    quire_tokenizer_n_tokens(s->tokenizer), err);
    if (status == QUIRE_OK && s->draft_tokens > 0 && o->max_tokens > 0)
        status = quire_draft_open(&w->draft, n + (size_t)o->max_tokens, s->draft_tokens, err);
    if (status != QUIRE_OK)
        return status;
    ban_tokens(w);
    for (size_t i = 0; i < n; i++)
        quire_sampler_see(w->sampler, ids[i]);
    for (size_t i = 0; i < n && w->draft; i++)
        quire_draft_see(w->draft, ids[i]);
    return QUIRE_OK;
}

void writer_close(struct writer *w)
{
    quire_stop_close(w->stop);
    quire_decoder_close(w->decoder);
    quire_sampler_close(w->sampler);
    quire_draft_close(w->draft);
    free(w->text);
    *w = (struct writer){0};
}
