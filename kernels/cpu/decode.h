/* Stored weights as floats: SLIP_LANES rows of one column at a time, and the scales of their blocks.
 *
 * Included by math_body.c alone, which is compiled once for each instruction set: the paths below are chosen when compiling.
 */
#ifndef SLIP_KERNELS_CPU_DECODE_H
#define SLIP_KERNELS_CPU_DECODE_H

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "kernels/cpu/matrix.h"
#include "kernels/cpu/vector.h"

SLIP_INLINE vf as_float(vu bits)
{
    vf v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Bytes as numbers, and bfloat16. GCC 12 takes generic conversions of narrow types apart: bytes lane by lane, halves into quarters. */
#ifdef __AVX2__
SLIP_INLINE vu widen_bytes(const unsigned char *data)
{
#ifdef __AVX512F__
    return (vu)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)data));
#else
    return (vu)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)data));
#endif
}

SLIP_INLINE vf decode_bf16(const unsigned char *data)
{
#ifdef __AVX512F__
    return as_float((vu)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)data)) << 16);
#else
    return as_float((vu)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)data)) << 16);
#endif
}
#else
typedef uint8_t v16b __attribute__((vector_size(16)));
typedef uint16_t v8h __attribute__((vector_size(16)));

SLIP_INLINE vu widen_bytes(const unsigned char *data)
{
    const v16b zero = {0};
    v16b bytes = zero;
    memcpy(&bytes, data, SLIP_LANES);
    v8h pairs = (v8h)__builtin_shufflevector(bytes, zero, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return (vu)__builtin_shufflevector(pairs, (v8h)zero, 0, 8, 1, 9, 2, 10, 3, 11);
}

SLIP_INLINE vf decode_bf16(const unsigned char *data)
{
    const v8h zero = {0};
    v8h half = zero;
    memcpy(&half, data, 2 * SLIP_LANES);
    return as_float((vu)__builtin_shufflevector(zero, half, 0, 8, 1, 9, 2, 10, 3, 11));
}
#endif

/* E4M3 bits moved into the fields of an IEEE half are the value times 2^-8, subnormals included. */
#ifdef __AVX512F__
SLIP_INLINE vf decode_f8(const unsigned char *data)
{
    __m256i code = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)data));
    __m256i sign = _mm256_slli_epi16(_mm256_and_si256(code, _mm256_set1_epi16(0x80)), 8);
    __m256i half = _mm256_or_si256(sign, _mm256_slli_epi16(_mm256_and_si256(code, _mm256_set1_epi16(0x7f)), 7));
    return (vf)_mm512_cvtph_ps(half) * 0x1p8f;
}
#elif defined(__AVX2__)
SLIP_INLINE vf decode_f8(const unsigned char *data)
{
    __m128i code = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)data));
    __m128i sign = _mm_slli_epi16(_mm_and_si128(code, _mm_set1_epi16(0x80)), 8);
    __m128i half = _mm_or_si128(sign, _mm_slli_epi16(_mm_and_si128(code, _mm_set1_epi16(0x7f)), 7));
    return (vf)_mm256_cvtph_ps(half) * 0x1p8f;
}
#else
/* Without that conversion: into a float's fields, where the factor is 2^-120. */
SLIP_INLINE vf decode_f8(const unsigned char *data)
{
    vu code = widen_bytes(data);
    return as_float((code & 0x80) << 24 | (code & 0x7f) << 20) * 0x1p120f;
}
#endif

enum { COLUMNS = 4 }; /* that are decoded together */

