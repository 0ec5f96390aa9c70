/* SLIP_CUDA_TOPK: the router's choice, by the rule of kernels/cpu/experts.c.
 *
 * An SM computes a row, a thread an expert. The bests of 32 experts each give a bound that at least top_k experts reach; those that do are
 * ranked among each other. A rank is a count of the better ones, so no pick waits for another.
 */
#pragma once

#include "kernels/cuda/ops/experts.cuh"

namespace slip {

constexpr uint32_t TOPK_NOBODY = 0, TOPK_NOT_A_NUMBER = 1; // below every number

struct topk_memory {
    uint32_t most[CONSUMER_WARPS]; // of each warp's experts
    int candidates;
    float score[SLIP_MAX_EXPERTS];
    uint32_t key[SLIP_MAX_EXPERTS];   // of candidates: score + bias in an order that unsigned numbers have
    int32_t expert[SLIP_MAX_EXPERTS]; // of candidates
    int32_t picked[SLIP_MAX_TOP_K];   // best first
    int32_t sorted[SLIP_MAX_TOP_K];   // ascending
    float value[SLIP_MAX_TOP_K];      // their scores
};
static_assert(sizeof(topk_memory) <= SLIP_CUDA_ARENA, "one row's choice fits the arena");

// Greater floats have greater keys. A NaN must not stop the picks from being different experts.
__device__ __forceinline__ uint32_t topk_key(float x)
{
    uint32_t bits = __float_as_uint(x);
    if (x != x)
        return TOPK_NOT_A_NUMBER;
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ bool topk_better(uint32_t key, int expert, uint32_t than_key, int than_expert)
{
    return key > than_key || (key == than_key && expert < than_expert);
}

// The score of a sum that is complete.
__device__ __forceinline__ float topk_score_of(uint64_t word)
{
    const float logit = (float)((double)((int64_t)word >> 8) * (1.0 / (double)(1ull << SLIP_COUNTED_BITS)));
    return 1.0f / (1.0f + __expf(-logit));
}

// Waits until all parts of the logit are there, and clears it: a barrier of all SMs comes before the next router's product.
__device__ __forceinline__ float topk_score(const slip_cuda_topk &op, const context &c, int row, int expert)
{
    uint64_t *from = op.counted + (int64_t)row * op.stride + expert, word;
    wait_for(*c.wait, SLIP_WAIT_LOGITS, (unsigned)op.parts, c.wait->timeout_cycles, [&](unsigned &seen) {
        word = load_word(from);
        seen = (unsigned)word & 255;
        return seen == (unsigned)op.parts;
    });
    *from = 0;
    return topk_score_of(word);
}

// This warp's experts of a chunk of CONSUMERS: their keys, and the best of each 32.
__device__ __forceinline__ uint32_t topk_load(const slip_cuda_topk &op, const context &c, topk_memory &m, int row, int expert)
{
    uint32_t key = TOPK_NOBODY;
    if (expert < op.experts) {
        const float bias = op.bias[expert], score = topk_score(op, c, row, expert); // the first is under way with the others
        m.score[expert] = score;
        key = topk_key(score + bias);
    }
    const uint32_t most = __reduce_max_sync(~0u, key);
    if (c.thread() % 32 == 0 && expert < CONSUMERS)
        m.most[expert / 32] = most;
    return key;
}

// A key that at least top_k experts reach: of the bests of 32 each, the one at place top_k. Where they are too few, or not all there yet,
// all experts are candidates.
__device__ __forceinline__ uint32_t topk_bound(const slip_cuda_topk &op, const topk_memory &m, int lane)
{
    const int chunks = (op.experts + 31) / 32;
    if (chunks < op.top_k || chunks > CONSUMER_WARPS)
        return TOPK_NOBODY + 1;
    const uint32_t mine = lane < chunks ? m.most[lane] : TOPK_NOBODY;
    int rank = 0;
#pragma unroll 4
    for (int i = 0; i < chunks; i++)
        rank += topk_better(m.most[i], i, mine, lane);
    return __shfl_sync(~0u, mine, __ffs((int)__ballot_sync(~0u, rank == op.top_k - 1)) - 1);
}

__device__ __forceinline__ void topk_candidate(topk_memory &m, uint32_t key, int expert)
{
    const int at = atomicAdd(&m.candidates, 1);
    m.key[at] = key;
    m.expert[at] = expert;
}

// Leaves the candidates, in any order. Loops only where there are more experts than threads.
__device__ __forceinline__ void topk_first_round(const slip_cuda_topk &op, const context &c, topk_memory &m, int row)
{
    const uint32_t key = topk_load(op, c, m, row, c.thread());
    if (c.thread() == 0)
        m.candidates = 0;
    consumers_sync();
    const uint32_t bound = topk_bound(op, m, c.thread() % 32);
    if (key >= bound)
        topk_candidate(m, key, c.thread());
#pragma unroll 1
    for (int first = CONSUMERS; first < op.experts; first += CONSUMERS) {
        const uint32_t other = topk_load(op, c, m, row, first + c.thread());
        if (other >= bound)
            topk_candidate(m, other, first + c.thread());
    }
}

// Four threads a candidate: its rank among all. All lanes of a warp take part.
__device__ __forceinline__ void topk_second_round(topk_memory &m, int candidates, int top_k, int thread)
{
    constexpr int EACH = 4;
#pragma unroll 1
    for (int first = thread / 32 * (32 / EACH); first < candidates; first += CONSUMERS / EACH) {
        const int i = first + thread % 32 / EACH;
        const uint32_t key = i < candidates ? m.key[i] : 0;
        const int expert = i < candidates ? m.expert[i] : 0;
        int rank = 0;
#pragma unroll 4
        for (int j = thread % EACH; j < candidates; j += EACH)
            rank += topk_better(m.key[j], m.expert[j], key, expert);
        rank += __shfl_xor_sync(~0u, rank, 1);
        rank += __shfl_xor_sync(~0u, rank, 2);
        if (thread % EACH == 0 && i < candidates && rank < top_k)
            m.picked[rank] = expert;
    }
}

// By one warp: ids ascending, and their weights. Lane i has picks i and i + 32.
__device__ __forceinline__ void topk_store(const slip_cuda_topk &op, const context &c, topk_memory &m, int row, int lane)
{
    const uint64_t turn = (uint64_t)slip_cuda_turn(c.number, op.route) << 32;
#pragma unroll 1
    for (int k = lane; k < op.top_k; k += 32) {
        int expert = m.picked[k], rank = 0;
#pragma unroll 1
        for (int i = 0; i < op.top_k; i++)
            rank += m.picked[i] < expert;
        store_word(&op.picks.word[slip_pick_of(row, op.top_k, rank)], turn | (uint32_t)expert); // all that others wait for
        m.sorted[rank] = expert;
        m.value[rank] = m.score[expert];
    }
    __syncwarp();
    float sum = 1e-20f;
#pragma unroll 4
    for (int i = 0; i < op.top_k; i++)
        sum += m.value[i];
#pragma unroll 1
    for (int k = lane; k < op.top_k; k += 32) {
        op.picks.expert[slip_pick_of(row, op.top_k, k)] = m.sorted[k];
        op.picks.weight[slip_pick_of(row, op.top_k, k)] = (op.norm_top_k ? m.value[k] / sum : m.value[k]) * op.routed_scale;
    }
}

// Row r runs on SM r % sms.
__device__ __forceinline__ void op_topk(const slip_cuda_topk &op, const context &c)
{
    topk_memory &m = *(topk_memory *)c.arena;
    for (int row = c.sm; row < c.rows; row += c.sms) {
        topk_first_round(op, c, m, row);
        consumers_sync();
        topk_second_round(m, m.candidates, op.top_k, c.thread());
        consumers_sync();
        if (c.thread() < 32)
            topk_store(op, c, m, row, c.thread());
        consumers_sync(); // before the next row overwrites the arena
    }
}

} // namespace slip
