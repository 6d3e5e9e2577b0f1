#include "train_product.h"

#include "net_private.h"

enum {
    ROWS_AT_ONCE = 4096, /* rows of x, and */
    DEPTH_AT_ONCE = 4096 /* elements of k, that are packed together */
};

/* Rows of x that are packed together: whole blocks of rows. */
static size_t rows_at_once(const struct gemm *gemm)
{
    return size_round_up(ROWS_AT_ONCE, gemm_block_rows(gemm));
}

static size_t depth_at_once(const struct gemm *gemm)
{
    return gemm->depth < DEPTH_AT_ONCE ? DEPTH_AT_ONCE / gemm->depth * gemm->depth : DEPTH_AT_ONCE;
}

/* --- room -------------------------------------------------------------------------------------------------------- */

void product_room_for(struct product_room *room, const struct gemm *gemm, size_t m, size_t n, size_t k)
{
    size_t depth = size_min(k, depth_at_once(gemm)), rows = size_min(m, rows_at_once(gemm));
    room->strip_bytes =
        size_max(room->strip_bytes, size_pieces(rows, gemm->strip_rows) * gemm_strip_bytes(gemm, depth));
    room->panel_bytes =
        size_max(room->panel_bytes, size_pieces(n, gemm->panel_columns) * gemm_panel_bytes(gemm, depth));
}

void product_room_for_passed(struct product_room *room, const struct gemm *gemm, size_t k)
{
    room->n_passed = size_max(room->n_passed, size_round_up(factor_scratch_floats(gemm, k), 16));
}

void product_lay_out(struct product_scratch *scratch, struct arena *arena, const struct product_room *room,
                     const struct gemm *gemm, size_t n_threads)
{
    scratch->strips = arena_take(arena, room->strip_bytes, 1, 1);
    scratch->panels = arena_take(arena, room->panel_bytes, 1, 1);
    scratch->sums = arena_floats(arena, n_threads, gemm_sums_floats(gemm));
    scratch->passed = arena_floats(arena, n_threads, room->n_passed);
    scratch->n_passed = room->n_passed;
}

/* --- packing ahead ------------------------------------------------------------------------------------------------ */

/* Parts of k lie one behind the other. */
static size_t part_bytes(const struct gemm *gemm, size_t n, size_t n_k)
{
    return size_pieces(n, gemm->panel_columns) * gemm_panel_bytes(gemm, n_k);
}

size_t product_packed_bytes(const struct gemm *gemm, size_t n, size_t k)
{
    size_t n_bytes = 0, n_k;
    for (size_t first_k = 0; first_k < k; first_k += n_k) {
        n_k = size_min(depth_at_once(gemm), k - first_k);
        n_bytes += part_bytes(gemm, n, n_k);
    }
    return n_bytes;
}

void product_pack(struct net *net, void *panels, const struct factor *w, size_t n, size_t k)
{
    unsigned char *part = panels;
    size_t n_k;
    for (size_t first_k = 0; first_k < k; first_k += n_k) {
        n_k = size_min(depth_at_once(net->gemm), k - first_k);
        factor_pack_panels(net, part, w, n, first_k, n_k);
        part += part_bytes(net->gemm, n, n_k);
    }
}

/* --- products ---------------------------------------------------------------------------------------------------- */

struct product_job {
    struct net *net;
    const struct product *product;
    const unsigned char *strips, *panels;
    size_t first_row, n_rows; /* of x, packed */
    size_t n_k;
    struct gemm_edge edge;
    struct gemm_blocks blocks;
    bool is_last;    /* of the parts of k */
    float late_clip; /* where there are several: only the whole sum is clipped; 0: not at all */
};

/* What comes behind the whole sum, for n numbers of y from `at` on. */
static void finish_row(const struct product_job *job, size_t at, size_t n)
{
    const struct product *p = job->product;
    const struct gemm_edge late = {.clip = job->late_clip};
    float *y = p->y + at;
    for (size_t j = 0; late.clip > 0 && j < n; j++)
        y[j] = gemm_edge_apply(&late, 0, y[j], j);
    for (size_t j = 0; p->addend && j < n; j++)
        y[j] += p->addend[at + j];
    if (p->gelu_back)
        job->net->kernels->gelu_back(y, p->gelu_back + at, n);
}

static void run_block(void *context, size_t item, uint32_t worker)
{
    const struct product_job *job = context;
    const struct product *p = job->product;
    const struct gemm *gemm = job->net->gemm;
    struct gemm_block block = gemm_block_at(&job->blocks, item);
    gemm_multiply_block(gemm, p->y + job->first_row * p->y_stride, p->y_stride, job->strips, job->panels,
                        job->net->scratch.product.sums + worker * gemm_sums_floats(gemm), block, job->n_k, &job->edge);
    for (size_t i = 0; i < block.n_rows && job->is_last; i++) {
        size_t at = (job->first_row + block.row + i) * p->y_stride + block.column,
               later = at + FACTOR_ROWS_AHEAD * p->y_stride;
        if (i + FACTOR_ROWS_AHEAD < block.n_rows && p->addend)
            factor_ask_ahead(p->addend + later, block.n_columns);
        if (i + FACTOR_ROWS_AHEAD < block.n_rows && p->gelu_back)
            factor_ask_ahead(p->gelu_back + later, block.n_columns);
        finish_row(job, at, block.n_columns);
    }
}

/* All rows, for a part of k that is packed in panels. */
static void run_rows(struct net *net, const struct product *p, const unsigned char *panels, size_t first_k, size_t n_k)
{
    const struct gemm *gemm = net->gemm;
    struct product_job job = {.net = net,
                              .product = p,
                              .strips = net->scratch.product.strips,
                              .panels = panels,
                              .n_k = n_k,
                              .edge = p->edge,
                              .is_last = first_k + n_k == p->k};
    if (first_k > 0) { /* the bias came with the first part */
        job.edge.add = true;
        job.edge.bias = NULL;
    }
    if (p->k > depth_at_once(gemm)) {
        job.late_clip = p->edge.clip;
        job.edge.clip = 0;
    }
    for (size_t row = 0; row < p->m; row += job.n_rows) {
        job.first_row = row;
        job.n_rows = size_min(rows_at_once(gemm), p->m - row);
        factor_pack_strips(net, net->scratch.product.strips, &p->x, row, job.n_rows, first_k, n_k);
        job.blocks = gemm_blocks(gemm, job.n_rows, p->n, threads_count(net->threads));
        threads_run(net->threads, gemm_blocks_count(&job.blocks), run_block, &job);
    }
}

void product_run(struct net *net, const struct product *p)
{
    const struct gemm *gemm = net->gemm;
    const unsigned char *part = p->panels;
    size_t n_k;
    for (size_t first_k = 0; first_k < p->k; first_k += n_k) {
        n_k = size_min(depth_at_once(gemm), p->k - first_k);
        if (!p->panels)
            factor_pack_panels(net, net->scratch.product.panels, &p->w, p->n, first_k, n_k);
        run_rows(net, p, p->panels ? part : net->scratch.product.panels, first_k, n_k);
        if (p->panels)
            part += part_bytes(gemm, p->n, n_k);
    }
}
