/* What a launched kernel may read before the kernel in front of it has ended. */
#pragma once

#include "kernels/cuda/layout/op.h"

namespace slip {

// By all threads of a CTA, 128 or more: COUNT ops from number `number` on, in shared memory. Ops, like the step, are there before a step's first kernel
// begins. Read behind await_previous_kernel(), each of an op's words would be a trip to L2 of its own, while all SMs wait.
template <int COUNT = 1>
__device__ __forceinline__ const slip_cuda_op *early_ops(const slip_cuda_op *ops, int number)
{
    constexpr int PIECES = COUNT * (int)(sizeof(slip_cuda_op) / sizeof(uint4));
    static_assert(sizeof(slip_cuda_op) % sizeof(uint4) == 0 && PIECES <= 128, "a piece a thread");
    __shared__ alignas(16) unsigned char bytes[COUNT * sizeof(slip_cuda_op)];
    if (threadIdx.x < PIECES)
        ((uint4 *)bytes)[threadIdx.x] = ((const uint4 *)(ops + number))[threadIdx.x];
    __syncthreads();
    return (const slip_cuda_op *)bytes;
}

} // namespace slip
