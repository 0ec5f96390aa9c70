#include "kernels/cpu/round.h"

#include <math.h>

#include "ranks/model/mxfp4.h"

static const float E4M3_MAX = 448;

float slip_round_bf16(float x)
{
    return slip_bf16_to_f32(slip_f32_to_bf16(x));
}

/* Three bits of mantissa, exponents from -6 on; below that the grid stays at 2^-9. */
float slip_round_e4m3(float x)
{
    float magnitude = fabsf(x);
    if (isnan(x))
        return x;
    if (magnitude >= E4M3_MAX)
        return copysignf(E4M3_MAX, x);
    int exponent;
    frexpf(magnitude, &exponent); /* magnitude = m * 2^exponent, 0.5 <= m < 1 */
    int step = exponent - 1 < -6 ? -9 : exponent - 4;
    return copysignf(ldexpf(rintf(ldexpf(magnitude, -step)), step), x);
}

static void round_block(const float *x, int64_t columns, float *out)
{
    float amax = 0;
    for (int64_t c = 0; c < columns; c++)
        amax = fmaxf(amax, fabsf(x[c]));
    float scale = amax > 0 ? amax / E4M3_MAX : 1;
    for (int64_t c = 0; c < columns; c++)
        out[c] = slip_round_e4m3(x[c] / scale) * scale;
}

static float round_twice(float x)
{
    float high = slip_round_bf16(x);
    return high + slip_round_bf16(x - high);
}

void slip_round_operand(slip_dtype weight, const float *x, int64_t columns, float *out)
{
    if (weight == SLIP_MXFP4 || weight == SLIP_F8E4M3) {
        for (int64_t c = 0; c < columns; c += SLIP_F8_BLOCK)
            round_block(x + c, columns - c < SLIP_F8_BLOCK ? columns - c : SLIP_F8_BLOCK, out + c);
        return;
    }
    for (int64_t c = 0; c < columns; c++)
        out[c] = round_twice(x[c]);
}
