/* The control role: SM 0's link to the host, between two steps. Its warp then produces like the others. */
#pragma once

#include <stddef.h>

#include "kernels/cuda/kernel.h"

namespace slip {

constexpr int FEW = SLIP_TOKENS; // lines of each kind that a step mostly has

// Elements [FEW, count) of a list of the step.
template <class T> __device__ __forceinline__ void copy_rest(const T *from, T *to, int count, int lane)
{
    for (int i = FEW * (int)sizeof(T) / 8 + lane; i < count * (int)sizeof(T) / 8; i += 32)
        ((uint64_t *)to)[i] = __ldcv((const unsigned long long *)from + i);
}

// A word a lane of the first `bytes` bytes.
struct first_words {
    uint64_t word;
    bool mine;
};

__device__ __forceinline__ first_words load_first(const void *from, int bytes, int lane)
{
    bool mine = lane < bytes / 8;
    return {mine ? __ldcv((const unsigned long long *)from + lane) : 0, mine};
}

__device__ __forceinline__ void store_first(const first_words &w, void *to, int lane)
{
    if (w.mine)
        ((uint64_t *)to)[lane] = w.word;
}

// Only what the step uses, over PCIe: one way there and back for what most steps have, whether this one has it or not.
__device__ void copy_step(const slip_cuda_step *from, slip_cuda_step *to, int lane)
{
    constexpr int HEAD = offsetof(slip_cuda_step, row);
    static_assert(HEAD <= 256 && FEW * sizeof to->row[0] <= 256 && FEW * sizeof to->head[0] <= 256 && FEW * sizeof to->run[0] <= 256,
                  "a word a lane");
    first_words head = load_first(from, HEAD, lane), rows = load_first(from->row, FEW * sizeof to->row[0], lane);
    first_words heads = load_first(from->head, FEW * sizeof to->head[0], lane), runs = load_first(from->run, FEW * sizeof to->run[0], lane);
    store_first(head, to, lane);
    store_first(rows, to->row, lane);
    store_first(heads, to->head, lane);
    store_first(runs, to->run, lane);
    __syncwarp();
    copy_rest(from->row, to->row, to->rows, lane);
    copy_rest(from->head, to->head, to->heads, lane);
    copy_rest(from->run, to->run, to->runs, lane);
}

// The next step of the host, for everybody. All lanes of the warp call it.
__device__ void control(const waiter &w, const kernel_parameters &p, unsigned number)
{
    wait_for(w, SLIP_WAIT_STEP, number, p.idle_patience, [&](unsigned &seen) {
        if (load_acquire_system(&p.host->abort))
            atomicExch(&p.words->abort, 1u);
        seen = load_acquire_system(&p.host->post);
        return seen == number;
    });
    __syncwarp();
    if (aborted(w))
        return;
    copy_step(p.posted, p.step, threadIdx.x % 32);
    __threadfence();
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        store_release(&p.words->posted, number);
}

} // namespace slip
