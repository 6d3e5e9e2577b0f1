#include "train_product.h"

#include "net_private.h"

enum {
    ROWS_AT_ONCE = 4096,  /* rows of x, and */
    DEPTH_AT_ONCE = 4096, /* elements of k, that are packed together */
    STRIPS_AT_ONCE = 8,   /* that one thread packs */
    TURNED_DEPTH = 128    /* elements of k of a panel whose factor lies the other way, at a time */
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

void product_room_for(struct product_room *room, const struct gemm *gemm, size_t m, size_t n, size_t k)
{
    size_t depth = size_min(k, depth_at_once(gemm)), rows = size_min(m, rows_at_once(gemm));
    room->strip_bytes =
        size_max(room->strip_bytes, size_pieces(rows, gemm->strip_rows) * gemm_strip_bytes(gemm, depth));
    room->panel_bytes =
        size_max(room->panel_bytes, size_pieces(n, gemm->panel_columns) * gemm_panel_bytes(gemm, depth));
}

void product_lay_out(struct product_scratch *scratch, struct arena *arena, const struct product_room *room,
                     const struct gemm *gemm, size_t n_threads)
{
    scratch->strips = arena_take(arena, room->strip_bytes, 1, 1);
    scratch->panels = arena_take(arena, room->panel_bytes, 1, 1);
    scratch->sums = arena_floats(arena, n_threads, gemm_sums_floats(gemm));
}

/* --- packing ----------------------------------------------------------------------------------------------------- */

struct pack_job {
    struct net *net;
    unsigned char *packed;
    const struct factor *factor;
    size_t first_row, n_rows; /* of the factor */
    size_t first_k, n_k;
};

static void pack_strips(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct pack_job *job = context;
    const struct gemm *gemm = job->net->gemm;
    const struct factor *factor = job->factor;
    size_t first = item * STRIPS_AT_ONCE * gemm->strip_rows,
           end = size_min(first + STRIPS_AT_ONCE * gemm->strip_rows, job->n_rows);
    size_t strip_bytes = gemm_strip_bytes(gemm, job->n_k);
    unsigned char *strips = job->packed + item * STRIPS_AT_ONCE * strip_bytes;
    if (factor->is_transposed) {
        gemm->pack_strips_turned(strips, factor->data + job->first_k * factor->stride + job->first_row + first,
                                 factor->stride, end - first, job->n_k);
        return;
    }
    for (size_t row = first; row < end; row += gemm->strip_rows, strips += strip_bytes)
        gemm->pack_strip(strips, factor->data + (job->first_row + row) * factor->stride + job->first_k, factor->stride,
                         size_min(gemm->strip_rows, job->n_rows - row), job->n_k);
}

/* A panel's columns of a transposed factor, part of k by part, so that they stay in a cache meanwhile. */
static void pack_panel_turned(const struct pack_job *job, void *panel, size_t first, size_t n)
{
    const struct gemm *gemm = job->net->gemm;
    const struct factor *factor = job->factor;
    size_t k_padded = gemm_padded(gemm, job->n_k), n_k;
    for (size_t k = 0; k < job->n_k; k += n_k) {
        n_k = size_min(TURNED_DEPTH, job->n_k - k);
        const float *part = factor->data + (job->first_k + k) * factor->stride + first;
        for (size_t column = 0; column < gemm->panel_columns; column += GEMM_PACK_COLUMNS) {
            size_t n_columns = column < n ? size_min(GEMM_PACK_COLUMNS, n - column) : 0;
            gemm->pack_columns_turned(panel, k_padded, column, k, n_columns ? part + column : part, factor->stride,
                                      n_columns, n_k);
        }
    }
}

static void pack_panel(void *context, size_t item, uint32_t worker)
{
    (void)worker;
    const struct pack_job *job = context;
    const struct gemm *gemm = job->net->gemm;
    const struct factor *factor = job->factor;
    unsigned char *panel = job->packed + item * gemm_panel_bytes(gemm, job->n_k);
    size_t first = item * gemm->panel_columns;
    if (factor->is_transposed)
        pack_panel_turned(job, panel, first, size_min(gemm->panel_columns, job->n_rows - first));
    else
        kernels_pack_panel(job->net->kernels, gemm, panel, factor->data + job->first_k, factor->stride * sizeof(float),
                           QUIRE_DTYPE_F32, first, job->n_rows, job->n_k);
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
};

static void run_block(void *context, size_t item, uint32_t worker)
{
    const struct product_job *job = context;
    const struct product *p = job->product;
    const struct gemm *gemm = job->net->gemm;
    gemm_multiply_block(gemm, p->y + job->first_row * p->y_stride, p->y_stride, job->strips, job->panels,
                        job->net->scratch.product.sums + worker * gemm_sums_floats(gemm),
                        gemm_block_at(&job->blocks, item), job->n_k, &job->edge);
}

static bool is_in_parts(const struct product *p, const struct gemm *gemm)
{
    return p->k > depth_at_once(gemm);
}

/* All rows, for a part of k that is packed in panels. */
static void run_rows(struct net *net, const struct product *p, const unsigned char *panels, size_t first_k, size_t n_k)
{
    const struct gemm *gemm = net->gemm;
    struct product_job job = {
        .net = net, .product = p, .strips = net->scratch.product.strips, .panels = panels, .n_k = n_k, .edge = p->edge};
    if (first_k > 0) { /* the bias came with the first part */
        job.edge.add = true;
        job.edge.bias = NULL;
    }
    if (is_in_parts(p, gemm)) /* only the whole sum is clipped */
        job.edge.clip = 0;
    for (size_t row = 0; row < p->m; row += job.n_rows) {
        job.first_row = row;
        job.n_rows = size_min(rows_at_once(gemm), p->m - row);
        struct pack_job pack = {net, net->scratch.product.strips, &p->x, row, job.n_rows, first_k, n_k};
        threads_run(net->threads, size_pieces(size_pieces(job.n_rows, gemm->strip_rows), STRIPS_AT_ONCE), pack_strips,
                    &pack);
        job.blocks = gemm_blocks(gemm, job.n_rows, p->n, threads_count(net->threads));
        threads_run(net->threads, gemm_blocks_count(&job.blocks), run_block, &job);
    }
}

/* Parts of k lie one behind the other. */
static size_t part_bytes(const struct gemm *gemm, size_t n, size_t n_k)
{
    return size_pieces(n, gemm->panel_columns) * gemm_panel_bytes(gemm, n_k);
}

static void pack_part(struct net *net, void *panels, const struct factor *w, size_t n, size_t first_k, size_t n_k)
{
    struct pack_job job = {net, panels, w, 0, n, first_k, n_k};
    threads_run(net->threads, size_pieces(n, net->gemm->panel_columns), pack_panel, &job);
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
        pack_part(net, part, w, n, first_k, n_k);
        part += part_bytes(net->gemm, n, n_k);
    }
}

static void clip_row(void *context, size_t row, uint32_t worker)
{
    (void)worker;
    const struct product *p = context;
    const struct gemm_edge edge = {.clip = p->edge.clip};
    float *y = p->y + row * p->y_stride;
    for (size_t j = 0; j < p->n; j++)
        y[j] = gemm_edge_apply(&edge, 0, y[j], j);
}

void product_run(struct net *net, const struct product *p)
{
    const struct gemm *gemm = net->gemm;
    const unsigned char *part = p->panels;
    size_t n_k;
    for (size_t first_k = 0; first_k < p->k; first_k += n_k) {
        n_k = size_min(depth_at_once(gemm), p->k - first_k);
        if (!p->panels)
            pack_part(net, net->scratch.product.panels, &p->w, p->n, first_k, n_k);
        run_rows(net, p, p->panels ? part : net->scratch.product.panels, first_k, n_k);
        if (p->panels)
            part += part_bytes(gemm, p->n, n_k);
    }
    if (is_in_parts(p, gemm) && p->edge.clip > 0)
        threads_run(net->threads, p->m, clip_row, (void *)(uintptr_t)p);
}
