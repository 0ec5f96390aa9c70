/* TOPK of a wide step: a warp a row, by the rule of ops/topk.cuh, whose arithmetic this is. Each lane keeps the keys of every 32nd expert in
 * registers; the best of all is taken out top_k times. */
#pragma once

#include "kernels/cuda/ops/topk.cuh"
#include "kernels/cuda/arch.cuh"

namespace slip {

constexpr int WIDE_TOPK_THREADS = 128, WIDE_TOPK_WARPS = WIDE_TOPK_THREADS / 32, WIDE_TOPK_CTAS = 4; // CTAs of an SM
constexpr int WIDE_TOPK_EACH = 16;                                                                   // experts of a lane
constexpr int WIDE_TOPK_MOST = 32;                                                                   // picks: a lane has one

static inline bool wide_topk_takes(const slip_cuda_topk &op)
{
    return op.experts <= 32 * WIDE_TOPK_EACH && op.top_k <= WIDE_TOPK_MOST;
}

// The lane's experts are lane + 32 i. Reads the logits and clears them.
__device__ __forceinline__ void wide_topk_load(const slip_cuda_topk &op, int row, int lane, uint32_t (&key)[WIDE_TOPK_EACH],
                                               float (&score)[WIDE_TOPK_EACH])
{
    uint64_t *const from = op.counted + (int64_t)row * op.stride + lane, word[WIDE_TOPK_EACH];
#pragma unroll
    for (int i = 0; i < WIDE_TOPK_EACH; i++)
        word[i] = lane + 32 * i < op.experts ? __ldcg((const unsigned long long *)from + 32 * i) : 0;
#pragma unroll
    for (int i = 0; i < WIDE_TOPK_EACH; i++) {
        const bool exists = lane + 32 * i < op.experts;
        score[i] = topk_score_of(word[i]);
        key[i] = exists ? topk_key(score[i] + op.bias[lane + 32 * i]) : TOPK_NOBODY;
        if (exists)
            from[32 * i] = 0;
    }
}

// Takes the best key out; returns its expert, and its score in `value`. The first of equal ones is better, as topk_better() has it.
__device__ __forceinline__ int wide_topk_take(int lane, uint32_t (&key)[WIDE_TOPK_EACH], const float (&score)[WIDE_TOPK_EACH], float &value)
{
    uint32_t most = key[0];
    int at = 0;
    float mine = score[0];
#pragma unroll
    for (int i = 1; i < WIDE_TOPK_EACH; i++) {
        const bool better = key[i] > most;
        most = better ? key[i] : most;
        at = better ? i : at;
        mine = better ? score[i] : mine;
    }
    const uint32_t best = __reduce_max_sync(~0u, most);
    const int expert = (int)__reduce_min_sync(~0u, most == best ? (unsigned)(lane + 32 * at) : ~0u);
#pragma unroll
    for (int i = 0; i < WIDE_TOPK_EACH; i++)
        key[i] = lane + 32 * i == expert ? TOPK_NOBODY : key[i];
    value = __shfl_sync(~0u, mine, expert % 32);
    return expert;
}

// Ids ascending, and their weights. Lane i has pick i, best first.
__device__ __forceinline__ void wide_topk_store(const slip_cuda_topk &op, int row, int lane, int expert, float value)
{
    float sum = 1e-20f;
    int rank = 0;
    for (int i = 0; i < op.top_k; i++)
        rank += __shfl_sync(~0u, expert, i) < expert;
#pragma unroll 1
    for (int i = 0; i < op.top_k; i++) { // in the order of ids
        const int from = __ffs((int)__ballot_sync(~0u, lane < op.top_k && rank == i)) - 1;
        sum += __shfl_sync(~0u, value, from);
    }
    if (lane >= op.top_k)
        return;
    op.picks.expert[slip_pick_of(row, op.top_k, rank)] = expert;
    op.picks.weight[slip_pick_of(row, op.top_k, rank)] = (op.norm_top_k ? value / sum : value) * op.routed_scale;
}

__global__ void __launch_bounds__(WIDE_TOPK_THREADS) wide_topk(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    await_previous_kernel();
    const slip_cuda_topk &op = ops[number].topk;
    const int lane = threadIdx.x % 32, rows = step->rows;
#pragma unroll 1
    for (int row = blockIdx.x * WIDE_TOPK_WARPS + threadIdx.x / 32; row < rows; row += gridDim.x * WIDE_TOPK_WARPS) {
        uint32_t key[WIDE_TOPK_EACH];
        float score[WIDE_TOPK_EACH], value = 0;
        int expert = 0;
        wide_topk_load(op, row, lane, key, score);
#pragma unroll 1
        for (int i = 0; i < op.top_k; i++) {
            float taken;
            const int best = wide_topk_take(lane, key, score, taken);
            expert = lane == i ? best : expert;
            value = lane == i ? taken : value;
        }
        wide_topk_store(op, row, lane, expert, value);
    }
}

} // namespace slip
