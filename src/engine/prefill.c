#include "prefill.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/sys.h"
#include "estimate.h"
#include "head.h"
#include "layer.h"
#include "pace.h"
#include "residency.h"

struct prefill {
    struct quire_book *book;
    struct layer_buffers buffers;
    struct head_buffers head;
    float *memory, *head_memory;
    void *packed, *strips;
    float *x; /* residual stream of the span, [span_tokens][d_model] */

    /* Where the work stands. */
    struct kv_flight at;
    size_t n_scored; /* rows of the span whose log-probabilities were given */
    struct pace pace;
    bool has_failed_commit; /* and the user was told */

    double work_total,
        work_before; /* in floating-point operations: of the whole read, and of what is behind the span */
};

/* --- progress -------------------------------------------------------------------------------------------------- */

/* Operations of tokens [first, end) through all layers, and what is done with the rows. */
static double read_work(const struct quire_engine *engine, size_t first, size_t end)
{
    return estimate_layer_work(engine, first, end) * engine->model->config.n_layers +
           estimate_scoring_work(engine, end - first);
}

/* How much of the span's work is done, 0..1. */
static double span_share(const struct prefill *p)
{
    const struct quire_engine *engine = p->book->engine;
    const quire_config *config = &engine->model->config;
    const struct kv_flight *at = &p->at;
    double n = (double)(at->span_end - at->span_first), n_done = (double)(at->next_token - at->span_first);
    double layer = estimate_layer_work(engine, at->span_first, at->span_end);
    double feedforward = 4.0 * config->d_model * config->d_ff; /* of one token */
    double done = layer * at->layer;
    if (at->phase == PHASE_ATTENTION)
        done += estimate_layer_work(engine, at->span_first, at->next_token) - feedforward * n_done;
    else
        done += layer - feedforward * (n - n_done);
    return (done + estimate_scoring_work(engine, p->n_scored)) / read_work(engine, at->span_first, at->span_end);
}

/* The span's work so far, counted in tokens that went through the whole stack. */
static uint64_t span_tokens_done(const struct prefill *p)
{
    return (uint64_t)((double)(p->at.span_end - p->at.span_first) * span_share(p));
}

static quire_status report(struct prefill *p, quire_error *err)
{
    struct quire_engine *engine = p->book->engine;
    const quire_config *config = &engine->model->config;
    if (!engine->opts.progress)
        return QUIRE_OK;
    double span_work = read_work(engine, p->at.span_first, p->at.span_end);
    quire_progress progress = {
        .n_tokens = p->at.span_first + span_tokens_done(p),
        .n_tokens_total = p->book->n_read,
        .work_done = (p->work_before + span_work * span_share(p)) / p->work_total,
        .layer = p->at.layer,
        .n_layers = config->n_layers,
    };
    if (engine->opts.progress(engine->opts.user, &progress) != 0)
        return quire_fail(err, QUIRE_ERR_CANCELLED, "stopped on request");
    return QUIRE_OK;
}

/* --- buffers --------------------------------------------------------------------------------------------------- */

static void release_buffers(struct prefill *p)
{
    free(p->memory);
    free(p->packed);
    free(p->strips);
    free(p->head_memory);
    free(p->x);
}

static quire_status allocate_buffers(struct prefill *p, quire_error *err)
{
    struct quire_engine *engine = p->book->engine;
    const quire_config *config = &engine->model->config;
    const quire_plan *plan = &p->book->plan.figures;
    const struct gemm *gemm = engine->kernels->gemm;
    size_t chunk = plan->chunk_tokens, d_model = config->d_model, n_threads = threads_count(engine->threads);
    size_t scratch = attention_scratch_floats(config), sums = gemm_sums_floats(gemm);
    p->memory = mem_aligned(chunk * (d_model + layer_wide_floats(config)) + n_threads * (sums + scratch), sizeof(float),
                            "a chunk of tokens", err);
    p->strips = mem_aligned(layer_strips_bytes(config, gemm, chunk), 1, "a chunk of tokens", err);
    p->packed = mem_aligned(layer_packed_bytes(engine->model, gemm, n_threads, plan->n_tokens, chunk), 1,
                            "one layer's weights", err);
    p->x = mem_aligned((size_t)plan->span_tokens, d_model * sizeof(float), "a span of tokens", err);
    if (!p->memory || !p->strips || !p->packed || !p->x)
        return QUIRE_ERR_NO_MEMORY;
    p->buffers.normed = p->memory;
    p->buffers.wide = p->buffers.normed + chunk * d_model;
    p->buffers.linear.sums = p->buffers.wide + chunk * layer_wide_floats(config);
    p->buffers.linear.strips = p->strips;
    p->buffers.scratch.memory = p->buffers.linear.sums + n_threads * sums;
    p->buffers.scratch.worker_floats = scratch;
    p->buffers.packed = p->packed;
    p->buffers.linear.parts = p->packed; /* never both at a time */
    if (!engine->opts.logprobs)
        return QUIRE_OK;
    p->head_memory =
        mem_aligned(head_buffers_floats(config, engine->kernels, n_threads), sizeof(float), "log-probabilities", err);
    if (!p->head_memory)
        return QUIRE_ERR_NO_MEMORY;
    head_buffers_cut(&p->head, p->head_memory, config, engine->kernels, n_threads);
    return QUIRE_OK;
}

