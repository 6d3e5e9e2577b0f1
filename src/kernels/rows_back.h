/* The way back through rows: norms, GELU, softmax. Part of kernels_vector.h. */

/* See norm_back in kernels_ref.c. */
INLINE void norm_back(float *dx, bool adds, float *dweight, float *dbias, const float *dy, const float *x,
                      const float *weight, size_t n, float center, float scale, bool is_centered)
{
    struct sums sums = {{{0}}}, dots = {{{0}}};
    double lanes[2][SUMS];
    size_t whole = n / SUMS * SUMS;
    for (size_t i = 0; i < whole; i += SUMS)
        for (size_t v = 0; v < SUM_VECTORS; v++) {
            size_t at = i + v * W / 2;
            half_vec gradient = load_half_vec(dy + at) * load_half_vec(weight + at);
            half_vec normed = (load_half_vec(x + at) - center) * scale;
            dvec g = to_doubles(gradient);
            sums.of[v] += g;
            dots.of[v] += g * to_doubles(normed);
        }
    memcpy(lanes[0], &sums, sizeof lanes[0]);
    memcpy(lanes[1], &dots, sizeof lanes[1]);
    for (size_t i = whole; i < n; i++) {
        double g = (double)(dy[i] * weight[i]);
        lanes[0][i % SUMS] += g;
        lanes[1][i % SUMS] += g * (double)((x[i] - center) * scale);
    }
    float mean = is_centered ? (float)(add_sums(lanes[0]) / (double)n) : 0.0f;
    float dot = (float)(add_sums(lanes[1]) / (double)n);
    for (size_t i = 0; i < n; i++) {
        float xhat = (x[i] - center) * scale, g = dy[i];
        float d = scale * (g * weight[i] - mean - xhat * dot);
        dweight[i] += g * xhat;
        if (dbias)
            dbias[i] += g;
        dx[i] = adds ? dx[i] + d : d;
    }
}

static void layernorm_back(float *dx, bool adds, float *dweight, float *dbias, const float *dy, const float *x,
                           const float *weight, size_t n, float eps)
{
    double mean = row_sum(x, n, 0, false) / (double)n;
    float scale = (float)(1.0 / sqrt(row_sum(x, n, mean, true) / (double)n + (double)eps)), center = (float)mean;
    if (adds && !dbias) /* as good as always: compiled for it */
        norm_back(dx, true, dweight, NULL, dy, x, weight, n, center, scale, true);
    else
        norm_back(dx, adds, dweight, dbias, dy, x, weight, n, center, scale, true);
}

static void rmsnorm_back(float *dx, bool adds, float *dweight, const float *dy, const float *x, const float *weight,
                         size_t n, float eps)
{
    float scale = (float)(1.0 / sqrt(row_sum(x, n, 0, true) / (double)n + (double)eps));
    norm_back(dx, adds, dweight, NULL, dy, x, weight, n, 0.0f, scale, false);
}

/* The derivative of GELU: that of x * Phi(x), with Phi by erfc as in gelu_vec. */
INLINE vec gelu_slope(vec x)
{
    ivec is_negative = x < 0.0f;
    vec half_erfc = erfc_vec(choose(is_negative, -x, x) * 0.70710678f) * 0.5f;
    vec density = exp_vec(x * x * -0.5f) * 0.39894228f;
    return choose(is_negative, half_erfc, 1.0f - half_erfc) + x * density;
}

static void gelu_back(float *dx, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(dx + i, load(dx + i) * gelu_slope(load(x + i)));
    if (i < n) {
        float rest[W] = {0};
        memcpy(rest, x + i, (n - i) * sizeof *x);
        store(rest, gelu_slope(load(rest)));
        for (size_t j = 0; i + j < n; j++)
            dx[i + j] *= rest[j];
    }
}

/* lse is no less than any x, but for rounding. */
INLINE vec softmax_vec(vec x, float lse, float factor)
{
    vec d = x - lse;
    return exp_vec(choose(d > 0.0f, splat(0.0f), d)) * factor;
}

static void softmax(float *x, size_t n, float lse, float factor)
{
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(x + i, softmax_vec(load(x + i), lse, factor));
    if (i < n) {
        float rest[W] = {0};
        memcpy(rest, x + i, (n - i) * sizeof *x);
        store(rest, softmax_vec(load(rest), lse, factor));
        memcpy(x + i, rest, (n - i) * sizeof *x);
    }
}
