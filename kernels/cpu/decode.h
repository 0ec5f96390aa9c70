/* Stored weights as floats: SLIP_LANES rows of one column at a time, and the scales of their blocks.
 *
 * Included by math_body.c alone, which is compiled once for each instruction set: the paths below are chosen when compiling.
 */
#ifndef SLIP_KERNELS_CPU_DECODE_H
#define SLIP_KERNELS_CPU_DECODE_H

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include <stdbool.h>

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

#ifdef __AVX512F__
SLIP_INLINE vf decode_bf16(const unsigned char *data)
{
    return as_float((vu)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)data)) << 16);
}
#else
/* Every other of 16 bfloat16. */
SLIP_INLINE vf decode_turn(const unsigned char *data, int odd)
{
    const vu pairs = (vu)_mm256_loadu_si256((const __m256i *)data);
    return as_float(odd ? pairs & 0xffff0000 : pairs << 16);
}
#endif
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

/* E2M1 in halves: doubled values are whole numbers. A byte holds columns 2j (low nibble) and 2j + 1 of a row. */
#ifdef __AVX512F__
SLIP_INLINE vf decode_fp4(const unsigned char *data, int high)
{
    const __m512 values = _mm512_setr_ps(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    vu code = widen_bytes(data);
    return (vf)_mm512_permutexvar_ps((__m512i)(high ? code >> 4 : code), values); /* looks at four bits of an index */
}
#elif defined(__AVX2__)
/* A block as bfloat16, 16 rows a column. Its upper and lower bytes come from two tables. */
SLIP_INLINE void stage_fp4(const unsigned char *data, unsigned char *out)
{
    const __m256i upper = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0x3f, 0x40, 0x40, 0x40, 0x40, 0x41, 0x41, 0, -0x41, -0x40, -0x40, -0x40, -0x40, -0x3f, -0x3f));
    const __m256i lower =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -0x80, 0, 0x40, -0x80, -0x40, 0, 0x40, 0, -0x80, 0, 0x40, -0x80, -0x40, 0, 0x40));
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i *to = (__m256i *)out;
    for (int c = 0; c < SLIP_MXFP4_BLOCK; c += 4, data += 32, to += 4) {
        __m256i codes = _mm256_loadu_si256((const __m256i *)data);
        codes = _mm256_permute4x64_epi64(codes, 0xd8); /* rows 0-7 of both pairs of columns, then rows 8-15 */
        const __m256i even = _mm256_and_si256(codes, nibble), odd = _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble);
        const __m256i even_lower = _mm256_shuffle_epi8(lower, even), even_upper = _mm256_shuffle_epi8(upper, even);
        const __m256i odd_lower = _mm256_shuffle_epi8(lower, odd), odd_upper = _mm256_shuffle_epi8(upper, odd);
        _mm256_store_si256(to, _mm256_unpacklo_epi8(even_lower, even_upper));
        _mm256_store_si256(to + 1, _mm256_unpacklo_epi8(odd_lower, odd_upper));
        _mm256_store_si256(to + 2, _mm256_unpackhi_epi8(even_lower, even_upper));
        _mm256_store_si256(to + 3, _mm256_unpackhi_epi8(odd_lower, odd_upper));
    }
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

/* With AVX2, E2M1 goes through bfloat16, so that a block that many tokens meet is decoded once, and two bfloat16 of one lane are a shift and a
 * mask: the first vector has the even rows, the second the odd ones. AVX-512 decodes as it multiplies, by fewer instructions. */
#if defined(__AVX2__) && !defined(__AVX512F__)
#define SLIP_STAGED
#endif

enum { STAGED_BYTES = SLIP_MXFP4_BLOCK * SLIP_GROUP * 2 }; /* room for a block, as bfloat16 */

/* A block as decode() takes it: in `room`, or where it is. `dtype` is a constant where these are inlined, so what depends on it folds. */
SLIP_INLINE const unsigned char *staged(slip_dtype dtype, const unsigned char *block, unsigned char *room)
{
#ifdef SLIP_STAGED
    if (dtype == SLIP_MXFP4) {
        stage_fp4(block, room);
        return room;
    }
#endif
    (void)dtype, (void)room;
    return block;
}