/* --- commits --------------------------------------------------------------------------------------------------- */

/* Keeps the span at work in the store. What cannot be kept is only time that may be lost: it does not stop the work,
 * and the user is told once. Where files could not be read, an interrupted chunk may have put keys and values that are
 * not true. */
static void save_flight(struct prefill *p)
{
    struct quire_book *book = p->book;
    size_t n = p->at.span_end - p->at.span_first;
    double start = sys_now();
    if (p->at.layer < book->engine->model->config.n_layers &&
        engine_check_files(book->engine, book->kv, p->at.layer, NULL) != QUIRE_OK)
        return;
    quire_error why = {0};
    quire_status status = kv_book_save_flight(book->kv, book->ids, book->n_read, &p->at, p->x,
                                              n * book->engine->model->config.d_model * sizeof(float), &why);
    if (status != QUIRE_OK && !p->has_failed_commit) {
        char text[sizeof why.message + 128];
        snprintf(text, sizeof text, "the reading was not saved on the way, so that a crash would have cost more: %s",
                 why.message);
        notices_add(&book->notices, text);
        p->has_failed_commit = true;
    }
    pace_committed(&p->pace, start, sys_now());
}

/* After a chunk. The last one of a span needs nothing: the span itself is committed next. */
static void commit_step(struct prefill *p)
{
    const struct quire_engine *engine = p->book->engine;
    const struct kv_flight *at = &p->at;
    bool is_layer_end = at->phase + 1 == N_PHASES && at->next_token == at->span_end;
    bool is_span_end = is_layer_end && at->layer + 1 == engine->model->config.n_layers;
    if (engine->opts.store_path && !is_span_end && pace_is_due(&p->pace, is_layer_end, sys_now()))
        save_flight(p);
}

/* --- a span ---------------------------------------------------------------------------------------------------- */

/* One phase of the current layer, from at.next_token to the end of the span. */
static quire_status run_phase(struct prefill *p, quire_error *err)
{
    struct quire_book *book = p->book;
    struct quire_engine *engine = book->engine;
    struct kv_flight *at = &p->at;
    layer_pack(engine, &p->buffers, at->layer, (enum layer_phase)at->phase, at->span_end - at->next_token,
               book->plan.figures.chunk_tokens);
    while (at->next_token < at->span_end) {
        quire_status status = report(p, err);
        if (status != QUIRE_OK)
            return status;
        size_t first = at->next_token;
        size_t n = size_min(book->plan.figures.chunk_tokens, at->span_end - first);
        float *x = p->x + (first - at->span_first) * engine->model->config.d_model;
        if (at->phase == PHASE_ATTENTION) {
            size_t kv_next = at->kv_token;
            status = layer_attention(engine, &p->buffers, book->kv, at->layer, first, n, &kv_next,
                                     book->plan.prefill.releases_heads, x, err);
            at->kv_token = kv_next;
        } else {
            status = layer_feedforward(engine, &p->buffers, at->layer, first, n, x, err);
        }
        if (status == QUIRE_OK)
            status = engine_check_files(engine, book->kv, at->layer, err);
        if (status != QUIRE_OK)
            return status;
        at->next_token += n;
        commit_step(p);
    }
    return QUIRE_OK;
}

