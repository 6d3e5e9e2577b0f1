/* Arithmetic on pointers: number formats, norms, GELU, dot products with stored weights, attention tiles.
 *
 * kernels_ref.c is the specification, in plain C; that of the number formats is base/blocks.h. kernels_vector.h says
 * the same with vectors and is compiled once per instruction set (kernels_base.c, kernels_avx2.c, kernels_avx512.c,
 * ...). dispatch.c picks a table. In every table but ref and base the order of each sum is fixed by position alone, so
 * that a row's result does not depend on what is computed beside it; those two multiply many rows through OpenBLAS,
 * whose order moves with the shape (gemm.h).
 *
 * n is a multiple of the type's block size wherever a type is involved. Inputs and outputs do not overlap unless said.
 */
#ifndef QUIRE_KERNELS_KERNELS_H
#define QUIRE_KERNELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "gemm.h"
#include "quire/dtype.h"
#include "quire/error.h"
#include "quire/kv_type.h"

enum {
    TILE_KEYS = 64,     /* keys of a tile: one KV block */
    TILE_QUERIES = 64,  /* most queries of a tile */
    TILE_ROW_STEP = 32, /* most queries that are computed together: buffers are padded to it */
    FIXED_BLOCK = 32,   /* numbers that share a scale in fixed point */
    FIXED_GROUP = 128,  /* what a vector is filled up to, with zeros: four such blocks */
    NARROW_STEP = 32,   /* channels that tiles of bfloat16 factors take together, */
    NARROW_BLOCKS = 4,  /* and blocks, at most */
    GROUP_TILES = 8,    /* most tiles that meet a block one after the other */
    NARROW_MOST = 256,  /* most channels of a head of such tiles */
    LANES = 16          /* head_dim is padded to it in tile buffers */
};

/* Queries of one head against keys, with a running maximum and sum: after all its blocks, output row r is
 * acc[r] / sum[r]. Queries are consecutive positions from first_query on.
 *
 * score(i, j) = q_i . k_j + slope * (j - i), for keys j <= i: the scale is in q already, and the bias is computed from
 * the integer positions, exactly for any distance below 2^24. */
struct attention_tile {
    uint32_t n_queries; /* 1..TILE_QUERIES */
    uint32_t head_dim;
    uint32_t row; /* floats from one row of q, acc and v to the next: head_dim rounded up to LANES */
    float slope;  /* 0 without ALiBi */
    int64_t first_query;
    float *q;   /* [n_queries rounded up to TILE_ROW_STEP][row], zero beyond head_dim and in the rows added */
    float *acc; /* the same shape; zero at the start */
    float *max; /* [n_queries rounded up]; -INFINITY at the start */
    float *sum; /* [n_queries rounded up]; 0 at the start */
    /* Row r takes blocks while bit r is set; later ones leave it as it is. */
    uint64_t live;
};

/* The way back through TILE_QUERIES queries of one head and TILE_KEYS keys. With s as above, and lse the logarithm of
 * the sum of a query's exponentials over all its keys:
 *
 *     p = exp(s - lse), 0 for keys behind the query     ds = p * (d_out . v - delta)
 *     dv += p^T d_out     dk += ds^T q     dq += ds k
 *
 * No score is above its lse. Rows that are not there are zero, with lse INFINITY and delta 0 for queries; keys that are
 * not there lie behind every query that is. dq is that of the queries as they are, with the scale in them. Formats:
 * `columns` [head_dim][TILE_KEYS] and `rows` [64][row], of floats; or, for attend_back_narrow, of bfloat16: a row
 * [head_dim], `columns` and `pairs` as narrow_columns and narrow_pairs make them. */
struct attention_back {
    uint32_t head_dim;
    uint32_t row; /* floats from one row of dq, dk and dv (and float factors) to the next */
    float slope;
    int64_t distance;                /* position of the first key less that of the first query */
    const void *q, *d_out;           /* rows */
    const void *q_sums, *d_out_sums; /* the same once more: rows, or pairs */
    const void *k_columns, *v_columns;
    const void *k_sums; /* rows, or pairs */
    const float *lse, *delta;
    float *dq, *dk, *dv;
};

/* A vector in 16-bit fixed point: FIXED_BLOCK numbers share a scale, the largest of them is +-32767. Rounded to
 * nearest, so within 2^-16 of the block's largest; a block with a NaN or an infinity has the scale NaN. The parts of a
 * buffer of fixed_bytes, as fixed_cut finds them. */
struct fixed {
    int16_t *numbers;   /* [n] */
    float *scales;      /* [n / FIXED_BLOCK] */
    float *totals;      /* [n / FIXED_BLOCK]: the sum of a block's numbers, times its scale; */
    float *half_totals; /* [n / 16]: of half a block's */
    /* The same in the order in which nibbles lie in a register (dot_nibbles.h), filled up with zeros. Offsets: what
     * nibbles that stand for n - 8 give too much, -8 times the sum of the 8 numbers that meet in a lane. */
    int16_t *groups;
    int32_t *group_offsets; /* [n / 8] */
    float *group_scales;    /* [n / 8] */
};

