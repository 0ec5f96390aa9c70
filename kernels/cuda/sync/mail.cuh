/* The device's side of mail.h: a warp sends or receives a step, and reports travel line by line. */
#pragma once

#include <stddef.h>

#include "kernels/cuda/layout/mail.h"
#include "kernels/cuda/sync/sync.cuh"
#include "ranks/model/sampling/candidate.h"

namespace slip {

__device__ __forceinline__ unsigned char *step_line(const slip_exchange &x, int rank, int line)
{
    return x.peer[rank] + x.at.mail + line * SLIP_EXCHANGE_LINE;
}

__device__ __forceinline__ unsigned char *report_line(const slip_exchange &x, int rank, int line)
{
    return step_line(x, 0, SLIP_MAIL_STEP + rank * SLIP_MAIL_REPORT + line);
}

__device__ __forceinline__ void line_store(unsigned char *to, uint32_t serial, uint64_t word)
{
    exchange::store_line(to, word, exchange::pair(0, serial));
}

// True when the line carries `serial`; else `seen` is what it carries.
__device__ __forceinline__ bool line_load(const unsigned char *from, uint32_t serial, uint64_t &word, unsigned &seen)
{
    uint64_t tail;
    exchange::load_line(from, word, tail);
    seen = (uint32_t)(tail >> 32);
    return seen == serial;
}

// ---- a step ----

constexpr int STEP_HEAD = offsetof(slip_cuda_step, row) / 8; // words with the sizes of the step's lists
static_assert(offsetof(slip_cuda_step, row) % 8 == 0 && sizeof(slip_cuda_row) % 8 == 0 && sizeof(slip_cuda_logit_row) % 8 == 0 &&
                  sizeof(slip_cuda_run) % 8 == 0,
              "a step is whole words");

struct step_sizes {
    int rows, logit_rows, runs;
    uint32_t serial;
};

// From the words of the step's head, one a lane, by shuffles. All lanes of a warp call it.
__device__ __forceinline__ step_sizes sizes_of(uint64_t head)
{
    static_assert(offsetof(slip_cuda_step, rows) == 16 && offsetof(slip_cuda_step, logit_rows) == 20 &&
                      offsetof(slip_cuda_step, runs) == 24 && offsetof(slip_cuda_step, serial) == 40,
                  "words 2, 3 and 5");
    const uint64_t two = __shfl_sync(~0u, head, 2), three = __shfl_sync(~0u, head, 3), five = __shfl_sync(~0u, head, 5);
    return {(int)two, (int)(two >> 32), (int)three, (uint32_t)five};
}

// The used words of a step, one behind the other.
struct step_words {
    slip_cuda_step *step;
    int rows, logit_rows, runs; // where each list's words end

    __device__ __forceinline__ step_words(slip_cuda_step *of, const step_sizes &sizes) : step(of)
    {
        rows = STEP_HEAD + sizes.rows * (int)(sizeof(slip_cuda_row) / 8);
        logit_rows = rows + sizes.logit_rows * (int)(sizeof(slip_cuda_logit_row) / 8);
        runs = logit_rows + sizes.runs * (int)(sizeof(slip_cuda_run) / 8);
    }

    __device__ __forceinline__ int count() const
    {
        return runs;
    }

