/* Products with weight matrices, split over the threads by position. */
#ifndef QUIRE_ENGINE_LINEAR_H
#define QUIRE_ENGINE_LINEAR_H

#include "engine.h"

/* Floats of the buffer that linear_unpack needs for a matrix: 0 where it is float32 already. */
size_t linear_unpacked_floats(const struct matrix *matrix);

/* The matrix as float32 [rows][cols]: unpacked into buffer, or the mapped weights themselves. */
const float *linear_unpack(struct quire_engine *engine, const struct matrix *matrix, float *buffer);

/* y[m][n] (+)= x[m][k] . w[n][k]^T (+ bias[n]); strides in floats. Without `add`, y is undefined when the engine was
 * cancelled meanwhile. */
struct linear {
    float *y;
    size_t y_stride;
    const float *x;
    size_t x_stride;
    const float *w;    /* float32, [n][k] */
    const float *bias; /* [n] or NULL */
    size_t m, n, k;
    bool add;
};
void linear_product(struct quire_engine *engine, const struct linear *linear);

/* y[rows] (+)= matrix . x[cols] (+ bias): one token; weights are used as they are stored. */
void linear_vector(struct quire_engine *engine, float *y, const struct matrix *matrix, const float *bias,
                   const float *x, bool add);

#endif
