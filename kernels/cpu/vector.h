/* Vectors of 16 floats in GCC's vector extension: one AVX-512 register, two AVX2 ones, four SSE ones, the same lanes and the
 * same order of operations everywhere. Nothing here depends on how many tokens a step has.
 */
#ifndef SLIP_KERNELS_CPU_VECTOR_H
#define SLIP_KERNELS_CPU_VECTOR_H

#include <stdint.h>
#include <string.h>

typedef float v16f __attribute__((vector_size(64)));
typedef float v8f __attribute__((vector_size(32)));
typedef float v4f __attribute__((vector_size(16)));
typedef double v8d __attribute__((vector_size(64)));
typedef int32_t v16i __attribute__((vector_size(64)));
typedef uint32_t v16u __attribute__((vector_size(64)));
typedef uint16_t v16h __attribute__((vector_size(32)));
typedef uint8_t v16b __attribute__((vector_size(16)));
typedef int8_t v16c __attribute__((vector_size(16)));

#define SLIP_INLINE static inline __attribute__((always_inline))

SLIP_INLINE v16f load16(const float *p)
{
    v16f v;
    memcpy(&v, p, sizeof v);
    return v;
}

SLIP_INLINE void store16(float *p, v16f v)
{
    memcpy(p, &v, sizeof v);
}

SLIP_INLINE v16f splat16(float x)
{
    return (v16f){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

SLIP_INLINE v8f low8(v16f v)
{
    return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
}
SLIP_INLINE v8f high8(v16f v)
{
    return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
}

/* The sum of the lanes, always as a tree of halves. */
SLIP_INLINE float sum16(v16f v)
{
    v8f a = low8(v) + high8(v);
    v4f b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
    return (b[0] + b[2]) + (b[1] + b[3]);
}

SLIP_INLINE v8d widen8(v8f v)
{
    return __builtin_convertvector(v, v8d);
}

/* a where the mask is set, else b. */
SLIP_INLINE v16f select16(v16i mask, v16f a, v16f b)
{
    v16i x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    x = (x & mask) | (y & ~mask);
    memcpy(&a, &x, sizeof a);
    return a;
}

/* exp: x = n ln2 + r with |r| <= ln2 / 2, a degree-6 polynomial for e^r (Cephes expf's coefficients), then 2^n added to the
 * exponent. Relative error below 2e-7; 0 below -87.3, as the smallest normal number would be. */
SLIP_INLINE v16f exp16(v16f x)
{
    const float low = -87.3f, high = 88.0f, rounder = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    v16i vanished = x < low;
    x = select16(x > high, splat16(high), x);
    x = select16(vanished, splat16(low), x);
    v16f n = (x * 1.44269504088896341f + rounder) - rounder;
    v16f r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    v16f p = splat16(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    v16i exponent = __builtin_convertvector(n, v16i) << 23;
    v16i bits;
    memcpy(&bits, &p, sizeof bits);
    bits = (bits + exponent) & ~vanished;
    memcpy(&p, &bits, sizeof p);
    return p;
}

#endif
