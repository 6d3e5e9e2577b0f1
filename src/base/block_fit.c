#include "block_fit.h"

#include <math.h>

enum {
    LANES = 4, /* partial sums, added in one order: the compiler makes vectors of them */
    MAX_REFINEMENTS = 6
};

/* Adding it and taking it away again rounds to the nearest integer, ties to even, without a call: 1.5 * 2^23. */
static const float rounder = 12582912.0f;

static inline float clamp(float x, float lowest, float highest)
{
    x = x > lowest ? x : lowest;
    return x < highest ? x : highest;
}

/* Below the first a group is stored as zeros, from the second on it is refused: both are far beyond what scales in half
 * precision hold, and between them nothing here overflows. */
static const float smallest_span = 0x1p-60f, too_large = 0x1p60f;

void block_round(int8_t *numbers, const float *x, int n, float scale, float offset, int lowest, int highest)
{
    float inverse = scale != 0 ? 1 / scale : 0;
    for (int i = 0; i < n; i++)
        numbers[i] = (int8_t)(clamp((x[i] - offset) * inverse, (float)lowest, (float)highest) + rounder - rounder);
}

/* What least squares need of x and the integers q that a candidate rounds it to. */
struct sums {
    float q, qq, xq;
};

static struct sums sums_for(const float *x, int n, float inverse, float offset, int lowest, int highest)
{
    float q[LANES] = {0}, qq[LANES] = {0}, xq[LANES] = {0};
    for (int i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float rounded = clamp((x[i + l] - offset) * inverse, (float)lowest, (float)highest) + rounder - rounder;
            q[l] += rounded;
            qq[l] += rounded * rounded;
            xq[l] += rounded * x[i + l];
        }
    return (struct sums){(q[0] + q[1]) + (q[2] + q[3]), (qq[0] + qq[1]) + (qq[2] + qq[3]),
                         (xq[0] + xq[1]) + (xq[2] + xq[3])};
}

float block_error(const float *x, int n, float scale, float offset, int lowest, int highest)
{
    float inverse = scale != 0 ? 1 / scale : 0, sum[LANES] = {0};
    for (int i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float rounded = clamp((x[i + l] - offset) * inverse, (float)lowest, (float)highest) + rounder - rounder;
            float error = x[i + l] - offset - rounded * scale;
            sum[l] += error * error;
        }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* --- a scale alone ----------------------------------------------------------------------------------------------- */

/* The scale that is best for the integers which `inverse` rounds x to, and by how much the squared error is smaller
 * than that of zeros: with s = xq / qq it is xq^2 / qq. */
static double try_scale(float *scale, const float *x, int n, float inverse, int levels)
{
    struct sums sums = sums_for(x, n, inverse, 0, -levels, levels - 1);
    *scale = sums.qq > 0 ? sums.xq / sums.qq : 0;
    return sums.qq > 0 ? (double)sums.xq * (double)sums.xq / (double)sums.qq : 0;
}

float block_fit_scale(const float *x, int n, int levels)
{
    enum { STEPS = 9 }; /* to each side, in tenths of a level */
    float extreme = 0, best = 0, scale;
    double most = 0;
    for (int i = 0; i < n; i++) {
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
        if (!(fabsf(x[i]) < too_large))
            return NAN;
    }
    if (fabsf(extreme) < smallest_span)
        return 0;
    for (int step = -STEPS; step <= STEPS; step++) {
        double gain = try_scale(&scale, x, n, -((float)levels + 0.1f * (float)step) / extreme, levels);
        if (gain > most) {
            most = gain;
            best = scale;
        }
    }
    for (int i = 0; i < MAX_REFINEMENTS && best != 0; i++) {
        double gain = try_scale(&scale, x, n, 1 / best, levels);
        if (!(gain > most))
            break;
        most = gain;
        best = scale;
    }
    return best;
}

/* --- a scale and a minimum --------------------------------------------------------------------------------------- */

struct line_fit {
    const float *x;
    int n, highest;
    double x_sum;
    struct block_line line;
    double gain; /* by how much the squared error is smaller than that of zeros */
};

/* The line that is best for the integers which these values round x to, if it is better than what was found before. */
static int improve(struct line_fit *fit, float inverse, float offset)
{
    struct sums sums = sums_for(fit->x, fit->n, inverse, offset, 0, fit->highest);
    double n = fit->n, q = (double)sums.q, qq = (double)sums.qq, xq = (double)sums.xq, x = fit->x_sum;
    double determinant = n * qq - q * q;
    double scale = determinant > 0 ? (n * xq - x * q) / determinant : 0;
    double at_zero = determinant > 0 ? (qq * x - q * xq) / determinant : x / n;
    if (at_zero > 0) {
        at_zero = 0;
        scale = qq > 0 ? xq / qq : 0;
    }
    double gain = 2 * (scale * xq + at_zero * x - scale * at_zero * q) - scale * scale * qq - n * at_zero * at_zero;
    if (!(gain > fit->gain) || scale < 0)
        return 0;
    fit->line = (struct block_line){(float)scale, (float)-at_zero};
    fit->gain = gain;
    return 1;
}

struct block_line block_fit_line(const float *x, int n, int highest)
{
    enum { STEPS = 20 }; /* in tenths of a level, around `highest` */
    struct line_fit fit = {.x = x, .n = n, .highest = highest};
    float low = 0, high = x[0];
    for (int i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        fit.x_sum += (double)x[i];
        if (!(fabsf(x[i]) < too_large))
            return (struct block_line){NAN, NAN};
    }
    if (high - low < smallest_span)
        return (struct block_line){0, -low};
    for (int step = 0; step <= STEPS; step++)
        improve(&fit, ((float)(highest - 1) + 0.1f * (float)step) / (high - low), low);
    for (int i = 0; i < MAX_REFINEMENTS && fit.line.scale > 0; i++)
        if (!improve(&fit, 1 / fit.line.scale, -fit.line.minimum))
            break;
    return fit.line;
}
