/* float32 matrix products through OpenBLAS. */
#include <cblas.h>

#include "kernels.h"

void kernels_gemm_init(void)
{
    openblas_set_num_threads(1);
}

void kernels_gemm(float *y, size_t y_stride, const float *x, size_t x_stride, const float *w, size_t m, size_t n,
                  size_t k, int add)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)m, (blasint)n, (blasint)k, 1.0f, x, (blasint)x_stride,
                w, (blasint)k, add ? 1.0f : 0.0f, y, (blasint)y_stride);
}
