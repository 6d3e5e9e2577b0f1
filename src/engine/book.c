/* A book as its reader holds it: the text that was read, and the branch of what was appended. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "decode.h"
#include "engine.h"
#include "prefill.h"

quire_status quire_book_open(quire_book **out, quire_engine *engine, quire_error *err)
{
    if (engine->has_book)
        return quire_fail(err, QUIRE_ERR_USAGE, "the engine has a book open: close it first");
    quire_book *book = mem_calloc(1, sizeof *book, "a book", err);
    if (!book)
        return QUIRE_ERR_NO_MEMORY;
    book->engine = engine;
    atomic_store(&engine->n_blocks_met, 0);
    atomic_store(&engine->n_blocks_due, 0);
    engine->has_book = true;
    quire_book_describe(book, NULL, NULL); /* whatever the book before was called */
    *out = book;
    return QUIRE_OK;
}

void quire_book_close(quire_book *book)
{
    if (!book)
        return;
    kv_book_close(book->branch);
    kv_book_close(book->kv);
    decode_close(book->decode);
    free(book->ids);
    free(book->logits);
    notices_release(&book->notices);
    book->engine->has_book = false;
    free(book);
}

void quire_book_describe(quire_book *book, const char *label, const char *first_words)
{
    const struct quire_model *model = book->engine->model;
    struct kv_about about = {0};
    const char *tokenizer = model_tokenizer_path(model) ? model_tokenizer_path(model) : model->path;
    kv_about_set(about.label, sizeof about.label, label ? label : "", label ? strlen(label) : 0);
    kv_about_set(about.words, sizeof about.words, first_words ? first_words : "",
                 first_words ? strlen(first_words) : 0);
    kv_about_set(about.model, sizeof about.model, model->name, strlen(model->name));
    kv_about_set(about.tokenizer, sizeof about.tokenizer, tokenizer, strlen(tokenizer));
    kv_store_describe(book->engine->store, &about);
}

static quire_status check_ids(const quire_engine *engine, const int32_t *ids, size_t n, quire_error *err)
{
    uint32_t vocab_size = engine->model->config.vocab_size;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= vocab_size)
            return quire_fail(err, QUIRE_ERR_USAGE, "token %zu is %d, and '%s' has ids from 0 to %u", i, ids[i],
                              engine->model->path, vocab_size - 1);
    return QUIRE_OK;
}

static bool has_limit(const quire_book *book)
{
    return book->engine->opts.store_path && book->engine->opts.store_limit_bytes > 0;
}

/* Keeps the store under its limit, n_bytes more counted in. This book and those that it begins with are in use, and so
 * stay. */
static quire_status make_room(const quire_book *book, uint64_t n_bytes, quire_error *err)
{
    return kv_store_make_room(book->engine->store, book->engine->opts.store_limit_bytes, n_bytes, err);
}

/* The same, for what the reading will add to the store. */
static quire_status make_room_to_read(const quire_book *book, quire_error *err)
{
    if (!has_limit(book))
        return QUIRE_OK;
    return make_room(book, kv_book_missing_bytes(book->kv, book->n_read + book->n_new, book->plan.figures.flight_bytes),
                     err);
}

/* For the residual streams of spans: that of an interrupted one is there. */
static uint64_t flight_bytes_missing(const quire_book *book)
{
    struct kv_flight flight;
    uint64_t n_bytes = book->plan.figures.flight_bytes, n_there = 0;
    if (prefill_flight(book, &flight))
        n_there = (flight.span_end - flight.span_first) * book->engine->model->config.d_model * sizeof(float);
    return n_bytes > n_there ? n_bytes - n_there : 0;
}

/* Takes the disk space of what is not there yet. Beside the text's own blocks there will be those of the branch that is
 * appended, the text's last block, and twice the residual stream of a span: a commit writes it anew before the one
 * before goes. */
