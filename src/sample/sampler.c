/* Picks a token from logits.
 *
 * Candidates are kept in a heap and taken out from the most likely down, only as far as top-k, top-p and min-p reach: a
 * vocabulary of fifty thousand is never sorted whole. Weights are exp(score - best score) in double; they are compared
 * with sums of weights, so that nothing has to be normalised. */
#include "quire/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"

enum { IS_SEEN = 1, IS_BANNED = 2 };

struct candidate {
    double score; /* logit after penalty and temperature, then its weight */
    int32_t id;
};

struct quire_sampler {
    quire_sampler_options opts;
    uint32_t n_vocab;
    uint32_t n_usable;
    struct rng rng;
    unsigned char *marks;         /* [n_usable] IS_SEEN | IS_BANNED */
    struct candidate *candidates; /* [n_usable] scratch: those that may be picked */
    struct candidate *kept;       /* [n_usable] scratch: those that the cuts leave, most likely first */
};

quire_sampler_options quire_sampler_defaults(void)
{
    return (quire_sampler_options){.temperature = 0.8f, .top_p = 0.95f, .repetition_penalty = 1.0f};
}

/* Written so that a NaN fails. */
static quire_status check_options(const quire_sampler_options *opts, quire_error *err)
{
    if (!(opts->temperature >= 0 && isfinite(opts->temperature)))
        return quire_fail(err, QUIRE_ERR_USAGE, "temperature is %g; it must be 0 (greedy) or more",
                          (double)opts->temperature);
    if (!(opts->top_p > 0 && opts->top_p <= 1))
        return quire_fail(err, QUIRE_ERR_USAGE, "top_p is %g; it must be above 0 and at most 1 (all tokens)",
                          (double)opts->top_p);
    if (!(opts->min_p >= 0 && opts->min_p <= 1))
        return quire_fail(err, QUIRE_ERR_USAGE, "min_p is %g; it must be from 0 (all tokens) to 1",
                          (double)opts->min_p);
    if (!(opts->repetition_penalty > 0 && isfinite(opts->repetition_penalty)))
        return quire_fail(err, QUIRE_ERR_USAGE, "repetition_penalty is %g; it must be above 0 (1: none)",
                          (double)opts->repetition_penalty);
    return QUIRE_OK;
}

quire_status quire_sampler_open(quire_sampler **out, const quire_sampler_options *opts, uint32_t n_vocab,
                                uint32_t n_usable, quire_error *err)
{
    quire_status status = check_options(opts, err);
    if (status != QUIRE_OK)
        return status;
    if (n_usable == 0 || n_usable > n_vocab)
        return quire_fail(err, QUIRE_ERR_USAGE, "%u of %u tokens are usable; it must be from 1 to all", n_usable,
                          n_vocab);

    quire_sampler *sampler = mem_calloc(1, sizeof *sampler, "the sampler", err);
    if (!sampler)
        return QUIRE_ERR_NO_MEMORY;
    *sampler = (quire_sampler){.opts = *opts, .n_vocab = n_vocab, .n_usable = n_usable, .rng = {opts->seed}};
    sampler->marks = mem_calloc(n_usable, sizeof *sampler->marks, "the sampler", err);
    sampler->candidates = mem_calloc(n_usable, sizeof *sampler->candidates, "the sampler", err);
    sampler->kept = mem_calloc(n_usable, sizeof *sampler->kept, "the sampler", err);
    if (!sampler->marks || !sampler->candidates || !sampler->kept) {
        quire_sampler_close(sampler);
        return QUIRE_ERR_NO_MEMORY;
    }
    *out = sampler;
    return QUIRE_OK;
}

void quire_sampler_close(quire_sampler *sampler)
{
    if (!sampler)
        return;
    free(sampler->marks);
    free(sampler->candidates);
    free(sampler->kept);
    free(sampler);
}

static void mark(quire_sampler *sampler, int32_t id, unsigned char bit)
{
    if (id >= 0 && (uint32_t)id < sampler->n_usable)
        sampler->marks[id] |= bit;
}

void quire_sampler_see(quire_sampler *sampler, int32_t id)
{
    mark(sampler, id, IS_SEEN);
}

void quire_sampler_ban(quire_sampler *sampler, int32_t id)
{
    mark(sampler, id, IS_BANNED);
}

/* The logit after the repetition penalty, in double: dividing and multiplying in one precision only. */
static double penalised(const quire_sampler *sampler, const float *logits, uint32_t id)
{
    double logit = (double)logits[id];
    double penalty = (double)sampler->opts.repetition_penalty;
    if (!(sampler->marks[id] & IS_SEEN))
        return logit;
    return logit > 0 ? logit / penalty : logit * penalty;
}

/* Fills candidates with what may be picked and returns how many there are. *best: index of the most likely, the one
 * with the lowest id among equals. */
