/* What a model computes for a text, whole: for the comparisons of this folder, which need every position's logits.
 *
 *     all_logits MODEL KV_TYPE ISA <ids >numbers
 *
 * ids: int32. numbers: float32; first a log-probability for each id, from one reading of the text (the first has none:
 * NaN), then vocab_size logits for each id, from a reading in parts of one token. Exits with 77 where the machine
 * cannot run the ISA. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "quire/quire.h"

struct text {
    int32_t *ids;
    size_t n;
    float *logprobs; /* [n] */
};

static void need(quire_status status, const quire_error *err)
{
    if (status != QUIRE_OK) {
        fprintf(stderr, "all_logits: %s\n", err->message);
        exit(1);
    }
}

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    if (!p) {
        perror("all_logits");
        exit(1);
    }
    return p;
}

static struct text read_text(void)
{
    enum { N_MAX = 1 << 20 };
    struct text text = {.ids = allocate(N_MAX, sizeof *text.ids)};
    text.n = fread(text.ids, sizeof *text.ids, N_MAX, stdin);
    text.logprobs = allocate(text.n, sizeof *text.logprobs);
    for (size_t i = 0; i < text.n; i++)
        text.logprobs[i] = NAN;
    return text;
}

static void take_logprobs(void *user, uint64_t first, const int32_t *ids, const float *logprobs, size_t n)
{
    const struct text *text = user;
    (void)ids;
    for (size_t i = 0; i < n; i++)
        text->logprobs[first + i] = logprobs[i];
}

static void write_floats(const float *numbers, size_t n)
{
    if (fwrite(numbers, sizeof *numbers, n, stdout) != n) {
        perror("all_logits: standard output");
        exit(1);
    }
}

static void read_whole(const quire_model *model, quire_engine_options opts, struct text *text)
{
    quire_error err = {0};
    quire_engine *engine;
    quire_book *book;
    opts.logprobs = take_logprobs;
    opts.user = text;
    quire_status status = quire_engine_open(&engine, model, &opts, &err);
    if (status == QUIRE_ERR_UNSUPPORTED) {
        fprintf(stderr, "all_logits: %s\n", err.message);
        exit(77);
    }
    need(status, &err);
    need(quire_book_open(&book, engine, &err), &err);
    need(quire_book_read(book, text->ids, text->n, 0, &err), &err);
    quire_book_close(book);
    quire_engine_close(engine);
    write_floats(text->logprobs, text->n);
}

static void read_in_parts(const quire_model *model, const quire_engine_options *opts, const struct text *text)
{
    quire_error err = {0};
    quire_engine *engine;
    quire_book *book;
    need(quire_engine_open(&engine, model, opts, &err), &err);
    need(quire_book_open(&book, engine, &err), &err);
    need(quire_book_begin(book, text->ids, text->n, 0, &err), &err);
    for (size_t end = 1; end <= text->n; end++) {
        need(quire_book_read_to(book, end, &err), &err);
        write_floats(quire_book_logits(book), quire_model_config(model)->vocab_size);
    }
    quire_book_close(book);
    quire_engine_close(engine);
}

int main(int argc, char **argv)
{
    quire_error err = {0};
    quire_engine_options opts = quire_engine_defaults();
    quire_model *model;
    if (argc != 4) {
        fprintf(stderr, "usage: all_logits MODEL KV_TYPE ISA <ids >numbers\n");
        return 2;
    }
    need(quire_model_open(&model, argv[1], &err), &err);
    need(quire_kv_type_parse(&opts.kv_type, argv[2], &err), &err);
    opts.isa = argv[3];
    struct text text = read_text();
    read_whole(model, opts, &text);
    read_in_parts(model, &opts, &text);
    quire_model_close(model);
    free(text.ids);
    free(text.logprobs);
    return fflush(stdout) == 0 ? 0 : 1;
}
