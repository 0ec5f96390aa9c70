/* The kernels: the resident one and one that runs a single op. Both run the same roles over a range of ops. */
#include "kernels/cuda/engine/consume.cuh"
#include "kernels/cuda/engine/kernel.h"
#include "kernels/cuda/engine/produce.cuh"
#include "kernels/cuda/arch.cuh"

namespace slip {

__device__ void shared_start(shared_memory &s)
{
    if (threadIdx.x == 0) {
        for (int w = 0; w < WARPGROUPS; w++)
            for (int i = 0; i < SLIP_RING_DEPTH; i++) {
                mbarrier_init(&s.weights.full[w][i], 1);
                mbarrier_init(&s.weights.empty[w][i], 4);
            }
        mbarrier_init(&s.list_ready, CONSUMERS);
        mbarrier_init(&s.list_free, PRODUCER_WARPS);
        mbarrier_init(&s.product_passed, 1);
        mbarrier_init(&s.step_issued, PRODUCER_WARPS);
        mbarrier_init(&s.step_delivered, 1);
        mbarrier_init_fence();
    }
    fence_async_shared();
    __syncthreads();
}

extern __shared__ __align__(1024) unsigned char shared_bytes[];

template <allreduce_mode MODE>
__global__ void __launch_bounds__(THREADS, 1) persistent_kernel(const __grid_constant__ kernel_parameters p)
{
    shared_memory &s = *(shared_memory *)shared_bytes;
    int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
    shared_start(s);
    if (warp < CONSUMER_WARPS)
        consumer_role<MODE>(p, s);
    else
        producer_role(p, s, warp - CONSUMER_WARPS);
}

template <allreduce_mode MODE>
__global__ void __launch_bounds__(THREADS, 1) launch_kernel(const __grid_constant__ kernel_parameters p, int op)
{
    shared_memory &s = *(shared_memory *)shared_bytes;
    int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
    shared_start(s);
    if (warp < CONSUMER_WARPS) { // the step and the ops are there before a step's first kernel begins
        consumer ring = consumer_start(s, p);
        if (threadIdx.x == 0) {
            s.consumers.times.events = NULL;
            context_of_step(s, p, 0);
        }
        consumers_sync();
        begin_ops(s, p, op);
        await_previous_kernel();
        consume_ops<MODE>(s, ring, p, {op, op + 1}, false);
    } else if (threadIdx.x % 32 == 0) {
        await_previous_kernel();
        producer_state t = producer_start(p, s, warp - CONSUMER_WARPS);
        t.times.events = NULL;
        produce_ops(t, p, s, {op, op + 1});
        producer_drain(t.ring);
    }
}

const void *persistent_kernel_of(bool windows)
{
    return windows ? (const void *)persistent_kernel<EXCHANGED> : (const void *)persistent_kernel<ALONE>;
}

const void *launch_kernel_of(bool windows, bool gathered)
{
    return windows    ? (const void *)launch_kernel<EXCHANGED>
           : gathered ? (const void *)launch_kernel<GATHERED>
                      : (const void *)launch_kernel<ALONE>;
}

__global__ void finish_kernel(const __grid_constant__ kernel_parameters p, int op, int sms, int slot)
{
    await_previous_kernel();
    deliver<ALONE>(p, p.ops[op], waiter_of(p, SLIP_ROLE_CONSUMER), sms, slot, NULL, (int)blockIdx.x, (int)gridDim.x);
}

__global__ void walk_kernel(const __grid_constant__ kernel_parameters p, int op, int slot)
{
    __shared__ walk_memory memory;
    await_previous_kernel();
    walk_blocks(p.ops[op].sample, *p.step, (int)blockIdx.x, (int)gridDim.x, p.candidates + slot * SLIP_MAX_LOGIT_ROWS, NULL, memory);
}

size_t kernel_shared_bytes()
{
    return sizeof(shared_memory);
}

int kernel_threads()
{
    return THREADS;
}

int kernel_finish_threads()
{
    return CONSUMERS;
}

} // namespace slip