static quire_status reserve_space(const quire_book *book, quire_error *err)
{
    struct kv_geometry geometry = engine_kv_geometry(&book->engine->model->config, book->engine->opts.kv_type);
    quire_error why = {0};
    uint64_t n_other = kv_disk_bytes(&geometry, book->n_new + KV_BLOCK_TOKENS);
    if (kv_book_frontier(book->kv) < book->n_text)
        n_other += flight_bytes_missing(book);
    quire_status status = kv_book_reserve(book->kv, book->n_text, n_other, &why);
    if (status == QUIRE_ERR_NO_SPACE)
        return quire_fail(err, status, "%s: free some, choose another folder with %s, or a smaller --kv-type",
                          why.message, book->engine->opts.store_path ? "--store" : "TMPDIR or --store");
    return status == QUIRE_OK ? QUIRE_OK : quire_fail(err, status, "%s", why.message);
}

static quire_status take_request(quire_engine *engine, quire_status status)
{
    if (status == QUIRE_ERR_CANCELLED)
        atomic_store(&engine->is_cancelled, false);
    return status;
}

static void close_kv(quire_book *book)
{
    book->n_written_before = quire_book_disk_bytes(book);
    kv_book_close(book->branch);
    kv_book_close(book->kv);
    book->branch = book->kv = NULL;
}

static quire_status read_once(quire_book *book, quire_error *err)
{
    quire_engine *engine = book->engine;
    quire_status status = kv_book_open(&book->kv, engine->store, book->ids, book->n_text, engine->opts.no_reuse, err);
    notices_add(&book->notices, kv_store_notice(engine->store));
    if (status != QUIRE_OK)
        return status;
    book->n_reused = kv_book_frontier(book->kv);
    book->n_resumed = 0;
    status = prefill_plan_flight(book, err);
    if (status == QUIRE_OK && book->n_reused < book->n_read)
        status = make_room_to_read(book, err);
    if (status == QUIRE_OK)
        status = reserve_space(book, err);
    if (status == QUIRE_OK && book->n_reused < book->n_read)
        return prefill_read(book, err);
    if (status == QUIRE_OK && !kv_book_logits(book->kv, book->logits, engine->model->config.vocab_size))
        status = quire_fail(err, QUIRE_ERR_FORMAT,
                            "the stored book has lost its logits: read it with --no-store, or remove "
                            "it from the store");
    return status;
}

/* After the last commit: what was damaged has been replaced, and what was planned has its real size. Neither is worth
 * giving up a reading that is done. */
static void settle(quire_book *book)
{
    quire_error done = {0};
    notices_add(&book->notices, kv_store_notice(book->engine->store)); /* a flight that could not be taken up */
    kv_book_mend_damaged(book->kv, &done);
    notices_add(&book->notices, done.message);
    if (has_limit(book))
        make_room(book, 0, NULL);
}

/* Where blocks that the store held turn out to be damaged, what lies before them is read from, and the rest computed
 * again. Each turn leaves less of a damaged book in use, so that this ends. */
static quire_status read_text(quire_book *book, quire_error *err)
{
    for (;;) {
        quire_error why = {0};
        quire_status status = read_once(book, &why);
        if (status == QUIRE_OK) {
            settle(book);
            return QUIRE_OK;
        }
        if (status != QUIRE_ERR_FORMAT || !book->kv || !kv_book_condemn(book->kv))
            return quire_fail(err, status, "%s", why.message);
        close_kv(book);
    }
}

quire_status quire_book_begin(quire_book *book, const int32_t *ids, size_t n, size_t n_new, quire_error *err)
{
    quire_engine *engine = book->engine;
    const quire_config *config = &engine->model->config;
    if (book->ids)
        return quire_fail(err, QUIRE_ERR_USAGE, "a book is read once: open another one");
    if (n == 0)
        return quire_fail(err, QUIRE_ERR_USAGE, "the text has no tokens");
    quire_status status = check_ids(engine, ids, n, err);
    if (status == QUIRE_OK)
        status = plan_memory(&book->plan, engine->model, &engine->opts, engine->kernels, threads_count(engine->threads),
                             n, n_new, err);
    if (status != QUIRE_OK)
        return status;
    if (!book->logits)
        book->logits = mem_calloc(engine->n_at_once, config->vocab_size * sizeof *book->logits, "logits", err);
    if (book->logits)
        book->ids = mem_calloc(n, sizeof *book->ids, "token ids", err);
    if (!book->ids)
        return QUIRE_ERR_NO_MEMORY;
    memcpy(book->ids, ids, n * sizeof *ids);
    book->n_text = n;
    book->n_new = n_new;
    return QUIRE_OK;
}