struct kernels {
    const char *name;

    /* Products of many rows: with the layers' weights, and where nothing may be rounded to less than float32. */
    const struct gemm *gemm, *gemm_exact;

    /* dst[0..n) = the numbers stored at src: in every table the same, bit for bit. */
    void (*unpack)(quire_dtype type, float *dst, const void *src, size_t n);

    /* All 32-bit words of n_bytes, a multiple of 256, folded into one by exclusive or: reading, and nothing else, for
     * measuring. */
    uint32_t (*fold)(const void *p, size_t n_bytes);

    /* sum of w[i] * x[i], w stored in a type that has no dot_fixed. */
    float (*dot)(quire_dtype type, const void *w, const float *x, size_t n);

    /* y[v * y_stride + r] = w[r] . x[v] for n_rows rows, row_bytes apart, and n_vectors vectors [n_vectors][n], each
     * what dot gives, bit for bit: they share the reading of the rows. NULL where that gains nothing over calling dot.
     */
    void (*dot_rows[QUIRE_DTYPE_COUNT])(float *y, size_t y_stride, const void *w, size_t row_bytes, size_t n_rows,
                                        const float *x, size_t n_vectors, size_t n);

    /* x[0..n) to fixed point. n is a multiple of FIXED_BLOCK. NULL where no dot_fixed is. */
    void (*to_fixed)(const struct fixed *fixed, const float *x, size_t n);

    /* y[v * y_stride + r] = w[r] . x[v] for n_rows rows of n numbers stored in the type, row_bytes apart, and n_vectors
     * vectors in fixed point, which share the reading and unpacking of the rows: for types that are small integers with
     * scales, whose products are summed exactly as long as they share one. What is computed beside it never changes a
     * number. NULL for other types, and where the processor gains nothing by it. */
    void (*dot_fixed[QUIRE_DTYPE_COUNT])(float *y, size_t y_stride, const void *w, size_t row_bytes, size_t n_rows,
                                         const struct fixed *x, size_t n_vectors, size_t n);

    /* y = (x - mean) / sqrt(variance + eps) * weight (+ bias unless NULL); the variance is that of the n numbers. y may
     * be x. Mean and variance are summed in double. */
    void (*layernorm)(float *y, const float *x, const float *weight, const float *bias, size_t n, float eps);

    /* y = x / sqrt(mean(x^2) + eps) * weight. y may be x. */
    void (*rmsnorm)(float *y, const float *x, const float *weight, size_t n, float eps);

    /* y = x/2 * (1 + erf(x / sqrt 2)), the exact form. Within 5e-7 * max(1, |x|) of it. y may be x. */
    void (*gelu)(float *y, const float *x, size_t n);

    /* The largest of x[0..n) and the sum of exp(x[i] - largest): a row of logits on the way to probabilities. */
    void (*softmax_sum)(const float *x, size_t n, float *largest, double *sum);

    /* The way back through the norms, for y as above and its gradient dy: dx (+)= that of x, dweight += and dbias
     * (unless NULL) +=. dx may be dy where it is not added to. */
    void (*layernorm_back)(float *dx, bool adds, float *dweight, float *dbias, const float *dy, const float *x,
                           const float *weight, size_t n, float eps);
    void (*rmsnorm_back)(float *dx, bool adds, float *dweight, const float *dy, const float *x, const float *weight,
                         size_t n, float eps);

    /* dx[0..n) *= the derivative of GELU at x. */
    void (*gelu_back)(float *dx, const float *x, size_t n);

    /* x = exp(x - lse) * factor: a row of logits, to probabilities times something. */
    void (*softmax)(float *x, size_t n, float lse, float factor);

    /* Tiles that one layout of blocks serves: as many as stay in L2 with the sums of their values. 1..GROUP_TILES */
    uint32_t group_tiles;

    /* Takes one block into the live rows of a tile: keys at positions first_key .. first_key + n_keys - 1. Keys after a
     * query are masked. Blocks are given newest first, so that a query meets its own position first and its maximum is
     * soon final. k_columns: [head_dim][TILE_KEYS], the block transposed; v: [TILE_KEYS][row]. Both are zero beyond
     * n_keys; v beyond head_dim too. */
    void (*attend)(const struct attention_tile *tile, const float *k_columns, const float *v, int64_t first_key);

