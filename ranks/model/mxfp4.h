/* Number formats of the weights, one element at a time, and the rounding of a row to MXFP4.
 *
 * For convert and for tests; kernels have their own, faster decoders of the same formats.
 * MXFP4 (OCP Microscaling 1.0): blocks of 32 consecutive columns share an E8M0 scale 2^(byte - 127); an
 * element is E2M1 (sign, two bits of exponent, one of mantissa). Two elements a byte, the low nibble is the
 * even column.
 */
#ifndef SLIP_RANKS_MODEL_MXFP4_H
#define SLIP_RANKS_MODEL_MXFP4_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ranks/model/dtype.h"

enum { SLIP_E8M0_NAN = 255 };

static inline float slip_f32_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float slip_bf16_to_f32(uint16_t bits)
{
    return slip_f32_of_bits((uint32_t)bits << 16);
}

/* To nearest, ties to even; NaN stays NaN. */
static inline uint16_t slip_f32_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value))
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* IEEE half. */
float slip_f16_to_f32(uint16_t bits);

/* E4M3 without infinities: 0x7f and 0xff are NaN, the largest value is 448. */
float slip_e4m3_to_f32(uint8_t code);

/* The low four bits of `code`. */
static inline float slip_e2m1_to_f32(uint8_t code)
{
    static const float values[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    return (code & 8) ? -values[code & 7] : values[code & 7];
}

/* 2^(code - 127); 0 is the subnormal 2^-127, 255 is NaN. */
static inline float slip_e8m0_to_f32(uint8_t code)
{
    return code == SLIP_E8M0_NAN ? NAN : ldexpf(1.0f, code - 127);
}

/* Round `columns` (a multiple of 32) floats to codes [columns / 2] and scales [columns / 32].
 *
 * The "even" rule of compressed-tensors and AMD Quark: scale exponent = floor(log2(amax)) - 2, one more where
 * amax >= 1.75 * 2^floor(log2(amax)), held within -127..127; elements round to nearest, ties to the even
 * code, and saturate at 6. A block of zeros has scale byte 0; a negative value that rounds to zero becomes
 * +0. Values already on an MXFP4 grid come back exactly. False, and nothing promised of the outputs, when a
 * value is not finite. */
bool slip_mxfp4_round_row(const float *row, int64_t columns, uint8_t *codes, uint8_t *scales);

#endif
