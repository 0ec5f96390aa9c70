/* Stored weights as floats: one column of a group of 16 rows at a time, and the scales of its block.
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

SLIP_INLINE v16f as_float(v16u bits)
{
    v16f v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

SLIP_INLINE v16f decode_bf16(const unsigned char *data)
{
    v16h half;
    memcpy(&half, data, sizeof half);
    return as_float(__builtin_convertvector(half, v16u) << 16);
}

/* 16 bytes as 16 numbers. GCC 12 takes a generic conversion of bytes apart lane by lane. */
SLIP_INLINE v16u widen_bytes(const unsigned char *data)
{
#ifdef __AVX512F__
    return (v16u)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)data));
#elif defined(__AVX2__)
    union {
        __m256i half[2];
        v16u whole;
    } wide = {
        {_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)data)), _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(data + 8)))}};
    return wide.whole;
#else
    v16b bytes;
    memcpy(&bytes, data, sizeof bytes);
    return __builtin_convertvector(bytes, v16u);
#endif
}

/* E4M3 bits moved into the fields of an IEEE half are the value times 2^-8, subnormals included. */
#ifdef __AVX2__
SLIP_INLINE v16f decode_f8(const unsigned char *data)
{
    __m256i code = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)data));
    __m256i sign = _mm256_slli_epi16(_mm256_and_si256(code, _mm256_set1_epi16(0x80)), 8);
    __m256i half = _mm256_or_si256(sign, _mm256_slli_epi16(_mm256_and_si256(code, _mm256_set1_epi16(0x7f)), 7));
#ifdef __AVX512F__
    return (v16f)_mm512_cvtph_ps(half) * 0x1p8f;
#else
    union {
        __m256 half[2];
        v16f whole;
    } wide = {{_mm256_cvtph_ps(_mm256_castsi256_si128(half)), _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1))}};
    return wide.whole * 0x1p8f;
#endif
}
#else
/* Without that conversion: into a float's fields, where the factor is 2^-120. */
SLIP_INLINE v16f decode_f8(const unsigned char *data)
{
    v16u code = widen_bytes(data);
    return as_float((code & 0x80) << 24 | (code & 0x7f) << 20) * 0x1p120f;
}
#endif

/* E2M1 in halves: doubled values are whole numbers. A byte holds columns 2j (low nibble) and 2j + 1 of a row. */
#ifdef __AVX512F__
SLIP_INLINE v16f decode_fp4(const unsigned char *data, int high)
{
    const __m512 values = _mm512_setr_ps(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    v16u code = widen_bytes(data);
    return (v16f)_mm512_permutexvar_ps((__m512i)(high ? code >> 4 : code), values); /* looks at four bits of an index */
}
#elif defined(__AVX2__)
SLIP_INLINE v16f decode_fp4(const unsigned char *data, int high)
{
    const __m128i values = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    v16b bytes;
    memcpy(&bytes, data, sizeof bytes);
    bytes = (v16b)_mm_shuffle_epi8(values, (__m128i)(high ? bytes >> 4 : bytes & 15));
    v16i number = (v16i)widen_bytes((const unsigned char *)&bytes) << 24 >> 24;
    return __builtin_convertvector(number, v16f);
}
#else
/* Without a table in a register: into a float's fields, which is right from 2 on. Zero has no sign, as in the tables above. */
SLIP_INLINE v16f decode_fp4(const unsigned char *data, int high)
{
    v16u code = widen_bytes(data);
    code = high ? code >> 4 : code & 15;
    v16u size = code & 7;
    v16u small = (v16u)(size < 2);
    v16u bits = ((0x3f800000 + (size << 22)) & ~small) | ((0 - size) & 0x3f800000 & small);
    return as_float(bits | ((code & 8) << 28 & (v16u)(size != 0)));
}
#endif

/* Column c of a block, without its scale. `dtype` is a constant where this is inlined, so the switch folds. */
SLIP_INLINE v16f decode(slip_dtype dtype, const unsigned char *block, int c)
{
    switch (dtype) {
    case SLIP_F32: return load16((const float *)block + 16 * c);
    case SLIP_BF16: return decode_bf16(block + 32 * c);
    case SLIP_F8E4M3: return decode_f8(block + 16 * c);
    default: return decode_fp4(block + 16 * (c / 2), c % 2);
    }
}

/* 2^(byte - 127) / 2 of 16 rows; the smallest two need subnormals, and 255 is not a number. */
SLIP_INLINE v16f half_e8m0(const unsigned char *data)
{
    v16u byte = widen_bytes(data);
    v16u small = (v16u)(byte < 2);
    v16u nan = (v16u)(byte == 255) & 0x7fc00000;
    return as_float((((byte - 1) << 23) & ~small) | ((0x200000u << (byte & 1)) & small) | nan);
}

SLIP_INLINE v16f block_scale(slip_dtype dtype, const slip_matrix *w, int64_t block)
{
    if (dtype == SLIP_MXFP4)
        return half_e8m0(w->scale_e8m0 + 16 * block);
    return load16(w->scale_f32 + 16 * block);
}

#endif
