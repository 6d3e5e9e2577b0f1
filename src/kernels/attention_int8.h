/* One query against keys and values stored as int8, by AVX-512-VNNI: part of kernels_vector.h.
 *
 * The instruction multiplies unsigned with signed bytes and adds four neighbouring products to a 32-bit number. The
 * query and the weights become 16-bit integers with one scale, which are two bytes each, so that both products are
 * exact sums of integers: rounding moves a query's channel by 2^-16 of the largest, a weight too. Heads of at most
 * INT8_CHANNELS channels: the sums fit 32 bits. */
enum { INT8_CHANNELS = 256, INT8_KEYS = 16 };

/* Lane i: the sum of numbers[i]'s lanes. */
INLINE __m512i sums_of_lanes(const __m512i numbers[16])
{
    __m512i a[8], b[4], c[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        a[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(numbers[2 * i], numbers[2 * i + 1]),
                                _mm512_unpackhi_epi32(numbers[2 * i], numbers[2 * i + 1]));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) /* four numbers' sums, a part of each in each quarter */
        b[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(a[2 * i], a[2 * i + 1]),
                                _mm512_unpackhi_epi64(a[2 * i], a[2 * i + 1]));
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        c[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(b[2 * i], b[2 * i + 1], 0x88),
                                _mm512_shuffle_i32x4(b[2 * i], b[2 * i + 1], 0xDD));
    return _mm512_add_epi32(_mm512_shuffle_i32x4(c[0], c[1], 0x88), _mm512_shuffle_i32x4(c[0], c[1], 0xDD));
}

/* 16 scales from row j on. */
INLINE vec int8_scales(const void *side, uint32_t head_dim, uint32_t j)
{
    const uint16_t *scales = kv_rows_scales(side, QUIRE_KV_INT8, head_dim, j);
    return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_256(scales)), 16);
}

/* Scales lie behind all rows of their side and are wanted before them: those of this block's values, and of the older
 * block's keys. */
INLINE void prefetch_int8_scales(const void *k, const void *v, uint32_t head_dim)
{
    const unsigned char *keys = k;
    const void *sides[] = {v, keys - 2 * kv_rows_bytes(QUIRE_KV_INT8, head_dim)};
    for (int i = 0; i < 2; i++)
        for (uint32_t j = 0; j < KV_ROWS; j += 32)
            __builtin_prefetch(kv_rows_scales(sides[i], QUIRE_KV_INT8, head_dim, j), 0, 3);
}

INLINE __mmask64 int8_mask(uint32_t head_dim, uint32_t c)
{
    return head_dim - c < 64 ? ((__mmask64)1 << (head_dim - c)) - 1 : ~(__mmask64)0;
}

/* A query: 256 * high + low, times scale; and 128 times the sum of its integers, which keys that are made unsigned give
 * too much. A query with a NaN or an infinity has the scale NaN. */
struct int8_query {
    int8_t high[INT8_CHANNELS], low[INT8_CHANNELS];
    float scale;
    int32_t excess;
};

INLINE void int8_query_make(struct int8_query *query, const float *q, uint32_t head_dim)
{
    vec largest = splat(0.0f), zero = splat(0.0f);
    for (uint32_t c = 0; c < head_dim; c += W) { /* zero behind head_dim, as tiles are */
        vec v = load(q + c);
        zero += v * 0.0f;
        largest = larger(as_vec(bits_of(v) & 0x7FFFFFFFu), largest);
    }
    bool is_finite = lane_sum(zero) == 0.0f;
    float most = lane_max(largest), to_integer = most > 0x1p-100f ? 32639.0f / most : 0.0f;
    __m512i sum = _mm512_setzero_si512();
    memset(query->high, 0, sizeof query->high);
    memset(query->low, 0, sizeof query->low);
    for (uint32_t c = 0; c < head_dim; c += W) {
        __m512i whole = _mm512_cvtps_epi32((__m512)(is_finite ? load(q + c) * to_integer : splat(0.0f)));
        __m512i high = _mm512_srai_epi32(_mm512_add_epi32(whole, _mm512_set1_epi32(128)), 8);
        __m128i low_bytes = _mm512_cvtepi32_epi8(whole), high_bytes = _mm512_cvtepi32_epi8(high);
        memcpy(query->low + c, &low_bytes, sizeof low_bytes);
        memcpy(query->high + c, &high_bytes, sizeof high_bytes);
        sum = _mm512_add_epi32(sum, whole);
    }
    query->scale = is_finite ? most * (1.0f / 32639.0f) : NAN;
    query->excess = 128 * _mm512_reduce_add_epi32(sum);
}

