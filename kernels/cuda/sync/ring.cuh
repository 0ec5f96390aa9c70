/* The ring of weights. Each consumer warpgroup has its own ring of SLIP_RING_DEPTH stages and its own producer warp. Both walk the same units
 * in the same order, so the producer prefetches across ops that have no weights and through every wait of the consumers, as far as the ring
 * allows. Besides room it waits for the previous stage to arrive (stage_open), for the list of experts and, before a product's first stage,
 * for this SM to finish the previous product (produce_ops).
 */
#pragma once

#include "kernels/cuda/sync/shared.cuh"

namespace slip {

// ---- the producer ----

struct producer {
    ring *weights;
    unsigned char (*stage)[SLIP_STAGE_BYTES]; // of this warpgroup
    int warpgroup;
    unsigned count; // stages so far
    uint64_t policy;
};

// An empty stage for `bytes` bytes of bulk copies; NULL: leave the kernel. A warpgroup has one stage in flight: two of each would be 18 MB
// over all SMs, 4 us of memory time, which all other loads and stores would wait for.
__device__ __forceinline__ unsigned char *stage_open(const waiter &w, const producer &p, int bytes)
{
    unsigned slot = p.count % SLIP_RING_DEPTH, round = p.count / SLIP_RING_DEPTH, last = p.count - 1;
    if (p.count > 0 && !mbarrier_wait(w, SLIP_WAIT_FULL, &p.weights->full[p.warpgroup][last % SLIP_RING_DEPTH], last / SLIP_RING_DEPTH))
        return NULL;
    // In round 0 all stages are empty: waiting for the phase before the first succeeds at once.
    if (!mbarrier_wait(w, SLIP_WAIT_EMPTY, &p.weights->empty[p.warpgroup][slot], round + 1))
        return NULL;
    mbarrier_expect(&p.weights->full[p.warpgroup][slot], bytes);
    return p.stage[slot];
}

// ---- a consumer warpgroup ----

struct consumer {
    int warpgroup;
    unsigned count; // stages so far
};

__device__ __forceinline__ uint32_t stage_wait(shared_memory &s, const consumer &r)
{
    unsigned slot = r.count % SLIP_RING_DEPTH;
    mbarrier_wait(s.consumers.wait, SLIP_WAIT_FULL, &s.weights.full[r.warpgroup][slot], r.count / SLIP_RING_DEPTH);
    return shared_address(s.stage[r.warpgroup][slot]);
}

// This warp has read the stage for the last time.
__device__ __forceinline__ void stage_release(shared_memory &s, consumer &r)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        mbarrier_arrive(&s.weights.empty[r.warpgroup][r.count % SLIP_RING_DEPTH]);
    r.count++;
}

} // namespace slip
