/* The noise of the sampling rule, to the same bit on hosts and GPUs: their libraries' logarithms differ in the last place.
 *
 * A logarithm is k * ln 2 + 2 atanh(s), with x = 2^k * m, m in [sqrt(1/2), sqrt(2)) and s = (m - 1) / (m + 1); the series in s^2 has fdlibm's
 * coefficients (e_log.c, Sun Microsystems 1993; error below 2^-58.45). Every product that is added to something is an explicit fma(), so
 * that no compiler has a choice. The error is below 2 units in the last place.
 */
#ifndef SLIP_RANKS_MODEL_SAMPLING_GUMBEL_H
#define SLIP_RANKS_MODEL_SAMPLING_GUMBEL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "io/base/both.h"

/* 128 bits. */
typedef struct {
    uint32_t x, y, z, w;
} slip_bits;

/* Philox4x32-10 (Salmon et al., SC'11): 128 bits from a 128-bit counter and a 64-bit key. */
SLIP_BOTH static inline slip_bits slip_philox(slip_bits counter, uint32_t key, uint32_t key_above)
{
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
    for (int round = 0; round < 10; round++) {
        const uint32_t a = slip_upper_product(0xD2511F53u, counter.x), b = slip_upper_product(0xCD9E8D57u, counter.z);
        const slip_bits next = {b ^ counter.y ^ key, 0xCD9E8D57u * counter.z, a ^ counter.w ^ key_above, 0xD2511F53u * counter.x};
        counter = next;
        key += 0x9E3779B9u;
        key_above += 0xBB67AE85u;
    }
    return counter;
}

/* The 32 random bits of each of the tokens 4 * quad .. 4 * quad + 3 at a position: one call serves all of them. */
SLIP_BOTH static inline slip_bits slip_sample_quad(uint32_t quad, int64_t position, uint64_t seed)
{
    const slip_bits counter = {quad, (uint32_t)position, (uint32_t)((uint64_t)position >> 32), 0};
    return slip_philox(counter, (uint32_t)seed, (uint32_t)(seed >> 32));
}

/* The natural logarithm of a normal number > 0. */
SLIP_BOTH static inline double slip_log(double x)
{
    const uint64_t half_root = 0x3FE6A09E667F3BCDu, exponent = 0xFFF0000000000000u;
    uint64_t bits;
    double m;
    memcpy(&bits, &x, sizeof bits);
    const uint64_t beyond = (bits - half_root) & exponent; /* k in the place of the exponent */
    bits -= beyond;
    memcpy(&m, &bits, sizeof m);
    const double k = (double)((int64_t)beyond / (int64_t)((uint64_t)1 << 52)), f = m - 1, s = f / (2 + f), z = s * s;
    double series = fma(z, 1.479819860511658591e-01, 1.531383769920937332e-01);
    series = fma(z, series, 1.818357216161805012e-01);
    series = fma(z, series, 2.222219843214978396e-01);
    series = fma(z, series, 2.857142874366239149e-01);
    series = fma(z, series, 3.999999999940941908e-01);
    series = fma(z, series, 6.666666666666735130e-01);
    const double rest = fma(s, z * series, 2 * s);
    return fma(k, 6.93147180369123816490e-01, fma(k, 1.90821492927058770002e-10, rest));
}

/* G for 32 random bits: -log(-log((bits + 0.5) / 2^32)). */
SLIP_BOTH static inline double slip_gumbel(uint32_t bits)
{
    return -slip_log(-slip_log(((double)bits + 0.5) * 0x1p-32));
}

#endif