    __device__ __forceinline__ uint64_t &operator[](int i) const
    {
        if (i < STEP_HEAD)
            return ((uint64_t *)step)[i];
        if (i < rows)
            return ((uint64_t *)step->row)[i - STEP_HEAD];
        return i < logit_rows ? ((uint64_t *)step->logit_row)[i - rows] : ((uint64_t *)step->run)[i - logit_rows];
    }
};

constexpr int FIRST_LINES = 3; // a lane. More than a step of 8 rows needs; all are sent, so that a receiver waits for all at once

__device__ __forceinline__ void send_line(const slip_exchange &x, int line, uint32_t serial, uint64_t word)
{
    for (int peer = 1; peer < x.at.ranks; peer++)
        line_store(step_line(x, peer, line), serial, word);
}

// Rank 0's control warp sends the current step to all other ranks.
__device__ void send_step(const slip_exchange &x, slip_cuda_step *step, const step_sizes &sizes, int lane)
{
    const step_words words(step, sizes);
    uint64_t first[FIRST_LINES];
#pragma unroll
    for (int j = 0; j < FIRST_LINES; j++)
        first[j] = j * 32 + lane < words.count() ? words[j * 32 + lane] : 0;
#pragma unroll
    for (int j = 0; j < FIRST_LINES; j++)
        send_line(x, j * 32 + lane, sizes.serial, first[j]);
#pragma unroll 1
    for (int i = FIRST_LINES * 32 + lane; i < words.count(); i += 32)
        send_line(x, i, sizes.serial, words[i]);
}

// The control warp of another rank: has the step with this serial arrived? Then `word` has FIRST_LINES words of this lane.
__device__ __forceinline__ bool look_for_step(const slip_exchange &x, uint32_t serial, uint64_t (&word)[FIRST_LINES], unsigned &seen)
{
    bool all = true;
#pragma unroll
    for (int j = 0; j < FIRST_LINES; j++)
        all &= line_load(step_line(x, x.rank, j * 32 + threadIdx.x % 32), serial, word[j], seen);
    return all;
}

// Copy the step that has arrived to device memory.
__device__ void receive_step(const waiter &w, const slip_exchange &x, uint32_t serial, const uint64_t (&word)[FIRST_LINES],
                             slip_cuda_step *to, int lane)
{
    static_assert(STEP_HEAD <= 32, "the first word of a lane");
    const step_words words(to, sizes_of(word[0]));
#pragma unroll
    for (int j = 0; j < FIRST_LINES; j++)
        if (j * 32 + lane < words.count())
            words[j * 32 + lane] = word[j];
#pragma unroll 1
    for (int i = FIRST_LINES * 32 + lane; i < words.count(); i += 32)
        wait_for(w, SLIP_WAIT_STEP, serial, w.timeout_cycles,
                 [&](unsigned &seen) { return line_load(step_line(x, x.rank, i), serial, words[i], seen); });
}

// ---- reports ----

__device__ __forceinline__ void report(const slip_exchange &x, uint32_t serial, int line, uint64_t word)
{
    line_store(report_line(x, x.rank, line), serial, word);
}

// On rank 0, by a warp: lane r waits for rank r's word of a line and returns it; `none` in lanes without another rank.
__device__ __forceinline__ uint64_t meet_reports(const waiter &w, const slip_exchange &x, uint32_t serial, int line, uint64_t none)
{
    const int rank = threadIdx.x % 32;
    uint64_t word = none;
    if (rank > 0 && rank < x.at.ranks)
        peer_wait{w}(0, serial, [&](int &peer, uint32_t &seen) {
            peer = rank;
            return line_load(report_line(x, rank, line), serial, word, seen);
        });
    __syncwarp();
    return word;
}

// On rank 0, by a thread: the best of `mine` and of all other ranks' candidates in a line. Four ranks' are on their way at a time.
__device__ __forceinline__ slip_candidate meet_candidates(const waiter &w, const slip_exchange &x, uint32_t serial, int line,
                                                          slip_candidate mine)
{
    constexpr int TOGETHER = 4;
    for (int first = 1; first < x.at.ranks; first += TOGETHER) {
        uint64_t word[TOGETHER];
        peer_wait{w}(0, serial, [&](int &peer, uint32_t &seen) {
            bool all = true;
#pragma unroll
            for (int i = 0; i < TOGETHER; i++) {
                uint32_t at = serial;
                word[i] = ~0ull; // no token
                if (first + i < x.at.ranks && !line_load(report_line(x, first + i, line), serial, word[i], at)) {
                    peer = first + i;
                    seen = at;
                    all = false;
                }
            }
            return all;
        });
#pragma unroll
        for (int i = 0; i < TOGETHER; i++)
            mine = slip_candidate_better(mine, {__uint_as_float((uint32_t)(word[i] >> 32)), (int32_t)word[i]});
    }
    return mine;
}

} // namespace slip
