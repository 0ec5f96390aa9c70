/* The control role: SM 0's link to the host and, for steps that all ranks make, to the other ranks. It runs between two steps; during a step
 * its warp produces weights like the others. */
#pragma once

#include <stddef.h>

#include "kernels/cuda/engine/kernel.h"
#include "kernels/cuda/sync/mail.cuh"
#include "kernels/cuda/sync/shared.cuh"

namespace slip {

constexpr int FEW = SLIP_TOKENS; // most steps have no more rows, logit rows and runs

// Elements [FEW, count) of a list of the step.
template <class T>
__device__ __forceinline__ void copy_rest(const T *from, T *to, int count, int lane)
{
    for (int i = FEW * (int)sizeof(T) / 8 + lane; i < count * (int)sizeof(T) / 8; i += 32)
        ((uint64_t *)to)[i] = __ldcv((const unsigned long long *)from + i);
}

// The first FEW entries of each list, whether the step has them or not: a word a lane. Read in one round trip over PCIe, and kept in
// registers while the step before still runs.
struct first_words {
    uint64_t head, row, logit_row, run;
};

constexpr int HEAD_BYTES = offsetof(slip_cuda_step, row), ROW_BYTES = FEW * sizeof(slip_cuda_row),
              LOGIT_ROW_BYTES = FEW * sizeof(slip_cuda_logit_row), RUN_BYTES = FEW * sizeof(slip_cuda_run);
static_assert(HEAD_BYTES <= 256 && ROW_BYTES <= 256 && LOGIT_ROW_BYTES <= 256 && RUN_BYTES <= 256, "a word a lane");

__device__ __forceinline__ uint64_t load_word(const void *from, int bytes, int lane)
{
    return lane < bytes / 8 ? __ldcv((const unsigned long long *)from + lane) : 0;
}

__device__ __forceinline__ void store_word(uint64_t word, void *to, int bytes, int lane)
{
    if (lane < bytes / 8)
        ((uint64_t *)to)[lane] = word;
}

__device__ __forceinline__ first_words load_first(const slip_cuda_step *from, int lane)
{
    return {load_word(from, HEAD_BYTES, lane), load_word(from->row, ROW_BYTES, lane), load_word(from->logit_row, LOGIT_ROW_BYTES, lane),
            load_word(from->run, RUN_BYTES, lane)};
}

// A row's first word; a token that the step before had to find is filled in.
__device__ __forceinline__ uint64_t fill_in_drafted(uint64_t word, const int32_t *drafted)
{
    static_assert(offsetof(slip_cuda_row, token) == 0, "the low half");
    const int token = (int)word;
    if (token > SLIP_TOKEN_OF_LOGIT_ROW(0))
        return word;
    return word >> 32 << 32 | (uint32_t)max(drafted[SLIP_LOGIT_ROW_OF_TOKEN(token)], 0);
}

constexpr int ROW_WORDS = sizeof(slip_cuda_row) / 8;

// Copy what the step uses.
__device__ void copy_step(first_words first, const step_sizes &sizes, const slip_cuda_step *from, const int32_t *drafted,
                          slip_cuda_step *to, int lane)
{
    if (lane % ROW_WORDS == 0 && lane / ROW_WORDS < sizes.rows)
        first.row = fill_in_drafted(first.row, drafted);
    store_word(first.head, to, HEAD_BYTES, lane);
    store_word(first.row, to->row, ROW_BYTES, lane);
    store_word(first.logit_row, to->logit_row, LOGIT_ROW_BYTES, lane);
    store_word(first.run, to->run, RUN_BYTES, lane);
    copy_rest(from->row, to->row, sizes.rows, lane);
    copy_rest(from->logit_row, to->logit_row, sizes.logit_rows, lane);
    copy_rest(from->run, to->run, sizes.runs, lane);
    __syncwarp();
    for (int i = FEW + lane; i < sizes.rows; i += 32)
        *(uint64_t *)&to->row[i] = fill_in_drafted(*(uint64_t *)&to->row[i], drafted);
}

// Has the host posted step `number`? Each look crosses PCIe, so the abort word is looked at more rarely.
__device__ __forceinline__ bool look_at_host(const kernel_parameters &p, unsigned number, unsigned tries, unsigned &seen)
{
    if (tries % WAIT_LOOK == 0 && load_acquire_system(&p.host->abort))
        atomicExch(&p.words->abort, 1u);
    seen = load_acquire_system(&p.host->post);
    return (int)(seen - number) >= 0;
}

// Wait until SM 0's consumers have finished the first `steps` steps of this kernel: then the device's copy may be overwritten.
__device__ __forceinline__ void wait_delivered(const waiter &w, shared_memory &s, const kernel_parameters &p, unsigned steps)
{
    if (steps > 0)
        wait_for(w, SLIP_WAIT_STEP, steps, p.idle_timeout_cycles,
                 [&](unsigned &) { return mbarrier_try(&s.step_delivered, (steps - 1) & 1); });
    __syncwarp();
}

// Publish a step of the host's; rank 0 sends it to the other ranks if they make it, too.
__device__ __forceinline__ void post_step(const kernel_parameters &p, const first_words &first, unsigned number, const int32_t *drafted,
                                          int lane)
{
    const step_sizes sizes = sizes_of(first.head);
    copy_step(first, sizes, p.posted + number % SLIP_CUDA_STEPS, drafted, p.step, lane);
    __syncwarp();
    if (p.exchange.at.ranks && sizes.serial != 0)
        send_step(p.exchange, p.step, sizes, lane);
}

// Bring the next step to device memory and publish it. All lanes of the warp call it. Ranks other than 0 make the steps that rank 0's GPU
// sends; `serial` is that of the last one. Their hosts post only the end.
__device__ __noinline__ void control(const waiter &w, const kernel_parameters &p, shared_memory &s, unsigned number, uint32_t &serial)
{
    const bool listens = p.exchange.at.ranks && p.exchange.rank != 0;
    const uint32_t next = slip_exchange_epoch_after(serial, 1);
    const int lane = threadIdx.x % 32;
    uint64_t word[FIRST_LINES];
    unsigned tries = 0;
    bool came = false;
    wait_for(w, SLIP_WAIT_STEP, listens ? next : number, p.idle_timeout_cycles, [&](unsigned &seen) {
        tries++;
        if (listens && (came = look_for_step(p.exchange, next, word, seen)))
            return true;
        return (!listens || tries % WAIT_LOOK == 0) && look_at_host(p, number, tries, seen);
    });
    __syncwarp();
    came = __all_sync(~0u, came);
    first_words first = came ? first_words{} : load_first(p.posted + number % SLIP_CUDA_STEPS, lane);
    wait_delivered(w, s, p, number - 1 - p.made);
    if (aborted(w))
        return;
    if (came) {
        receive_step(w, p.exchange, next, word, p.step, lane);
        serial = next;
    } else {
        post_step(p, first, number, s.drafted, lane);
    }
    __syncwarp(); // orders the lanes' stores before the release, which is cumulative
    if (lane == 0)
        store_release(&p.words->posted, number);
}

} // namespace slip
