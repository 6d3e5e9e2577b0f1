/* Numbers of 32 bits, turned over in registers: W x W, or six rows of W. Part of kernels_vector.h, where W is 8 or
 * 16. */
#if KERNELS_WIDTH == 16
/* dst[i * dst_stride + j] = src[j * src_stride + i]; strides in numbers. */
INLINE void transpose(void *dst, size_t dst_stride, const void *src, size_t src_stride)
{
    __m512i a[16], b[16];
    const int32_t *from = src;
    int32_t *to = dst;
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        a[i] = _mm512_loadu_si512(from + (size_t)i * src_stride);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) { /* pairs of rows, number by number */
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* four rows: each lane of 128 bits now has one column of them */
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* column i + 4 * lane of all sixteen */
        __m512i low_even = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88),
                low_odd = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xDD);
        __m512i high_even = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
        __m512i high_odd = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xDD);
        _mm512_storeu_si512(to + (size_t)i * dst_stride, _mm512_shuffle_i32x4(low_even, high_even, 0x88));
        _mm512_storeu_si512(to + (size_t)(i + 8) * dst_stride, _mm512_shuffle_i32x4(low_even, high_even, 0xDD));
        _mm512_storeu_si512(to + (size_t)(i + 4) * dst_stride, _mm512_shuffle_i32x4(low_odd, high_odd, 0x88));
        _mm512_storeu_si512(to + (size_t)(i + 12) * dst_stride, _mm512_shuffle_i32x4(low_odd, high_odd, 0xDD));
    }
}

/* Where two rows' number i is, as one of 64 bits, in what unpacklo and, 8 further, unpackhi make of them; three times
 * each, for the three twos of rows. */
static const int64_t turn_twos[48] = {0,  0,  0,  1,  1,  1,  8,  8,  8, 9, 9,  9,  2,  2,  2,  3,
                                      3,  3,  10, 10, 10, 11, 11, 11, 4, 4, 4,  5,  5,  5,  12, 12,
                                      12, 13, 13, 13, 6,  6,  6,  7,  7, 7, 14, 14, 14, 15, 15, 15};

/* W numbers of each of six rows, as a strip has them: dst[W][6]. */
INLINE void turn_six(uint32_t *dst, const ivec rows[6])
{
    static const __mmask8 second[3] = {0x92, 0x24, 0x49}, third[3] = {0x24, 0x49, 0x92};
    __m512i low[3], high[3];
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        low[i] = _mm512_unpacklo_epi32((__m512i)rows[2 * i], (__m512i)rows[2 * i + 1]);
        high[i] = _mm512_unpackhi_epi32((__m512i)rows[2 * i], (__m512i)rows[2 * i + 1]);
    }
#pragma GCC unroll 6
    for (int j = 0; j < 6; j++) {
        __m512i at = _mm512_loadu_si512(turn_twos + 8 * j);
        __m512i out = _mm512_permutex2var_epi64(low[0], at, high[0]);
        out = _mm512_mask_blend_epi64(second[j % 3], out, _mm512_permutex2var_epi64(low[1], at, high[1]));
        out = _mm512_mask_blend_epi64(third[j % 3], out, _mm512_permutex2var_epi64(low[2], at, high[2]));
        _mm512_storeu_si512(dst + 16 * j, out);
    }
}
#else
INLINE void transpose(void *dst, size_t dst_stride, const void *src, size_t src_stride)
{
    __m256 a[8], b[8];
    const float *from = src;
    float *to = dst;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        a[i] = _mm256_loadu_ps(from + (size_t)i * src_stride);
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) { /* pairs of rows, number by number */
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) { /* four rows: each half now has one column of them */
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xEE);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xEE);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* column i, and i + 4, of all eight */
        _mm256_storeu_ps(to + (size_t)i * dst_stride, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        _mm256_storeu_ps(to + (size_t)(i + 4) * dst_stride, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
}

/* Four numbers of a strip from each half of the rows: the lower ones at dst, the upper ones four numbers of each row
 * further. */
INLINE void store_lanes(uint32_t *dst, __m256i lanes)
{
    _mm_storeu_si128((__m128i *)(void *)dst, _mm256_castsi256_si128(lanes));
    _mm_storeu_si128((__m128i *)(void *)(dst + 4 * 6), _mm256_extracti128_si256(lanes, 1));
}

INLINE void turn_six(uint32_t *dst, const ivec rows[6])
{
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++, dst += 2 * 6) {
        __m256i twos[3]; /* numbers 2 half and 2 half + 1, and those 4 further, of two rows */
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) {
            __m256i a = (__m256i)rows[2 * i], b = (__m256i)rows[2 * i + 1];
            twos[i] = half ? _mm256_unpackhi_epi32(a, b) : _mm256_unpacklo_epi32(a, b);
        }
        store_lanes(dst, _mm256_unpacklo_epi64(twos[0], twos[1]));
        store_lanes(dst + 4, _mm256_blend_epi32(twos[2], twos[0], 0xCC)); /* one's first and the other's second */
        store_lanes(dst + 8, _mm256_unpackhi_epi64(twos[1], twos[2]));
    }
}
#endif
