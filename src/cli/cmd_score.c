/* How well a model predicts a text: the log-probabilities of its tokens, as prefill computes them on its way. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "command.h"
#include "json_out.h"
#include "receipt.h"
#include "session.h"

/* Bucket 0 holds positions 1 to 127, bucket b those from 2^(b+6) on. */
enum { N_BUCKETS = 40, FIRST_BUCKET_BITS = 7 };

struct bucket {
    uint64_t n;
    double sum; /* of negative log-likelihoods, nats */
};

struct score {
    struct session *s;
    struct bucket all;
    struct bucket buckets[N_BUCKETS];
    json_t *tokens; /* [position, id, log-probability] each, with --json --per-token */
};

static size_t bucket_of(uint64_t position)
{
    size_t bits = 0;
    while (position >> bits > 1)
        bits++;
    return bits < FIRST_BUCKET_BITS ? 0 : bits - FIRST_BUCKET_BITS + 1;
}

static uint64_t bucket_first(size_t bucket)
{
    return bucket == 0 ? 1 : (uint64_t)1 << (bucket + FIRST_BUCKET_BITS - 1);
}

static void add(struct bucket *bucket, float logprob)
{
    bucket->n++;
    bucket->sum -= (double)logprob;
}

static double mean(const struct bucket *bucket)
{
    return bucket->sum / (double)bucket->n;
}

static void on_logprobs(void *user, uint64_t first, const int32_t *ids, const float *logprobs, size_t n)
{
    struct score *score = user;
    struct session *s = score->s;
    for (size_t i = 0; i < n && !s->is_stopped; i++) {
        uint64_t position = first + i;
        add(&score->all, logprobs[i]);
        add(&score->buckets[bucket_of(position)], logprobs[i]);
        if (score->tokens)
            json_array_append_new(score->tokens, json_pack("[I,i,o]", (json_int_t)position, (int)ids[i],
                                                           json_finite((double)logprobs[i])));
        else if (s->o->per_token)
            session_print(s, "%" PRIu64 "\t%" PRId32 "\t%.8f\n", position, ids[i], (double)logprobs[i]);
    }
}

static json_t *bucket_json(const struct bucket *bucket, uint64_t first, uint64_t last)
{
    return json_pack("{s:I,s:I,s:I,s:o,s:o}", "first", (json_int_t)first, "last", (json_int_t)last, "tokens",
                     (json_int_t)bucket->n, "mean_nll", json_finite(mean(bucket)), "perplexity",
                     json_finite(exp(mean(bucket))));
}

static uint64_t bucket_last(const struct score *score, size_t bucket)
{
    uint64_t end = bucket_first(bucket + 1), n_positions = score->all.n + 1;
    return (end < n_positions ? end : n_positions) - 1;
}

static quire_status write_json(struct score *score, const struct receipt *receipt, quire_error *err)
{
    json_t *object = json_object(), *buckets = json_array();
    receipt_add_json(object, score->s, receipt);
    json_object_set_new(object, "scored_tokens", json_integer((json_int_t)score->all.n));
    json_object_set_new(object, "mean_nll", json_finite(mean(&score->all)));
    json_object_set_new(object, "perplexity", json_finite(exp(mean(&score->all))));
    for (size_t b = 0; b < N_BUCKETS; b++)
        if (score->buckets[b].n > 0)
            json_array_append_new(buckets, bucket_json(&score->buckets[b], bucket_first(b), bucket_last(score, b)));
    json_object_set_new(object, "by_position", buckets);
    if (score->tokens)
        json_object_set(object, "per_token", score->tokens);
    return json_write(object, &score->s->output, err);
}