INLINE void score_int8_rows(const struct attention_tile *tile, uint32_t head_dim, const void *k, const void *v,
                            uint32_t n_keys, float s[TILE_KEYS])
{
    const __m512i to_unsigned = _mm512_set1_epi8((char)0x80);
    struct int8_query query;
    int8_query_make(&query, tile->q, head_dim);
    for (uint32_t j = 0; j < n_keys; j += INT8_KEYS) {
        __m512i sums[INT8_KEYS];
#pragma GCC unroll 16
        for (uint32_t a = 0; a < INT8_KEYS; a++) {
            const unsigned char *row = (const unsigned char *)k + (size_t)(j + a) * head_dim;
            __m512i high = _mm512_setzero_si512(), low = _mm512_setzero_si512();
            prefetch_rows(row, v, QUIRE_KV_INT8, head_dim, 1);
#pragma GCC unroll 4
            for (uint32_t c = 0; c < head_dim; c += 64) {
                __m512i key = _mm512_maskz_loadu_epi8(int8_mask(head_dim, c), row + c);
                key = _mm512_xor_si512(key, to_unsigned);
                high = _mm512_dpbusd_epi32(high, key, _mm512_loadu_si512(query.high + c));
                low = _mm512_dpbusd_epi32(low, key, _mm512_loadu_si512(query.low + c));
            }
            sums[a] = _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
        }
        __m512i score = _mm512_sub_epi32(sums_of_lanes(sums), _mm512_set1_epi32(query.excess));
        store(s + j, (vec)_mm512_cvtepi32_ps(score) * (int8_scales(k, head_dim, j) * query.scale));
    }
    for (uint32_t j = n_keys; j < TILE_KEYS; j++)
        s[j] = 0;
}

/* Compiled for the usual sizes of a head, and for any. */
INLINE void score_int8(const struct attention_tile *tile, const void *k, const void *v, uint32_t n_keys,
                       float s[TILE_KEYS])
{
    prefetch_int8_scales(k, v, tile->head_dim);
    switch (tile->head_dim) {
    case 64: score_int8_rows(tile, 64, k, v, n_keys, s); break;
    case 128: score_int8_rows(tile, 128, k, v, n_keys, s); break;
    default: score_int8_rows(tile, tile->head_dim, k, v, n_keys, s);
    }
}

/* Weights times the scales of their rows: 256 * high + low, times scale. With a NaN or an infinity the scale is NaN. */
struct int8_weights {
    uint8_t high[TILE_KEYS], low[TILE_KEYS];
    float scale;
};

INLINE void int8_weights_make(struct int8_weights *weights, const float p[TILE_KEYS], const void *v, uint32_t n_keys,
                              uint32_t head_dim)
{
    vec products[TILE_KEYS / W], largest = splat(0.0f), zero = splat(0.0f);
    for (uint32_t j = 0; j < TILE_KEYS; j += W) {
        __mmask16 mask = first_lanes(j < n_keys ? n_keys - j : 0);
        vec product = (vec)_mm512_maskz_mov_ps(mask, (__m512)(load(p + j) * int8_scales(v, head_dim, j)));
        products[j / W] = product;
        zero += product * 0.0f;
        largest = larger(product, largest);
    }
    float most = lane_max(largest), to_integer = most > 0x1p-100f ? 65535.0f / most : 0.0f;
    for (uint32_t j = 0; j < TILE_KEYS; j += W) {
        __m512i whole = _mm512_cvtps_epi32((__m512)(products[j / W] * to_integer));
        __m128i low = _mm512_cvtepi32_epi8(whole), high = _mm512_cvtepi32_epi8(_mm512_srli_epi32(whole, 8));
        memcpy(weights->low + j, &low, sizeof low);
        memcpy(weights->high + j, &high, sizeof high);
    }
    weights->scale = lane_sum(zero) == 0.0f ? most * (1.0f / 65535.0f) : NAN;
}

