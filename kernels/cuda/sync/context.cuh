/* What every device op gets: who is computing, on which step, with which shared memory. */
#pragma once

#include <stdint.h>

#include <cuda_bf16.h>

#include "kernels/cuda/layout/op.h"
#include "kernels/cuda/layout/step.h"
#include "kernels/cuda/arch.cuh"

namespace slip {

constexpr int WARPGROUPS = SLIP_ARCH_WARPGROUPS; // consumers: threads [0, CONSUMERS)
constexpr int CONSUMERS = WARPGROUPS * 128;
constexpr int CONSUMER_WARPS = CONSUMERS / 32;
constexpr int PRODUCER_WARPS = WARPGROUPS; // each fills the ring of one warpgroup; the first one of SM 0 has the control role, too
constexpr int THREADS = CONSUMERS + PRODUCER_WARPS * 32; // 20 warps, five a sub-core: one more would cost all of them 16 registers

struct waiter;

// In shared memory: state that lives across ops would take registers from the products, and spills are slow.
struct context {
    const slip_cuda_step *step; // global memory; constant while an op runs
    unsigned char *arena;       // shared memory, SLIP_CUDA_ARENA bytes, 128-byte aligned; free at the start of every op
    int sm, sms;                // this CTA and how many there are
    int rows, logit_rows, runs; // of the step
    slip_cuda_run run;          // the step's first
    uint32_t epoch;             // before the step
    uint32_t number;            // of the step on this device; 0: ops are launched one by one, and none waits for another's data
    bool split_runs;            // of the step
    bool fetched;               // the op in hand began to load what does not depend on the op before
    const waiter *wait;

    __device__ __forceinline__ static int thread() // of the consumers
    {
        return (int)threadIdx.x;
    }
};

// Barrier of this SM's consumer threads; orders their accesses to shared and global memory.
__device__ __forceinline__ void consumers_sync()
{
    asm volatile("bar.sync 1, %0;" ::"n"(CONSUMERS) : "memory");
}

// The same barrier, where warps reach it at different places of the code.
__device__ __forceinline__ void consumers_sync_apart()
{
    asm volatile("barrier.sync 1, %0;" ::"n"(CONSUMERS) : "memory");
}

__device__ __forceinline__ float bf16_value(uint16_t bits)
{
    return __uint_as_float((uint32_t)bits << 16);
}

__device__ __forceinline__ uint16_t bf16_bits(float x)
{
    return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}

// Four bf16, the first one low.
__device__ __forceinline__ uint32_t bf16_pack(float low, float high)
{
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *(const uint32_t *)&both;
}

__device__ __forceinline__ uint2 bf16_pack(float4 v)
{
    return make_uint2(bf16_pack(v.x, v.y), bf16_pack(v.z, v.w));
}

__device__ __forceinline__ float2 bf16_values(uint32_t packed)
{
    return make_float2(__uint_as_float(packed << 16), __uint_as_float(packed & 0xffff0000u));
}

// What bf16_pack() has rounded off, packed.
__device__ __forceinline__ uint2 bf16_rest(uint2 packed, float4 v)
{
    const float2 low = bf16_values(packed.x), high = bf16_values(packed.y);
    return bf16_pack(make_float4(v.x - low.x, v.y - low.y, v.z - high.x, v.w - high.y));
}

// Over a warp, by butterflies: the result is the same in all lanes.
__device__ __forceinline__ float warp_sum(float v)
{
#pragma unroll
    for (int d = 16; d > 0; d /= 2)
        v += __shfl_xor_sync(~0u, v, d);
    return v;
}

__device__ __forceinline__ float warp_most(float v)
{
#pragma unroll
    for (int d = 16; d > 0; d /= 2)
        v = fmaxf(v, __shfl_xor_sync(~0u, v, d));
    return v;
}

// Part 0 of a row's partial sums.
__device__ __forceinline__ const float *partial_row(const slip_cuda_partial &in, int row)
{
    return in.data + slip_partial_at(&in, row, 0);
}

} // namespace slip
