/* Copies from global to shared memory, a wrapper an instruction: by threads, which wait for their own, and in bulk, with the mbarriers that
 * these complete on and the fence of the async proxy. */
#pragma once

#include "kernels/cuda/sm90/arch.h"

namespace slip {

__device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

// Makes a thread's ordinary stores to shared memory visible to wgmma and bulk copies. Each writing thread executes it before the barrier.
__device__ __forceinline__ void fence_async_shared()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- copies of a thread ----

// 16 bytes past L1.
__device__ __forceinline__ void copy_16(uint32_t to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

// The same, or zeros.
__device__ __forceinline__ void copy_16(uint32_t to, const void *from, bool exists)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(exists ? 16 : 0) : "memory");
}

// 4 bytes.
__device__ __forceinline__ void copy_4(uint32_t to, const void *from)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from) : "memory");
}

__device__ __forceinline__ void copy_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// All but the last `pending` groups of this thread have arrived.
template <int pending>
__device__ __forceinline__ void copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// All of this thread's copies have arrived.
__device__ __forceinline__ void copy_wait_all()
{
    asm volatile("cp.async.wait_all;" ::: "memory");
}

// ---- mbarriers ----

__device__ __forceinline__ void mbarrier_init(uint64_t *bar, int arrivals)
{
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(bar)), "r"(arrivals) : "memory");
}

// By who has initialised barriers, before fence_async_shared() and a barrier of the CTA: bulk copies find them.
__device__ __forceinline__ void mbarrier_init_fence()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(uint64_t *bar)
{
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(bar)) : "memory");
}

// By a whole warp: one arrival.
__device__ __forceinline__ void mbarrier_arrive_elected(uint64_t *bar)
{
    asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\n@p mbarrier.arrive.shared.b64 _, [%0];\n}" ::"r"(shared_address(bar))
                 : "memory");
}

__device__ __forceinline__ void mbarrier_expect(uint64_t *bar, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(bar)), "r"(bytes) : "memory");
}

__device__ __forceinline__ bool mbarrier_try(uint64_t *bar, unsigned parity)
{
    unsigned done;
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(shared_address(bar)), "r"(parity)
                 : "memory");
    return done != 0;
}

// Until round 0, 1, .. of a barrier has ended. For copies and warps of this CTA alone, which cannot fail to come.
__device__ __forceinline__ void mbarrier_wait(uint64_t *bar, unsigned round)
{
    while (!mbarrier_try(bar, round & 1))
        ;
}

// ---- bulk copies ----

// By who has written device memory that bulk copies of this launch will read, before it says so, and by who was told, before its copies.
__device__ __forceinline__ void fence_async_global()
{
    asm volatile("fence.proxy.async.global;" ::: "memory");
}

// Weights are read once and should not evict from L2 what is read again.
__device__ __forceinline__ uint64_t read_once_policy()
{
    uint64_t policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

// Weights that several SMs read.
__device__ __forceinline__ uint64_t keep_policy()
{
    uint64_t policy;
    asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

__device__ __forceinline__ void bulk_load(void *to, const void *from, int bytes, uint64_t *bar)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
                 "l"(from), "r"(bytes), "r"(shared_address(bar))
                 : "memory");
}

__device__ __forceinline__ void bulk_load(void *to, const void *from, int bytes, uint64_t *bar, uint64_t policy)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(
                     shared_address(to)),
                 "l"(from), "r"(bytes), "r"(shared_address(bar)), "l"(policy)
                 : "memory");
}

} // namespace slip