/* Whether decode()'s vectors have even and odd rows. */
SLIP_INLINE bool takes_turns(slip_dtype dtype)
{
#ifdef SLIP_STAGED
    return dtype == SLIP_BF16 || dtype == SLIP_MXFP4;
#else
    (void)dtype;
    return false;
#endif
}

/* Sums in the order of decode()'s vectors become those of rows in theirs. */
SLIP_INLINE void in_order_of_rows(slip_dtype dtype, vf sum[SLIP_SPLIT])
{
#ifdef SLIP_STAGED
    const vf even = sum[0], odd = sum[1];
    if (!takes_turns(dtype))
        return;
    sum[0] = __builtin_shufflevector(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
    sum[1] = __builtin_shufflevector(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
#endif
    (void)dtype, (void)sum;
}

SLIP_INLINE void in_order_of_rows_f64(slip_dtype dtype, vd sum[2 * SLIP_SPLIT])
{
#ifdef SLIP_STAGED
    const vd even[2] = {sum[0], sum[1]}, odd[2] = {sum[2], sum[3]};
    for (int i = 0; i < 2 && takes_turns(dtype); i++) {
        sum[2 * i] = __builtin_shufflevector(even[i], odd[i], 0, 4, 1, 5);
        sum[2 * i + 1] = __builtin_shufflevector(even[i], odd[i], 2, 6, 3, 7);
    }
#endif
    (void)dtype, (void)sum;
}

/* Columns that a byte of a staged block holds at most: compilers must see which is meant, but use registers best in the plainest of loops. */
#ifdef SLIP_STAGED
enum { COLUMNS = 1 };
#else
enum { COLUMNS = 2 };
#endif

/* Vector h of the rows of column c + i in a staged block, without their scales; i < COLUMNS, which c is a multiple of. */
SLIP_INLINE vf decode(slip_dtype dtype, const unsigned char *block, int c, int i, int h)
{
    const int at = SLIP_GROUP * (c + i) + h * SLIP_LANES;
    switch (dtype) {
    case SLIP_F32: return load_lanes((const float *)block + at);
    case SLIP_F8E4M3: return decode_f8(block + at);
#ifdef SLIP_STAGED
    default: return decode_turn(block + 2 * SLIP_GROUP * (c + i), h);
#else
    case SLIP_BF16: return decode_bf16(block + 2 * at);
    default: return decode_fp4(block + SLIP_GROUP * (c / 2) + h * SLIP_LANES, i);
#endif
    }
}

/* 2^(byte - 127) / 2; the smallest two need subnormals, and 255 is not a number. */
SLIP_INLINE vf half_e8m0(vu byte)
{
    vu small = (vu)(byte < 2);
    vu nan = (vu)(byte == 255) & 0x7fc00000;
    return as_float((((byte - 1) << 23) & ~small) | ((0x200000u << (byte & 1)) & small) | nan);
}

/* Scales of vector h of a block's rows; ones where the type has none. */
SLIP_INLINE vf scale_of(slip_dtype dtype, const slip_matrix *w, int64_t block, int h)
{
    if (dtype == SLIP_F8E4M3)
        return load_lanes(w->scale_f32 + SLIP_GROUP * block + h * SLIP_LANES);
    if (dtype != SLIP_MXFP4)
        return splat(1);
    const unsigned char *scale = w->scale_e8m0 + SLIP_GROUP * block;
#ifdef SLIP_STAGED
    const vu pairs = (vu)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)scale));
    return half_e8m0(h == 0 ? pairs & 255 : pairs >> 8);
#else
    return half_e8m0(widen_bytes(scale + h * SLIP_LANES));
#endif
}

SLIP_INLINE bool has_scales(slip_dtype dtype)
{
    return dtype == SLIP_F8E4M3 || dtype == SLIP_MXFP4;
}

#endif
