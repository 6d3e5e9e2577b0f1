#include "linear.h"

#include "base/mem.h"

enum { VECTOR_ROWS = 64 };

static size_t n_pieces(size_t n, size_t piece)
{
    return (n + piece - 1) / piece;
}

/* --- packing --------------------------------------------------------------------------------------------------- */

size_t linear_packed_bytes(const struct gemm *gemm, const struct matrix *matrix)
{
    return n_pieces(matrix->rows, gemm->panel_columns) * gemm_panel_bytes(gemm, matrix->cols);
}

struct pack_job {
    const struct kernels *kernels;
    const struct matrix *matrix;
    unsigned char *panels;
};

static void pack_panel(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct pack_job *job = context;
    const struct matrix *w = job->matrix;
    const struct gemm *gemm = job->kernels->gemm;
    kernels_pack_panel(job->kernels, gemm, job->panels + item * gemm_panel_bytes(gemm, w->cols), w->data, w->row_bytes,
                       w->type, item * gemm->panel_columns, w->rows, w->cols);
}

void linear_pack(struct quire_engine *engine, void *panels, const struct matrix *matrix)
{
    struct pack_job job = {engine->kernels, matrix, panels};
    threads_run(engine->threads, n_pieces(matrix->rows, engine->kernels->gemm->panel_columns), pack_panel, &job);
}

size_t linear_strips_bytes(const struct gemm *gemm, size_t m, size_t k)
{
    return n_pieces(m, gemm->strip_rows) * gemm_strip_bytes(gemm, k);
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
    threads_run(engine->threads, n_pieces(m, gemm->strip_rows), pack_strip, &job);
}

/* --- many tokens ----------------------------------------------------------------------------------------------- */

struct product_job {
    struct quire_engine *engine;
    const struct linear *linear;
    const struct linear_scratch *scratch;
};

/* Blocks of rows of one panel follow each other, so that the panel is still in a cache that the threads share. */
static void product_block(void *context, size_t item, uint32_t worker)
{
    const struct product_job *job = context;
    const struct linear *l = job->linear;
    const struct kernels *kernels = job->engine->kernels;
    const struct gemm *gemm = kernels->gemm;
    size_t block_rows = gemm_block_rows(gemm), n_blocks = n_pieces(l->m, block_rows);
    size_t panel = item / n_blocks, column = panel * gemm->panel_columns, row = item % n_blocks * block_rows;
    size_t m = size_min(block_rows, l->m - row), n = size_min(gemm->panel_columns, l->n - column);
    struct gemm_edge edge = l->edge;
    edge.bias = edge.bias ? edge.bias + column : NULL;
    float *y = l->y + row * l->y_stride + column;
    if (!l->edge.add && engine_is_cancelled(job->engine))
        return; /* nobody will look at the result; what is added to must be added to whole */
    gemm_multiply_panel(gemm, y, l->y_stride,
                        (const unsigned char *)job->scratch->strips +
                            row / gemm->strip_rows * gemm_strip_bytes(gemm, l->k),
                        (const unsigned char *)l->panels + panel * gemm_panel_bytes(gemm, l->k),
                        job->scratch->sums + worker * gemm_sums_floats(gemm), m, n, l->k, &edge);
    if (l->gelu)
        for (size_t i = 0; i < m; i++)
            kernels->gelu(y + i * l->y_stride, n);
}

void linear_product(struct quire_engine *engine, const struct linear_scratch *scratch, const struct linear *linear)
{
    const struct gemm *gemm = engine->kernels->gemm;
    struct product_job job = {engine, linear, scratch};
    linear_pack_strips(engine, gemm, scratch->strips, linear->x, linear->x_stride, linear->m, linear->k);
    threads_run(engine->threads, n_pieces(linear->m, gemm_block_rows(gemm)) * n_pieces(linear->n, gemm->panel_columns),
                product_block, &job);
}

/* --- one token ------------------------------------------------------------------------------------------------- */

size_t linear_fixed_bytes(size_t cols)
{
    size_t n = size_round_up(cols, FIXED_BLOCK);
    return n * sizeof(int16_t) + n / 4 * sizeof(int32_t) + 2 * (n / FIXED_BLOCK) * sizeof(float);
}

/* The parts of such a buffer. */
static struct fixed cut_fixed(void *memory, size_t cols)
{
    struct fixed fixed = {.offsets = memory};
    fixed.scales = (float *)(void *)(fixed.offsets + cols / 4);
    fixed.totals = fixed.scales + cols / FIXED_BLOCK;
    fixed.numbers = (int16_t *)(void *)(fixed.totals + cols / FIXED_BLOCK);
    return fixed;
}

struct vector_job {
    const struct kernels *kernels;
    const struct matrix *matrix;
    const struct gemm_edge *edge;
    const float *x;
    const struct fixed *fixed; /* x once more; NULL: it is used as it is */
    float *y;
};

static void vector_rows(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct vector_job *job = context;
    const struct matrix *matrix = job->matrix;
    size_t first = item * VECTOR_ROWS, n = size_min(VECTOR_ROWS, matrix->rows - first);
    const unsigned char *weights = (const unsigned char *)matrix->data + first * matrix->row_bytes;
    float values[VECTOR_ROWS], *y = job->y + first;
    if (job->fixed)
        job->kernels->dot_fixed[matrix->type](values, weights, matrix->row_bytes, n, job->fixed, matrix->cols);
    else
        for (size_t r = 0; r < n; r++)
            values[r] = job->kernels->dot(matrix->type, weights + r * matrix->row_bytes, job->x, matrix->cols);
    for (size_t r = 0; r < n; r++)
        y[r] = gemm_edge_apply(job->edge, y[r], values[r], first + r);
}

void linear_vector(struct quire_engine *engine, float *y, const struct matrix *matrix, const float *x,
                   const struct gemm_edge *edge)
{
    const struct kernels *kernels = engine->kernels;
    struct vector_job job = {.kernels = kernels, .matrix = matrix, .edge = edge, .x = x, .y = y};
    struct fixed fixed = cut_fixed(engine->fixed, matrix->cols);
    if (kernels->dot_fixed[matrix->type]) {
        kernels->to_fixed(&fixed, x, matrix->cols);
        job.fixed = &fixed;
    }
    threads_run(engine->threads, n_pieces(matrix->rows, VECTOR_ROWS), vector_rows, &job);
}
