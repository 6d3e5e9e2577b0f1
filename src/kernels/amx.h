/* Matrices in AMX's tile registers: part of kernels_vector.h.
 *
 * A register is 16 rows of 64 bytes. One instruction adds the product of 16 rows of 32 bfloat16 numbers and 16 columns
 * of them, which lie as pairs (gemm_bf16.h), to 16 x 16 float32 sums: pairs' first numbers and second numbers each in
 * ascending order, then both to the sum; denormal numbers are taken for zero. Which registers there are is said once in
 * a thread. With KERNELS_AMX_EMULATED plain C does what the instructions do, for tests on processors without them. */
enum { AMX_ROWS = 16, AMX_STEP = 32, AMX_BLOCK = 32 /* rows and columns that four registers of sums hold */ };

#ifdef KERNELS_AMX_EMULATED
static _Thread_local uint32_t amx_tiles[8][AMX_ROWS][16];

static void amx_move(void *dst, size_t dst_stride, const void *src, size_t src_stride)
{
    for (size_t r = 0; r < AMX_ROWS; r++)
        memcpy((unsigned char *)dst + r * dst_stride, (const unsigned char *)src + r * src_stride, 64);
}

static float amx_number(uint32_t pair, int second)
{
    uint32_t bits = second ? pair & 0xFFFF0000u : pair << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return bits & 0x7F800000u ? x : copysignf(0.0f, x);
}

static void amx_multiply(int sums, int rows, int columns)
{
    for (size_t r = 0; r < AMX_ROWS; r++)
        for (size_t c = 0; c < 16; c++) {
            float parts[2] = {0}, sum;
            for (size_t p = 0; p < 16; p++)
                for (int i = 0; i < 2; i++)
                    parts[i] =
                        fmaf(amx_number(amx_tiles[rows][r][p], i), amx_number(amx_tiles[columns][p][c], i), parts[i]);
            memcpy(&sum, &amx_tiles[sums][r][c], sizeof sum);
            sum += parts[0] + parts[1];
            memcpy(&amx_tiles[sums][r][c], &sum, sizeof sum);
        }
}

#define AMX_CONFIGURE(config)             ((void)(config))
#define AMX_ZERO(tile)                    memset(amx_tiles[tile], 0, sizeof amx_tiles[tile])
#define AMX_LOAD(tile, from, stride)      amx_move(amx_tiles[tile], 64, from, stride)
#define AMX_STORE(to, stride, tile)       amx_move(to, stride, amx_tiles[tile], 64)
#define AMX_MULTIPLY(sums, rows, columns) amx_multiply(sums, rows, columns)
#else
/* By hand: what compilers offer does not say that memory is read. */
#define AMX_CONFIGURE(config) __asm__ volatile("ldtilecfg %0" : : "m"(*(config)))
#define AMX_ZERO(tile)        __asm__ volatile("tilezero %%tmm" #tile : :)
#define AMX_LOAD(tile, from, stride)                                                                                   \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(from), "r"((size_t)(stride)) : "memory")
#define AMX_STORE(to, stride, tile)                                                                                    \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(to), "r"((size_t)(stride)) : "memory")
#define AMX_MULTIPLY(sums, rows, columns)                                                                              \
    __asm__ volatile("tdpbf16ps %%tmm" #columns ", %%tmm" #rows ", %%tmm" #sums : :)
#endif

/* All eight registers at their full size, for good: nothing else in the process uses them. */
INLINE void amx_prepare(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    static _Thread_local bool is_prepared;
    if (is_prepared)
        return;
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = AMX_ROWS;
    }
    AMX_CONFIGURE(&config);
    is_prepared = true;
}

/* Numbers of 32 rows, 32 of them at a time, a step: from one row to the next, and from one step to the next. */
struct amx_rows {
    const void *numbers;
    size_t row_bytes, step_bytes;
};

/* Numbers of 32 columns, as 16 rows of pairs a step: from one row of pairs to the next, from the first 16 columns to
 * the others, and from one step to the next. */
struct amx_columns {
    const void *pairs;
    size_t pair_bytes, half_bytes, step_bytes;
};

/* What is asked for meanwhile, into the second-level cache: so many lines a step. */
struct amx_ahead {
    const unsigned char *rows, *columns;
    int row_lines, column_lines;
};

/* Columns whose rows of pairs hold more than these 32: row_bytes from one to the next. */
INLINE struct amx_columns amx_side_by_side(const int32_t *pairs, size_t row_bytes)
{
    return (struct amx_columns){pairs, row_bytes, 64, 16 * row_bytes};
}

/* sums[32][32] (+)= n_steps steps of rows times the same of columns. sums_row: floats from one row of sums to the
 * next. */
INLINE void multiply_amx(float *sums, size_t sums_row, struct amx_rows rows, struct amx_columns columns, size_t n_steps,
                         bool add, struct amx_ahead ahead)
{
    const unsigned char *low = rows.numbers, *high = low + AMX_ROWS * rows.row_bytes, *left = columns.pairs;
    size_t sums_bytes = sums_row * sizeof *sums;
    float *lower = sums + AMX_ROWS * sums_row;
    amx_prepare();
    if (add) {
        AMX_LOAD(0, sums, sums_bytes);
        AMX_LOAD(1, sums + 16, sums_bytes);
        AMX_LOAD(2, lower, sums_bytes);
        AMX_LOAD(3, lower + 16, sums_bytes);
    } else {
        AMX_ZERO(0);
        AMX_ZERO(1);
        AMX_ZERO(2);
        AMX_ZERO(3);
    }
    for (size_t s = 0; s < n_steps; s++) {
        AMX_LOAD(4, low, rows.row_bytes);
        AMX_LOAD(6, left, columns.pair_bytes);
        AMX_LOAD(7, left + columns.half_bytes, columns.pair_bytes);
        AMX_MULTIPLY(0, 4, 6);
        AMX_MULTIPLY(1, 4, 7);
        AMX_LOAD(5, high, rows.row_bytes);
        AMX_MULTIPLY(2, 5, 6);
        AMX_MULTIPLY(3, 5, 7);
        for (int i = 0; i < ahead.row_lines; i++, ahead.rows += 64)
            _mm_prefetch(ahead.rows, _MM_HINT_T1);
        for (int i = 0; i < ahead.column_lines; i++, ahead.columns += 64)
            _mm_prefetch(ahead.columns, _MM_HINT_T1);
        low += rows.step_bytes;
        high += rows.step_bytes;
        left += columns.step_bytes;
    }
    AMX_STORE(sums, sums_bytes, 0);
    AMX_STORE(sums + 16, sums_bytes, 1);
    AMX_STORE(lower, sums_bytes, 2);
    AMX_STORE(lower + 16, sums_bytes, 3);
}
