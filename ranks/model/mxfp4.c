#include "ranks/model/mxfp4.h"

float slip_f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    if (exponent == 31)
        return slip_f32_of_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) {
        float magnitude = ldexpf((float)mantissa, -24);
        return sign ? -magnitude : magnitude;
    }
    return slip_f32_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

float slip_e4m3_to_f32(uint8_t code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    float magnitude;
    if (exponent == 15 && mantissa == 7)
        magnitude = NAN;
    else if (exponent == 0)
        magnitude = ldexpf((float)mantissa, -9);
    else
        magnitude = ldexpf((float)(8 + mantissa), exponent - 10);
    return (code & 0x80) ? -magnitude : magnitude;
}

/* E2M1 magnitude code nearest to x >= 0; a tie goes to the even code. */
static uint8_t round_e2m1(float x)
{
    if (x <= 0.25f)
        return 0;
    if (x < 0.75f)
        return 1;
    if (x <= 1.25f)
        return 2;
    if (x < 1.75f)
        return 3;
    if (x <= 2.5f)
        return 4;
    if (x < 3.5f)
        return 5;
    return x <= 5.0f ? 6 : 7;
}

/* Exponent of the scale for a block whose largest magnitude is amax > 0. */
static int scale_exponent(float amax)
{
    int exponent;
    float mantissa = frexpf(amax, &exponent); /* amax = mantissa * 2^exponent, 0.5 <= mantissa < 1 */
    exponent += mantissa >= 0.875f ? 0 : -1;
    exponent -= 2;
    return exponent < -127 ? -127 : exponent > 127 ? 127 : exponent;
}

static bool round_block(const float *block, uint8_t *codes, uint8_t *scale)
{
    float amax = 0.0f;
    for (int i = 0; i < SLIP_MXFP4_BLOCK; i++) {
        if (!isfinite(block[i]))
            return false;
        amax = fmaxf(amax, fabsf(block[i]));
    }
    memset(codes, 0, SLIP_MXFP4_BLOCK / 2);
    *scale = 0;
    if (amax == 0.0f)
        return true;
    int exponent = scale_exponent(amax);
    *scale = (uint8_t)(exponent + 127);
    for (int i = 0; i < SLIP_MXFP4_BLOCK; i++) {
        uint8_t code = round_e2m1(ldexpf(fabsf(block[i]), -exponent));
        if (code != 0 && block[i] < 0.0f)
            code |= 8;
        codes[i / 2] |= (uint8_t)(code << (i % 2 * 4));
    }
    return true;
}

bool slip_mxfp4_round_row(const float *row, int64_t columns, uint8_t *codes, uint8_t *scales)
{
    for (int64_t b = 0; b < columns / SLIP_MXFP4_BLOCK; b++)
        if (!round_block(row + b * SLIP_MXFP4_BLOCK, codes + b * (SLIP_MXFP4_BLOCK / 2), scales + b))
            return false;
    return true;
}
