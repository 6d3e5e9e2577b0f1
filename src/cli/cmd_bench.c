/* Speed by context length: a text is read in parts, and at the end of each part some tokens are decoded. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_rows.h"
#include "command.h"
#include "interrupt.h"
#include "receipt.h"
#include "text.h"

enum { MAX_ROWS = 64, FIRST_CONTEXT = 512, SECOND_CONTEXT = 2048 };

struct bench {
    struct session *s;
    struct document document; /* the text, as ids */
    struct bench_row rows[MAX_ROWS];
    size_t n_rows;
    size_t n_measured;   /* in this repeat */
    double *times;       /* [2][n_rows][n_repeats]: seconds of reading, and of decoding one token */
    double *token_times; /* [n_decode] */
    quire_peaks peaks;
    uint64_t peak_bytes; /* what measuring memory may take */
    int clear_refs;      /* /proc/self/clear_refs, or -1: the sandbox does not let it be opened later */
};

/* --- what is to be measured -------------------------------------------------------------------------------------- */

static quire_status add_context(struct bench *b, uint64_t context, const char *list, quire_error *err)
{
    uint64_t before = b->n_rows > 0 ? b->rows[b->n_rows - 1].context : 0;
    if (context <= before)
        return quire_fail(err, QUIRE_ERR_USAGE,
                          "option '--contexts': '%s' is not a list of growing numbers such as 512,2048,8192", list);
    if (b->n_rows == MAX_ROWS)
        return quire_fail(err, QUIRE_ERR_USAGE, "option '--contexts' has more than %d lengths", MAX_ROWS);
    b->rows[b->n_rows++] = (struct bench_row){.context = context, .n_read = context - before};
    return QUIRE_OK;
}

/* Digits and commas. A length of more than nine digits is none. */
static quire_status parse_contexts(struct bench *b, const char *list, quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (const char *at = list; status == QUIRE_OK; at++) {
        size_t n = strspn(at, "0123456789");
        status = add_context(b, n >= 1 && n <= 9 ? strtoul(at, NULL, 10) : 0, list, err);
        at += n;
        if (*at == '\0')
            break;
        if (*at != ',' && status == QUIRE_OK)
            status = add_context(b, 0, list, err);
    }
    return status;
}

static quire_status choose_contexts(struct bench *b, const struct options *o, quire_error *err)
{
    if (o->contexts)
        return parse_contexts(b, o->contexts, err);
    quire_status status = QUIRE_OK;
    for (uint64_t n = FIRST_CONTEXT; n < o->most_context && status == QUIRE_OK;
         n = n == FIRST_CONTEXT ? SECOND_CONTEXT : 2 * n)
        status = add_context(b, n, "", err);
    return status == QUIRE_OK ? add_context(b, o->most_context, "", err) : status;
}

/* Random tokens, the same ones each time. */
static quire_status make_text(struct document *document, size_t n, uint32_t vocab_size, quire_error *err)
{
    uint64_t state = 1;
    document->ids = malloc(n * sizeof *document->ids);
    if (!document->ids)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "no memory for the ids of %zu tokens", n);
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        document->ids[i] = (int32_t)((state >> 33) % vocab_size);
    }
    document->n_tokens = n;
    return QUIRE_OK;
}

static quire_status read_text(struct bench *b, const char *const *path, quire_error *err)
{
    struct session *s = b->s;
    struct options o = *s->o;
    uint64_t most = b->rows[b->n_rows - 1].context;
    char name[DOCUMENT_NAME_SIZE];
    o.head_tokens = most;
    b->document = (struct document){.paths = path, .n_paths = 1, .ring = s->ring};
    quire_status status = document_read(&b->document, &o, s->tokenizer, &s->progress, err);
    if (status == QUIRE_OK && b->document.n_tokens < most)
        return quire_fail(err, QUIRE_ERR_TEXT,
                          "%s has %" PRIu64 " tokens, and the last context length is %" PRIu64
                          ": give a longer text, or shorter lengths with --up-to or --contexts",
                          document_path_name(name, *path), b->document.n_tokens, most);
    return status;
}

/* --- measuring --------------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_size);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* Makes the system count the most memory from here on. Where it does not, the count includes what was before. */
static bool reset_resident(const struct bench *b)
{
    return pwrite(b->clear_refs, "5", 1, 0) == 1;
}

static double share_met(uint64_t n_met, uint64_t n_left_out)
{
    return n_met > 0 ? (double)n_met / (double)(n_met + n_left_out) : 1;
}

/* Operations of the row's tokens: two for each weight of a layer's products, attention over all tokens before (less
 * what was left out), and the head once. */
