#include "optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/threads.h"
#include "muon.h"

/* Numbers that are taken together: parts are cut by position, so that their sums do not depend on the threads. */
enum { PART = 1 << 14 };

struct optim {
    struct optim_options options;
    struct net *net;
    uint64_t n_steps;
    size_t n;             /* numbers in each array */
    float *m, *v;         /* v: AdamW */
    double *squares;      /* of the parts of all gradients as one array */
    struct piece *pieces; /* the parameters, each cut into parts, but for those that are Muon's */
    size_t n_pieces;
    struct muon *muon; /* NULL: none is */
};

struct piece {
    size_t first, n;
    bool decays;
};

struct optim_options optim_defaults(optim_type type)
{
    if (type == OPTIM_LION)
        return (struct optim_options){.type = type, .lr = 1e-4, .beta1 = 0.9, .beta2 = 0.99};
    if (type == OPTIM_MUON)
        return (struct optim_options){.type = type, .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95};
    return (struct optim_options){.type = type, .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};
}

uint64_t optim_memory(optim_type type, const struct net_memory *memory)
{
    return memory->parameters * (type == OPTIM_ADAMW ? 2 : 1) + (type == OPTIM_MUON ? muon_memory(memory) : 0);
}

static quire_status check_options(const struct optim_options *o, quire_error *err)
{
    if (!(o->lr > 0) || !isfinite(o->lr))
        return quire_fail(err, QUIRE_ERR_USAGE, "the learning rate is %g, expected a number above 0", o->lr);
    if (!(o->beta1 >= 0 && o->beta1 < 1) || !(o->beta2 >= 0 && o->beta2 < 1))
        return quire_fail(err, QUIRE_ERR_USAGE, "the betas are %g and %g, expected numbers from 0 to below 1", o->beta1,
                          o->beta2);
    if (o->type == OPTIM_ADAMW && !(o->eps > 0 && isfinite(o->eps)))
        return quire_fail(err, QUIRE_ERR_USAGE, "AdamW's eps is %g, expected a number above 0", o->eps);
    if (!(o->weight_decay >= 0 && o->weight_decay <= 1))
        return quire_fail(err, QUIRE_ERR_USAGE, "the weight decay is %g, expected a number from 0 to 1",
                          o->weight_decay);
    return QUIRE_OK;
}

static bool is_of_muon(const struct optim *optim, const struct param *param)
{
    return optim->options.type == OPTIM_MUON && param->is_linear;
}

static quire_status make_pieces(struct optim *optim, quire_error *err)
{
    size_t n_params, n_pieces = 0;
    const struct param *params = net_params(optim->net, &n_params);
    const float *weights = net_weights(optim->net, &optim->n);
    for (size_t i = 0; i < n_params; i++)
        n_pieces += (params[i].n + PART - 1) / PART;
    optim->pieces = mem_calloc(n_pieces, sizeof *optim->pieces, "the parts of an optimiser", err);
    optim->squares = mem_calloc((optim->n + PART - 1) / PART, sizeof *optim->squares, "the norm of gradients", err);
    if (!optim->pieces || !optim->squares)
        return QUIRE_ERR_NO_MEMORY;
    for (size_t i = 0; i < n_params; i++)
        for (size_t at = 0; at < params[i].n && !is_of_muon(optim, &params[i]); at += PART)
            optim->pieces[optim->n_pieces++] = (struct piece){(size_t)(params[i].data - weights) + at,
                                                              size_min(PART, params[i].n - at), params[i].decays};
    return QUIRE_OK;
}

static float *make_state(const struct optim *optim, quire_error *err)
{
    float *state = mem_aligned(optim->n, sizeof *state, "the optimiser's state", err);
    if (state)
        memset(state, 0, optim->n * sizeof *state);
    return state;
}

quire_status optim_open(struct optim **out, struct net *net, const struct optim_options *options, quire_error *err)
{
    quire_status status = check_options(options, err);
    if (status != QUIRE_OK)
        return status;
    struct optim *optim = mem_calloc(1, sizeof *optim, "an optimiser", err);
    if (!optim)
        return QUIRE_ERR_NO_MEMORY;
    optim->options = *options;
    optim->net = net;
    status = make_pieces(optim, err);
    if (status == QUIRE_OK && !(optim->m = make_state(optim, err)))
        status = QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK && options->type == OPTIM_ADAMW && !(optim->v = make_state(optim, err)))
        status = QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK && options->type == OPTIM_MUON)
        status = muon_open(&optim->muon, net, err);
    if (status != QUIRE_OK) {
        optim_close(optim);
        return status;
    }
    *out = optim;
    return QUIRE_OK;
}

void optim_close(struct optim *optim)
{
    if (!optim)
        return;
    muon_close(optim->muon);
    free(optim->m);
    free(optim->v);
    free(optim->squares);
    free(optim->pieces);
    free(optim);
}

/* --- steps ------------------------------------------------------------------------------------------------------- */

/* What a step multiplies by; the complements are rounded by themselves. */
struct factors {
    float lr, keep; /* keep: what is left of a weight that decays */
    float beta1, rest1, beta2, rest2;
    float rate, root, eps; /* AdamW: lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t) */
};

