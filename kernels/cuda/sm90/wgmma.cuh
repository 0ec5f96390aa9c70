/* wgmma, a wrapper an instruction. N is the number of token columns of a product: a column's sums do not depend on it. */
#pragma once

#include "kernels/cuda/sm90/arch.h"

namespace slip {

// Shared memory operand, K-major, no swizzle: core matrices of 8 rows x 16 bytes; `k_step` and `row_step` are the bytes from one to
// the next along K and along rows.
__device__ __forceinline__ uint64_t matrix_descriptor(uint32_t address, uint32_t k_step, uint32_t row_step)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(k_step >> 4) << 16 | (uint64_t)(row_step >> 4) << 32;
}

// The same with rows of 128 bytes, whose slices of 16 bytes lie at places that are XORed with the row's number modulo 8 (swizzled_at()): 8 rows are 1,024
// bytes, and the matrix begins at a multiple of that. K-major: `row_step` is that from 8 rows to the next, `k_step` does not count; a step of 16 columns
// is 32 bytes further. Turned (a row has 64 of the N columns at one K): `k_step` is that from 64 columns to the next, `row_step` from 8 K to the next.
__device__ __forceinline__ uint64_t swizzled_descriptor(uint32_t address, uint32_t k_step, uint32_t row_step)
{
    return matrix_descriptor(address, k_step, row_step) | (uint64_t)1 << 62;
}

__device__ __forceinline__ uint32_t swizzled_at(int row, int slice)
{
    return (uint32_t)(row * 128 + (slice ^ row % 8) * 16);
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
__device__ __forceinline__ void matrix_f8(float (&c)[SUMS<N>], uint64_t a, uint64_t b);

// c = A [64 x 32] e4m3 from registers * B [32 x N] e4m3 from shared memory. `b`: the low word of its matrix_descriptor(b, 128, MXFP4_GROUP),
// the same in all threads; if it comes from a shuffle, the compiler keeps it in uniform registers.
template <int N>
__device__ __forceinline__ void matrix_f8_registers(float (&c)[SUMS<N>], const uint32_t (&a)[4], uint32_t b);

// c = (FIRST) or c += A [64 x 16] bf16 * B [16 x 2 N] bf16. The first N columns of B are hi, the others lo, and so are the halves of c.
template <int N, bool FIRST>
__device__ __forceinline__ void matrix_bf16(float (&c)[2 * SUMS<N>], uint64_t a, uint64_t b);

// c = (FIRST) or c += A [64 x 16] bf16 from registers * B [16 x N] bf16, by a swizzled_descriptor(): K-major, or turned for N = 128.
template <int N, bool FIRST>
__device__ __forceinline__ void matrix_bf16_registers(float (&c)[SUMS<N>], const uint32_t (&a)[4], uint64_t b);

// Bytes of 8 tokens' operand of a tile of mxfp4: from one row group to the next in shared memory.
constexpr int MXFP4_GROUP = 256 * 8;

// Each N is an instruction of its own. The macros write the lists of registers: as text, and as outputs.
#define TEXT_4 "%0,%1,%2,%3"
#define TEXT_8 TEXT_4 ",%4,%5,%6,%7"
#define TEXT_12 TEXT_8 ",%8,%9,%10,%11"
#define TEXT_16 TEXT_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define TEXT_32 TEXT_16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define TEXT_40 TEXT_32 ",%32,%33,%34,%35,%36,%37,%38,%39"
#define TEXT_64 \
    TEXT_32 \
    ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define LIST_4(how, i) how(c[i]), how(c[i + 1]), how(c[i + 2]), how(c[i + 3])
#define LIST_8(how, i) LIST_4(how, i), LIST_4(how, i + 4)
#define LIST_12(how, i) LIST_8(how, i), LIST_4(how, i + 8)
#define LIST_16(how, i) LIST_8(how, i), LIST_8(how, i + 8)
#define LIST_32(how, i) LIST_16(how, i), LIST_16(how, i + 16)
#define LIST_40(how, i) LIST_32(how, i), LIST_8(how, i + 32)
#define LIST_64(how, i) LIST_32(how, i), LIST_32(how, i + 32)

// `name`<n>: m64n`columns` in `sums` registers; `a` and `b`: the numbers of the operands behind these.
#define MATRIX_SHARED(name, n, columns, kind, sums, a_number, b_number, turns) \
    template <> \
    __device__ __forceinline__ void name<n, true>(float(&c)[sums], uint64_t a, uint64_t b) \
    { \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\nwgmma.mma_async.sync.aligned.m64n" #columns kind " {" TEXT_##sums \
                     "}, %" #a_number ", %" #b_number ", p, 1, 1" turns ";\n}" \
                     : LIST_##sums("=f", 0) \
                     : "l"(a), "l"(b)); \
    } \
    template <> \
    __device__ __forceinline__ void name<n, false>(float(&c)[sums], uint64_t a, uint64_t b) \
    { \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" #columns kind " {" TEXT_##sums "}, %" #a_number ", %" #b_number ", 1, 1, 1" turns \
                                                                                        ";" \
                     : LIST_##sums("+f", 0) \
                     : "l"(a), "l"(b)); \
    }