static quire_status check_part(const quire_book *book, size_t end, quire_error *err)
{
    if (!book->ids)
        return quire_fail(err, QUIRE_ERR_USAGE, "nothing can be read: the book was not begun");
    if (book->has_failed)
        return quire_fail(err, QUIRE_ERR_USAGE, "the reading of this book failed: open another one");
    if (end <= book->n_read || end > book->n_text)
        return quire_fail(err, QUIRE_ERR_USAGE, "reading to token %zu: expected more than the %zu read, at most %zu",
                          end, book->n_read, book->n_text);
    if (end < book->n_text && book->engine->opts.store_path)
        return quire_fail(err, QUIRE_ERR_USAGE,
                          "reading to token %zu of %zu: a text that is kept in a store is read whole", end,
                          book->n_text);
    return QUIRE_OK;
}

quire_status quire_book_read_to(quire_book *book, size_t end, quire_error *err)
{
    quire_status status = check_part(book, end, err);
    if (status != QUIRE_OK)
        return status;
    book->n_written_before += book->branch ? kv_book_n_written(book->branch) : 0;
    kv_book_close(book->branch);
    decode_close(book->decode);
    book->branch = NULL;
    book->decode = NULL;
    book->has_logits = false;
    book->logits_row = book->n_ahead = 0;
    book->n_read = end;
    status = book->kv ? prefill_read(book, err) : read_text(book, err);
    if (status == QUIRE_OK) {
        book->n_tokens = end;
        book->has_logits = true;
    }
    book->has_failed = status != QUIRE_OK;
    return take_request(book->engine, status);
}

quire_status quire_book_read(quire_book *book, const int32_t *ids, size_t n, size_t n_new, quire_error *err)
{
    quire_status status = quire_book_begin(book, ids, n, n_new, err);
    return status == QUIRE_OK ? quire_book_read_to(book, n, err) : status;
}

/* ids[0..n) behind the book's tokens, the first of them for good. */
static quire_status decode_once(quire_book *book, const int32_t *ids, size_t n, quire_error *err)
{
    quire_engine *engine = book->engine;
    quire_status status = QUIRE_OK;
    if (!book->decode)
        status = decode_open(&book->decode, engine, book->n_read + book->n_new, err);
    if (status == QUIRE_OK && !book->branch)
        status = kv_book_branch(&book->branch, book->kv, book->n_new, err);
    if (status == QUIRE_OK)
        status = decode_tokens(engine, book->decode, book->branch, &book->plan.decode, ids, n, book->n_tokens,
                               book->logits, err);
    return status;
}

/* The first token meets every block of a text that was reused whole: where one is damaged the text is read again. */
static quire_status decode_first(quire_book *book, const int32_t *ids, size_t n, quire_error *err)
{
    for (;;) {
        quire_error why = {0};
        quire_status status = decode_once(book, ids, n, &why);
        if (status == QUIRE_OK)
            return QUIRE_OK;
        if (status != QUIRE_ERR_FORMAT || !book->branch || !kv_book_condemn(book->branch))
            return quire_fail(err, status, "%s", why.message);
        close_kv(book);
        status = read_text(book, err);
        if (status != QUIRE_OK)
            return status;
    }
}

/* What was computed ahead did not become the text. */
static quire_status drop_ahead(quire_book *book, quire_error *err)
{
    book->n_ahead = 0;
    return kv_book_take_back(book->branch, book->n_tokens, err);
}

