/* Products of bfloat16 factors with float32 sums, by AMX: part of kernels_vector.h.
 *
 * A strip is 32 rows, 32 numbers of each at a time: [k / 32][32][32]. A panel is 32 columns, as pairs (gemm_bf16.h):
 * [k / 32][2 halves][16 pairs][16][2]. Of both, one part is 16 KB. A panel's stays in the first-level cache while the
 * strips go by; those of all strips of a block (256 KB), of all its panels (128 KB) and the sums (512 KB) stay in the
 * second-level cache. The next parts are asked for meanwhile: every panel asks for its share of the strip at hand, and
 * every strip for its share of the panel. */
enum {
    AMX_DEPTH = 256,
    AMX_STRIPS = 16, /* of a block: gemm_block_rows */
    AMX_PANELS = 8,
    AMX_LINE = AMX_BLOCK * sizeof(uint16_t) /* bytes of one number of each row of a strip, or column of a panel */
};

static void amx_pack_strip(void *strip, const float *x, size_t x_stride, size_t n_rows, size_t k)
{
    uint16_t *dst = strip;
    for (size_t i = 0; i < k; i += AMX_STEP)
        for (size_t r = 0; r < AMX_BLOCK; r++, dst += AMX_STEP) {
            size_t n = k - i < AMX_STEP ? k - i : AMX_STEP;
            _mm512_storeu_si512(dst, r < n_rows ? bf16_part(x + r * x_stride + i, n) : _mm512_setzero_si512());
        }
}

static void amx_pack_strips_turned(void *strips, const float *x, size_t x_stride, size_t n_rows, size_t k)
{
    uint32_t *dst = strips, pairs[AMX_STEP / 2][AMX_BLOCK];
    for (size_t row = 0; row < n_rows; row += AMX_BLOCK)
        for (size_t i = 0; i < k; i += AMX_STEP, dst += AMX_BLOCK * AMX_STEP / 2) {
            for (size_t p = 0; p < AMX_STEP / 2; p++)
                for (size_t c = 0; c < AMX_BLOCK; c += 16) {
                    size_t at = i + 2 * p;
                    const float *first = x + at * x_stride + row + c;
                    __mmask16 mask = first_lanes(row + c < n_rows ? n_rows - row - c : 0);
                    __m512i some = _mm512_setzero_si512();
                    if (at + 1 < k)
                        some = pair_numbers(first, first + x_stride, mask);
                    else if (at < k)
                        some = one_of_pair(first, mask);
                    _mm512_storeu_si512(pairs[p] + c, some);
                }
            for (size_t c = 0; c < AMX_BLOCK; c += 16)
                transpose(dst + c * AMX_STEP / 2, AMX_STEP / 2, pairs[0] + c, AMX_BLOCK);
        }
}

/* Columns `column` .. `column` + 15 of a step that k is in. */
INLINE int32_t *amx_half(void *panel, size_t column, size_t k)
{
    return (int32_t *)panel + (k / AMX_STEP * 2 + column / 16) * (AMX_STEP / 2 * 16);
}

static void amx_pack_columns(void *panel, size_t k_padded, size_t column, size_t first_k, const float *part)
{
    size_t n = k_padded - first_k < GEMM_PACK_DEPTH ? k_padded - first_k : GEMM_PACK_DEPTH;
    uint16_t rows[GEMM_PACK_COLUMNS][AMX_STEP];
    for (size_t i = 0; i < n; i += AMX_STEP) { /* part is full to its end: what lies behind k is zero there */
        for (size_t j = 0; j < GEMM_PACK_COLUMNS; j++)
            _mm512_storeu_si512(rows[j], bf16_part(part + j * GEMM_PACK_DEPTH + i, AMX_STEP));
        transpose(amx_half(panel, column, first_k + i), 16, rows, 16);
    }
}

static void amx_pack_columns_turned(void *panel, size_t k_padded, size_t column, size_t first_k, const float *x,
                                    size_t x_stride, size_t n_columns, size_t n_k)
{
    __mmask16 mask = first_lanes(n_columns);
    size_t end = first_k + n_k, padded = end + AMX_STEP > k_padded ? k_padded : end;
    for (size_t k = first_k; k < padded; k += 2, x += 2 * x_stride) {
        __m512i pairs = _mm512_setzero_si512();
        if (k + 1 < end)
            pairs = pair_numbers(x, x + x_stride, mask);
        else if (k < end)
            pairs = one_of_pair(x, mask);
        _mm512_storeu_si512(amx_half(panel, column, k) + k % AMX_STEP / 2 * 16, pairs);
    }
}

static void amx_multiply_strip(float *sums, const struct gemm_step *step)
{
    const unsigned char *strip = step->strip;
    const unsigned char *panel = (const unsigned char *)step->panel + step->first_k * AMX_LINE;
    size_t part_bytes = AMX_DEPTH * AMX_LINE, n_steps = step->n_k / AMX_STEP;
    struct amx_rows rows = {strip, 64, 64 * AMX_BLOCK};
    struct amx_columns columns = {panel, 64, 64 * AMX_STEP / 2, 64 * AMX_BLOCK};
    struct amx_ahead ahead = {strip + part_bytes + step->nth_panel % AMX_PANELS * (part_bytes / AMX_PANELS),
                              panel + part_bytes + step->nth_strip % AMX_STRIPS * (part_bytes / AMX_STRIPS),
                              AMX_BLOCK / AMX_PANELS, AMX_BLOCK / AMX_STRIPS};
    if (step->first_k + step->n_k < step->k_padded) /* both go on; compiled for each, so that counts are known */
        multiply_amx(sums, AMX_BLOCK, rows, columns, n_steps, step->add, ahead);
    else if (step->goes_on)
        multiply_amx(sums, AMX_BLOCK, rows, columns, n_steps, step->add,
                     (struct amx_ahead){.rows = ahead.rows, .row_lines = ahead.row_lines});
    else
        multiply_amx(sums, AMX_BLOCK, rows, columns, n_steps, step->add, (struct amx_ahead){0});
}

static void amx_finish(float *y, size_t y_stride, const float *sums, size_t n_rows, size_t n_columns,
                       const struct gemm_edge *edge)
{
    gemm_finish_rows(y, y_stride, sums, AMX_BLOCK, n_rows, n_columns, edge);
}

static const struct gemm gemm_amx = {
    .name = "bf16",
    .strip_rows = AMX_BLOCK,
    .panel_columns = AMX_BLOCK,
    .k_step = AMX_STEP,
    .step_bytes = AMX_STEP * sizeof(uint16_t),
    .depth = AMX_DEPTH,
    .block_panels = AMX_PANELS,
    .pack_strip = amx_pack_strip,
    .pack_columns = amx_pack_columns,
    .pack_strips_turned = amx_pack_strips_turned,
    .pack_columns_turned = amx_pack_columns_turned,
    .multiply = amx_multiply_strip,
    .finish = amx_finish,
};
