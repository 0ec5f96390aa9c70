/* The kernels and their parameters. C++, for the engine's .cu files. */
#pragma once

#include "comm/exchange.h"
#include "kernels/cuda/sync/sync.cuh"

namespace slip {

struct kernel_parameters {
    const slip_cuda_op *ops;
    slip_cuda_step *step;         // device copy of the current step
    const slip_cuda_step *posted; // host memory, as the device sees it: step number n in [n % SLIP_CUDA_STEPS]
    sync_words *words;
    host_words *host;
    slip_candidate *candidates; // host memory, [SLIP_CUDA_SLOTS][SLIP_MAX_LOGIT_ROWS]
    slip_cuda_event *events;    // host memory [SMs][SLIP_ROLES][SLIP_PROFILE_EVENTS] or NULL
    int32_t *event_counts;      // [SMs][SLIP_ROLES]
    int64_t timeout_cycles, idle_timeout_cycles;
    slip_exchange exchange; // between ranks inside the kernel; at.ranks 0: none
    unsigned made;          // number of the last step before this kernel
    uint32_t serial;        // and of the last one that all ranks made together
    int drop_op;            // fault injection: SM 1 never arrives at the barrier behind this op of the list; -1: none
};

// (kernel_parameters): runs until a step says stop or a wait fails. `windows`: it sums over ranks by itself.
const void *persistent_kernel_of(bool windows);

// (kernel_parameters, int op): runs one op of the list on the step in p.step, for --engine launch and for looking at buffers between ops.
// `gathered`: the host gathers sums between GATHER and REDUCE_NORM.
const void *launch_kernel_of(bool windows, bool gathered);

// Writes the candidates of `op`, a SAMPLE that ran on `sms` SMs, to their slot in host memory; of one whose drafts wait for a walk the rest of the
// result. One CTA of kernel_finish_threads().
__global__ void finish_kernel(const __grid_constant__ kernel_parameters p, int op, int sms, int slot);

// Walks through the blocks of `op`, such a SAMPLE, and writes the drafts to their slot. CTAs of kernel_finish_threads(), as many as blocks or fewer.
__global__ void walk_kernel(const __grid_constant__ kernel_parameters p, int op, int slot);

size_t kernel_shared_bytes();
int kernel_threads();
int kernel_finish_threads();

} // namespace slip
