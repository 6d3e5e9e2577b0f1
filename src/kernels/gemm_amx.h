/* Products of bfloat16 factors with float32 sums, by AMX: part of kernels_vector.h.
 *
 * Panels are those of gemm_bf16.h. A strip is 32 rows, 32 numbers of each at a time: [k / 32][32][32]. One part of a
 * panel, 32 KB, is meant to stay in the first-level cache while strips go by. */
enum { AMX_DEPTH = 256, AMX_PANEL_BYTES = PANEL * 4 /* from one pair to the next */ };

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

static void amx_pack_columns_turned(void *panel, size_t k_padded, size_t column, size_t first_k, const float *x,
                                    size_t x_stride, size_t n_columns, size_t n_k)
{
    bf16_pack_columns_turned(panel, k_padded, column, first_k, x, x_stride, n_columns, n_k);
    size_t end = first_k + (n_k + 1) / 2 * 2;
    for (size_t k = end; k_padded - end < AMX_STEP && k < k_padded; k += 2)
        _mm512_storeu_si512((int32_t *)panel + k / 2 * PANEL + column, _mm512_setzero_si512());
}

static void amx_multiply_strip(float *sums, const void *strip, const void *panel, size_t k_padded, size_t first_k,
                               size_t n_k, size_t n_rows, bool add)
{
    (void)k_padded;
    (void)n_rows;
    struct amx_rows rows = {(const uint16_t *)strip + first_k * AMX_BLOCK, 64, 64 * AMX_BLOCK};
    const unsigned char *pairs = (const unsigned char *)panel + first_k / 2 * AMX_PANEL_BYTES;
    for (size_t c = 0; c < PANEL; c += AMX_BLOCK)
        multiply_amx(sums + c, PANEL, rows, pairs + 4 * c, AMX_PANEL_BYTES, n_k / AMX_STEP, add);
}

static const struct gemm gemm_amx = {
    .name = "bf16",
    .strip_rows = AMX_BLOCK,
    .panel_columns = PANEL,
    .k_step = AMX_STEP,
    .step_bytes = AMX_STEP * sizeof(uint16_t),
    .depth = AMX_DEPTH,
    .pack_strip = amx_pack_strip,
    .pack_columns = bf16_pack_columns,
    .pack_strips_turned = amx_pack_strips_turned,
    .pack_columns_turned = amx_pack_columns_turned,
    .multiply = amx_multiply_strip,
    .finish = gemm_finish,
};
