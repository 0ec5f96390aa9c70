/* Vectors as wide as the processor's registers, in GCC's vector extension. The arithmetic is defined on 16 lanes: SLIP_SPLIT vectors of
 * SLIP_LANES floats side by side, the same lanes and the same order of operations everywhere. Compilers keep a vector that is wider than a
 * register in memory, so there is none here. Nothing depends on how many tokens a step has.
 */
#ifndef SLIP_KERNELS_CPU_VECTOR_H
#define SLIP_KERNELS_CPU_VECTOR_H

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
enum { SLIP_LANES = 16 };
#elif defined(__AVX2__)
enum { SLIP_LANES = 8 };
#else
enum { SLIP_LANES = 4 };
#endif
enum { SLIP_SPLIT = 16 / SLIP_LANES };

typedef float vf __attribute__((vector_size(4 * SLIP_LANES)));
typedef int32_t vi __attribute__((vector_size(4 * SLIP_LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * SLIP_LANES)));
typedef double vd __attribute__((vector_size(4 * SLIP_LANES))); /* half as many lanes */
typedef float v4f __attribute__((vector_size(16)));

#define SLIP_INLINE static inline __attribute__((always_inline))

SLIP_INLINE vf load_lanes(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

SLIP_INLINE void store_lanes(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

SLIP_INLINE vf splat(float x)
{
    return x - (vf){0};
}

/* a * b + c: rounded once where the instruction set has it, else twice, but never by a compiler's choice, which differs from loop to loop
 * (GCC takes a product and a sum where one accumulator would wait for itself): a key alone must give the bits of a key in company. */
SLIP_INLINE vf multiply_add(vf a, vf b, vf c)
{
#if defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

SLIP_INLINE vd multiply_add_f64(vd a, vd b, vd c)
{
#if defined(__AVX512F__)
    return (vd)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX2__)
    return (vd)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
    return (vd)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}

/* The lower or upper half of the lanes as f64, and 16 lanes as 4 sums, always as a tree of halves. */
#if defined(__AVX512F__)
SLIP_INLINE vd widen(vf v, int upper)
{
    return upper ? __builtin_convertvector(__builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15), vd)
                 : __builtin_convertvector(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7), vd);
}

typedef float v8f __attribute__((vector_size(32)));

SLIP_INLINE v4f sum_to_4(const vf v[SLIP_SPLIT])
{
    v8f a = __builtin_shufflevector(v[0], v[0], 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(v[0], v[0], 8, 9, 10, 11, 12, 13, 14, 15);
    return __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
}
#elif defined(__AVX2__)
SLIP_INLINE vd widen(vf v, int upper)
{
    return upper ? __builtin_convertvector(__builtin_shufflevector(v, v, 4, 5, 6, 7), vd)
                 : __builtin_convertvector(__builtin_shufflevector(v, v, 0, 1, 2, 3), vd);
}

SLIP_INLINE v4f sum_to_4(const vf v[SLIP_SPLIT])
{
    vf a = v[0] + v[1];
    return __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
}
#else
SLIP_INLINE vd widen(vf v, int upper)
{
    return upper ? (vd){v[2], v[3]} : (vd){v[0], v[1]};
}

SLIP_INLINE v4f sum_to_4(const vf v[SLIP_SPLIT])
{
    return (v[0] + v[2]) + (v[1] + v[3]);
}
#endif

SLIP_INLINE float sum16(const vf v[SLIP_SPLIT])
{
    v4f b = sum_to_4(v);
    return (b[0] + b[2]) + (b[1] + b[3]);
}

/* sum16() of four at once. */
SLIP_INLINE v4f sums_of_4(const vf v[4][SLIP_SPLIT])
{
    v4f a = sum_to_4(v[0]), b = sum_to_4(v[1]), c = sum_to_4(v[2]), d = sum_to_4(v[3]);
    v4f ab = __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
    v4f cd = __builtin_shufflevector(c, d, 0, 1, 4, 5) + __builtin_shufflevector(c, d, 2, 3, 6, 7);
    return __builtin_shufflevector(ab, cd, 0, 2, 4, 6) + __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
}

/* a where the mask is set, else b. */
SLIP_INLINE vf select_lanes(vi mask, vf a, vf b)
{
    vi x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    x = (x & mask) | (y & ~mask);
    memcpy(&a, &x, sizeof a);
    return a;
}

/* exp: x = n ln2 + r with |r| <= ln2 / 2, a degree-6 polynomial for e^r (Cephes expf's coefficients), then 2^n added to the
 * exponent. Relative error below 2e-7; 0 below -87.3, as the smallest normal number would be. */
SLIP_INLINE vf exp_lanes(vf x)
{
    const float low = -87.3f, high = 88.0f, rounder = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    vi vanished = x < low;
    x = select_lanes(x > high, splat(high), x);
    x = select_lanes(vanished, splat(low), x);
    vf n = multiply_add(x, splat(1.44269504088896341f), splat(rounder)) - rounder;
    vf r = multiply_add(n, splat(-0.693359375f), x);
    r = multiply_add(n, splat(2.12194440e-4f), r);
    vf p = splat(1.9875691500e-4f);
    p = multiply_add(p, r, splat(1.3981999507e-3f));
    p = multiply_add(p, r, splat(8.3334519073e-3f));
    p = multiply_add(p, r, splat(4.1665795894e-2f));
    p = multiply_add(p, r, splat(1.6666665459e-1f));
    p = multiply_add(p, r, splat(5.0000001201e-1f));
    p = multiply_add(p * r, r, r) + 1.0f;
    vi exponent = __builtin_convertvector(n, vi) << 23;
    vi bits;
    memcpy(&bits, &p, sizeof bits);
    bits = (bits + exponent) & ~vanished;
    memcpy(&p, &bits, sizeof p);
    return p;
}

#endif
