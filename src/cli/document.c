#include "document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "interrupt.h"

static const char *path_label(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

const char *document_path_name(char name[DOCUMENT_NAME_SIZE], const char *path)
{
    const char *label = path_label(path);
    quire_printable(name, DOCUMENT_NAME_SIZE, label, strlen(label));
    return name;
}

void document_label(char label[DOCUMENT_NAME_SIZE], const struct document *document)
{
    const char *first = path_label(document->paths[0]);
    if (document->n_paths == 1)
        snprintf(label, DOCUMENT_NAME_SIZE, "%s", first);
    else
        snprintf(label, DOCUMENT_NAME_SIZE, "%s and %zu more", first, document->n_paths - 1);
}

const char *document_name(char name[DOCUMENT_NAME_SIZE], const struct document *document)
{
    char label[DOCUMENT_NAME_SIZE];
    document_label(label, document);
    quire_printable(name, DOCUMENT_NAME_SIZE, label, strlen(label));
    return name;
}

/* Opening a FIFO takes it from its writer, and standard input is open already: only what lies on a disk is tried. */
quire_status document_check_path(const char *path, quire_error *err)
{
    struct stat st;
    quire_reader *reader = NULL;
    if (strcmp(path, "-") == 0 || (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return QUIRE_OK;
    quire_status status = quire_reader_open(&reader, path, &(quire_reader_options){.no_uring = true}, err);
    quire_reader_close(reader);
    return status;
}

quire_status documents_find(const char *const **paths, size_t *n_paths, const char *const *arguments,
                            size_t n_arguments, quire_error *err)
{
    static const char *const standard_input[] = {"-"};
    size_t n_standard_input = 0;
    if (n_arguments == 0) {
        if (isatty(STDIN_FILENO))
            return quire_fail(err, QUIRE_ERR_USAGE, "no document: name a file, or give a text on standard input");
        *paths = standard_input;
        *n_paths = 1;
        return QUIRE_OK;
    }
    for (size_t i = 0; i < n_arguments; i++) {
        n_standard_input += strcmp(arguments[i], "-") == 0;
        if (n_standard_input > 1)
            return quire_fail(err, QUIRE_ERR_USAGE, "standard input ('-') is given twice; it can be read once");
    }
    *paths = arguments;
    *n_paths = n_arguments;
    return QUIRE_OK;
}

static quire_status open_reader(quire_reader **out, const struct document *document, const char *path,
                                const struct options *o, quire_error *err)
{
    quire_reader_options options = {.ring = document->ring, .no_uring = o->no_uring, .lossy = o->lossy};
    return quire_reader_open(out, path, &options, err);
}

/* A document on its way from bytes to ids. */
struct stream {
    struct document *document;
    struct progress *progress;
    quire_encoder *encoder;
    document_sink sink;
    void *user;
    bool is_enough;
};

static quire_status pass_on(struct stream *s, const quire_ids *ids, quire_error *err)
{
    s->document->n_tokens += ids->n_ids;
    return ids->n_ids == 0 ? QUIRE_OK : s->sink(s->user, ids->ids, ids->n_ids, &s->is_enough, err);
}

static quire_status stream_reader(struct stream *s, quire_reader *reader, quire_error *err)
{
    uint64_t n_bytes_before = s->document->n_bytes;
    while (!s->is_enough) {
        const char *bytes;
        size_t n;
        quire_ids ids;
        if (interrupt_pending())
            return quire_fail(err, QUIRE_ERR_CANCELLED, "interrupted");
        quire_status status = quire_reader_next(reader, &bytes, &n, err);
        if (status == QUIRE_OK && n == 0)
            break;
        if (status == QUIRE_OK)
            status = quire_encoder_feed(s->encoder, bytes, n, &ids, err);
        if (status == QUIRE_OK)
            status = pass_on(s, &ids, err);
        if (status != QUIRE_OK)
            return status;
        s->document->n_bytes = n_bytes_before + quire_reader_n_bytes(reader);
        progress_input(s->progress, s->document->n_bytes, s->document->n_paths == 1 ? quire_reader_size(reader) : -1,
                       s->document->n_tokens);
    }
    s->document->n_bytes = n_bytes_before + quire_reader_n_bytes(reader);
    s->document->n_replaced += quire_reader_n_replaced(reader);
    return QUIRE_OK;
}

static quire_status stream_path(struct stream *s, const char *path, const struct options *o, quire_error *err)
{
    quire_reader *reader;
    char name[DOCUMENT_NAME_SIZE];
    quire_status status = open_reader(&reader, s->document, path, o, err);
    if (status != QUIRE_OK)
        return status;
    interrupt_watch_reader(reader);
    status = stream_reader(s, reader, err);
    progress_detail(s->progress, "%s: read through %s", document_path_name(name, path), quire_reader_backend(reader));
    interrupt_watch_reader(NULL);
    quire_reader_close(reader);
    return status;
}

quire_status document_stream(struct document *document, const struct options *o, const quire_tokenizer *tokenizer,
                             struct progress *progress, document_sink sink, void *user, quire_error *err)
{
    struct stream s = {.document = document, .progress = progress, .sink = sink, .user = user};
    quire_ids ids;
    progress_begin(progress);
    quire_status status = quire_encoder_open(&s.encoder, tokenizer, o->parse_special, err);
    for (size_t i = 0; i < document->n_paths && status == QUIRE_OK && !s.is_enough; i++)
        status = stream_path(&s, document->paths[i], o, err);
    if (status == QUIRE_OK)
        status = quire_encoder_finish(s.encoder, &ids, err);
    if (status == QUIRE_OK && !s.is_enough)
        status = pass_on(&s, &ids, err);
    quire_encoder_close(s.encoder);
    progress_clear(progress);
    return status;
}

/* Keeps what --head and --tail ask for. With --tail twice as much is held before the front is thrown away, so that each
 * id is moved at most once. */
struct keeper {
    struct document *document;
    uint64_t head, tail; /* 0: no limit */
    size_t n;
};

static void drop_front(struct keeper *k)
{
    size_t n_surplus = k->n - (size_t)k->tail;
    memmove(k->document->ids, k->document->ids + n_surplus, (size_t)k->tail * sizeof *k->document->ids);
    k->document->n_left_out += n_surplus;
    k->n = (size_t)k->tail;
}

static quire_status keep(void *user, const int32_t *ids, size_t n, bool *is_enough, quire_error *err)
{
    struct keeper *k = user;
    struct document *document = k->document;
    if (k->head > 0 && n > k->head - k->n) {
        n = (size_t)k->head - k->n;
        document->is_cut_short = *is_enough = true;
    }
    if (k->n + n > document->capacity) {
        size_t capacity = k->n + n > 2 * document->capacity ? k->n + n : 2 * document->capacity;
        int32_t *grown = capacity <= SIZE_MAX / sizeof *grown ? realloc(document->ids, capacity * sizeof *grown) : NULL;
        if (!grown)
            return quire_fail(err, QUIRE_ERR_NO_MEMORY, "no memory for the ids of %zu tokens", capacity);
        document->ids = grown;
        document->capacity = capacity;
    }
    memcpy(document->ids + k->n, ids, n * sizeof *ids);
    k->n += n;
    if (k->tail > 0 && k->n >= 2 * k->tail)
        drop_front(k);
    return QUIRE_OK;
}

quire_status document_read(struct document *document, const struct options *o, const quire_tokenizer *tokenizer,
                           struct progress *progress, quire_error *err)
{
    struct keeper k = {.document = document, .head = o->head_tokens, .tail = o->tail_tokens};
    quire_status status = document_stream(document, o, tokenizer, progress, keep, &k, err);
    if (status != QUIRE_OK)
        return status;
    if (k.tail > 0 && k.n > k.tail)
        drop_front(&k);
    document->n_tokens = k.n;
    if (k.n == 0) {
        char name[DOCUMENT_NAME_SIZE];
        document_name(name, document);
        return quire_fail(err, QUIRE_ERR_TEXT, "%s is empty: there is nothing to read", name);
    }
    return QUIRE_OK;
}

quire_status document_first_words(const struct document *document, const quire_tokenizer *tokenizer, char *words,
                                  size_t size, quire_error *err)
{
    quire_decoder *decoder = NULL;
    size_t n_words = 0;
    quire_status status = quire_decoder_open(&decoder, tokenizer, false, err);
    for (uint64_t i = 0; i < document->n_tokens && status == QUIRE_OK; i++) {
        const char *bytes;
        size_t n;
        status = quire_decoder_feed(decoder, document->ids[i], &bytes, &n, err);
        if (status != QUIRE_OK || n >= size - n_words)
            break;
        memcpy(words + n_words, bytes, n);
        n_words += n;
    }
    words[n_words] = '\0';
    quire_decoder_close(decoder);
    return status;
}

void document_release(struct document *document)
{
    free(document->ids);
    *document = (struct document){0};
}
