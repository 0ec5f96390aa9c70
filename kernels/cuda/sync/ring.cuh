/* The ring of weights. Each consumer warpgroup has a ring of SLIP_RING_DEPTH stages of its own, filled by a producer warp of its own. Both
 * walk the same list of units, an op after the other; so the producer runs ahead across ops that have no weights and through every wait of
 * the consumers, as far as the ring goes. Besides room it waits for the stage before (stage_open), the list of experts and, before the
 * first stage of a product, for this SM to be through with the product before (produce_ops).
 */
#pragma once

#include "kernels/cuda/sync/shared.cuh"

namespace slip {

// ---- the producer ----

struct producer {
    ring *weights;
    unsigned char (*stage)[SLIP_STAGE_BYTES]; // of this warpgroup
    int warpgroup;
    unsigned count;                           // stages ever
    uint64_t policy;
};

// A stage for `bytes` bytes that bulk loads will bring; NULL: the kernel is being left. One is under way at a time: two of each warpgroup
// would be 18 MB on their way to all SMs, 4 us of memory's time, in which everything else that SMs load and store stands in line.
__device__ __forceinline__ unsigned char *stage_open(const waiter &w, const producer &p, int bytes)
{
    unsigned slot = p.count % SLIP_RING_DEPTH, round = p.count / SLIP_RING_DEPTH, last = p.count - 1;
    if (p.count > 0 && !mbarrier_wait(w, SLIP_WAIT_FULL, &p.weights->full[p.warpgroup][last % SLIP_RING_DEPTH], last / SLIP_RING_DEPTH))
        return NULL;
    // Round 0 finds the stages empty: waiting for the phase before the first succeeds at once.
    if (!mbarrier_wait(w, SLIP_WAIT_EMPTY, &p.weights->empty[p.warpgroup][slot], round + 1))
        return NULL;
    mbarrier_expect(&p.weights->full[p.warpgroup][slot], bytes);
    return p.stage[slot];
}

// ---- a consumer warpgroup ----

struct consumer {
    int warpgroup;
    unsigned count; // stages ever
};

__device__ __forceinline__ uint32_t stage_wait(shared_memory &s, const consumer &r)
{
    unsigned slot = r.count % SLIP_RING_DEPTH;
    mbarrier_wait(s.consumers.wait, SLIP_WAIT_FULL, &s.weights.full[r.warpgroup][slot], r.count / SLIP_RING_DEPTH);
    return shared_address(s.stage[r.warpgroup][slot]);
}

// Behind the last read of the stage by this warp.
__device__ __forceinline__ void stage_release(shared_memory &s, consumer &r)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        mbarrier_arrive(&s.weights.empty[r.warpgroup][r.count % SLIP_RING_DEPTH]);
    r.count++;
}

} // namespace slip
