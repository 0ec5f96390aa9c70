/* What producers and consumers share: a range of ops, waits, timestamps. */
#pragma once

#include "kernels/cuda/engine/kernel.h"
#include "kernels/cuda/sync/record.cuh"

namespace slip {

struct op_range {
    int first, last; // [first, last)
};

__device__ recorder recorder_of(const kernel_parameters &p, int role)
{
    int at = blockIdx.x * SLIP_ROLES + role;
    return {p.events ? p.events + (int64_t)at * SLIP_PROFILE_EVENTS : NULL, p.event_counts + at, 0};
}

__device__ waiter waiter_of(const kernel_parameters &p, int role)
{
    return {
        p.words, p.host, p.timeout_cycles, p.idle_timeout_cycles, p.exchange.at.ranks ? &p.exchange : NULL, 0, (int)blockIdx.x, role, -1,
        -1,      -1};
}

__device__ __forceinline__ bool wait_step(const waiter &w, unsigned number)
{
    return wait_for(w, SLIP_WAIT_STEP, number, w.idle_timeout_cycles, [&](unsigned &seen) {
        seen = load_acquire(&w.words->posted);
        return seen == number;
    });
}

} // namespace slip