static quire_status write_text(const struct score *score, const char *name, quire_error *err)
{
    struct output *output = &score->s->output;
    quire_status status =
        output_print(output, err,
                     "document    %s\ntokens      %" PRIu64 "\nmean NLL    %.6f nats\nperplexity  %.4f\n\n"
                     "%-17s %10s %10s %12s\n",
                     name, score->all.n + 1, mean(&score->all), exp(mean(&score->all)), "positions", "tokens",
                     "mean NLL", "perplexity");
    for (size_t b = 0; b < N_BUCKETS && status == QUIRE_OK; b++) {
        const struct bucket *bucket = &score->buckets[b];
        char range[48];
        snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, bucket_first(b), bucket_last(score, b));
        if (bucket->n > 0)
            status = output_print(output, err, "%-17s %10" PRIu64 " %10.6f %12.4f\n", range, bucket->n, mean(bucket),
                                  exp(mean(bucket)));
    }
    return status == QUIRE_OK ? output_flush(output, err) : status;
}

static quire_status write_result(struct score *score, const struct receipt *receipt, const char *name, quire_error *err)
{
    struct session *s = score->s;
    if (s->o->json)
        return write_json(score, receipt, err);
    if (!s->o->per_token)
        return write_text(score, name, err);
    progress_note(&s->progress, "%s: mean NLL %.6f nats, perplexity %.4f", name, mean(&score->all),
                  exp(mean(&score->all)));
    return output_flush(&s->output, err);
}

static quire_status read_book(struct score *score, struct document *d, struct receipt *receipt, const char *name,
                              quire_error *err)
{
    struct session *s = score->s;
    quire_plan *plan = &receipt->plan;
    quire_book *book = NULL;
    size_t n = (size_t)d->n_tokens;
    if (n < 2)
        return quire_fail(err, QUIRE_ERR_TEXT,
                          "%s has one token; a score needs at least two, since the first token of a text "
                          "has no probability",
                          name);
    quire_status status = quire_engine_plan(s->engine, n, 0, plan, err);
    if (status != QUIRE_OK)
        return status;
    receipt_print_plan(s, name, plan);
    status = quire_book_open(&book, s->engine, err);
    if (status != QUIRE_OK)
        return status;
    progress_begin(&s->progress);
    double start = progress_now();
    status = quire_book_read(book, d->ids, n, 0, err);
    progress_clear(&s->progress);
    receipt->read_seconds = progress_now() - start;
    receipt->n_blocks_met = quire_book_n_blocks_met(book);
    receipt->n_blocks_skipped = quire_book_n_blocks_skipped(book);
    receipt->disk_bytes = quire_book_disk_bytes(book);
    quire_book_close(book);
    return status;
}

static enum exit_code score_document(struct session *s, struct document *d, void *user)
{
    struct score *score = user;
    struct receipt receipt = {.document = d};
    enum error_source source = FROM_INPUT;
    char name[DOCUMENT_NAME_SIZE];
    document_name(name, d);
    *score = (struct score){.s = s, .tokens = s->o->json && s->o->per_token ? json_array() : NULL};

    /* A blank line, so that the parts of a run with several documents can be told apart. */
    quire_status status = QUIRE_OK;
    if (s->output.last == '\n' && !s->o->json)
        status = output_write(&s->output, "\n", 1, &s->error);
    if (status == QUIRE_OK)
        status = document_read(d, s->o, s->tokenizer, &s->progress, &s->error);
    if (status == QUIRE_OK) {
        source = FROM_WORK;
        status = read_book(score, d, &receipt, name, &s->error);
    }
    if (status == QUIRE_OK)
        status = write_result(score, &receipt, name, &s->error);
    if (status == QUIRE_OK)
        receipt_print(s, &receipt);
    json_decref(score->tokens);
    session_interrupted(s, "interrupted after %.0f %% of %s", 100 * s->state.work_done, name);
    return session_end(s, source);
}

enum exit_code cmd_score(const struct options *o)
{
    struct score score;
    struct session s = {.on_logprobs = on_logprobs, .logprobs_user = &score};
    quire_status status = session_open(&s, o, NULL, NEED_ENGINE, false);
    enum exit_code code =
        status == QUIRE_OK ? session_each(&s, o->n_arguments, score_document, &score) : session_end(&s, s.source);
    return session_close(&s, code);
}