/* E2M1 in halves: doubled values are whole numbers. A byte holds columns 2j (low nibble) and 2j + 1 of a row. */
#ifdef __AVX512F__
SLIP_INLINE vf decode_fp4(const unsigned char *data, int high)
{
    const __m512 values = _mm512_setr_ps(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    vu code = widen_bytes(data);
    return (vf)_mm512_permutexvar_ps((__m512i)(high ? code >> 4 : code), values); /* looks at four bits of an index */
}
#elif defined(__AVX2__)
/* Rows r and r + SLIP_LANES of COLUMNS columns, as bfloat16 in one lane. Its upper and lower bytes come from two tables; rows are put in such
 * an order before that joining the bytes makes pairs. */
#define SLIP_FP4_PAIRS
SLIP_INLINE void pair_fp4(const unsigned char *data, vu pair[COLUMNS])
{
    const __m256i upper = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0x3f, 0x40, 0x40, 0x40, 0x40, 0x41, 0x41, 0, -0x41, -0x40, -0x40, -0x40, -0x40, -0x3f, -0x3f));
    const __m256i lower =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -0x80, 0, 0x40, -0x80, -0x40, 0, 0x40, 0, -0x80, 0, 0x40, -0x80, -0x40, 0, 0x40));
    const __m256i rows = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15));
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i codes = _mm256_loadu_si256((const __m256i *)data);
    codes = _mm256_permutevar8x32_epi32(codes, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
    codes = _mm256_shuffle_epi8(codes, rows);
    const __m256i even = _mm256_and_si256(codes, nibble), odd = _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble);
    const __m256i even_lower = _mm256_shuffle_epi8(lower, even), even_upper = _mm256_shuffle_epi8(upper, even);
    const __m256i odd_lower = _mm256_shuffle_epi8(lower, odd), odd_upper = _mm256_shuffle_epi8(upper, odd);
    pair[0] = (vu)_mm256_unpacklo_epi8(even_lower, even_upper);
    pair[1] = (vu)_mm256_unpacklo_epi8(odd_lower, odd_upper);
    pair[2] = (vu)_mm256_unpackhi_epi8(even_lower, even_upper);
    pair[3] = (vu)_mm256_unpackhi_epi8(odd_lower, odd_upper);
}
#else
/* Without a table in a register: into a float's fields, which is right from 2 on. Zero has no sign, as in the tables above. */
SLIP_INLINE vf decode_fp4(const unsigned char *data, int high)
{
    vu code = widen_bytes(data);
    code = high ? code >> 4 : code & 15;
    vu size = code & 7;
    vu small = (vu)(size < 2);
    vu bits = ((0x3f800000 + (size << 22)) & ~small) | ((0 - size) & 0x3f800000 & small);
    return as_float(bits | ((code & 8) << 28 & (vu)(size != 0)));
}
#endif

/* Columns [c, c + COLUMNS) of a block, some types' half decoded. */
typedef struct {
    const unsigned char *block;
    int c;
    vu pair[COLUMNS];
} decoding;

/* `dtype` is a constant where these are inlined, so what depends on it folds. */
SLIP_INLINE decoding begin_columns(slip_dtype dtype, const unsigned char *block, int c)
{
    decoding d = {.block = block, .c = c};
#ifdef SLIP_FP4_PAIRS
    if (dtype == SLIP_MXFP4)
        pair_fp4(block + SLIP_GROUP * (c / 2), d.pair);
#endif
    (void)dtype;
    return d;
}

/* Rows [row, row + SLIP_LANES) of one of the columns, without their scales. */
SLIP_INLINE vf decode(slip_dtype dtype, const decoding *d, int column, int row)
{
    const int c = d->c + column;
    switch (dtype) {
    case SLIP_F32: return load_lanes((const float *)d->block + SLIP_GROUP * c + row);
    case SLIP_BF16: return decode_bf16(d->block + 2 * (SLIP_GROUP * c + row));
    case SLIP_F8E4M3: return decode_f8(d->block + SLIP_GROUP * c + row);
#ifdef SLIP_FP4_PAIRS
    default: return as_float(row == 0 ? d->pair[column] << 16 : d->pair[column] & 0xffff0000);
#else
    default: return decode_fp4(d->block + SLIP_GROUP * (c / 2) + row, column % 2);
#endif
    }
}

/* 2^(byte - 127) / 2; the smallest two need subnormals, and 255 is not a number. */
SLIP_INLINE vf half_e8m0(const unsigned char *data)
{
    vu byte = widen_bytes(data);
    vu small = (vu)(byte < 2);
    vu nan = (vu)(byte == 255) & 0x7fc00000;
    return as_float((((byte - 1) << 23) & ~small) | ((0x200000u << (byte & 1)) & small) | nan);
}

SLIP_INLINE vf block_scale(slip_dtype dtype, const slip_matrix *w, int64_t block, int row)
{
    if (dtype == SLIP_MXFP4)
        return half_e8m0(w->scale_e8m0 + SLIP_GROUP * block + row);
    return load_lanes(w->scale_f32 + SLIP_GROUP * block + row);
}

SLIP_INLINE int has_scales(slip_dtype dtype)
{
    return dtype == SLIP_F8E4M3 || dtype == SLIP_MXFP4;
}

#endif
