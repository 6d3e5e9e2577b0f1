/* Rows of numbers: norms, GELU, softmax. Part of kernels_vector.h. */

/* Sums in double over eight columns at a time: the mean of a wide row keeps its precision, and the order is fixed. */
enum { SUMS = 8, SUM_VECTORS = 2 * SUMS / W };

typedef double dvec __attribute__((vector_size(4 * W)));
typedef float half_vec __attribute__((vector_size(2 * W)));

struct sums {
    dvec of[SUM_VECTORS];
};

INLINE half_vec load_half_vec(const float *x)
{
    half_vec v;
    memcpy(&v, x, sizeof v);
    return v;
}

INLINE dvec to_doubles(half_vec v)
{
#if KERNELS_WIDTH == 16
    return (dvec)_mm512_cvtps_pd((__m256)v);
#elif KERNELS_WIDTH == 8
    return (dvec)_mm256_cvtps_pd((__m128)v);
#else
    return __builtin_convertvector(v, dvec);
#endif
}

INLINE double add_sums(const double *sums)
{
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/* The sum of x - center, or of its square. */
INLINE double row_sum(const float *x, size_t n, double center, bool is_square)
{
    struct sums sums = {{{0}}};
    double lanes[SUMS];
    size_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (size_t v = 0; v < SUM_VECTORS; v++) {
            dvec d = to_doubles(load_half_vec(x + i + v * W / 2)) - center;
            sums.of[v] += is_square ? d * d : d;
        }
    memcpy(lanes, &sums, sizeof lanes);
    for (; i < n; i++) {
        double d = (double)x[i] - center;
        lanes[i % SUMS] += is_square ? d * d : d;
    }
    return add_sums(lanes);
}

static void layernorm(float *y, const float *x, const float *weight, const float *bias, size_t n, float eps)
{
    double mean = row_sum(x, n, 0, false) / (double)n;
    float scale = (float)(1.0 / sqrt(row_sum(x, n, mean, true) / (double)n + (double)eps));
    float center = (float)mean;
    if (bias)
        for (size_t i = 0; i < n; i++)
            y[i] = (x[i] - center) * scale * weight[i] + bias[i];
    else
        for (size_t i = 0; i < n; i++)
            y[i] = (x[i] - center) * scale * weight[i];
}

static void rmsnorm(float *y, const float *x, const float *weight, size_t n, float eps)
{
    float scale = (float)(1.0 / sqrt(row_sum(x, n, 0, true) / (double)n + (double)eps));
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * scale * weight[i];
}

INLINE vec gelu_vec(vec x)
{
    ivec is_negative = x < 0.0f;
    vec half_erfc = erfc_vec(choose(is_negative, -x, x) * 0.70710678f) * 0.5f;
    return x * choose(is_negative, half_erfc, 1.0f - half_erfc);
}

static void gelu(float *y, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(y + i, gelu_vec(load(x + i)));
    if (i < n) {
        float rest[W] = {0};
        memcpy(rest, x + i, (n - i) * sizeof *x);
        store(rest, gelu_vec(load(rest)));
        memcpy(y + i, rest, (n - i) * sizeof *y);
    }
}

static void softmax_sum(const float *x, size_t n, float *largest, double *sum)
{
    vec max = splat(-INFINITY);
    size_t i = 0;
    for (; i + W <= n; i += W)
        max = larger(load(x + i), max);
    float m = lane_max(max);
    for (; i < n; i++)
        m = x[i] > m ? x[i] : m;
    double total = 0;
    for (i = 0; i + W <= n; i += W)
        total += (double)lane_sum(exp_vec(load(x + i) - m));
    for (; i < n; i++)
        total += (double)expf(x[i] - m);
    *largest = m;
    *sum = total;
}
