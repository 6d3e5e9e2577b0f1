#include "train_factor.h"

#include "net_private.h"
#include "net_rows.h"

enum {
    STRIPS_AT_ONCE = 8, /* that one thread packs */
    TURNED_DEPTH = 128  /* elements of k of a panel whose factor lies the other way, at a time */
};

struct pack_job {
    struct net *net;
    unsigned char *packed;
    const struct factor *factor;
    size_t first_row, n_rows; /* of the factor */
    size_t first_k, n_k;
};

size_t factor_scratch_floats(const struct gemm *gemm, size_t k)
{
    return size_max(gemm->strip_rows * k, TURNED_DEPTH * gemm->panel_columns);
}

static float *worker_scratch(const struct pack_job *job, uint32_t worker)
{
    const struct product_scratch *scratch = &job->net->scratch.product;
    return scratch->passed + worker * scratch->n_passed;
}

/* --- strips ------------------------------------------------------------------------------------------------------ */

/* Elements from first_k on of n rows of a factor that lies as it is, behind what they pass. */
static const float *passed_rows(const struct pack_job *job, size_t row, size_t n, size_t *stride, float *scratch)
{
    const struct factor *factor = job->factor;
    const float *rows = factor->data + row * factor->stride;
    *stride = factor->stride;
    if (factor->norm) {
        *stride = factor->norm->weight->n;
        for (size_t r = 0; r < n; r++)
            net_norm_row(job->net, factor->norm, scratch + r * *stride, rows + r * factor->stride);
        rows = scratch;
    } else if (factor->is_gelu) {
        *stride = job->n_k;
        for (size_t r = 0; r < n; r++)
            job->net->kernels->gelu(scratch + r * job->n_k, rows + r * factor->stride + job->first_k, job->n_k);
        return scratch;
    }
    return rows + job->first_k;
}

static void pack_strips(void *context, size_t item, uint32_t worker)
{
    const struct pack_job *job = context;
    const struct gemm *gemm = job->net->gemm;
    const struct factor *factor = job->factor;
    size_t first = item * STRIPS_AT_ONCE * gemm->strip_rows,
           end = size_min(first + STRIPS_AT_ONCE * gemm->strip_rows, job->n_rows);
    size_t strip_bytes = gemm_strip_bytes(gemm, job->n_k), stride;
    unsigned char *strips = job->packed + item * STRIPS_AT_ONCE * strip_bytes;
    if (factor->is_transposed) {
        gemm->pack_strips_turned(strips, factor->data + job->first_k * factor->stride + job->first_row + first,
                                 factor->stride, end - first, job->n_k);
        return;
    }
    for (size_t row = first; row < end; row += gemm->strip_rows, strips += strip_bytes) {
        size_t n = size_min(gemm->strip_rows, end - row);
        const float *rows = passed_rows(job, job->first_row + row, n, &stride, worker_scratch(job, worker));
        gemm->pack_strip(strips, rows, stride, n, job->n_k);
    }
}

void factor_pack_strips(struct net *net, void *strips, const struct factor *x, size_t first_row, size_t n_rows,
                        size_t first_k, size_t n_k)
{
    struct pack_job job = {net, strips, x, first_row, n_rows, first_k, n_k};
    threads_run(net->threads, size_pieces(size_pieces(n_rows, net->gemm->strip_rows), STRIPS_AT_ONCE), pack_strips,
                &job);
}

/* --- panels ------------------------------------------------------------------------------------------------------ */

/* n_k numbers of n columns, behind what they pass. */
static const float *passed_columns(const struct pack_job *job, const float *part, size_t n, size_t n_k, size_t *stride,
                                   float *scratch)
{
    *stride = job->factor->stride;
    if (!job->factor->is_gelu)
        return part;
    *stride = n;
    for (size_t k = 0; k < n_k; k++, part += job->factor->stride) {
        if (k + FACTOR_ROWS_AHEAD < n_k)
            factor_ask_ahead(part + FACTOR_ROWS_AHEAD * job->factor->stride, n);
        job->net->kernels->gelu(scratch + k * n, part, n);
    }
    return scratch;
}

/* A panel's columns of a transposed factor, part of k by part, so that they stay in a cache meanwhile. */
static void pack_panel_turned(const struct pack_job *job, void *panel, size_t first, size_t n, float *scratch)
{
    const struct gemm *gemm = job->net->gemm;
    const struct factor *factor = job->factor;
    size_t k_padded = gemm_padded(gemm, job->n_k), n_k, stride;
    for (size_t k = 0; k < job->n_k; k += n_k) {
        n_k = size_min(TURNED_DEPTH, job->n_k - k);
        const float *rows = factor->data + (job->first_k + k) * factor->stride + first;
        rows = passed_columns(job, rows, n, n_k, &stride, scratch);
        for (size_t column = 0; column < gemm->panel_columns; column += GEMM_PACK_COLUMNS) {
            size_t n_columns = column < n ? size_min(GEMM_PACK_COLUMNS, n - column) : 0;
            gemm->pack_columns_turned(panel, k_padded, column, k, n_columns ? rows + column : rows, stride, n_columns,
                                      n_k);
        }
    }
}

static void pack_panel(void *context, size_t item, uint32_t worker)
{
    const struct pack_job *job = context;
    const struct gemm *gemm = job->net->gemm;
    const struct factor *factor = job->factor;
    unsigned char *panel = job->packed + item * gemm_panel_bytes(gemm, job->n_k);
    size_t first = item * gemm->panel_columns;
    const struct stored_matrix rows = {factor->data + job->first_k, factor->stride * sizeof(float), job->n_rows,
                                       QUIRE_DTYPE_F32};
    if (factor->is_transposed)
        pack_panel_turned(job, panel, first, size_min(gemm->panel_columns, job->n_rows - first),
                          worker_scratch(job, worker));
    else
        kernels_pack_panel(job->net->kernels, gemm, panel, &rows, first, job->n_k);
}

void factor_pack_panels(struct net *net, void *panels, const struct factor *w, size_t n, size_t first_k, size_t n_k)
{
    struct pack_job job = {net, panels, w, 0, n, first_k, n_k};
    threads_run(net->threads, size_pieces(n, net->gemm->panel_columns), pack_panel, &job);
}