static quire_status run_layers(struct prefill *p, quire_error *err)
{
    struct quire_book *book = p->book;
    const struct quire_model *model = book->engine->model;
    const struct plan_residency *residency = &book->plan.prefill;
    struct kv_flight *at = &p->at;
    for (; at->layer < model->config.n_layers; at->layer++) {
        uint32_t next = at->layer + 1;
        if (next < model->config.n_layers) { /* what was let go is asked for while this layer is computed */
            if (next >= residency->n_weight_layers)
                residency_prefetch_layer(&model->layers[next]);
            if (next >= residency->n_kv_layers && at->span_first > 0)
                kv_book_prefetch_layer(book->kv, next);
        }
        for (; at->phase < N_PHASES; at->phase++) {
            quire_status status = run_phase(p, err);
            if (status != QUIRE_OK)
                return status;
            at->next_token = at->span_first;
        }
        at->phase = 0;
        at->kv_token = at->span_first;
        if (at->layer >= residency->n_weight_layers)
            residency_release_layer(&model->layers[at->layer]);
        if (at->layer >= residency->n_kv_layers)
            kv_book_release_layer(book->kv, at->layer);
    }
    return QUIRE_OK;
}

/* Log-probabilities of the tokens that the span's rows predict. */
static quire_status report_logprobs(struct prefill *p, quire_error *err)
{
    struct quire_book *book = p->book;
    struct quire_engine *engine = book->engine;
    size_t d_model = engine->model->config.d_model;
    size_t end = size_min(p->at.span_end, book->n_text - 1); /* the text's last row predicts nothing that is known */
    for (size_t first = p->at.span_first; first < end; first += PLAN_LOGIT_ROWS) {
        size_t n = size_min(PLAN_LOGIT_ROWS, end - first);
        quire_status status = engine_check_cancelled(engine, err);
        if (status == QUIRE_OK)
            status = report(p, err);
        if (status != QUIRE_OK)
            return status;
        const int32_t *targets = book->ids + first + 1;
        head_logprobs(engine, &p->head, p->x + (first - p->at.span_first) * d_model, targets, n);
        engine->opts.logprobs(engine->opts.user, first + 1, targets, p->head.logprobs, n);
        p->n_scored += n;
    }
    return QUIRE_OK;
}

static quire_status finish_span(struct prefill *p, quire_error *err)
{
    struct quire_book *book = p->book;
    struct quire_engine *engine = book->engine;
    const quire_config *config = &engine->model->config;
    bool is_last = p->at.span_end == book->n_read;
    quire_status status = engine->opts.logprobs ? report_logprobs(p, err) : QUIRE_OK;
    if (status != QUIRE_OK) { /* the span itself is read */
        if (model_check_files(engine->model, NULL) == QUIRE_OK)
            kv_book_commit(book->kv, book->ids, p->at.span_end, NULL, config->vocab_size, NULL);
        return status;
    }
    if (is_last) {
        const float *x = p->x + (p->at.span_end - 1 - p->at.span_first) * config->d_model;
        head_logits(engine, book->logits, x, p->buffers.normed, 1);
        if (!book->plan.prefill.keeps_head)
            residency_release_matrix(&engine->model->lm_head);
    }
    status = model_check_files(engine->model, err);
    if (status != QUIRE_OK)
        return status;
    double start = sys_now();
    status =
        kv_book_commit(book->kv, book->ids, p->at.span_end, is_last ? book->logits : NULL, config->vocab_size, err);
    pace_committed(&p->pace, start, sys_now());
    return status;
}

/* The store gives a flight back as it was saved, and it may have been saved by anybody. */
bool prefill_flight(const struct quire_book *book, struct kv_flight *out)
{
    struct kv_flight at;
    bool found = false;
    if (kv_book_flight(book->kv, &at, &found) != QUIRE_OK || !found)
        return false;
    if (at.span_first != kv_book_frontier(book->kv) || at.span_end > book->n_read || at.phase >= N_PHASES ||
        at.layer >= book->engine->model->config.n_layers || at.next_token < at.span_first ||
        at.next_token > at.kv_token || at.kv_token > at.span_end)
        return false;
    *out = at;
    return true;
}

/* Whether anything of a span is done: there is nothing else to be kept. */
static bool is_begun(const struct kv_flight *at)
{
    return at->layer > 0 || at->kv_token > at->span_first;
}

