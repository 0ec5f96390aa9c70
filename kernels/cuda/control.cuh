/* The control role: SM 0's link to the host, between two steps. Its warp then produces like the others. */
#pragma once

#include <stddef.h>

#include "kernels/cuda/kernel.h"

namespace slip {

__device__ __forceinline__ void copy_words(const void *from, void *to, int bytes, int lane)
{
    for (int i = lane; i < bytes / 8; i += 32)
        ((uint64_t *)to)[i] = __ldcv((const unsigned long long *)from + i);
}

// Only what the step uses, over PCIe.
__device__ void copy_step(const slip_cuda_step *from, slip_cuda_step *to, int lane)
{
    copy_words(from, to, offsetof(slip_cuda_step, row), lane);
    __syncwarp();
    copy_words(from->row, to->row, to->rows * (int)sizeof to->row[0], lane);
    copy_words(from->head, to->head, to->heads * (int)sizeof to->head[0], lane);
    copy_words(from->run, to->run, to->runs * (int)sizeof to->run[0], lane);
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
