/* Launches one behind the other in a stream: a kernel begins while the one before is still at work, and waits for its end where it needs what
 * that one wrote. It may wait at once: its start is out of the way then. And how a CTA's registers go from warpgroups that copy to those that
 * compute. */
#pragma once

#include "kernels/cuda/sm90/arch.h"

namespace slip {

// Waits until all kernels before this one have ended.
__device__ __forceinline__ void await_kernels_before()
{
    asm volatile("griddepcontrol.wait;" ::: "memory");
}

// The next kernel may begin, when all CTAs say so.
__device__ __forceinline__ void let_next_kernel_begin()
{
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// Both. By all threads, before they read or write what another kernel does.
__device__ __forceinline__ void await_previous_kernel()
{
    let_next_kernel_begin();
    await_kernels_before();
}

// By all threads of a warpgroup: each keeps COUNT registers, and gives the others to the CTA.
template <int COUNT>
__device__ __forceinline__ void registers_give()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

// The same: each has COUNT registers, as soon as others have given them.
template <int COUNT>
__device__ __forceinline__ void registers_get()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

// A launch of a kernel that calls await_previous_kernel(). `kernel_before`: what comes before it in the stream is a kernel, whose end the
// launch need not wait for.
static inline cudaError_t launch_behind(const void *kernel, int ctas, int threads, size_t shared_bytes, cudaStream_t stream,
                                        void **arguments, bool kernel_before = true)
{
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = kernel_before;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)ctas);
    config.blockDim = dim3((unsigned)threads);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
    return cudaLaunchKernelExC(&config, kernel, arguments);
}

} // namespace slip
