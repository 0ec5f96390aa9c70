/* wgmma, a wrapper an instruction. N is the number of token columns of a product; each N is an instruction of its own, and 8 the only one
 * written so far. */
#pragma once

#include "kernels/cuda/sm90/arch.h"

namespace slip {

// Shared memory operand, K-major, no swizzle: core matrices of 8 rows x 16 bytes; `k_step` and `row_step` are the bytes from one to
// the next along K and along rows.
__device__ __forceinline__ uint64_t matrix_descriptor(uint32_t address, uint32_t k_step, uint32_t row_step)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(k_step >> 4) << 16 | (uint64_t)(row_step >> 4) << 32;
}

__device__ __forceinline__ void matrix_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void matrix_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int PENDING>
__device__ __forceinline__ void matrix_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// Sums of a product of 64 rows and N columns in a thread.
template <int N>
constexpr int SUMS = N / 2;

// c = (FIRST) or c += A [64 x 32] e4m3 * B [32 x N] e4m3; both from shared memory.
template <int N, bool FIRST>
__device__ __forceinline__ void matrix_f8(float (&c)[SUMS<N>], uint64_t a, uint64_t b)
{
    static_assert(N == 8, "m64n8k32 is the only one written so far");
    if (FIRST)
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3 {%0,%1,%2,%3}, %4, %5, p, 1, 1;\n}"
                     : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3])
                     : "l"(a), "l"(b));
    else
        asm volatile("wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3 {%0,%1,%2,%3}, %4, %5, 1, 1, 1;"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "l"(a), "l"(b));
}

// c = A [64 x 32] e4m3 from registers * B [32 x N] e4m3 from shared memory. `b`: the low word of its matrix_descriptor(b, 128, 256), the same
// in all threads; if it comes from a shuffle, the compiler keeps it in uniform registers.
template <int N>
__device__ __forceinline__ void matrix_f8_registers(float (&c)[SUMS<N>], const uint32_t (&a)[4], uint32_t b)
{
    static_assert(N == 8, "m64n8k32 is the only one written so far");
    asm volatile("{\n.reg .pred p;\n.reg .b64 d;\nsetp.ne.b32 p, 0, 0;\nmov.b64 d, {%8, %9};\n"
                 "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3 {%0,%1,%2,%3}, {%4,%5,%6,%7}, d, p, 1, 1;\n}"
                 : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "n"(256 >> 4));
}

// c = (FIRST) or c += A [64 x 16] bf16 * B [16 x 2 N] bf16. The first N columns of B are hi, the others lo, and so are the halves of c.
template <int N, bool FIRST>
__device__ __forceinline__ void matrix_bf16(float (&c)[2 * SUMS<N>], uint64_t a, uint64_t b)
{
    static_assert(N == 8, "m64n16k16 is the only one written so far");
    if (FIRST)
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7}, %8, %9, p, 1, 1, 0, 0;\n}"
                     : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3]), "=f"(c[4]), "=f"(c[5]), "=f"(c[6]), "=f"(c[7])
                     : "l"(a), "l"(b));
    else
        asm volatile("wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7}, %8, %9, 1, 1, 1, 0, 0;"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7])
                     : "l"(a), "l"(b));
}

// Registers of a running wgmma must not be moved: this pins them (ptxas serialises the products otherwise, warning C7519).
template <int COUNT>
__device__ __forceinline__ void pin(float (&c)[COUNT])
{
#pragma unroll
    for (int i = 0; i < COUNT; i += 4)
        asm volatile("" : "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])::"memory");
}

__device__ __forceinline__ void pin(uint32_t (&a)[4])
{
    asm volatile("" : "+r"(a[0]), "+r"(a[1]), "+r"(a[2]), "+r"(a[3])::"memory");
}

} // namespace slip
