/* The walk through a block of a draft with an in-block head, by one CTA's consumers (ranks/model/sampling/walk.h). Slot after slot: what the head adds
 * to a candidate is a product of two rows of bf16, and the best candidate is the token that the next slot stands behind.
 *
 * What a slot waits for is latency: its row of `previous` is known only when the slot before is done. So that row comes from L2, where those who
 * found the candidates have fetched all rows to (walk_fetch); the products are a few mma; a warp's best is found by two reductions in hardware; and
 * there is little code, since an SM meets it cold in every step. */
#pragma once

#include "kernels/cuda/ops/sample.cuh"

namespace slip {

constexpr int WALK_PIECE = 16; // candidates of a warp: the rows of an mma
constexpr int WALK_WARPS = SLIP_SLICES / WALK_PIECE;
constexpr int WALK_TURN = 64; // columns: 16 a lane, loaded as two times 8 next to those of the lane's neighbours
static_assert(WALK_WARPS <= CONSUMER_WARPS && SLIP_SLICES % WALK_PIECE == 0, "a slot's candidates are dealt out once");
static_assert(SLIP_MARKOV_UNIT == 8, "16 bytes of a row");

// A candidate as two integers: the greater `order` is ahead, of equals the lower token, as in ranks/model/sampling/candidate.h.
struct walk_best {
    uint32_t order; // 0: there is none; ~0: the score is not finite
    uint32_t token;
};

struct walk_memory {
    walk_best best[2][WALK_WARPS]; // of a slot, each warp's; the slot before may still be read
};

__device__ __forceinline__ uint32_t walk_order(slip_candidate candidate)
{
    const uint32_t bits = __float_as_uint(candidate.score + 0.0f); // -0 is 0
    if (candidate.token < 0)
        return 0;
    return (bits & 0x7fffffffu) < 0x7f800000u ? bits ^ ((uint32_t)((int)bits >> 31) | 0x80000000u) : ~0u;
}

__device__ __forceinline__ slip_candidate walk_candidate(walk_best best)
{
    return {__uint_as_float(best.order ^ (best.order >> 31 ? 0x80000000u : ~0u)), (int)best.token};
}

// The best of a warp, in all of its lanes.
__device__ __forceinline__ walk_best walk_warp_best(walk_best mine)
{
    const uint32_t order = __reduce_max_sync(~0u, mine.order);
    return {order, __reduce_min_sync(~0u, mine.order == order ? mine.token : ~0u)};
}

// 8 columns from element `at` on; 32 bits count the elements of the largest matrix. Columns beyond the last are zero.
__device__ __forceinline__ uint4 walk_load(const uint16_t *matrix, uint32_t at, bool real)
{
    return real ? __ldg((const uint4 *)(matrix + at)) : make_uint4(0, 0, 0, 0);
}

// What the head adds to two of a warp's candidates behind token `before`: the products of its row with theirs. All columns of the second operand are
// that row, so a lane has both sums where it needs them.
__device__ __forceinline__ float2 walk_products(const slip_cuda_walk &walk, uint32_t before, uint32_t low, uint32_t high, int lane)
{
    float sum[4] = {};
#pragma unroll 1
    for (uint32_t turn = 0, rank = (uint32_t)walk.rank; turn < rank; turn += WALK_TURN) {
        uint4 p[2], x[2], y[2];
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t column = turn + i * 32 + (uint32_t)lane % 4 * 8;
            const bool real = column < rank;
            p[i] = walk_load(walk.previous, before * rank + column, real);
            x[i] = walk_load(walk.following, low * rank + column, real);
            y[i] = walk_load(walk.following, high * rank + column, real);
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            mma_16816(sum, {x[i].x, y[i].x, x[i].y, y[i].y}, p[i].x, p[i].y);
            mma_16816(sum, {x[i].z, y[i].z, x[i].w, y[i].w}, p[i].z, p[i].w);
        }
    }
    return make_float2(sum[0], sum[2]);
}

// By a warp: the best of its WALK_PIECE candidates behind token `before`. `mine`: candidate lane / 4, of odd lanes the one 8 behind it.
__device__ __forceinline__ walk_best walk_piece(const slip_cuda_walk &walk, slip_candidate mine, int before, int lane)
{
    if (!walk_knows(walk, mine.token))
        mine.token = -1;
    const uint32_t row = (uint32_t)max(mine.token, 0);
    const float2 sum = walk_products(walk, (uint32_t)before, __shfl_sync(~0u, row, lane & ~3), __shfl_sync(~0u, row, lane | 1), lane);
    mine.score += lane & 1 ? sum.y : sum.x;
    return walk_warp_best({walk_order(mine), (uint32_t)mine.token});
}

// Blocks first, first + stride, ... of the step. `drafted`: where tokens go, too; or NULL.
__device__ __forceinline__ void walk_blocks(const slip_cuda_sample &op, const slip_cuda_step &step, int first, int stride,
                                            slip_candidate *drafts, int32_t *drafted, walk_memory &m)
{
    const slip_cuda_walk walk = op.walk; // in registers: the slots' stores would have it loaded anew
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, blocks = step.logit_rows / walk.slots;
    const bool works = warp < WALK_WARPS;
    int turn = 0; // slots so far
    for (int b = first; b < blocks; b += stride) {
        const int row = b * walk.slots;
        const slip_candidate *at = op.candidates + (int64_t)row * SLIP_SLICES + warp * WALK_PIECE + (lane & 1) * 8 + lane / 4;
        int before = step.row[step.logit_row[row].row - 1].token; // the anchor
        slip_candidate next = works ? *at : slip_candidate{0, -1};
#pragma unroll 1
        for (int slot = 0; slot < walk.slots; slot++, turn++) {
            walk_best(&found)[WALK_WARPS] = m.best[turn & 1];
            const slip_candidate mine = next;
            at += SLIP_SLICES;
            if (works) {
                if (slot + 1 < walk.slots)
                    next = *at;
                const walk_best best = walk_piece(walk, mine, walk_knows(walk, before) ? before : 0, lane);
                if (lane == 0)
                    found[warp] = best;
            }
            consumers_sync();
            const slip_candidate best = walk_candidate(walk_warp_best(found[lane % WALK_WARPS]));
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