    /* The same with factors of bfloat16 in both products, and sums of float32, for up to narrow_blocks blocks together:
     * those of an absolute group of so many, oldest first. narrow_start rounds a tile's queries and lays them out,
     * narrow_keys and narrow_values lay out a block's sides that are stored as bfloat16, 2 * TILE_KEYS * head_dim bytes
     * of each; narrow_end makes rows of acc again. head_dim is a multiple of NARROW_STEP, and NARROW_MOST at the most.
     * NULL where the processor has no such products. */
    uint32_t narrow_blocks; /* 1..NARROW_BLOCKS */
    void (*narrow_start)(const struct attention_tile *tile);
    void (*narrow_keys)(void *keys, const void *side, uint32_t n, uint32_t head_dim);
    void (*narrow_values)(void *values, const void *side, uint32_t n, uint32_t head_dim);
    void (*attend_narrow)(const struct attention_tile *tile, const void *keys, const void *values, int64_t first_key,
                          uint32_t n_blocks);
    void (*narrow_end)(const struct attention_tile *tile);

    /* n numbers, rounded to bfloat16. to may be row, or lie before it in the same memory. */
    void (*narrow_row)(void *to, const float *row, uint32_t n);

    /* The way back: see struct attention_back. The narrow one where attend_narrow is, for the same head_dim; the last
     * two make its `columns` and `pairs` from a side of a block of bfloat16. */
    void (*attend_back)(const struct attention_back *back);
    void (*attend_back_narrow)(const struct attention_back *back);
    void (*narrow_columns)(void *columns, const void *side, uint32_t n, uint32_t head_dim);
    void (*narrow_pairs)(void *pairs, const void *side, uint32_t n, uint32_t head_dim);

    /* attend for n_queries == 1 and keys and values as they are stored, n_keys rows of each side of a KV block
     * (base/kv_rows.h). */
    void (*attend_one)(const struct attention_tile *tile, quire_kv_type type, const void *k, const void *v,
                       uint32_t n_keys, int64_t first_key);

    /* A side of a stored block for attend. Columns: columns[c][j] = side[j][c] for j < n, 0 beyond. Rows: rows[j][c],
     * TILE_KEYS rows with `row` floats, 0 beyond n and head_dim. */
    void (*unpack_columns)(float *columns, quire_kv_type type, const void *side, uint32_t n, uint32_t head_dim);
    void (*unpack_rows)(float *rows, uint32_t row, quire_kv_type type, const void *side, uint32_t n, uint32_t head_dim);
};

/* The table named, or, for NULL, the one that QUIRE_ISA names, or the best that this processor runs.
 * Errors: UNSUPPORTED, with the names that this processor can run. */
quire_status kernels_choose(const struct kernels **out, const char *isa, quire_error *err);

/* Whether the processor runs the table at `index`; NULL behind the last. For tests that go over all of them. */
const struct kernels *kernels_at(size_t index, int *is_available);

/* Rows as they are stored, row_bytes apart. */
struct stored_matrix {
    const void *data;
    size_t row_bytes, n_rows;
    quire_dtype type;
};

/* Columns [first, first + panel_columns) of a product with w, as a panel: k numbers of each of its rows `first`.. on.
 * Rows that w does not have are zero. */
void kernels_pack_panel(const struct kernels *kernels, const struct gemm *gemm, void *panel,
                        const struct stored_matrix *w, size_t first, size_t k);

/* gemm_multiply_block of w as it is stored, to the same bits: its panels are packed part by part and used at once.
 * Worth it where all rows are in one block, so that no panel is packed twice. part: scratch of gemm_part_bytes. */
void kernels_multiply_stored(const struct kernels *kernels, const struct gemm *gemm, float *y, size_t y_stride,
                             const void *strips, const struct stored_matrix *w, void *part, float *sums,
                             struct gemm_block block, size_t k, const struct gemm_edge *edge);

/* Bytes of a vector of n numbers in fixed point, and its parts in so much memory, which is aligned to 64 bytes. */
size_t fixed_bytes(size_t n);
struct fixed fixed_cut(void *memory, size_t n);

/* y[v * y_stride + r] = w[r] . x[v], rows as they are stored, by dot_fixed where the type has it, else by dot: x is
 * [n_vectors][n], and fixed holds the same n_vectors vectors in fixed point where there is a dot_fixed. */
void kernels_dot_rows(const struct kernels *kernels, quire_dtype type, float *y, size_t y_stride, const void *w,
                      size_t row_bytes, size_t n_rows, const float *x, const struct fixed *fixed, size_t n_vectors,
                      size_t n);

/* Makes OpenBLAS compute on the calling thread: the engine's own pool does the splitting, by position. */
void kernels_gemm_init(void);

/* Threads for work with the table: n_threads, or where that is 0 as many as processors may be used, but no more than
 * its products bear. OpenBLAS is compiled for a number of threads, and ends the process of many more. */
uint32_t kernels_n_threads(const struct kernels *kernels, uint32_t n_threads);

#endif
