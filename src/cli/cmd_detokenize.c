#include <inttypes.h>
#include <string.h>

#include "command.h"
#include "interrupt.h"
#include "session.h"
#include "text.h"

/* Decimal ids between white space, arriving in pieces that may cut a number in two. */
struct scanner {
    struct session *s;
    quire_decoder *decoder;
    char word[24]; /* the number being read; a longer word is no id */
    size_t n_word;
    uint64_t line;
    bool has_begun;
    uint64_t n_ids;
    char name[DOCUMENT_NAME_SIZE];
};

static quire_status fail_word(const struct scanner *scan, uint32_t n_tokens, quire_error *err)
{
    char word[8 * sizeof scan->word];
    quire_printable(word, sizeof word, scan->word, scan->n_word);
    return quire_fail(err, QUIRE_ERR_FORMAT,
                      "%s line %" PRIu64 ": '%s' is not a token id of this model (a number from 0 to %u)", scan->name,
                      scan->line, word, n_tokens - 1);
}

static quire_status write_id(struct scanner *scan, quire_error *err)
{
    const char *bytes;
    size_t n;
    uint64_t id = 0;
    bool is_number = scan->n_word > 0 && scan->n_word <= 10;
    for (size_t i = 0; i < scan->n_word && is_number; i++) {
        is_number = scan->word[i] >= '0' && scan->word[i] <= '9';
        id = 10 * id + (uint64_t)(scan->word[i] - '0');
    }
    uint32_t n_tokens = quire_tokenizer_n_tokens(scan->s->tokenizer);
    if (!is_number || id >= n_tokens || !quire_tokenizer_bytes(scan->s->tokenizer, (int32_t)id, &bytes, &n))
        return fail_word(scan, n_tokens, err);
    quire_status status = quire_decoder_feed(scan->decoder, (int32_t)id, &bytes, &n, err);
    scan->n_word = 0;
    scan->n_ids++;
    return status == QUIRE_OK ? output_write(&scan->s->output, bytes, n, err) : status;
}

static quire_status scan_bytes(struct scanner *scan, const char *bytes, size_t n, quire_error *err)
{
    static const char mark[] = "\xEF\xBB\xBF"; /* that a text may begin with */
    bool is_marked = !scan->has_begun && n >= 3 && memcmp(bytes, mark, 3) == 0;
    scan->has_begun = true;
    for (size_t i = is_marked ? 3 : 0; i < n; i++) {
        char c = bytes[i];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r') {
            if (scan->n_word < sizeof scan->word)
                scan->word[scan->n_word++] = c;
            continue;
        }
        if (scan->n_word > 0) {
            quire_status status = write_id(scan, err);
            if (status != QUIRE_OK)
                return status;
        }
        scan->line += c == '\n';
    }
    return QUIRE_OK;
}

static quire_status scan_reader(struct scanner *scan, quire_reader *reader, quire_error *err)
{
    for (;;) {
        const char *bytes;
        size_t n;
        if (interrupt_pending())
            return quire_fail(err, QUIRE_ERR_CANCELLED, "interrupted");
        quire_status status = quire_reader_next(reader, &bytes, &n, err);
        if (status == QUIRE_OK && n == 0)
            return scan->n_word > 0 ? write_id(scan, err) : QUIRE_OK;
        if (status == QUIRE_OK)
            status = scan_bytes(scan, bytes, n, err);
        if (status != QUIRE_OK)
            return status;
    }
}

static quire_status scan_document(struct scanner *scan, const struct document *d, quire_error *err)
{
    quire_reader *reader = NULL;
    const char *bytes;
    size_t n;
    quire_status status = quire_decoder_open(&scan->decoder, scan->s->tokenizer, true, err);
    const quire_reader_options options = {.ring = d->ring, .no_uring = scan->s->o->no_uring, .bytes = true};
    if (status == QUIRE_OK)
        status = quire_reader_open(&reader, d->paths[0], &options, err);
    if (status == QUIRE_OK) {
        interrupt_watch_reader(reader);
        status = scan_reader(scan, reader, err);
        interrupt_watch_reader(NULL);
    }
    if (status == QUIRE_OK)
        status = quire_decoder_finish(scan->decoder, &bytes, &n, err);
    if (status == QUIRE_OK)
        status = output_write(&scan->s->output, bytes, n, err);
    if (status == QUIRE_OK)
        status = output_flush(&scan->s->output, err);
    quire_reader_close(reader);
    quire_decoder_close(scan->decoder);
    return status;
}

static enum exit_code detokenize_document(struct session *s, struct document *d, void *user)
{
    (void)user;
    char tokens[TEXT_SIZE];
    struct scanner scan = {.s = s, .line = 1};
    document_path_name(scan.name, d->paths[0]);
    quire_status status = scan_document(&scan, d, &s->error);
    text_counted(tokens, scan.n_ids, "token");
    if (status == QUIRE_OK)
        progress_note(&s->progress, "%s: %s", scan.name, tokens);
    session_interrupted(s, "interrupted after %s of %s", tokens, scan.name);
    return session_end(s, FROM_INPUT);
}

enum exit_code cmd_detokenize(const struct options *o)
{
    struct session s = {0};
    quire_status status = session_open(&s, o, NULL, NEED_TOKENIZER, false);
    enum exit_code code =
        status == QUIRE_OK ? session_each(&s, o->n_arguments, detokenize_document, NULL) : session_end(&s, s.source);
    return session_close(&s, code);
}