static double read_operations(const quire_config *c, const struct bench_row *row)
{
    double d = c->d_model, end = (double)row->context, n = (double)row->n_read, first = end - n;
    double weights = d * (2 * d + 2.0 * c->kv_n_heads * c->head_dim) + 2 * d * c->d_ff;
    double met = share_met(row->n_blocks_met, row->n_blocks_left_out);
    return c->n_layers * (2 * weights * n + 2 * d * (end * end - first * first) * met) + 2 * d * c->vocab_size;
}

static quire_status decode(struct bench *b, quire_book *book, struct bench_row *row, double *seconds, quire_error *err)
{
    struct session *s = b->s;
    uint32_t n = s->o->n_decode;
    const int32_t *ids = b->document.ids;
    progress_begin(&s->progress);
    /* The first one sets up what the others use, and is not timed. */
    quire_status status = quire_book_append(book, ids[row->context % b->document.n_tokens], err);
    for (uint32_t i = 0; i < n && status == QUIRE_OK; i++) {
        double start = progress_now();
        status = quire_book_append(book, ids[(row->context + 1 + i) % b->document.n_tokens], err);
        b->token_times[i] = progress_now() - start;
        progress_writing(&s->progress, i + 1, n);
    }
    if (status == QUIRE_OK)
        *seconds = median(b->token_times, n);
    return status;
}

static quire_status measure_row(struct bench *b, quire_book *book, struct bench_row *row, double *read_seconds,
                                double *decode_seconds, quire_error *err)
{
    struct session *s = b->s;
    quire_plan plan = {0};
    uint64_t n_met = quire_book_n_blocks_met(book), n_left_out = quire_book_n_blocks_skipped(book);
    (void)reset_resident(b);
    progress_begin(&s->progress);
    double start = progress_now();
    quire_status status = quire_book_read_to(book, (size_t)row->context, err);
    *read_seconds = progress_now() - start;
    row->n_blocks_met = quire_book_n_blocks_met(book) - n_met;
    row->n_blocks_left_out = quire_book_n_blocks_skipped(book) - n_left_out;
    row->read_operations = read_operations(quire_model_config(s->model), row);
    if (status == QUIRE_OK && s->o->n_decode > 0)
        status = decode(b, book, row, decode_seconds, err);
    progress_clear(&s->progress);
    if (status != QUIRE_OK)
        return status;
    row->n_decoded = s->o->n_decode;
    row->resident_bytes = receipt_peak_bytes();
    status = quire_engine_plan(s->engine, row->context, 0, &plan, err);
    n_met = quire_book_n_blocks_met(book) - n_met - row->n_blocks_met;
    n_left_out = quire_book_n_blocks_skipped(book) - n_left_out - row->n_blocks_left_out;
    row->decode_bytes =
        (double)quire_model_weight_bytes(s->model) + (double)plan.disk_bytes * share_met(n_met, n_left_out);
    if (status == QUIRE_OK) /* beside the row, so that a moment's noise does not flatter a share */
        status = quire_peaks_measure_units(&b->peaks, quire_engine_isa(s->engine), s->o->n_threads, err);
    return status;
}

static void note_row(struct session *s, const struct bench_row *row, double read_seconds, double decode_seconds)
{
    char context[TEXT_SIZE], read[TEXT_SIZE], decoded[TEXT_SIZE];
    text_count(context, row->context);
    text_rate(read, (double)row->n_read, read_seconds);
    if (row->n_decoded > 0)
        progress_note(&s->progress, "%s tokens: read %s tokens/s, decode %s tokens/s", context, read,
                      text_rate(decoded, 1, decode_seconds));
    else
        progress_note(&s->progress, "%s tokens: read %s tokens/s", context, read);
}

/* Reads the text once, part by part. */
static quire_status measure_text(struct bench *b, size_t repeat, quire_error *err)
{
    struct session *s = b->s;
    size_t n_repeats = s->o->n_repeats;
    uint32_t n_new = s->o->n_decode > 0 ? s->o->n_decode + 1 : 0;
    quire_book *book;
    quire_status status = quire_book_open(&book, s->engine, err);
    if (status != QUIRE_OK)
        return status;
    status = quire_book_begin(book, b->document.ids, (size_t)b->rows[b->n_rows - 1].context, n_new, err);
    for (b->n_measured = 0; b->n_measured < b->n_rows && status == QUIRE_OK;) {
        double *read = b->times + b->n_measured * n_repeats + repeat, *decoded = read + b->n_rows * n_repeats;
        status = measure_row(b, book, &b->rows[b->n_measured], read, decoded, err);
        if (status == QUIRE_OK)
            note_row(s, &b->rows[b->n_measured++], *read, *decoded);
    }
    quire_book_close(book);
    return status;
}

/* The whole run; *n_repeats counts the repeats that were ended. */
static quire_status measure(struct bench *b, size_t *n_repeats, quire_error *err)
{
    struct session *s = b->s;
    quire_status status = quire_peaks_measure_memory(&b->peaks, s->o->n_threads, b->peak_bytes, err);
    for (*n_repeats = 0; *n_repeats < s->o->n_repeats && status == QUIRE_OK;) {
        status = measure_text(b, *n_repeats, err);
        if (status != QUIRE_OK)
            break;
        ++*n_repeats;
        status = quire_peaks_measure_memory(&b->peaks, s->o->n_threads, b->peak_bytes, err);
    }
    return status;
}