static quire_status fail_plan_flight(const quire_plan *plan, quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_NO_MEMORY,
                      "the store holds an interrupted reading of this text with %u tokens in flight, and to go on with "
                      "it takes at least %llu MiB of memory, the budget is %llu MiB: give more with --memory; or, to "
                      "begin again, remove the book from the store (quire kv rm) or read with --no-store",
                      plan->span_tokens, (unsigned long long)mib_up(plan->least_bytes),
                      (unsigned long long)(plan->budget_bytes >> 20));
}

quire_status prefill_plan_flight(struct quire_book *book, quire_error *err)
{
    const struct quire_engine *engine = book->engine;
    quire_engine_options opts = engine->opts;
    struct memory_plan plan = {0};
    struct kv_flight at;
    uint32_t n_threads = threads_count(engine->threads);
    if (!prefill_flight(book, &at) || at.span_end - at.span_first <= book->plan.figures.span_tokens)
        return QUIRE_OK;
    if (!is_begun(&at))
        return QUIRE_OK;
    opts.span_tokens = (uint32_t)(at.span_end - at.span_first);
    quire_status status =
        plan_memory(&plan, engine->model, &opts, engine->kernels, n_threads, book->n_text, book->n_new, NULL);
    if (status != QUIRE_OK && engine->has_own_budget && plan.figures.least_bytes <= sys_available_memory_bytes()) {
        char text[160];
        opts.memory_bytes = plan.figures.least_bytes;
        status = plan_memory(&plan, engine->model, &opts, engine->kernels, n_threads, book->n_text, book->n_new, NULL);
        snprintf(text, sizeof text,
                 "the %u tokens that were in flight take %llu MiB of memory, more than the %llu MiB of the plan",
                 opts.span_tokens, (unsigned long long)mib_up(opts.memory_bytes),
                 (unsigned long long)(engine->opts.memory_bytes >> 20));
        notices_add(&book->notices, text);
    }
    if (status != QUIRE_OK)
        return fail_plan_flight(&plan.figures, err);
    book->plan = plan;
    return QUIRE_OK;
}

/* Goes on with the span in flight, where there is one and it is sound. */
static bool resume_span(struct prefill *p)
{
    struct quire_book *book = p->book;
    struct kv_flight flight;
    if (!prefill_flight(book, &flight) || flight.span_end - flight.span_first > book->plan.figures.span_tokens)
        return false;
    size_t row_bytes = book->engine->model->config.d_model * sizeof(float);
    if (kv_book_load_residual(book->kv, p->x, (flight.span_end - flight.span_first) * row_bytes, NULL) != QUIRE_OK)
        return false; /* the store's notice tells why; the span starts anew */
    p->at = flight;
    book->n_resumed = span_tokens_done(p);
    return true;
}

/* Makes the next span ready: the one in flight, or a new one at the frontier. */
static void start_span(struct prefill *p)
{
    struct quire_book *book = p->book;
    struct quire_engine *engine = book->engine;
    if (resume_span(p))
        return;
    size_t frontier = kv_book_frontier(book->kv), n = book->plan.figures.span_tokens;
    if (engine->opts.span_tokens) /* the plan's may be those of a longer span that was in flight */
        n = size_min(n, engine->opts.span_tokens);
    p->at = (struct kv_flight){
        .span_first = frontier,
        .span_end = size_min(frontier + n, book->n_read),
        .next_token = frontier,
        .kv_token = frontier,
    };
    head_embed(engine, p->x, book->ids + frontier, frontier, p->at.span_end - frontier);
    if (!book->plan.prefill.keeps_head)
        residency_release_matrix(&engine->model->wte);
}

quire_status prefill_read(struct quire_book *book, quire_error *err)
{
    struct prefill p = {
        .book = book,
        .work_total = read_work(book->engine, kv_book_frontier(book->kv), book->n_read),
    };
    quire_status status = allocate_buffers(&p, err);
    pace_start(&p.pace, book->engine->opts.commit_seconds, sys_now());
    while (status == QUIRE_OK && kv_book_frontier(book->kv) < book->n_read) {
        start_span(&p);
        status = run_layers(&p, err);
        if (status == QUIRE_ERR_CANCELLED && is_begun(&p.at)) {
            (void)report(&p, NULL); /* it may take a while, and somebody may want to say so */
            save_flight(&p);
        }
        if (status == QUIRE_OK)
            status = finish_span(&p, err);
        p.work_before += read_work(book->engine, p.at.span_first, p.at.span_end);
        p.n_scored = 0;
    }
    release_buffers(&p);
    return status;
}