/* Decodes id, and ahead as much of the draft as there is room for. */
static quire_status decode_ahead(quire_book *book, int32_t id, const int32_t *draft, size_t n, quire_error *err)
{
    int32_t ids[DECODE_TOKENS] = {id};
    size_t n_new_left = book->n_read + book->n_new - book->n_tokens - 1;
    n = size_min(size_min(n, book->engine->n_at_once - 1), size_min(n_new_left, decode_room(book->n_tokens) - 1));
    if (n > 0)
        memcpy(ids + 1, draft, n * sizeof *draft);
    quire_error why = {0};
    bool is_first = book->n_tokens == book->n_read;
    quire_status status = is_first ? decode_first(book, ids, 1 + n, &why) : decode_once(book, ids, 1 + n, &why);
    if (status == QUIRE_ERR_NUMERIC && n > 0) { /* it may be a token that nobody will append */
        quire_error_clear(&why);
        n = 0;
        status = drop_ahead(book, &why);
        if (status == QUIRE_OK)
            status = decode_once(book, ids, 1, &why);
    }
    if (status != QUIRE_OK)
        return quire_fail(err, status, "%s", why.message);
    memcpy(book->ahead, ids + 1, n * sizeof *ids);
    book->n_ahead = n;
    book->n_drafted += n;
    book->logits_row = 0;
    return QUIRE_OK;
}

/* The token that was expected next: its logits are there. */
static void take_ahead(quire_book *book)
{
    book->n_ahead--;
    book->n_accepted++;
    book->logits_row++;
    memmove(book->ahead, book->ahead + 1, book->n_ahead * sizeof *book->ahead);
}

quire_status quire_book_append_draft(quire_book *book, int32_t id, const int32_t *draft, size_t n, quire_error *err)
{
    quire_engine *engine = book->engine;
    quire_status status = check_ids(engine, &id, 1, err);
    if (status == QUIRE_OK)
        status = check_ids(engine, draft, n, err);
    if (status != QUIRE_OK)
        return status;
    if (!book->has_logits)
        return quire_fail(err, QUIRE_ERR_USAGE, "nothing can be appended: the book was not read to its end");
    if (book->n_tokens == book->n_read + book->n_new)
        return quire_fail(err, QUIRE_ERR_USAGE, "room was planned for %zu new tokens, and all are there", book->n_new);
    if (book->n_ahead > 0 && book->ahead[0] == id) {
        take_ahead(book);
    } else {
        status = book->n_ahead > 0 ? drop_ahead(book, err) : QUIRE_OK;
        if (status == QUIRE_OK)
            status = decode_ahead(book, id, draft, n, err);
    }
    if (status != QUIRE_OK) {
        book->has_logits = false; /* some layers have the token and others not: the book ends here */
        return take_request(engine, status);
    }
    book->n_tokens++;
    if (engine->opts.progress) {
        quire_progress progress = {
            .is_decode = true,
            .n_tokens = book->n_tokens - book->n_read,
            .n_tokens_total = book->n_new,
            .work_done = 1.0,
            .n_layers = engine->model->config.n_layers,
        };
        if (engine->opts.progress(engine->opts.user, &progress) != 0)
            return take_request(engine, quire_fail(err, QUIRE_ERR_CANCELLED, "stopped on request"));
    }
    return QUIRE_OK;
}

quire_status quire_book_append(quire_book *book, int32_t id, quire_error *err)
{
    return quire_book_append_draft(book, id, NULL, 0, err);
}

const float *quire_book_logits(const quire_book *book)
{
    return book->has_logits ? book->logits + book->logits_row * book->engine->model->config.vocab_size : NULL;
}

const char *quire_book_notice(const quire_book *book, size_t index)
{
    return index < book->notices.n ? book->notices.texts[index] : NULL;
}

uint64_t quire_book_n_tokens(const quire_book *book)
{
    return book->n_tokens;
}

uint64_t quire_book_n_reused(const quire_book *book)
{
    return book->n_reused;
}

uint64_t quire_book_n_blocks_met(const quire_book *book)
{
    return atomic_load(&book->engine->n_blocks_met);
}

uint64_t quire_book_n_blocks_skipped(const quire_book *book)
{
    return atomic_load(&book->engine->n_blocks_due) - atomic_load(&book->engine->n_blocks_met);
}

uint64_t quire_book_n_resumed(const quire_book *book)
{
    return book->n_resumed;
}

uint64_t quire_book_n_drafted(const quire_book *book)
{
    return book->n_drafted;
}

uint64_t quire_book_n_accepted(const quire_book *book)
{
    return book->n_accepted;
}

uint64_t quire_book_disk_bytes(const quire_book *book)
{
    return book->n_written_before + (book->kv ? kv_book_n_written(book->kv) : 0) +
           (book->branch ? kv_book_n_written(book->branch) : 0);
}
