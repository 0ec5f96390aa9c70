/* The slots of a wide step (layout/slots.h), and their operands. Where in its expert's slots a pick lands depends on chance; nobody's result
 * depends on it. */
#pragma once

#include "kernels/cuda/wide/stage.cuh"
#include "kernels/cuda/ops/rows.cuh"

namespace slip {

constexpr int SLOT_THREADS = 1024, SLOT_MAKERS = 32; // CTAs that make slots

struct slot_memory {
    int32_t count[SLIP_MAX_EXPERTS]; // picks of each expert, later its next slot
    int32_t groups[SLOT_THREADS / 32], blocks[SLOT_THREADS / 32];
};

// All CTAs count all picks, so that none waits for another, and each writes what belongs to its own experts: picks of many rows are many sectors,
// one after the other.
__device__ __forceinline__ bool slots_mine(int e)
{
    return e % SLOT_MAKERS == blockIdx.x;
}

// Sum of `v` over the threads before this one; `sum`: over all.
__device__ __forceinline__ int slots_before(int v, int32_t *warps, int &sum)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int upto = v;
#pragma unroll
    for (int away = 1; away < 32; away *= 2) {
        const int below = __shfl_up_sync(~0u, upto, away);
        upto += lane >= away ? below : 0;
    }
    if (lane == 31)
        warps[warp] = upto;
    __syncthreads();
    const int mine = warps[lane];
    const int earlier = __reduce_add_sync(~0u, lane < warp ? mine : 0);
    sum = __reduce_add_sync(~0u, mine);
    __syncthreads();
    return earlier + upto - v;
}

// An expert's groups and blocks, empty, behind those of the experts before it.
__device__ __forceinline__ void slots_clear(const slip_cuda_product &op, int e, int picks, int group, int block, int most)
{
    constexpr int TILES = wide_warps<WIDE_MANY>::TILES;
    const slip_cuda_slots &slots = op.slots;
    const int pieces = (op.matrix.row_tiles + TILES - 1) / TILES; // of an item's rows
    const int groups = slip_groups_of(picks);
    for (int i = 0; i * most < groups; i++)
        slots.block[block + i] = {e, group + i * most, min(groups - i * most, most), (block + i) % pieces};
    for (int i = 0; i < groups; i++)
        slots.done[group + i] = 0;
    for (int i = picks; i < groups * SLIP_TOKENS; i++)
        slots.pick[group * SLIP_TOKENS + i] = -1;
}

// Finds where experts' slots are. `most`: groups of a block. Returns how many experts have picks.
__device__ __forceinline__ int slots_lay_out(const slip_cuda_product &op, slot_memory &s, int most)
{
    int groups_so_far = 0, blocks_so_far = 0, picked = 0;
#pragma unroll 1
    for (int first = 0; first < op.experts; first += SLOT_THREADS) {
        const int e = first + threadIdx.x, picks = e < op.experts ? s.count[e] : 0;
        const int groups = slip_groups_of(picks), blocks = (groups + most - 1) / most;
        int all_groups, all_blocks;
        const int group = groups_so_far + slots_before(groups, s.groups, all_groups);
        const int block = blocks_so_far + slots_before(blocks, s.blocks, all_blocks);
        if (slots_mine(e))
            slots_clear(op, e, picks, group, block, most);
        if (e < op.experts)
            s.count[e] = group * SLIP_TOKENS;
        picked += __syncthreads_count(picks > 0);
        groups_so_far += all_groups;
        blocks_so_far += all_blocks;
    }
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        op.slots.count[0] = groups_so_far;
        op.slots.count[1] = blocks_so_far;
    }
    return picked;
}

// Calls take(i, e) of the picks i of a thread with expert e of this rank. Loads of a batch are in flight together.
template <typename TAKE>
__device__ __forceinline__ void slots_each(const slip_cuda_product &op, int picks, TAKE take)
{
    constexpr int BATCH = 16;
#pragma unroll 1
    for (int first = threadIdx.x; first < picks; first += SLOT_THREADS * BATCH) {
        int e[BATCH];
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            e[j] = first + j * SLOT_THREADS < picks ? op.picks.expert[first + j * SLOT_THREADS] - op.first_expert : -1;
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            if (e[j] >= 0 && e[j] < op.experts)
                take(first + j * SLOT_THREADS, e[j]);
    }
}

// SLOT_MAKERS CTAs. Counts the experts that are read, for the metrics.
__global__ void __launch_bounds__(SLOT_THREADS)
    slots_make(const slip_cuda_op *ops, const slip_cuda_step *step, unsigned *all_picked, int number)
{
    __shared__ slot_memory s;
    await_previous_kernel();
    const slip_cuda_product &op = ops[number].product;
    const int rows = step->rows, picks = slip_pick_of(rows, op.top_k, 0);
    for (int e = threadIdx.x; e < op.experts; e += SLOT_THREADS)
        s.count[e] = 0;
    __syncthreads();
    slots_each(op, picks, [&](int, int e) { atomicAdd(&s.count[e], 1); });
    __syncthreads();
    const int picked = slots_lay_out(op, s, slip_slots_are_many(rows, op.top_k, op.all_experts) ? SLIP_SLOT_BLOCK : SLIP_SLOT_BLOCK_OF_FEW);
    slots_each(op, picks, [&](int i, int e) {
        if (slots_mine(e))
            op.slots.pick[atomicAdd(&s.count[e], 1)] = i;
    });
    if (blockIdx.x == 0 && threadIdx.x == 0)
        atomicAdd(all_picked, (unsigned)picked);
}

