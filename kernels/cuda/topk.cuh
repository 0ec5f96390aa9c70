/* SLIP_CUDA_TOPK: the router's choice, by the rule of kernels/cpu/experts.c.
 *
 * A warp computes one row. Expert e belongs to lane e % 32; every lane knows the best of its own that are left, so that a pick is
 * two warp reductions and a scan by the lane that lost its best. Scores and keys lie in the warp's slice of the arena: for the
 * few experts of a lane that costs what registers would, and works up to SLIP_MAX_EXPERTS. */
#pragma once

#include "kernels/cuda/context.cuh"

namespace slip {

// What a warp needs beside its lanes. Behind it lie key[experts] and score[experts].
struct topk_slice {
    int picked[SLIP_MAX_TOP_K];        // in the order of the picks
    int expert[SLIP_MAX_TOP_K];        // ascending
    float score[SLIP_MAX_TOP_K];       // of those
};

struct topk_row {
    topk_slice *slice;
    uint32_t *key;  // [experts] score + bias in an order that unsigned numbers have: TAKEN, NOT_A_NUMBER, -inf .. inf
    float *score;   // [experts]
    int experts, lane;
};

constexpr uint32_t TOPK_TAKEN = 0, TOPK_NOT_A_NUMBER = 1;

__host__ __device__ constexpr size_t topk_slice_bytes(int experts)
{
    return sizeof(topk_slice) + (size_t)experts * (sizeof(uint32_t) + sizeof(float));
}

static_assert(topk_slice_bytes(SLIP_MAX_EXPERTS) <= SLIP_CUDA_ARENA, "one warp's slice fits for the most experts");

// Greater floats have greater keys. A NaN must not stop the picks from being different experts.
__device__ __forceinline__ uint32_t topk_key(float x)
{
    uint32_t bits = __float_as_uint(x);
    if (x != x)
        return TOPK_NOT_A_NUMBER;
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ void topk_scores(const slip_cuda_op &op, int r, const topk_row &row)
{
    const slip_cuda_partial &in = op.in;
    const int parts = in.parts;
    const int64_t step = (int64_t)SLIP_TOKENS * in.stride;
    const float *base = in.data + ((int64_t)(r / SLIP_TOKENS) * parts * SLIP_TOKENS + r % SLIP_TOKENS) * in.stride;
    const float *bias = op.vector[0];
#pragma unroll 4
    for (int e = row.lane; e < row.experts; e += 32) {
        const float *from = base + e;
        float logit = 0;
#pragma unroll 4
        for (int p = 0; p < parts; p++, from += step)
            logit += *from;
        float score = 1.0f / (1.0f + expf(-logit));
        row.score[e] = score;
        row.key[e] = topk_key(score + bias[e]);
    }
}

// The best that is left of the lane's own experts; the lower one among equals. A lane without experts has key TAKEN.
__device__ __forceinline__ void topk_lane_best(const topk_row &row, uint32_t &key, int &expert)
{
    key = TOPK_TAKEN;
    expert = row.experts;
#pragma unroll 8
    for (int e = row.lane; e < row.experts; e += 32) {
        uint32_t k = row.key[e];
        if (k > key) {
            key = k;
            expert = e;
        }
    }
}

__device__ __forceinline__ void topk_pick(const topk_row &row, int top_k)
{
    uint32_t key;
    int expert;
    topk_lane_best(row, key, expert);
    for (int k = 0; k < top_k; k++) {
        uint32_t most = __reduce_max_sync(0xffffffff, key);
        int winner = __reduce_min_sync(0xffffffff, key == most ? expert : row.experts);
        if (expert == winner && winner < row.experts) {
            row.slice->picked[k] = winner;
            row.key[winner] = TOPK_TAKEN;
            topk_lane_best(row, key, expert);
        }
        __syncwarp();
    }
}

// Ids ascending: a pick's place is the number of smaller ones.
__device__ __forceinline__ void topk_sort(const topk_row &row, int top_k)
{
    for (int k = row.lane; k < top_k; k += 32) {
        int expert = row.slice->picked[k], place = 0;
        for (int i = 0; i < top_k; i++)
            place += row.slice->picked[i] < expert;
        row.slice->expert[place] = expert;
        row.slice->score[place] = row.score[expert];
    }
    __syncwarp();
}

__device__ __forceinline__ void topk_store(const slip_cuda_op &op, int r, const topk_row &row)
{
    const int top_k = op.top_k;
    float sum = 1e-20f;
    for (int k = 0; k < top_k; k++)
        sum += row.slice->score[k];
    for (int k = row.lane; k < top_k; k += 32) {
        float weight = op.norm_top_k ? row.slice->score[k] / sum : row.slice->score[k];
        op.picks.expert[r * top_k + k] = row.slice->expert[k];
        op.picks.weight[r * top_k + k] = weight * op.routed_scale;
    }
}

// Row r runs on SM r % sms. With very many experts only some warps find room in the arena.
__device__ void op_topk(const slip_cuda_op &op, const context &c)
{
    const int warp = c.thread / 32, experts = op.experts;
    const int fit = (int)(SLIP_CUDA_ARENA / topk_slice_bytes(experts)), warps = fit < CONSUMER_WARPS ? fit : CONSUMER_WARPS;
    if (warp >= warps)
        return;
    unsigned char *slice = c.arena + warp * topk_slice_bytes(experts);
    uint32_t *key = (uint32_t *)(slice + sizeof(topk_slice));
    topk_row row = {(topk_slice *)slice, key, (float *)(key + experts), experts, c.thread % 32};
    for (int r = c.sm + c.sms * warp; r < c.step->rows; r += c.sms * warps) {
        topk_scores(op, r, row);
        __syncwarp();
        topk_pick(row, op.top_k);
        topk_sort(row, op.top_k);
        topk_store(op, r, row);
        __syncwarp(); // before the next row overwrites the slice
    }
}

} // namespace slip