static quire_status collect(quire_sampler *sampler, const float *logits, size_t *n, size_t *best, quire_error *err)
{
    for (uint32_t id = 0; id < sampler->n_vocab; id++)
        if (isnan(logits[id]) || (isinf(logits[id]) && logits[id] > 0))
            return quire_fail(err, QUIRE_ERR_NUMERIC, "the logit of token %u is %s", id,
                              isnan(logits[id]) ? "not a number" : "infinite");

    struct candidate *candidates = sampler->candidates;
    *n = *best = 0;
    for (uint32_t id = 0; id < sampler->n_usable; id++) {
        double score = penalised(sampler, logits, id);
        if ((sampler->marks[id] & IS_BANNED) || isinf(score))
            continue;
        candidates[*n] = (struct candidate){.score = score, .id = (int32_t)id};
        if (score > candidates[*best].score)
            *best = *n;
        ++*n;
    }
    if (*n == 0)
        return quire_fail(err, QUIRE_ERR_NUMERIC,
                          "no token is left to choose from: each is banned or has a logit of "
                          "minus infinity");
    return QUIRE_OK;
}

/* --- a heap with the most likely candidate at its root ---------------------------------------------------------- */

static bool is_before(const struct candidate *a, const struct candidate *b)
{
    return a->score > b->score || (a->score == b->score && a->id < b->id);
}

static void sift_down(struct candidate *heap, size_t n, size_t at)
{
    for (;;) {
        size_t first = at, child = 2 * at + 1;
        for (size_t c = child; c < child + 2 && c < n; c++)
            if (is_before(&heap[c], &heap[first]))
                first = c;
        if (first == at)
            return;
        struct candidate swapped = heap[at];
        heap[at] = heap[first];
        heap[first] = swapped;
        at = first;
    }
}

static void make_heap(struct candidate *heap, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(heap, n, i);
}

static struct candidate take_first(struct candidate *heap, size_t *n)
{
    struct candidate first = heap[0];
    heap[0] = heap[--*n];
    sift_down(heap, *n, 0);
    return first;
}

/* --- drawing --------------------------------------------------------------------------------------------------- */

/* Draws from n weights that add up to total. Rounding may leave the draw behind the last one, which is then taken. */
static int32_t draw(struct rng *rng, const struct candidate *weights, size_t n, double total)
{
    double left = rng_unit(rng) * total;
    size_t i = 0;
    while (i + 1 < n && left >= weights[i].score)
        left -= weights[i++].score;
    return weights[i].id;
}

static double sum(const struct candidate *weights, size_t n)
{
    double total = 0;
    for (size_t i = 0; i < n; i++)
        total += weights[i].score;
    return total;
}

/* Moves the candidates that the cuts leave into kept, most likely first, and returns how many. The best weight is 1. */
static size_t cut(quire_sampler *sampler, size_t n)
{
    const quire_sampler_options *opts = &sampler->opts;
    struct candidate *heap = sampler->candidates, *kept = sampler->kept;
    size_t limit = opts->top_k > 0 && opts->top_k < n ? opts->top_k : n;
    size_t n_kept = 0;
    bool is_taken = limit < n; /* top-p is a share of what top-k left, so that has to be known first */
    double total = is_taken ? 0 : sum(heap, n);

    make_heap(heap, n);
    if (is_taken) {
        for (size_t i = 0; i < limit; i++)
            kept[i] = take_first(heap, &n);
        total = sum(kept, limit);
    }
    for (double reached = 0; n_kept < limit && (n_kept == 0 || reached < (double)opts->top_p * total); n_kept++) {
        if (!is_taken)
            kept[n_kept] = take_first(heap, &n);
        if (kept[n_kept].score < (double)opts->min_p)
            break;
        reached += kept[n_kept].score;
    }
    return n_kept;
}

quire_status quire_sampler_pick(quire_sampler *sampler, const float *logits, int32_t *id, quire_error *err)
{
    const quire_sampler_options *opts = &sampler->opts;
    struct candidate *candidates = sampler->candidates;
    size_t n = 0, best = 0;
    quire_status status = collect(sampler, logits, &n, &best, err);
    if (status != QUIRE_OK)
        return status;

    if (opts->temperature == 0) {
        *id = candidates[best].id;
    } else {
        double best_score = candidates[best].score;
        for (size_t i = 0; i < n; i++)
            candidates[i].score = exp((candidates[i].score - best_score) / (double)opts->temperature);
        if (opts->top_k == 0 && opts->top_p >= 1 && opts->min_p <= 0) {
            *id = draw(&sampler->rng, candidates, n, sum(candidates, n));
        } else {
            size_t n_kept = cut(sampler, n);
            *id = draw(&sampler->rng, sampler->kept, n_kept, sum(sampler->kept, n_kept));
        }
    }
    quire_sampler_see(sampler, *id);
    return QUIRE_OK;
}
