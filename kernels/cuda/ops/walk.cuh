/* The walk through a block of a draft with an in-block head, by one CTA's consumers (ranks/model/sampling/walk.h). Slot after slot: what the head adds
 * to a candidate is a product of two rows of bf16, and the best candidate is the token that the next slot stands behind.
 *
 * What the slots wait for is latency: a row of `previous` is known only when the slot before is done. So all rows that may be read are fetched to L2
 * first, and a slot has one barrier. */
#pragma once

#include "kernels/cuda/ops/sample.cuh"

namespace slip {

constexpr int WALK_LANES = 8;                             // of a candidate: each multiplies 8 columns at a time, 16 bytes
constexpr int WALK_ROUNDS = 4;                            // candidates of a lane
constexpr int WALK_PIECE = 32 / WALK_LANES * WALK_ROUNDS; // candidates of a warp
constexpr int WALK_WARPS = SLIP_SLICES / WALK_PIECE;
static_assert(WALK_WARPS <= CONSUMER_WARPS && SLIP_SLICES % WALK_PIECE == 0, "a slot's candidates are dealt out once");
static_assert(SLIP_MARKOV_UNIT == 8, "16 bytes of a row");

struct walk_memory {
    slip_candidate best[2][WALK_WARPS]; // of a slot, each warp's; the slot before may still be read
};

// Tokens come from other ranks too, and after a wait that failed they are anything.
__device__ __forceinline__ bool walk_knows(const slip_cuda_walk &walk, int token)
{
    return token >= 0 && token < walk.vocabulary;
}

__device__ __forceinline__ const uint4 *walk_row(const uint16_t *matrix, const slip_cuda_walk &walk, int token, int column)
{
    return (const uint4 *)(matrix + (int64_t)token * walk.rank + column);
}

__device__ __forceinline__ float walk_dot(uint32_t a, uint32_t b, float sum)
{
    sum = fmaf(__uint_as_float(a << 16), __uint_as_float(b << 16), sum);
    return fmaf(__uint_as_float(a & 0xffff0000u), __uint_as_float(b & 0xffff0000u), sum);
}

// 8 columns.
__device__ __forceinline__ float walk_dot(uint4 a, uint4 b, float sum)
{
    return walk_dot(a.w, b.w, walk_dot(a.z, b.z, walk_dot(a.y, b.y, walk_dot(a.x, b.x, sum))));
}

// Both rows of every candidate of the block's slots. A row is a line of 128 bytes or a few.
__device__ __forceinline__ void walk_fetch(const slip_cuda_walk &walk, const slip_candidate *candidates, int thread)
{
    for (int i = thread; i < walk.slots * SLIP_SLICES; i += CONSUMERS) {
        const int token = candidates[i].token;
        if (walk_knows(walk, token))
            for (int column = 0; column < walk.rank; column += 64) {
                asm volatile("prefetch.global.L2 [%0];" ::"l"(walk_row(walk.following, walk, token, column)));
                asm volatile("prefetch.global.L2 [%0];" ::"l"(walk_row(walk.previous, walk, token, column)));
            }
    }
}

// By a warp: the best of WALK_PIECE candidates behind token `before`, in all lanes.
__device__ __forceinline__ slip_candidate walk_piece(const slip_cuda_walk &walk, const slip_candidate *candidates, int before, int lane)
{
    const int mine = lane % WALK_LANES, group = lane / WALK_LANES;
    slip_candidate candidate[WALK_ROUNDS];
    float sum[WALK_ROUNDS] = {};
#pragma unroll
    for (int r = 0; r < WALK_ROUNDS; r++) {
        candidate[r] = candidates[r * (32 / WALK_LANES) + group];
        if (!walk_knows(walk, candidate[r].token))
            candidate[r].token = -1;
    }
    for (int column = mine * 8; column < walk.rank; column += WALK_LANES * 8) {
        const uint4 previous = __ldg(walk_row(walk.previous, walk, before, column));
#pragma unroll
        for (int r = 0; r < WALK_ROUNDS; r++)
            sum[r] = walk_dot(previous, __ldg(walk_row(walk.following, walk, max(candidate[r].token, 0), column)), sum[r]);
    }
    slip_candidate best = {0, -1};
#pragma unroll
    for (int r = 0; r < WALK_ROUNDS; r++) {
#pragma unroll
        for (int away = WALK_LANES / 2; away > 0; away /= 2)
            sum[r] += __shfl_xor_sync(~0u, sum[r], away);
        candidate[r].score += sum[r];
        best = slip_candidate_better(best, candidate[r]);
    }
    return sample_warp_best(best);
}

// Blocks first, first + stride, ... of the step. `drafted`: where tokens go, too; or NULL.
__device__ __forceinline__ void walk_blocks(const slip_cuda_sample &op, const slip_cuda_step &step, int first, int stride,
                                            slip_candidate *drafts, int32_t *drafted, walk_memory &m)
{
    const slip_cuda_walk &walk = op.walk;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, blocks = step.logit_rows / walk.slots;
    int turn = 0; // slots so far
    for (int b = first; b < blocks; b += stride) {
        const int row = b * walk.slots;
        const slip_candidate *candidates = op.candidates + (int64_t)row * SLIP_SLICES;
        int before = step.row[step.logit_row[row].row - 1].token; // the anchor
        walk_fetch(walk, candidates, (int)threadIdx.x);
        for (int slot = 0; slot < walk.slots; slot++, turn++, candidates += SLIP_SLICES) {
            slip_candidate(&found)[WALK_WARPS] = m.best[turn & 1];
            before = walk_knows(walk, before) ? before : 0;
            if (warp < WALK_WARPS) {
                const slip_candidate best = walk_piece(walk, candidates + warp * WALK_PIECE, before, lane);
                if (lane == 0)
                    found[warp] = best;
            }
            consumers_sync();
            const slip_candidate best = sample_warp_best(found[lane % WALK_WARPS]);
            before = best.token;
            if (threadIdx.x == 0) {
                drafts[row + slot] = best;
                if (drafted)
                    drafted[row + slot] = best.token;
            }
        }
    }
}

// All blocks, as a function of its own.
static __device__ __noinline__ void walk_apart(const slip_cuda_sample &op, const slip_cuda_step &step, slip_candidate *drafts,
                                               int32_t *drafted, walk_memory &memory)
{
    walk_blocks(op, step, 0, 1, drafts, drafted, memory);
}

} // namespace slip
