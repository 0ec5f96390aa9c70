/* SLIP_CUDA_TOPK: the router's choice, by the rule of kernels/cpu/experts.c.
 *
 * An SM computes a row. Experts are compared in two rounds: first each warp ranks its 32 experts, of which at most top_k stay candidates;
 * then all candidates are ranked. A rank is the number of better ones, so that no pick waits for another.
 */
#pragma once

#include "kernels/cuda/sync/context.cuh"

namespace slip {

constexpr uint32_t TOPK_NOBODY = 0, TOPK_NOT_A_NUMBER = 1; // below every number

struct topk_memory {
    float score[SLIP_MAX_EXPERTS];
    uint32_t key[SLIP_MAX_EXPERTS];  // of candidates: score + bias in an order that unsigned numbers have
    int32_t expert[SLIP_MAX_EXPERTS]; // of candidates
    int32_t picked[SLIP_MAX_TOP_K];  // best first
    int32_t sorted[SLIP_MAX_TOP_K];  // ascending
    float value[SLIP_MAX_TOP_K];     // their scores
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

__device__ __forceinline__ float topk_score(const slip_cuda_partial &in, int row, int expert)
{
    const float *from = partial_row(in, row) + expert;
    const int step = slip_partial_step(&in);
    constexpr int BATCH = 24; // loads in flight together: as many as the published routers have parts
    float logit = 0;
#pragma unroll 1
    for (int p = 0; p < in.parts; p += BATCH) {
        float v[BATCH];
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            v[j] = p + j < in.parts ? from[(p + j) * step] : 0;
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            logit += v[j];
    }
    return 1.0f / (1.0f + expf(-logit));
}

// Those of a warp's 32 experts with fewer than `keep` better ones become candidates, in the order of their rank.
__device__ __forceinline__ void topk_candidates(topk_memory &m, uint32_t key, int expert, int chunk, int keep)
{
    int rank = 0, lane = expert % 32;
#pragma unroll 8
    for (int i = 0; i < 32; i++) {
        uint32_t other = __shfl_sync(~0u, key, i);
        rank += topk_better(other, i, key, lane);
    }
    if (rank < keep) {
        m.key[chunk * keep + rank] = key;
        m.expert[chunk * keep + rank] = expert;
    }
}

__device__ __forceinline__ void topk_first_round(const slip_cuda_topk &op, topk_memory &m, int row, int thread, int keep)
{
    int chunks = (op.experts + 31) / 32;
    for (int chunk = thread / 32; chunk < chunks; chunk += CONSUMER_WARPS) {
        int expert = chunk * 32 + thread % 32;
        uint32_t key = TOPK_NOBODY;
        if (expert < op.experts) {
            float bias = op.bias[expert], score = topk_score(op.in, row, expert); // the bias is loaded together with the parts
            m.score[expert] = score;
            key = topk_key(score + bias);
        }
        topk_candidates(m, key, expert, chunk, keep);
    }
}

// A warp ranks a candidate among all.
__device__ __forceinline__ void topk_second_round(topk_memory &m, int candidates, int top_k, int thread)
{
    int lane = thread % 32;
#pragma unroll 1
    for (int i = thread / 32; i < candidates; i += CONSUMER_WARPS) {
        uint32_t key = m.key[i];
        int expert = m.expert[i], rank = 0;
#pragma unroll 1
        for (int j = lane; j < candidates; j += 32)
            rank += topk_better(m.key[j], m.expert[j], key, expert);
        rank = __reduce_add_sync(~0u, rank);
        if (lane == 0 && rank < top_k)
            m.picked[rank] = expert;
    }
}

// By one warp: ids in ascending order, and their weights. Lane i has picks i and i + 32.
__device__ __forceinline__ void topk_store(const slip_cuda_topk &op, topk_memory &m, int row, int lane)
{
#pragma unroll 1
    for (int k = lane; k < op.top_k; k += 32) {
        int expert = m.picked[k], rank = 0;
#pragma unroll 1
        for (int i = 0; i < op.top_k; i++)
            rank += m.picked[i] < expert;
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
__device__ void op_topk(const slip_cuda_topk &op, const context &c)
{
    topk_memory &m = *(topk_memory *)c.arena;
    int keep = op.top_k < 32 ? op.top_k : 32;
    for (int row = c.sm; row < c.rows; row += c.sms) {
        topk_first_round(op, m, row, c.thread(), keep);
        consumers_sync();
        topk_second_round(m, (op.experts + 31) / 32 * keep, op.top_k, c.thread());
        consumers_sync();
        if (c.thread() < 32)
            topk_store(op, m, row, c.thread());
        consumers_sync(); // before the next row overwrites the arena
    }
}

} // namespace slip