/* Medians of the repeats that got as far as each row. Gives the number of rows that any repeat got to. */
static size_t take_medians(struct bench *b, size_t n_ended)
{
    size_t n_repeats = b->s->o->n_repeats;
    for (size_t i = 0; i < b->n_rows; i++) {
        double *read = b->times + i * n_repeats;
        size_t n = n_ended < n_repeats && i < b->n_measured ? n_ended + 1 : n_ended;
        if (n == 0)
            return i;
        b->rows[i].read_seconds = median(read, n);
        b->rows[i].decode_seconds = median(read + b->n_rows * n_repeats, n);
    }
    return b->n_rows;
}

/* --- the command ------------------------------------------------------------------------------------------------- */

static quire_status prepare(struct bench *b, const char *const *path, enum error_source *source, quire_error *err)
{
    struct session *s = b->s;
    size_t n_most = (size_t)b->rows[b->n_rows - 1].context;
    quire_plan plan;
    char name[DOCUMENT_NAME_SIZE];
    *source = FROM_INPUT;
    quire_status status =
        path ? read_text(b, path, err) : make_text(&b->document, n_most, quire_model_config(s->model)->vocab_size, err);
    if (status != QUIRE_OK)
        return status;
    *source = FROM_WORK;
    b->times = calloc(2 * b->n_rows * s->o->n_repeats, sizeof *b->times);
    b->token_times = calloc(s->o->n_decode + 1, sizeof *b->token_times);
    if (!b->times || !b->token_times)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "no memory for what is measured");
    status = quire_engine_plan(s->engine, n_most, s->o->n_decode > 0 ? s->o->n_decode + 1 : 0, &plan, err);
    if (status != QUIRE_OK)
        return status;
    receipt_print_plan(s, path ? document_path_name(name, *path) : "random tokens", &plan);
    b->peak_bytes = plan.budget_bytes / 2 < 1 << 30 ? plan.budget_bytes / 2 : 1 << 30;
    return QUIRE_OK;
}

static enum exit_code run(struct bench *b)
{
    struct session *s = b->s;
    enum error_source source = FROM_OPTIONS;
    size_t n_ended = 0;
    const char *const *path = s->o->n_arguments > 0 ? s->o->arguments : NULL;
    quire_status status = choose_contexts(b, s->o, &s->error);
    if (status == QUIRE_OK)
        status = prepare(b, path, &source, &s->error);
    if (status == QUIRE_OK)
        measure(b, &n_ended, &s->error);
    /* Whatever ended the run, what was measured before is worth something. */
    size_t n_rows = b->token_times ? take_medians(b, n_ended) : 0;
    session_interrupted(s, "interrupted: %zu of %zu context lengths were measured", n_rows, b->n_rows);
    if (n_rows > 0)
        bench_write_rows(s, b->rows, n_rows, &b->peaks, &s->error);
    return session_end(s, source);
}

/* The machine without a model. */
static enum exit_code run_peak(struct session *s)
{
    const struct options *o = s->o;
    quire_peaks peaks = {.stop = interrupt_asked};
    quire_error *err = &s->error;
    uint64_t n_bytes = o->memory_bytes > 0 && o->memory_bytes / 2 < 1 << 30 ? o->memory_bytes / 2 : 1 << 30;
    quire_status status = quire_peaks_measure_units(&peaks, o->isa, o->n_threads, err);
    if (status == QUIRE_ERR_UNSUPPORTED)
        return session_end(s, FROM_OPTIONS);
    if (status == QUIRE_OK)
        status = quire_peaks_measure_memory(&peaks, o->n_threads, n_bytes, err);
    if (status == QUIRE_OK)
        status = quire_peaks_measure_disk(&peaks, NULL, err);
    if (status == QUIRE_OK)
        bench_write_peaks(s, &peaks, err);
    session_interrupted(s, "interrupted before the machine was measured");
    return session_end(s, FROM_WORK);
}

enum exit_code cmd_bench(const struct options *o)
{
    struct session s = {0};
    struct bench b = {
        .s = &s, .peaks.stop = interrupt_asked, .clear_refs = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC)};
    enum exit_code code;
    if (session_open(&s, o, NULL, o->peak ? NEED_OUTPUT : NEED_ENGINE, false) != QUIRE_OK)
        code = session_end(&s, s.source);
    else
        code = o->peak ? run_peak(&s) : run(&b);
    document_release(&b.document);
    free(b.times);
    free(b.token_times);
    if (b.clear_refs >= 0)
        close(b.clear_refs);
    return session_close(&s, code);
}
