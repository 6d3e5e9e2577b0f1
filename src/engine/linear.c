#include "linear.h"

#include "base/mem.h"

/* Tiles of the output that one thread computes at a time. Fixed, so that results do not depend on the thread count;
 * wide, since OpenBLAS packs its operands anew for each tile. */
enum { TILE_ROWS = 256, TILE_COLUMNS = 1024, UNPACK_ROWS = 64, VECTOR_ROWS = 64 };

static size_t n_tiles(size_t n, size_t tile)
{
    return (n + tile - 1) / tile;
}

/* --- unpacking ------------------------------------------------------------------------------------------------- */

static bool is_usable_as_it_is(const struct matrix *matrix)
{
    return matrix->type == QUIRE_DTYPE_F32 && (uintptr_t)matrix->data % sizeof(float) == 0;
}

size_t linear_unpacked_floats(const struct matrix *matrix)
{
    return is_usable_as_it_is(matrix) ? 0 : (size_t)matrix->rows * matrix->cols;
}

struct unpack_job {
    const struct kernels *kernels;
    const struct matrix *matrix;
    float *buffer;
};

static void unpack_rows(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct unpack_job *job = context;
    const struct matrix *matrix = job->matrix;
    size_t end = size_min((item + 1) * UNPACK_ROWS, matrix->rows);
    for (size_t row = item * UNPACK_ROWS; row < end; row++)
        job->kernels->unpack[matrix->type](job->buffer + row * matrix->cols,
                                           (const unsigned char *)matrix->data + row * matrix->row_bytes, matrix->cols);
}

const float *linear_unpack(struct quire_engine *engine, const struct matrix *matrix, float *buffer)
{
    if (is_usable_as_it_is(matrix))
        return matrix->data;
    struct unpack_job job = {engine->kernels, matrix, buffer};
    threads_run(engine->threads, n_tiles(matrix->rows, UNPACK_ROWS), unpack_rows, &job);
    return buffer;
}

/* --- many tokens ----------------------------------------------------------------------------------------------- */

struct product_job {
    struct quire_engine *engine;
    const struct linear *linear;
};

static void product_tile(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct product_job *job = context;
    const struct linear *l = job->linear;
    size_t n_row_tiles = n_tiles(l->m, TILE_ROWS);
    size_t row = item % n_row_tiles * TILE_ROWS, column = item / n_row_tiles * TILE_COLUMNS;
    size_t m = size_min(TILE_ROWS, l->m - row), n = size_min(TILE_COLUMNS, l->n - column);
    float *y = l->y + row * l->y_stride + column;
    if (!l->add && engine_is_cancelled(job->engine))
        return; /* nobody will look at the result; what is added to must be added to whole */
    kernels_gemm(y, l->y_stride, l->x + row * l->x_stride, l->x_stride, l->w + column * l->k, m, n, l->k, l->add);
    if (l->bias)
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++)
                y[i * l->y_stride + j] += l->bias[column + j];
}

void linear_product(struct quire_engine *engine, const struct linear *linear)
{
    struct product_job job = {engine, linear};
    threads_run(engine->threads, n_tiles(linear->m, TILE_ROWS) * n_tiles(linear->n, TILE_COLUMNS), product_tile, &job);
}

/* --- one token ------------------------------------------------------------------------------------------------- */

struct vector_job {
    const struct kernels *kernels;
    const struct matrix *matrix;
    const float *bias;
    const float *x;
    float *y;
    bool add;
};

static void vector_rows(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct vector_job *job = context;
    const struct matrix *matrix = job->matrix;
    size_t end = size_min((item + 1) * VECTOR_ROWS, matrix->rows);
    for (size_t row = item * VECTOR_ROWS; row < end; row++) {
        const unsigned char *weights = (const unsigned char *)matrix->data + row * matrix->row_bytes;
        float value = job->kernels->dot[matrix->type](weights, job->x, matrix->cols);
        value += job->bias ? job->bias[row] : 0.0f;
        job->y[row] = job->add ? job->y[row] + value : value;
    }
}

void linear_vector(struct quire_engine *engine, float *y, const struct matrix *matrix, const float *bias,
                   const float *x, bool add)
{
    struct vector_job job = {engine->kernels, matrix, bias, x, y, add};
    threads_run(engine->threads, n_tiles(matrix->rows, VECTOR_ROWS), vector_rows, &job);
}
