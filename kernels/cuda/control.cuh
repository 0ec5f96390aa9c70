/* The control role: SM 0's link to the host and, for whole steps, to the other ranks, between two steps. Its warp then produces like the others. */
#pragma once

#include <stddef.h>

#include "kernels/cuda/kernel.h"
#include "kernels/cuda/mail.cuh"
#include "kernels/cuda/ring.cuh"

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

// Tokens that the step before was to find.
__device__ void fill_in_drafted(slip_cuda_step *step, const int32_t *drafted, int lane)
{
    for (int i = lane; i < step->rows; i += 32)
        if (step->row[i].token <= SLIP_TOKEN_OF_HEAD(0))
            step->row[i].token = max(drafted[SLIP_HEAD_OF_TOKEN(step->row[i].token)], 0);
}

// Is step `number` of the host there? Over PCIe, so the abort word is looked at more rarely.
__device__ __forceinline__ bool look_at_host(const kernel_parameters &p, unsigned number, unsigned tries, unsigned &seen)
{
    if (tries % WAIT_LOOK == 0 && load_acquire_system(&p.host->abort))
        atomicExch(&p.words->abort, 1u);
    seen = load_acquire_system(&p.host->post);
    return (int)(seen - number) >= 0;
}

// SM 0's consumers are through with the first `steps` steps of this kernel.
__device__ __forceinline__ bool delivered(shared_memory &s, unsigned steps)
{
    return steps == 0 || mbarrier_try(&s.step_delivered, (steps - 1) & 1);
}

// From the host, and on rank 0 to the other ranks if they are to make it, too.
__device__ void post_step(const kernel_parameters &p, unsigned number, int lane)
{
    copy_step(p.posted + number % SLIP_CUDA_STEPS, p.step, lane);
    __syncwarp();
    fill_in_drafted(p.step, p.drafted, lane);
    __syncwarp();
    if (p.exchange.at.ranks && p.step->serial != 0)
        send_step(p.exchange, p.step, lane);
}

// The next step to device memory, for everybody. All lanes of the warp call it. Ranks but rank 0 make those that rank 0's GPU sends, of
// which `serial` was the last; their hosts post only the end.
__device__ __noinline__ void control(const waiter &w, const kernel_parameters &p, shared_memory &s, unsigned number, uint32_t &serial)
{
    const bool listens = p.exchange.at.ranks && p.exchange.rank != 0;
    const uint32_t next = slip_exchange_epoch_after(serial, 1);
    const int lane = threadIdx.x % 32;
    uint64_t word[FIRST_LINES];
    unsigned tries = 0;
    bool came = false;
    wait_for(w, SLIP_WAIT_STEP, listens ? next : number, p.idle_patience, [&](unsigned &seen) {
        if (!delivered(s, number - 1 - p.made))
            return false;
        tries++;
        if (listens && (came = look_for_step(p.exchange, next, word, seen)))
            return true;
        return (!listens || tries % WAIT_LOOK == 0) && look_at_host(p, number, tries, seen);
    });
    __syncwarp();
    if (aborted(w))
        return;
    if (__all_sync(~0u, came)) {
        take_step(w, p.exchange, next, word, p.step, lane);
        serial = next;
    } else {
        post_step(p, number, lane);
    }
    __threadfence();
    __syncwarp();
    if (lane == 0)
        store_release(&p.words->posted, number);
}

} // namespace slip
