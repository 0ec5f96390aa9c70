/* TOPK of a wide step: a warp a row, by the rule of ops/topk.cuh, whose arithmetic this is. Each lane keeps the keys of every 32nd expert in
 * registers; the best of all is taken out top_k times. */
#pragma once

#include "kernels/cuda/ops/topk.cuh"
#include "kernels/cuda/arch.cuh"
#include "kernels/cuda/sync/early.cuh"
#include "kernels/cuda/wide/send.cuh"

namespace slip {

constexpr int WIDE_TOPK_THREADS = 128, WIDE_TOPK_WARPS = WIDE_TOPK_THREADS / 32, WIDE_TOPK_CTAS = 4; // CTAs of an SM
constexpr int WIDE_TOPK_EACH = SLIP_WIDE_EXPERTS / 32;                                               // experts of a lane
static_assert(SLIP_WIDE_PICKS <= 32 && SLIP_WIDE_PICKS <= SLIP_SHARE_PICKS, "a lane has one");

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

// A row's pick number `index`, ids ascending.
struct wide_pick {
    int index, expert;
    float weight;
};

// The lane's. Lane i has the score of the expert that is number i, best first.
__device__ __forceinline__ wide_pick wide_topk_pick(const slip_cuda_topk &op, int lane, int expert, float score)
{
    float sum = 1e-20f;
    int rank = 0;
    for (int i = 0; i < op.top_k; i++)
        rank += __shfl_sync(~0u, expert, i) < expert;
#pragma unroll 1
    for (int i = 0; i < op.top_k; i++) { // in the order of ids
        const int from = __ffs((int)__ballot_sync(~0u, lane < op.top_k && rank == i)) - 1;
        sum += __shfl_sync(~0u, score, from);
    }
    return {rank, expert, (op.norm_top_k ? score / sum : score) * op.routed_scale};
}

__device__ __forceinline__ void wide_topk_store(const slip_cuda_topk &op, int row, const wide_pick &pick)
{
    op.picks.expert[slip_pick_of(row, op.top_k, pick.index)] = pick.expert;
    op.picks.weight[slip_pick_of(row, op.top_k, pick.index)] = pick.weight;
}

__device__ __forceinline__ wide_pick wide_topk_choose(const slip_cuda_topk &op, int lane, uint32_t (&key)[WIDE_TOPK_EACH],
                                                      const float (&score)[WIDE_TOPK_EACH])
{
    float value = 0;
    int expert = 0;
#pragma unroll 1
    for (int i = 0; i < op.top_k; i++) {
        float taken;
        const int best = wide_topk_take(lane, key, score, taken);
        expert = lane == i ? best : expert;
        value = lane == i ? taken : value;
    }
    return wide_topk_pick(op, lane, expert, value);
}

// ---- rows that are routed by the ranks that own them ----

enum wide_topk_over { TOPK_ALONE, TOPK_RANKS, TOPK_ABSENT }; // absent ranks: this one draws for them

__device__ __forceinline__ unsigned char *wide_topk_line(const slip_exchange &x, int rank, int row, int index)
{
    return x.peer[rank] + x.at.share_picks + ((size_t)row * SLIP_SHARE_PICKS + index) * SLIP_EXCHANGE_LINE;
}

__device__ __forceinline__ void wide_topk_send(const slip_exchange &x, uint32_t epoch, int row, const wide_pick &pick)
{
#pragma unroll 1
    for (int i = 1, peer = x.rank; i < x.at.ranks; i++) {
        peer = peer + 1 < x.at.ranks ? peer + 1 : 0;
        exchange::store_line(wide_topk_line(x, peer, row, pick.index), exchange::pair((uint32_t)pick.expert, __float_as_uint(pick.weight)),
                             epoch);
    }
}

// Pick `index` of a row that another rank owns.
__device__ __forceinline__ wide_pick wide_topk_receive(const slip_exchange &x, const waiter &w, uint32_t epoch, int row, int index)
{
    const unsigned char *const line = wide_topk_line(x, x.rank, row, index);
    uint64_t data = 0, seen_epoch = 0;
    peer_wait{w}(0, epoch, [&](int &peer, uint32_t &seen) {
        exchange::load_line(line, data, seen_epoch);
        peer = row / SLIP_SHARE_GROUP % x.at.ranks;
        seen = (uint32_t)seen_epoch;
        return seen == epoch;
    });
    return {index, (int)(uint32_t)data, __uint_as_float((uint32_t)(data >> 32))};
}

// Scores at random, and the biases of the experts.
__device__ __forceinline__ void wide_topk_draw(const slip_cuda_topk &op, uint32_t seed, int lane, uint32_t (&key)[WIDE_TOPK_EACH],
                                               float (&score)[WIDE_TOPK_EACH])
{
#pragma unroll
    for (int i = 0; i < WIDE_TOPK_EACH; i++) {
        const int expert = lane + 32 * i;
        uint32_t h = (seed * 0x9e3779b9u ^ (uint32_t)expert) * 0x85ebca6bu;
        h = (h ^ h >> 15) * 0xc2b2ae35u;
        score[i] = (float)(h >> 8) * (1.0f / (1 << 24));
        key[i] = expert < op.experts ? topk_key(score[i] + op.bias[expert]) : TOPK_NOBODY;
    }
}

template <wide_topk_over OVER>
__global__ void __launch_bounds__(WIDE_TOPK_THREADS)
    wide_topk(const slip_cuda_op *ops, const slip_cuda_step *step, int number, const __grid_constant__ wide_ranks ranks)
{
    const slip_cuda_op &head = *early_ops(ops, number);
    const slip_cuda_topk &op = head.topk;
    const slip_exchange &x = ranks.exchange;
    const int lane = threadIdx.x % 32, rows = step->rows, first = blockIdx.x * WIDE_TOPK_WARPS + threadIdx.x / 32,
              warps = gridDim.x * WIDE_TOPK_WARPS, mine = slip_share_groups(op.owned.owners, op.owned.owner, slip_groups_of(rows));
    const uint32_t epoch = slip_exchange_epoch_after(step->epoch, op.exchange);
    await_previous_kernel();
    uint32_t key[WIDE_TOPK_EACH];
    float score[WIDE_TOPK_EACH];
#pragma unroll 1
    for (int i = first; i < mine * SLIP_TOKENS; i += warps) {
        const int row = slip_share_own(op.owned.owners, op.owned.owner, i / SLIP_TOKENS) * SLIP_TOKENS + i % SLIP_TOKENS;
        if (row >= rows)
            break;
        wide_topk_load(op, row, lane, key, score);
        const wide_pick pick = wide_topk_choose(op, lane, key, score);
        if (lane < op.top_k) {
            wide_topk_store(op, row, pick);
            if (OVER != TOPK_ALONE)
                wide_topk_send(x, epoch, row, pick);
        }
    }
    if (OVER == TOPK_ALONE)
        return;
    const waiter w = wide_waiter_of(ranks, OVER == TOPK_RANKS, *step, number, head);
#pragma unroll 1
    for (int i = first; i < (slip_groups_of(rows) - mine) * SLIP_TOKENS; i += warps) {
        const int row = slip_share_other(op.owned.owners, op.owned.owner, i / SLIP_TOKENS) * SLIP_TOKENS + i % SLIP_TOKENS;
        if (row >= rows)
            break;
        if (OVER == TOPK_RANKS) {
            if (lane < op.top_k)
                wide_topk_store(op, row, wide_topk_receive(x, w, epoch, row, lane));
        } else {
            wide_topk_draw(op, (uint32_t)(row * 1021 + number) ^ (uint32_t)step->number << 20, lane, key, score);
            const wide_pick pick = wide_topk_choose(op, lane, key, score);
            if (lane < op.top_k)
                wide_topk_store(op, row, pick);
        }
    }
}

} // namespace slip