static void step_lion(float *restrict p, float *restrict m, const float *restrict g, size_t n, float keep,
                      struct factors f)
{
    for (size_t i = 0; i < n; i++) {
        float u = f.beta1 * m[i] + f.rest1 * g[i];
        float sign = (float)((u > 0.0f) - (u < 0.0f)); /* choices would keep the compiler from vectors */
        p[i] = p[i] * keep - f.lr * sign;
        m[i] = f.beta2 * m[i] + f.rest2 * g[i];
    }
}

static void step_adamw(float *restrict p, float *restrict m, float *restrict v, const float *restrict g, size_t n,
                       float keep, struct factors f)
{
    for (size_t i = 0; i < n; i++) {
        m[i] = f.beta1 * m[i] + f.rest1 * g[i];
        v[i] = f.beta2 * v[i] + f.rest2 * (g[i] * g[i]);
        p[i] = p[i] * keep - f.rate * m[i] / (sqrtf(v[i]) * f.root + f.eps);
    }
}

struct step {
    struct optim *optim;
    float *weights;
    const float *gradients;
    struct factors factors;
};

static void step_piece(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct step *step = context;
    const struct optim *optim = step->optim;
    struct piece piece = optim->pieces[item];
    float *p = step->weights + piece.first, *m = optim->m + piece.first;
    float keep = piece.decays ? step->factors.keep : 1.0f;
    const float *g = step->gradients + piece.first;
    if (optim->options.type == OPTIM_ADAMW)
        step_adamw(p, m, optim->v + piece.first, g, piece.n, keep, step->factors);
    else
        step_lion(p, m, g, piece.n, keep, step->factors);
}

static void step_muon(struct optim *optim, const float *weights, const struct factors *f)
{
    size_t n_params;
    const struct param *params = net_params(optim->net, &n_params);
    const struct muon_rates rates = {f->lr, f->keep, f->beta1, f->rest1, f->beta2, f->rest2};
    for (size_t i = 0; i < n_params; i++)
        if (is_of_muon(optim, &params[i]))
            muon_step(optim->muon, &params[i], optim->m + (params[i].data - weights), &rates);
}

void optim_step(struct optim *optim, double lr)
{
    const struct optim_options *o = &optim->options;
    size_t n;
    double t = (double)++optim->n_steps;
    struct step step = {
        .optim = optim,
        .weights = net_weights(optim->net, &n),
        .gradients = net_gradients(optim->net, &n),
        .factors = {.lr = (float)lr,
                    .keep = (float)(1 - lr / o->lr * o->weight_decay),
                    .beta1 = (float)o->beta1,
                    .rest1 = (float)(1 - o->beta1),
                    .beta2 = (float)o->beta2,
                    .rest2 = (float)(1 - o->beta2),
                    .rate = (float)(lr / (1 - pow(o->beta1, t))),
                    .root = (float)(1 / sqrt(1 - pow(o->beta2, t))),
                    .eps = (float)o->eps},
    };
    threads_run(net_threads(optim->net), optim->n_pieces, step_piece, &step);
    if (optim->muon)
        step_muon(optim, step.weights, &step.factors);
}

/* --- state ------------------------------------------------------------------------------------------------------- */

size_t optim_states(struct optim *optim, struct optim_state states[2])
{
    states[0] = (struct optim_state){"momentum", optim->m, optim->n};
    states[1] = (struct optim_state){"variance", optim->v, optim->v ? optim->n : 0};
    return optim->v ? 2 : 1;
}

uint64_t optim_n_steps(const struct optim *optim)
{
    return optim->n_steps;
}

void optim_set_n_steps(struct optim *optim, uint64_t n_steps)
{
    optim->n_steps = n_steps;
}

/* --- clipping ---------------------------------------------------------------------------------------------------- */

struct norm_job {
    float *gradients;
    size_t n;
    double *squares; /* [parts] */
    float factor;
};

static void add_squares(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct norm_job *job = context;
    const float *g = job->gradients + item * PART;
    size_t n = size_min(PART, job->n - item * PART);
    double sums[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++)
            sums[j] += (double)g[i + j] * (double)g[i + j];
    for (; i < n; i++)
        sums[0] += (double)g[i] * (double)g[i];
    for (size_t j = 1; j < 8; j++)
        sums[0] += sums[j];
    job->squares[item] = sums[0];
}

static void scale_part(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct norm_job *job = context;
    float *g = job->gradients + item * PART;
    size_t n = size_min(PART, job->n - item * PART);
    for (size_t i = 0; i < n; i++)
        g[i] *= job->factor;
}

double optim_clip_gradients(struct optim *optim, double max_norm)
{
    struct norm_job job = {.squares = optim->squares};
    job.gradients = net_gradients(optim->net, &job.n);
    size_t n_parts = (job.n + PART - 1) / PART;
    double sum = 0;
    threads_run(net_threads(optim->net), n_parts, add_squares, &job);
    for (size_t i = 0; i < n_parts; i++)
        sum += job.squares[i];
    double norm = sqrt(sum);
    if (max_norm > 0 && norm > max_norm && isfinite(norm)) {
        job.factor = (float)(max_norm / norm);
        threads_run(net_threads(optim->net), n_parts, scale_part, &job);
    }
    return norm;
}
