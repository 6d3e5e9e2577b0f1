#include "linear.h"

#include "base/mem.h"

enum { FEW_ROWS = 64 };

/* --- packing --------------------------------------------------------------------------------------------------- */

struct stored_matrix linear_stored(const struct matrix *matrix)
{
    return (struct stored_matrix){matrix->data, matrix->row_bytes, matrix->rows, matrix->type};
}

size_t linear_packed_bytes(const struct gemm *gemm, const struct matrix *matrix)
{
    return size_pieces(matrix->rows, gemm->panel_columns) * gemm_panel_bytes(gemm, matrix->cols);
}

struct pack_job {
    const struct kernels *kernels;
    struct stored_matrix matrix;
    size_t n_cols;
    unsigned char *panels;
};

static void pack_panel(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct pack_job *job = context;
    const struct gemm *gemm = job->kernels->gemm;
    kernels_pack_panel(job->kernels, gemm, job->panels + item * gemm_panel_bytes(gemm, job->n_cols), &job->matrix,
                       item * gemm->panel_columns, job->n_cols);
}

void linear_pack(struct quire_engine *engine, void *panels, const struct matrix *matrix)
{
    struct pack_job job = {engine->kernels, linear_stored(matrix), matrix->cols, panels};
    threads_run(engine->threads, size_pieces(matrix->rows, engine->kernels->gemm->panel_columns), pack_panel, &job);
}

size_t linear_strips_bytes(const struct gemm *gemm, size_t m, size_t k)
{
    return size_pieces(m, gemm->strip_rows) * gemm_strip_bytes(gemm, k);
}

struct strips_job {
    const struct gemm *gemm;
    unsigned char *strips;
    const float *x;
    size_t x_stride, m, k;
};

static void pack_strip(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct strips_job *job = context;
    size_t row = item * job->gemm->strip_rows;
    job->gemm->pack_strip(job->strips + item * gemm_strip_bytes(job->gemm, job->k), job->x + row * job->x_stride,
                          job->x_stride, size_min(job->gemm->strip_rows, job->m - row), job->k);
}

void linear_pack_strips(struct quire_engine *engine, const struct gemm *gemm, void *strips, const float *x,
                        size_t x_stride, size_t m, size_t k)
{
    struct strips_job job = {gemm, strips, x, x_stride, m, k};
    threads_run(engine->threads, size_pieces(m, gemm->strip_rows), pack_strip, &job);
}

/* --- many tokens ----------------------------------------------------------------------------------------------- */

struct product_job {
    struct quire_engine *engine;
    const struct linear *linear;
    const struct linear_scratch *scratch;
    struct gemm_blocks blocks;
};

static void product_block(void *context, size_t item, uint32_t worker)
{
    const struct product_job *job = context;
    const struct linear *l = job->linear;
    const struct matrix *w = l->matrix;
    const struct kernels *kernels = job->engine->kernels;
    const struct gemm *gemm = kernels->gemm;
    struct gemm_block block = gemm_block_at(&job->blocks, item);
    float *y = l->y + block.row * l->y_stride + block.column;
    if (!l->edge.add && engine_is_cancelled(job->engine))
        return; /* nobody will look at the result; what is added to must be added to whole */
    float *sums = job->scratch->sums + worker * gemm_sums_floats(gemm);
    if (l->panels) {
        gemm_multiply_block(gemm, l->y, l->y_stride, job->scratch->strips, l->panels, sums, block, w->cols, &l->edge);
    } else {
        const struct stored_matrix stored = linear_stored(w);
        void *part = (unsigned char *)job->scratch->parts + worker * gemm_part_bytes(gemm, w->cols);
        kernels_multiply_stored(kernels, gemm, l->y, l->y_stride, job->scratch->strips, &stored, part, sums, block,
                                w->cols, &l->edge);
    }
    if (l->gelu)
        for (size_t i = 0; i < block.n_rows; i++)
            kernels->gelu(y + i * l->y_stride, y + i * l->y_stride, block.n_columns);
}

void linear_product(struct quire_engine *engine, const struct linear_scratch *scratch, const struct linear *linear)
{
    const struct gemm *gemm = engine->kernels->gemm;
    struct product_job job = {engine, linear, scratch,
                              gemm_blocks(gemm, linear->m, linear->matrix->rows, threads_count(engine->threads))};
    linear_pack_strips(engine, gemm, scratch->strips, linear->x, linear->x_stride, linear->m, linear->matrix->cols);
    threads_run(engine->threads, gemm_blocks_count(&job.blocks), product_block, &job);
}

/* --- a few tokens ------------------------------------------------------------------------------------------------ */

struct few_job {
    const struct kernels *kernels;
    const struct linear_few *linear;
    struct fixed fixed[DECODE_TOKENS]; /* x once more, where the type is multiplied so */
};

static void round_vector(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct few_job *job = context;
    size_t n = job->linear->matrix->cols;
    job->kernels->to_fixed(&job->fixed[item], job->linear->x + item * n, n);
}

static void few_rows(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct few_job *job = context;
    const struct linear_few *l = job->linear;
    const struct matrix *matrix = l->matrix;
    size_t first = item * FEW_ROWS, n_rows = size_min(FEW_ROWS, matrix->rows - first);
    const unsigned char *weights = (const unsigned char *)matrix->data + first * matrix->row_bytes;
    float values[DECODE_TOKENS * FEW_ROWS];
    kernels_dot_rows(job->kernels, matrix->type, values, FEW_ROWS, weights, matrix->row_bytes, n_rows, l->x, job->fixed,
                     l->n, matrix->cols);
    for (size_t v = 0; v < l->n; v++) {
        float *y = l->y + v * matrix->rows + first;
        for (size_t r = 0; r < n_rows; r++)
            y[r] = gemm_edge_apply(&l->edge, y[r], values[v * FEW_ROWS + r], first + r);
        if (l->gelu)
            job->kernels->gelu(y, y, n_rows);
    }
}

void linear_few(struct quire_engine *engine, const struct linear_few *linear)
{
    const struct matrix *matrix = linear->matrix;
    struct few_job job = {.kernels = engine->kernels, .linear = linear};
    if (engine->kernels->dot_fixed[matrix->type]) {
        for (size_t v = 0; v < linear->n; v++)
            job.fixed[v] = fixed_cut((unsigned char *)engine->fixed + v * fixed_bytes(matrix->cols), matrix->cols);
        threads_run(engine->threads, linear->n, round_vector, &job);
    }
    threads_run(engine->threads, size_pieces(matrix->rows, FEW_ROWS), few_rows, &job);
}
