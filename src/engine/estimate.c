#include "estimate.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/sys.h"
#include "linear.h"

/* Panels of the product that is timed: one for each thread, but no more memory than that. */
enum { PANELS_MAX = 8, REPEATS = 4 };

/* Operations of attention cost so many times those of products. */
static const double ATTENTION_COST = 2;

/* How far an old key's score may be above those that the certified stop compares it with, in nats, for a guess of where
 * it stops. With 7 the share of blocks that storyteller-7m leaves out of a novel is guessed within 0.01 (0.615 of 6,612
 * tokens, 0.839 of 22,343); StoryWriter's shape with random weights leaves out 0.52 of 71,899, where 0.57 are guessed.
 */
static const double SCORE_SPREAD = 7;

static double products_work(const quire_config *config, uint64_t first, uint64_t end)
{
    double d = config->d_model;
    return 2 * d * (double)(engine_qkv_width(config) + config->d_model + 2 * (size_t)config->d_ff) *
           ((double)end - (double)first);
}

/* The sum of what queries before `end` attend to, where none attends to more than `window` tokens. */
static double attended(double window, double end)
{
    return end <= window ? end * end / 2 : window * (end - window / 2);
}

static double attention_work(const struct quire_engine *engine, uint64_t first, uint64_t end)
{
    const quire_config *config = &engine->model->config;
    double sum = 0;
    for (uint32_t h = 0; h < config->n_heads; h++) {
        double slope = (double)engine->slopes[h], eps = (double)engine->opts.attn_eps;
        double window = slope > 0 && eps > 0 ? (SCORE_SPREAD - log(eps)) / slope : INFINITY;
        sum += attended(window, (double)end) - attended(window, (double)first);
    }
    return 4 * (double)config->head_dim * sum;
}

double estimate_layer_work(const struct quire_engine *engine, uint64_t first, uint64_t end)
{
    return products_work(&engine->model->config, first, end) + attention_work(engine, first, end);
}

double estimate_scoring_work(const struct quire_engine *engine, uint64_t n)
{
    const quire_config *config = &engine->model->config;
    return engine->opts.logprobs ? 2.0 * (double)n * config->d_model * config->vocab_size : 0;
}

struct trial {
    void *panels;
    float *x, *y;
    struct linear_scratch scratch;
};

static void release(struct trial *trial)
{
    free(trial->panels);
    free(trial->x);
    free(trial->y);
    free(trial->scratch.strips);
    free(trial->scratch.sums);
}

/* The best of a few products, the first not counted: operations a second; 0 where the engine was asked to stop. */
static double time_product(struct quire_engine *engine, const struct trial *trial, const struct linear *linear)
{
    double best = 0;
    linear_product(engine, &trial->scratch, linear);
    for (int i = 0; i < REPEATS && !engine_is_cancelled(engine); i++) {
        double start = sys_now();
        linear_product(engine, &trial->scratch, linear);
        double seconds = sys_now() - start;
        double speed =
            seconds > 0 ? 2.0 * (double)linear->m * linear->matrix->rows * linear->matrix->cols / seconds : 0;
        best = speed > best ? speed : best;
    }
    return engine_is_cancelled(engine) ? 0 : best;
}

/* Operations a second of the products of prefill, on all threads; 0: not known. */
static double measure_products(struct quire_engine *engine)
{
    const struct gemm *gemm = engine->kernels->gemm;
    struct matrix slice = engine->model->layers[0].up_proj;
    uint32_t n_threads = threads_count(engine->threads);
    size_t n_panels = size_min(n_threads, PANELS_MAX), m = gemm_block_rows(gemm), k = slice.cols;
    slice.rows = (uint32_t)size_min(slice.rows, n_panels * gemm->block_panels * gemm->panel_columns);
    struct trial trial = {
        .panels = mem_aligned(linear_packed_bytes(gemm, &slice), 1, "a product", NULL),
        .x = mem_calloc(m * k, sizeof *trial.x, "a product", NULL),
        .y = mem_aligned(m * slice.rows, sizeof *trial.y, "a product", NULL),
        .scratch.strips = mem_aligned(linear_strips_bytes(gemm, m, k), 1, "a product", NULL),
        .scratch.sums = mem_aligned(n_threads * gemm_sums_floats(gemm), sizeof(float), "a product", NULL),
    };
    double speed = 0;
    if (trial.panels && trial.x && trial.y && trial.scratch.strips && trial.scratch.sums) {
        struct linear linear = {.y = trial.y,
                                .y_stride = slice.rows,
                                .x = trial.x,
                                .x_stride = k,
                                .matrix = &slice,
                                .panels = trial.panels,
                                .m = m};
        linear_pack(engine, trial.panels, &slice);
        speed = time_product(engine, &trial, &linear) * n_threads / (double)n_panels;
    }
    release(&trial);
    return speed;
}

double estimate_seconds(struct quire_engine *engine, uint64_t n)
{
    const quire_config *config = &engine->model->config;
    if (engine->products_per_second <= 0)
        engine->products_per_second = measure_products(engine);
    if (engine->products_per_second <= 0)
        return 0;
    double work = products_work(config, 0, n) + ATTENTION_COST * attention_work(engine, 0, n);
    return (config->n_layers * work + estimate_scoring_work(engine, n)) / engine->products_per_second;
}
