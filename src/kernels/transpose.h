/* W x W numbers of 32 bits, turned over in registers: part of kernels_vector.h, where W is 8 or 16. */
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
#endif
