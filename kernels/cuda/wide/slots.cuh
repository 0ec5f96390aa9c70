/* The slots of a wide step (layout/slots.h), and their operands. Where in its expert's slots a pick lands depends on chance; nobody's result
 * depends on it. */
#pragma once

#include "kernels/cuda/sync/early.cuh"
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

// How many groups experts have, and blocks of each class. A block's class is what it costs: the columns that its rows are multiplied by (wide_do()).
// CTAs take turns at a list of blocks; of one that begins with those that cost most all get as much.
struct slot_tally {
    static constexpr int CLASSES = 4;
    int groups;
    int blocks[CLASSES / 2]; // of two classes, 16 bits each

    __device__ __forceinline__ static int class_of(int groups)
    {
        return groups > 6 ? 0 : groups > 4 ? 1 : groups > 2 ? 2 : 3;
    }
    __device__ __forceinline__ int number(int of) const
    {
        return blocks[of / 2] >> of % 2 * 16 & 0xffff;
    }
    __device__ __forceinline__ void add(int of, int more)
    {
        blocks[of / 2] += more << of % 2 * 16;
    }
};
static_assert(SLIP_MAX_ROWS * SLIP_MAX_TOP_K / SLIP_TOKENS + SLIP_MAX_EXPERTS < 1 << 15, "blocks in 16 bits");

// Blocks of up to `most` groups; by class if they are `sorted`, else by expert.
struct slot_blocks {
    int most;
    bool sorted;

    // Adds the blocks of an expert with so many picks, one after the other.
    template <class Block>
    __device__ __forceinline__ void count(slot_tally &tally, int picks, Block block) const
    {
        const int groups = slip_groups_of(picks);
        for (int first = 0; first < groups; first += most) {
            const int here = min(groups - first, most), of = sorted ? slot_tally::class_of(here) : 0;
            block(first, here, of);
            tally.add(of, 1);
        }
        tally.groups += groups;
    }
};

// Where a class's blocks begin is added to those before this thread's. Returns how many blocks there are.
__device__ __forceinline__ int slots_start_of(const slot_tally &all, slot_tally &mine)
{
    int total = 0;
    for (int of = 0; of < slot_tally::CLASSES; of++) {
        mine.add(of, total);
        total += all.number(of);
    }
    return total;
}

// Finds where experts' slots are, and clears them. Returns how many of a thread's experts have picks.
__device__ __forceinline__ int slots_lay_out(const slip_cuda_product &op, slot_memory &s, const slot_blocks &blocks)
{
    constexpr int TILES = wide_warps<WIDE_MANY>::TILES, CLASSES = slot_tally::CLASSES;
    const slip_cuda_slots &slots = op.slots;
    const int pieces = (op.matrix.row_tiles + TILES - 1) / TILES; // of an item's rows
    const int each = (op.experts + SLOT_THREADS - 1) / SLOT_THREADS, first = threadIdx.x * each, last = min(first + each, op.experts);
    slot_tally mine = {}, all;
    int picked = 0;
    for (int e = first; e < last; e++) {
        blocks.count(mine, s.count[e], [](int, int, int) {});
        picked += s.count[e] > 0;
    }
    mine.groups = slots_before(mine.groups, s.groups, all.groups);
    for (int pair = 0; pair < CLASSES / 2; pair++)
        mine.blocks[pair] = slots_before(mine.blocks[pair], s.blocks, all.blocks[pair]);
    const int total = slots_start_of(all, mine);
    for (int e = first; e < last; e++) {
        const int picks = s.count[e], group = mine.groups;
        blocks.count(mine, picks, [&](int from, int groups, int of) {
            const int at = mine.number(of);
            if (slots_mine(e))
                slots.block[at] = {e, group + from, groups, at % pieces};
        });
        s.count[e] = group * SLIP_TOKENS;
        if (!slots_mine(e))
            continue;
        for (int i = group; i < mine.groups; i++)
            slots.done[i] = 0;
        for (int i = group * SLIP_TOKENS + picks; i < mine.groups * SLIP_TOKENS; i++)
            slots.pick[i] = -1;
    }
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        slots.count[0] = all.groups;
        slots.count[1] = total;
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
    const slip_cuda_product &op = early_ops(ops, number)->product;
    const int rows = step->rows, picks = slip_pick_of(rows, op.top_k, 0);
    for (int e = threadIdx.x; e < op.experts; e += SLOT_THREADS)
        s.count[e] = 0;
    __syncthreads();
    await_previous_kernel();
    slots_each(op, picks, [&](int, int e) { atomicAdd(&s.count[e], 1); });
    __syncthreads();
    const bool many = slip_slots_are_many(rows, op.top_k, op.all_experts);
    const int picked = slots_lay_out(op, s, {many ? SLIP_SLOT_BLOCK : SLIP_SLOT_BLOCK_OF_FEW, many});
    __syncthreads();
    slots_each(op, picks, [&](int i, int e) {
        if (slots_mine(e))
            op.slots.pick[atomicAdd(&s.count[e], 1)] = i;
    });
    const unsigned warps = __reduce_add_sync(~0u, (unsigned)picked);
    if (blockIdx.x == 0 && threadIdx.x % 32 == 0)
        atomicAdd(all_picked, warps);
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

// Makes the factors of slots' rows and, if it `copies`, gathers the operand of MOE_GATE_UP. `by_row`: so its codes are (slip_operand_row_at()).
__global__ void __launch_bounds__(SLOT_COPY_THREADS) slots_gather(const slip_cuda_op *ops, int number, int by_row, int copies)
{
    const slip_cuda_product &op = early_ops(ops, number)->product;
    await_kernels_before();
    let_next_kernel_begin(); // not earlier: by slots that are there experts find their first weights before this kernel's end
    const slip_cuda_operand &from = op.operand, &to = op.slots.up;
    const int pieces = copies ? SLOT_PIECES : 1, items = op.slots.count[0] * pieces, lane = threadIdx.x % 32;
    for (int item = threadIdx.x / 32 * gridDim.x + blockIdx.x; item < items; item += gridDim.x * (SLOT_COPY_THREADS / 32)) {
        const int group = item / pieces, piece = item - group * pieces;
        const int slot = group * SLIP_TOKENS + lane % SLIP_TOKENS, pick = op.slots.pick[slot], row = pick < 0 ? -1 : pick / op.top_k;
        const int at = slip_operand_block_at(from.padded, slip_group_of(max(row, 0)), slip_token_of(max(row, 0)), 0);
        if (copies && to.q8) {
            slots_copy(from.q8, to.q8, by_row, group, row, from.padded / 16, piece);
            slots_copy_scales(from, to, group, row, at, piece);
        }
        if (copies && to.hi) {
            slots_copy((const unsigned char *)from.hi, (unsigned char *)to.hi, false, group, row, from.padded / 8, piece);
            slots_copy((const unsigned char *)from.lo, (unsigned char *)to.lo, false, group, row, from.padded / 8, piece);
        }
        if (piece < pieces - 1)
            continue;
        const float factor = factor_of(from, op.epsilon, from.ssq + at, undo_of(op.matrix.format));
        if (lane < SLIP_TOKENS)
            op.slots.factor[slot] = factor;
    }
}

// Makes the operand of MOE_DOWN: a warp works on one slot and one block of 128 columns.
__global__ void __launch_bounds__(SLOT_COPY_THREADS, SLOT_CTAS) slots_swiglu(const slip_cuda_op *ops, int number)
{
    const slip_cuda_product &op = early_ops(ops, number)->product;
    await_previous_kernel();
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
