/* float32 products through OpenBLAS, on the calling thread. */
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

/* Wide tiles: OpenBLAS packs its operands anew for each. */
enum { STRIP_ROWS = 256, PANEL_COLUMNS = 512, K_STEP = 1 };

void kernels_gemm_init(void)
{
    openblas_set_num_threads(1);
}

/* Debian's is compiled for 64. */
size_t gemm_openblas_most_threads(void)
{
    const char *found = strstr(openblas_get_config(), "MAX_THREADS=");
    long n = found ? strtol(found + strlen("MAX_THREADS="), NULL, 10) : 0;
    return n > 0 ? (size_t)n : 1;
}

static void pack_strip(void *strip, const float *x, size_t x_stride, size_t n_rows, size_t k)
{
    float *dst = strip;
    for (size_t i = 0; i < n_rows; i++)
        memcpy(dst + i * k, x + i * x_stride, k * sizeof *dst);
}

static void pack_columns(void *panel, size_t k_padded, size_t column, size_t first_k, const float *part)
{
    size_t n = k_padded - first_k < GEMM_PACK_DEPTH ? k_padded - first_k : GEMM_PACK_DEPTH;
    float *dst = (float *)panel + column * k_padded + first_k;
    for (size_t i = 0; i < GEMM_PACK_COLUMNS; i++)
        memcpy(dst + i * k_padded, part + i * GEMM_PACK_DEPTH, n * sizeof *dst);
}

/* A strip's rows lie as they are, so that all strips are one matrix; rows are taken by the cache line. */
static void pack_strips_turned(void *strips, const float *x, size_t x_stride, size_t n_rows, size_t k)
{
    enum { LINE = 16 };
    float *dst = strips;
    for (size_t row = 0; row < n_rows; row += LINE)
        for (size_t i = 0; i < k; i++)
            for (size_t r = row; r < row + LINE && r < n_rows; r++)
                dst[r * k + i] = x[i * x_stride + r];
}

static void pack_columns_turned(void *panel, size_t k_padded, size_t column, size_t first_k, const float *x,
                                size_t x_stride, size_t n_columns, size_t n_k)
{
    float *dst = (float *)panel + column * k_padded + first_k;
    for (size_t k = 0; k < n_k; k++, x += x_stride)
        for (size_t i = 0; i < GEMM_PACK_COLUMNS; i++)
            dst[i * k_padded + k] = i < n_columns ? x[i] : 0.0f;
}

static void multiply(float *sums, const struct gemm_step *step)
{
    const float *x = step->strip, *w = (const float *)step->panel + step->first_k;
    blasint k = (blasint)step->k_padded;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)step->n_rows, PANEL_COLUMNS, (blasint)step->n_k, 1.0f,
                x, k, w, k, step->add ? 1.0f : 0.0f, sums, PANEL_COLUMNS);
}

static void finish(float *y, size_t y_stride, const float *sums, size_t n_rows, size_t n_columns,
                   const struct gemm_edge *edge)
{
    gemm_finish_rows(y, y_stride, sums, PANEL_COLUMNS, n_rows, n_columns, edge);
}

const struct gemm gemm_openblas = {
    .name = "f32-openblas",
    .strip_rows = STRIP_ROWS,
    .panel_columns = PANEL_COLUMNS,
    .k_step = K_STEP,
    .step_bytes = K_STEP * sizeof(float),
    .depth = (size_t)1 << 30,
    .block_panels = 1,
    .pack_strip = pack_strip,
    .pack_columns = pack_columns,
    .pack_strips_turned = pack_strips_turned,
    .pack_columns_turned = pack_columns_turned,
    .multiply = multiply,
    .finish = finish,
};
