/* The instructions of attention, a wrapper each: ldmatrix, and mma of a warp. Fragments are those of the PTX manual; "shared" addresses are
 * shared_address()'s. And division that takes a handful of instructions, not twenty. */
#pragma once

#include "kernels/cuda/sm90/arch.h"

namespace slip {

__device__ __forceinline__ void load_matrix_4(uint32_t from, uint32_t (&r)[4])
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

__device__ __forceinline__ void load_matrix_4_transposed(uint32_t from, uint32_t (&r)[4])
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

// d += a [16 x 16] * b [16 x 8]. Lane l has d of rows l / 4 and l / 4 + 8, columns 2 * (l % 4) and the next.
__device__ __forceinline__ void mma_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// ---- small division ----

// a / b for 0 <= a < 2^20 and b > 0. Exact: (a + 1/2) / b is at least 1 / 2b from any integer, and the approximate quotient, off by
// less than 2^-21 of itself, stays on its side.
__device__ __forceinline__ int small_quotient(int a, int b)
{
    float inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"((float)b));
    return (int)(((float)a + 0.5f) * inverse);
}

// a % b for a / b < 2^21: the quotient is off by one at most.
__device__ __forceinline__ int small_remainder(int a, int b)
{
    const int rest = a - small_quotient(a, b) * b;
    return rest < 0 ? rest + b : rest >= b ? rest - b : rest;
}

} // namespace slip