INLINE __m512i four_bytes(const uint8_t *bytes)
{
    int32_t four;
    memcpy(&four, bytes, sizeof four);
    return _mm512_set1_epi32(four);
}

/* acc = acc * keep + weights . v, for up to 64 channels from c on. */
INLINE void add_int8(const struct attention_tile *tile, uint32_t head_dim, const void *v, uint32_t n_keys,
                     const struct int8_weights *weights, float keep, uint32_t c)
{
    __mmask64 mask = int8_mask(head_dim, c);
    __m512i high[4], low[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        high[i] = low[i] = _mm512_setzero_si512();
    for (uint32_t j = 0; j < n_keys; j += 4) { /* rows that are not there have the weight zero */
        const unsigned char *row = (const unsigned char *)v + (size_t)j * head_dim + c;
        __m512i rows[4], pairs[4], fours[4];
        if (c == 0)
            prefetch_rows(row, v, QUIRE_KV_INT8, head_dim, 4);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++)
            rows[i] = _mm512_maskz_loadu_epi8(mask, row + i * head_dim);
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            pairs[i] = _mm512_unpacklo_epi8(rows[2 * i], rows[2 * i + 1]);
            pairs[2 + i] = _mm512_unpackhi_epi8(rows[2 * i], rows[2 * i + 1]);
        }
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) { /* channels 4 f .. 4 f + 3 of each 16, four keys each */
            fours[2 * i] = _mm512_unpacklo_epi16(pairs[2 * i], pairs[2 * i + 1]);
            fours[2 * i + 1] = _mm512_unpackhi_epi16(pairs[2 * i], pairs[2 * i + 1]);
        }
        __m512i weight_high = four_bytes(weights->high + j), weight_low = four_bytes(weights->low + j);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            high[i] = _mm512_dpbusd_epi32(high[i], weight_high, fours[i]);
            low[i] = _mm512_dpbusd_epi32(low[i], weight_low, fours[i]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        low[i] = _mm512_add_epi32(_mm512_slli_epi32(high[i], 8), low[i]);
    __m512i even[2] = {_mm512_shuffle_i32x4(low[0], low[1], 0x88), _mm512_shuffle_i32x4(low[2], low[3], 0x88)};
    __m512i odd[2] = {_mm512_shuffle_i32x4(low[0], low[1], 0xDD), _mm512_shuffle_i32x4(low[2], low[3], 0xDD)};
    /* Quarters of even[0]: channels 0 and 32 from low[0], 0 + 4 and 32 + 4 from low[1]; odd has 16 and 48. */
    __m512i sums[4] = {_mm512_shuffle_i32x4(even[0], even[1], 0x88), _mm512_shuffle_i32x4(odd[0], odd[1], 0x88),
                       _mm512_shuffle_i32x4(even[0], even[1], 0xDD), _mm512_shuffle_i32x4(odd[0], odd[1], 0xDD)};
    for (uint32_t i = 0; i < 4 && c + i * W < tile->row; i++) {
        float *acc = tile->acc + c + i * W;
        store(acc, load(acc) * keep + (vec)_mm512_cvtepi32_ps(sums[i]) * weights->scale);
    }
}

INLINE void add_all_int8(const struct attention_tile *tile, const void *v, uint32_t n_keys, const float p[TILE_KEYS],
                         float keep)
{
    struct int8_weights weights;
    int8_weights_make(&weights, p, v, n_keys, tile->head_dim);
    switch (tile->head_dim) {
    case 64: add_int8(tile, 64, v, n_keys, &weights, keep, 0); break;
    case 128:
        add_int8(tile, 128, v, n_keys, &weights, keep, 0);
        add_int8(tile, 128, v, n_keys, &weights, keep, 64);
        break;
    default:
        for (uint32_t c = 0; c < tile->head_dim; c += 64)
            add_int8(tile, tile->head_dim, v, n_keys, &weights, keep, c);
    }
}
