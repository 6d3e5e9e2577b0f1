#include "muon.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/threads.h"
#include "train_product.h"

enum { N_ROUNDS = 5 };

struct muon {
    struct net *net;
    float *x, *next;    /* [rows][cols], of the largest matrix */
    float *gram, *poly; /* [min(rows, cols)] squared, likewise */
    double *squares;    /* [rows], of the matrix with the most */
};

uint64_t muon_memory(const struct net_memory *memory)
{
    return 4 * memory->largest_linear;
}

quire_status muon_open(struct muon **out, struct net *net, quire_error *err)
{
    const char *what = "the matrices of Muon";
    size_t n_params, n_rows = 0, n_numbers = 0, n_square = 0;
    const struct param *params = net_params(net, &n_params);
    for (size_t i = 0; i < n_params; i++) {
        if (!params[i].is_linear)
            continue;
        size_t rows = (size_t)params[i].dims[0], least = size_min(rows, (size_t)params[i].dims[1]);
        n_rows = size_max(n_rows, rows);
        n_numbers = size_max(n_numbers, params[i].n);
        n_square = size_max(n_square, least * least);
    }
    struct muon *muon = mem_calloc(1, sizeof *muon, what, err);
    if (!muon)
        return QUIRE_ERR_NO_MEMORY;
    muon->net = net;
    if (!(muon->x = mem_aligned(n_numbers, sizeof(float), what, err)) ||
        !(muon->next = mem_aligned(n_numbers, sizeof(float), what, err)) ||
        !(muon->gram = mem_aligned(n_square, sizeof(float), what, err)) ||
        !(muon->poly = mem_aligned(n_square, sizeof(float), what, err)) ||
        !(muon->squares = mem_calloc(n_rows, sizeof *muon->squares, what, err))) {
        muon_close(muon);
        return QUIRE_ERR_NO_MEMORY;
    }
    *out = muon;
    return QUIRE_OK;
}

void muon_close(struct muon *muon)
{
    if (!muon)
        return;
    free(muon->x);
    free(muon->next);
    free(muon->gram);
    free(muon->poly);
    free(muon->squares);
    free(muon);
}

/* --- rows, each for itself ---------------------------------------------------------------------------------------- */

struct rows_job {
    const struct muon *muon;
    const struct param *param;
    float *m;
    const struct muon_rates *rates;
    size_t n_cols;
    float factor;
};

/* u into x, its squares, and the momentum. */
static void gather_row(void *context, size_t row, uint32_t worker)
{
    (void)worker;
    const struct rows_job *job = context;
    const struct muon_rates *r = job->rates;
    const float *g = job->param->grad + row * job->n_cols;
    float *m = job->m + row * job->n_cols, *x = job->muon->x + row * job->n_cols;
    double squares = 0;
    for (size_t i = 0; i < job->n_cols; i++) {
        x[i] = r->beta1 * m[i] + r->rest1 * g[i];
        m[i] = r->beta2 * m[i] + r->rest2 * g[i];
        squares += (double)x[i] * (double)x[i];
    }
    job->muon->squares[row] = squares;
}

static void scale_row(void *context, size_t row, uint32_t worker)
{
    (void)worker;
    const struct rows_job *job = context;
    float *x = job->muon->x + row * job->n_cols;
    for (size_t i = 0; i < job->n_cols; i++)
        x[i] *= job->factor;
}

static void move_row(void *context, size_t row, uint32_t worker)
{
    (void)worker;
    const struct rows_job *job = context;
    float *p = job->param->data + row * job->n_cols;
    const float *x = job->muon->x + row * job->n_cols;
    for (size_t i = 0; i < job->n_cols; i++)
        p[i] = p[i] * job->rates->keep - job->factor * x[i];
}

/* --- the iteration ------------------------------------------------------------------------------------------------ */

struct polynomial {
    const float *gram;
    float *poly; /* gram^2 comes in */
    size_t n;
};

static void polynomial_row(void *context, size_t row, uint32_t worker)
{
    (void)worker;
    const struct polynomial *job = context;
    const float a = 3.4445f, b = -4.7750f, c = 2.0315f, *gram = job->gram + row * job->n;
    float *poly = job->poly + row * job->n;
    for (size_t i = 0; i < job->n; i++)
        poly[i] = b * gram[i] + c * poly[i];
    poly[row] += a;
}

/* x of a norm of at most 1 becomes about its msign. gram and poly are symmetric, so that they lie either way. */
static void iterate(struct muon *muon, size_t rows, size_t cols)
{
    struct net *net = muon->net;
    bool is_tall = rows > cols;
    size_t n = is_tall ? cols : rows, depth = is_tall ? rows : cols;
    const struct factor gram = {.data = muon->gram, .stride = n}, poly = {.data = muon->poly, .stride = n};
    for (int round = 0; round < N_ROUNDS; round++) {
        const struct factor x = {.data = muon->x, .stride = cols};
        const struct factor turned = {.data = muon->x, .stride = cols, .is_transposed = true};
        const struct factor *in = is_tall ? &turned : &x;
        product_run(net,
                    &(struct product){.y = muon->gram, .y_stride = n, .x = *in, .w = *in, .m = n, .n = n, .k = depth});
        product_run(net,
                    &(struct product){.y = muon->poly, .y_stride = n, .x = gram, .w = gram, .m = n, .n = n, .k = n});
        threads_run(net_threads(net), n, polynomial_row, &(struct polynomial){muon->gram, muon->poly, n});
        product_run(net, &(struct product){.y = muon->next,
                                           .y_stride = cols,
                                           .x = is_tall ? x : poly,
                                           .w = is_tall ? poly : turned,
                                           .m = rows,
                                           .n = cols,
                                           .k = n});
        float *swap = muon->x;
        muon->x = muon->next;
        muon->next = swap;
    }
}

void muon_step(struct muon *muon, const struct param *param, float *m, const struct muon_rates *rates)
{
    size_t rows = (size_t)param->dims[0], cols = (size_t)param->dims[1];
    struct threads *threads = net_threads(muon->net);
    struct rows_job job = {.muon = muon, .param = param, .m = m, .rates = rates, .n_cols = cols};
    double squares = 0;
    threads_run(threads, rows, gather_row, &job);
    for (size_t i = 0; i < rows; i++)
        squares += muon->squares[i];
    job.factor = squares > 0 ? (float)(1 / sqrt(squares)) : 0.0f;
    threads_run(threads, rows, scale_row, &job);
    iterate(muon, rows, cols);
    job.factor = rates->lr * sqrtf((float)size_max(rows, cols));
    threads_run(threads, rows, move_row, &job);
}
