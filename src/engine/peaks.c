/* Peaks of the processor and of memory. */
#include "quire/peaks.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "base/threads.h"
#include "kernels/kernels.h"
#include "peaks.h"

static const double MEASURE_SECONDS = 0.2;

quire_status peaks_check_stop(const quire_peaks *peaks, quire_error *err)
{
    bool is_stopped = peaks->stop && peaks->stop(peaks->user) != 0;
    return is_stopped ? quire_fail(err, QUIRE_ERR_CANCELLED, "stopped on request") : QUIRE_OK;
}

/* Runs the work again and again for MEASURE_SECONDS and gives the least time. Errors: CANCELLED. */
static quire_status least_seconds(double *seconds, const quire_peaks *peaks, struct threads *threads, size_t n_items,
                                  threads_work work, void *context, quire_error *err)
{
    double least = 0, begin = sys_now(), now = begin;
    for (int i = 0; i < 3 || now - begin < MEASURE_SECONDS; i++) {
        quire_status status = peaks_check_stop(peaks, err);
        if (status != QUIRE_OK)
            return status;
        double start = now;
        threads_run(threads, n_items, work, context);
        now = sys_now();
        if (i == 0 || now - start < least)
            least = now - start;
    }
    *seconds = least > 0 ? least : 1e-9;
    return QUIRE_OK;
}

static void raise_to(double *peak, double found)
{
    *peak = found > *peak ? found : *peak;
}

/* --- matrix products --------------------------------------------------------------------------------------------- */

/* An item is some 50 million operations: a few strips through one panel, all of which stay in L2. */
enum { MOST_STRIPS = 8, MOST_DEPTH = 512, ITEM_OPERATIONS = 50000000, ITEMS_PER_THREAD = 8 };

struct unit_job {
    const struct gemm *gemm;
    unsigned char *memory; /* each thread's strips, panel and sums */
    size_t worker_bytes, strip_bytes, panel_bytes;
    size_t k, n_strips;
    int n_passes;
};

static void multiply(void *context, size_t item, uint32_t worker)
{
    (void)item;
    const struct unit_job *job = context;
    const struct gemm *gemm = job->gemm;
    unsigned char *strips = job->memory + worker * job->worker_bytes,
                  *panel = strips + job->n_strips * job->strip_bytes;
    float *sums = (float *)(void *)(panel + job->panel_bytes);
    for (int pass = 0; pass < job->n_passes; pass++)
        for (size_t i = 0; i < job->n_strips; i++)
            gemm->multiply(sums + i * gemm->strip_rows * gemm->panel_columns,
                           &(struct gemm_step){.strip = strips + i * job->strip_bytes,
                                               .panel = panel,
                                               .k_padded = job->k,
                                               .n_k = job->k,
                                               .n_rows = gemm->strip_rows});
}

/* Packs factors that are neither zero nor denormal. row: room for a strip's rows, and for a part of a panel. */
static void pack_factors(const struct unit_job *job, float *row, size_t n_row, uint32_t n_threads)
{
    const struct gemm *gemm = job->gemm;
    for (size_t i = 0; i < n_row; i++)
        row[i] = (float)(i % 17) * 0.125f - 1;
    for (uint32_t t = 0; t < n_threads; t++) {
        unsigned char *strips = job->memory + t * job->worker_bytes, *panel = strips + job->n_strips * job->strip_bytes;
        for (size_t i = 0; i < job->n_strips; i++)
            gemm->pack_strip(strips + i * job->strip_bytes, row, job->k, gemm->strip_rows, job->k);
        for (size_t column = 0; column < gemm->panel_columns; column += GEMM_PACK_COLUMNS)
            for (size_t first = 0; first < job->k; first += GEMM_PACK_DEPTH)
                gemm->pack_columns(panel, job->k, column, first, row);
    }
}

