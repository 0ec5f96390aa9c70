/* Timestamps for --profile: each role of an SM has a list in host memory. Without --profile recording is one comparison. */
#pragma once

#include "kernels/cuda/sync/context.cuh"

namespace slip {

__device__ __forceinline__ uint64_t now_ns()
{
    uint64_t t;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
    return t;
}

struct recorder {
    slip_cuda_event *events; // NULL: not recording
    int32_t *count;
    int used;
    uint64_t start; // of the event being recorded
};

__device__ __forceinline__ void record_start(recorder &r)
{
    if (r.events)
        r.start = now_ns();
}

__device__ __forceinline__ void record(recorder &r, int op, int what)
{
    if (r.events && r.used < SLIP_PROFILE_EVENTS)
        r.events[r.used++] = {r.start, now_ns(), op, what};
}

__device__ __forceinline__ void recorder_finish(recorder &r)
{
    if (r.events)
        *r.count = r.used;
    r.used = 0;
}

} // namespace slip
