/* The kernels and what they are given. C++ only: for engine.cu. */
#pragma once

#include "comm/exchange.h"
#include "kernels/cuda/sync/sync.cuh"

namespace slip {

struct kernel_parameters {
    const slip_cuda_op *ops;
    slip_cuda_step *step;         // device copy of the step in hand
    const slip_cuda_step *posted; // host memory, as the device sees it: step number n in [n % SLIP_CUDA_STEPS]
    sync_words *words;
    host_words *host;
    slip_candidate *candidates;   // host memory, [SLIP_CUDA_STEPS][SLIP_MAX_ROWS]
    slip_cuda_event *events;      // host memory [SMs][SLIP_ROLES][SLIP_PROFILE_EVENTS] or NULL
    int32_t *event_counts;        // [SMs][SLIP_ROLES]
    int64_t timeout_cycles, idle_timeout_cycles;
    slip_exchange exchange;       // of ranks inside of the kernel; at.ranks 0: none
    unsigned made;                // number of the last step before this kernel
    uint32_t serial;              // and that of the last that all ranks made together
    int drop_op;                  // tests: SM 1 stays away from the barrier behind this op of the list; -1 never
};

// (kernel_parameters): stays until a step says stop, or a wait fails. `windows`: sums go over ranks inside of it.
const void *persistent_kernel_of(bool windows);

// (kernel_parameters, int op): one op of the list, for --engine launch, and for either engine to look at buffers in between; the step is
// in p.step. `gathers`: GATHER ops, and SUMs of what the host gathered behind them.
const void *launch_kernel_of(bool windows, bool gathers);

// The candidates of `op`, a SAMPLE that ran on `sms` SMs, to their slot in host memory; one CTA of kernel_finish_threads().
__global__ void finish_kernel(const __grid_constant__ kernel_parameters p, int op, int sms, int slot);

size_t kernel_shared_bytes();
int kernel_threads();
int kernel_finish_threads();

} // namespace slip