static quire_status measure_gemm(double *flops, const quire_peaks *peaks, const struct gemm *gemm,
                                 struct threads *threads, quire_error *err)
{
    uint32_t n_threads = threads_count(threads);
    struct unit_job job = {.gemm = gemm, .k = size_min(gemm->depth, MOST_DEPTH)};
    double strip = 2.0 * (double)gemm->strip_rows * (double)gemm->panel_columns * (double)job.k;
    job.n_strips = strip * MOST_STRIPS < ITEM_OPERATIONS ? MOST_STRIPS : 1;
    job.n_passes = 1 + (int)(ITEM_OPERATIONS / (strip * (double)job.n_strips));
    job.strip_bytes = size_round_up(gemm_strip_bytes(gemm, job.k), 64);
    job.panel_bytes = size_round_up(gemm_panel_bytes(gemm, job.k), 64);
    size_t sums = job.n_strips * gemm->strip_rows * gemm->panel_columns * sizeof(float);
    job.worker_bytes = size_round_up(job.n_strips * job.strip_bytes + job.panel_bytes + sums, 4096);
    size_t n_row = size_max(GEMM_PACK_COLUMNS * GEMM_PACK_DEPTH, gemm->strip_rows * job.k);
    job.memory = mem_aligned(n_threads * job.worker_bytes + n_row * sizeof(float), 1, "measuring products", err);
    if (!job.memory)
        return QUIRE_ERR_NO_MEMORY;
    pack_factors(&job, (float *)(void *)(job.memory + n_threads * job.worker_bytes), n_row, n_threads);
    size_t n_items = (size_t)ITEMS_PER_THREAD * n_threads;
    double seconds = 0;
    quire_status status = least_seconds(&seconds, peaks, threads, n_items, multiply, &job, err);
    if (status == QUIRE_OK)
        *flops = strip * (double)job.n_strips * job.n_passes * (double)n_items / seconds;
    free(job.memory);
    return status;
}

static quire_status add_unit(quire_peaks *peaks, const struct kernels *kernels, uint32_t n_threads, quire_error *err)
{
    double flops = 0;
    struct threads *threads;
    quire_status status = threads_open(&threads, kernels_n_threads(kernels, n_threads), err);
    if (status != QUIRE_OK)
        return status;
    status = measure_gemm(&flops, peaks, kernels->gemm, threads, err);
    threads_close(threads);
    if (status != QUIRE_OK)
        return status;
    size_t i = 0;
    while (i < peaks->n_units && strcmp(peaks->units[i].isa, kernels->name) != 0)
        i++;
    if (i == QUIRE_PEAKS_MAX_UNITS)
        return QUIRE_OK;
    if (i == peaks->n_units)
        peaks->units[peaks->n_units++] = (struct quire_unit_peak){.isa = kernels->name, .factors = kernels->gemm->name};
    raise_to(&peaks->units[i].flops, flops);
    return QUIRE_OK;
}

quire_status quire_peaks_measure_units(quire_peaks *peaks, const char *isa, uint32_t n_threads, quire_error *err)
{
    const struct kernels *kernels;
    int is_available;
    quire_status status = isa ? kernels_choose(&kernels, isa, err) : QUIRE_OK;
    kernels_gemm_init();
    if (isa && status == QUIRE_OK)
        status = add_unit(peaks, kernels, n_threads, err);
    for (size_t i = 1; !isa && status == QUIRE_OK && (kernels = kernels_at(i, &is_available)) != NULL; i++)
        if (is_available)
            status = add_unit(peaks, kernels, n_threads, err);
    return status;
}

double quire_peaks_flops(const quire_peaks *peaks, const char *isa)
{
    for (size_t i = 0; i < peaks->n_units; i++)
        if (strcmp(peaks->units[i].isa, isa) == 0)
            return peaks->units[i].flops;
    return 0;
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

enum { READ_PART = 1 << 20 };

struct read_job {
    const struct kernels *kernels;
    unsigned char *memory;
};

/* With loads as wide as the processor's: 16 bytes at a time get no more than three quarters of what there is. */
static const struct kernels *widest_kernels(void)
{
    const struct kernels *widest = NULL, *kernels;
    int is_available;
    for (size_t i = 0; (kernels = kernels_at(i, &is_available)) != NULL; i++)
        if (is_available)
            widest = kernels;
    return widest;
}

static void read_part(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct read_job *job = context;
    volatile uint32_t used = job->kernels->fold(job->memory + item * READ_PART, READ_PART);
    (void)used;
}

/* Each page is touched first by a worker, as the engine's weights are. */
static void write_part(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct read_job *job = context;
    memset(job->memory + item * READ_PART, 1, READ_PART);
}

quire_status quire_peaks_measure_memory(quire_peaks *peaks, uint32_t n_threads, uint64_t n_bytes, quire_error *err)
{
    struct threads *threads;
    struct read_job job = {.kernels = widest_kernels()};
    size_t n_parts = (size_t)((n_bytes ? n_bytes : 1 << 30) / READ_PART) + (n_bytes > 0 && n_bytes < READ_PART);
    job.memory = mem_aligned(n_parts, READ_PART, "measuring memory", err);
    if (!job.memory)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = threads_open(&threads, n_threads ? n_threads : threads_available(), err);
    if (status == QUIRE_OK) {
        threads_run(threads, n_parts, write_part, &job);
        double seconds = 0;
        status = least_seconds(&seconds, peaks, threads, n_parts, read_part, &job, err);
        if (status == QUIRE_OK)
            raise_to(&peaks->memory_read, (double)n_parts * READ_PART / seconds);
        threads_close(threads);
    }
    free(job.memory);
    return status;
}