constexpr int SLOT_PIECES = 8; // warps that gather a group
constexpr int SLOT_COPY_THREADS = 512;
constexpr int SLOT_CTAS = 3; // of an SM. They find room beside each other; of slots_gather two do

// By a warp: piece `piece` of the columns of 8 rows, `slices` of 16 bytes each in all, to a group of slots. A lane has one row. `by_row`: its slices
// lie together, and its four lanes load two whole sectors; else each loads half of one.
__device__ __forceinline__ void slots_copy(const unsigned char *from, unsigned char *to, bool by_row, int group, int row, int slices,
                                           int piece)
{
    constexpr int BATCH = 6, LANES = 32 / SLIP_TOKENS; // loads in flight; lanes of a row
    const int lane = threadIdx.x % 32, last = (piece + 1) * slices / SLOT_PIECES, step = by_row ? 1 : SLIP_TOKENS;
    const uint4 *source = (const uint4 *)from +
                          (by_row ? (int64_t)row * slices : (int64_t)slip_group_of(row) * slices * SLIP_TOKENS + slip_token_of(row));
    uint4 *target = (uint4 *)to + (int64_t)group * slices * SLIP_TOKENS + lane % SLIP_TOKENS;
    if (row < 0)
        return;
#pragma unroll 1
    for (int i = piece * slices / SLOT_PIECES + lane / SLIP_TOKENS; i < last; i += BATCH * LANES) {
        uint4 v[BATCH];
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            v[j] = i + j * LANES < last ? source[(i + j * LANES) * step] : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            if (i + j * LANES < last)
                target[(i + j * LANES) * SLIP_TOKENS] = v[j];
    }
}

// The same of a row's scales. `at`: its first one.
__device__ __forceinline__ void slots_copy_scales(const slip_cuda_operand &from, const slip_cuda_operand &to, int group, int row, int at,
                                                  int piece)
{
    const int lane = threadIdx.x % 32, blocks = from.padded / SLIP_F8_BLOCK, last = (piece + 1) * blocks / SLOT_PIECES;
    if (row < 0)
        return;
#pragma unroll 2
    for (int block = piece * blocks / SLOT_PIECES + lane / SLIP_TOKENS; block < last; block += 32 / SLIP_TOKENS)
        to.scale[slip_operand_block_at(from.padded, group, lane % SLIP_TOKENS, block)] = from.scale[at + block * SLIP_TOKENS];
}

// Gathers the operand of MOE_GATE_UP. `by_row`: so its codes are (slip_operand_row_at()). The last of a group's warps makes its factors, too.
__global__ void __launch_bounds__(SLOT_COPY_THREADS) slots_gather(const slip_cuda_op *ops, int number, int by_row)
{
    await_previous_kernel();
    const slip_cuda_product &op = ops[number].product;
    const slip_cuda_operand &from = op.operand, &to = op.slots.up;
    const int items = op.slots.count[0] * SLOT_PIECES, lane = threadIdx.x % 32;
    for (int item = threadIdx.x / 32 * gridDim.x + blockIdx.x; item < items; item += gridDim.x * (SLOT_COPY_THREADS / 32)) {
        const int group = item / SLOT_PIECES, piece = item % SLOT_PIECES;
        const int slot = group * SLIP_TOKENS + lane % SLIP_TOKENS, pick = op.slots.pick[slot], row = pick < 0 ? -1 : pick / op.top_k;
        const int at = slip_operand_block_at(from.padded, slip_group_of(max(row, 0)), slip_token_of(max(row, 0)), 0);
        if (to.q8) {
            slots_copy(from.q8, to.q8, by_row, group, row, from.padded / 16, piece);
            slots_copy_scales(from, to, group, row, at, piece);
        }
        if (to.hi) {
            slots_copy((const unsigned char *)from.hi, (unsigned char *)to.hi, false, group, row, from.padded / 8, piece);
            slots_copy((const unsigned char *)from.lo, (unsigned char *)to.lo, false, group, row, from.padded / 8, piece);
        }
        if (piece < SLOT_PIECES - 1)
            continue;
        const float factor = factor_of(from, op.epsilon, from.ssq + at, undo_of(op.matrix.format));
        if (lane < SLIP_TOKENS)
            op.slots.factor[slot] = factor;
    }
}

// Makes the operand of MOE_DOWN: a warp works on one slot and one block of 128 columns.
__global__ void __launch_bounds__(SLOT_COPY_THREADS, SLOT_CTAS) slots_swiglu(const slip_cuda_op *ops, int number)
{
    await_previous_kernel();
    const slip_cuda_product &op = ops[number].product;
    const slip_cuda_operand &to = op.slots.down;
    const int blocks = to.padded / SLIP_F8_BLOCK, count = op.slots.count[0] * SLIP_TOKENS * blocks;
    for (int item = threadIdx.x / 32 * gridDim.x + blockIdx.x; item < count; item += gridDim.x * (SLOT_COPY_THREADS / 32)) {
        const int slot = item / blocks, block = item - slot * blocks, pick = op.slots.pick[slot];
        if (pick >= 0)
            write_operand(to, slot, block,
                          swiglu_at(op.in.data + slip_pick_at(&op.in, pick, 0), op.in.parts, op.in.stride, op.width,
                                    block * SLIP_F8_BLOCK + threadIdx.x % 32 * 4));
    }
}

} // namespace slip