#define MATRIX_F8(n, sums, a, b) MATRIX_SHARED(matrix_f8, n, n, "k32.f32.e4m3.e4m3", sums, a, b, "")
#define MATRIX_BF16(n, columns, sums, a, b) MATRIX_SHARED(matrix_bf16, n, columns, "k16.f32.bf16.bf16", sums, a, b, ", 0, 0")
#define MATRIX_F8_REGISTERS(n, sums, a0, a1, a2, a3, low, high) \
    template <> \
    __device__ __forceinline__ void matrix_f8_registers<n>(float(&c)[sums], const uint32_t(&a)[4], uint32_t b) \
    { \
        asm volatile("{\n.reg .pred p;\n.reg .b64 d;\nsetp.ne.b32 p, 0, 0;\nmov.b64 d, {%" #low ", %" #high \
                     "};\nwgmma.mma_async.sync.aligned.m64n" #n "k32.f32.e4m3.e4m3 {" TEXT_##sums "}, {%" #a0 ",%" #a1 ",%" #a2 ",%" #a3 \
                                                                                                  "}, d, p, 1, 1;\n}" \
                     : LIST_##sums("=f", 0) \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "n"(MXFP4_GROUP >> 4)); \
    }

#define MATRIX_BF16_REGISTERS(n, sums, first, scale, how, a0, a1, a2, a3, b_number, turned) \
    template <> \
    __device__ __forceinline__ void matrix_bf16_registers<n, first>(float(&c)[sums], const uint32_t(&a)[4], uint64_t b) \
    { \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " #scale ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n \
                     "k16.f32.bf16.bf16 {" TEXT_##sums "}, {%" #a0 ",%" #a1 ",%" #a2 ",%" #a3 "}, %" #b_number ", p, 1, 1, " #turned \
                                                       ";\n}" \
                     : LIST_##sums(how, 0) \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)); \
    }

MATRIX_F8(8, 4, 4, 5)
MATRIX_F8(16, 8, 8, 9)
MATRIX_F8(32, 16, 16, 17)
MATRIX_F8(64, 32, 32, 33)
MATRIX_F8(128, 64, 64, 65)
MATRIX_F8_REGISTERS(8, 4, 4, 5, 6, 7, 8, 9)
MATRIX_F8_REGISTERS(16, 8, 8, 9, 10, 11, 12, 13)
MATRIX_F8_REGISTERS(24, 12, 12, 13, 14, 15, 16, 17)
MATRIX_F8_REGISTERS(32, 16, 16, 17, 18, 19, 20, 21)
MATRIX_BF16(8, 16, 8, 8, 9)
MATRIX_BF16(16, 32, 16, 16, 17)
MATRIX_BF16(32, 64, 32, 32, 33)
MATRIX_BF16(64, 128, 64, 64, 65)
MATRIX_BF16_REGISTERS(8, 4, true, 0, "=f", 4, 5, 6, 7, 8, 0)
MATRIX_BF16_REGISTERS(8, 4, false, 1, "+f", 4, 5, 6, 7, 8, 0)
MATRIX_BF16_REGISTERS(64, 32, true, 0, "=f", 32, 33, 34, 35, 36, 0)
MATRIX_BF16_REGISTERS(64, 32, false, 1, "+f", 32, 33, 34, 35, 36, 0)
MATRIX_BF16_REGISTERS(80, 40, true, 0, "=f", 40, 41, 42, 43, 44, 0)
MATRIX_BF16_REGISTERS(80, 40, false, 1, "+f", 40, 41, 42, 43, 44, 0)
MATRIX_BF16_REGISTERS(128, 64, true, 0, "=f", 64, 65, 66, 67, 68, 1)
MATRIX_BF16_REGISTERS(128, 64, false, 1, "+f", 64, 65, 66, 67, 68, 1)

#undef MATRIX_BF16_REGISTERS
#undef MATRIX_F8_REGISTERS
#undef MATRIX_BF16
#undef MATRIX_F8
#undef MATRIX_SHARED

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
