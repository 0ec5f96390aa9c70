/* The experts of a wide step that have few rows, MOE_GATE_UP and MOE_DOWN, in one launch. CTAs that have no more items of the first begin with those of
 * the second: an expert's, as soon as all of its rows are there. So no CTA waits for the last ones of MOE_GATE_UP, gate and up never leave the SM,
 * and a row gets the bits of the launches apart (slots.cuh, product.cuh).
 *
 * An item of MOE_GATE_UP is a block of an expert's slots times 128 columns of gate and of up. Its warps write as many columns of MOE_DOWN's operand, and
 * count themselves (slip_cuda_slots.done). Fillers of MOE_DOWN wait for all of a block's. They do not wait for ever: all items of MOE_GATE_UP are dealt
 * out before the first of MOE_DOWN, all CTAs fit the GPU at once, one an SM, and none leaves before its share is done.
 */
#pragma once

#include "kernels/cuda/wide/product.cuh"

namespace slip {

// Shares are such that all CTAs end together: those that have an item of MOE_GATE_UP less have what its time is worth. These come first, since the
// last blocks are the last to be ready. A row tile of MOE_DOWN costs its stages and, for what is stored behind them, two thirds of one more: measured
// with two stages (docs/speed-cuda.md).
__device__ __forceinline__ void experts_share(const wide_work &up, const wide_work &down, wide_share &share)
{
    const int ctas = gridDim.x, late = up.items % ctas, early = ctas - late, all = down.items;
    const int place = ((int)blockIdx.x - late + ctas) % ctas;
    const int thirds = 3 * down.op->matrix.column_tiles + 2; // of a stage, in a row tile
    const int worth = late > 0 ? (3 * up.op->matrix.column_tiles + thirds / 2) / thirds : 0;
    const int rest = all - early * worth, each = rest / ctas, more = rest % ctas; // for all alike
    auto before = [&](int places) {
        return rest < 0 ? min(places, early) * all / early : places * each + min(places, more) + min(places, early) * worth;
    };
    share.next = before(place);
    share.last = before(place + 1);
}

// By all consumers: the share is known. By fillers, who need not wait for it earlier: it is.
__device__ __forceinline__ void experts_say_share()
{
    asm volatile("bar.arrive 2, %0;" ::"n"(wide_warps<WIDE_FEW>::THREADS) : "memory");
}
__device__ __forceinline__ void experts_await_share()
{
    asm volatile("bar.sync 2, %0;" ::"n"(wide_warps<WIDE_FEW>::THREADS) : "memory");
}

// The part of stages [next, last) that is of one block; without its rows.
__device__ __forceinline__ wide_item experts_part(const wide_work &w, int block, int next, int last)
{
    constexpr int TILES = wide_warps<WIDE_FEW>::TILES;
    const int first = next - block * w.pieces, stages = min(w.pieces - first, last - next);
    return {next, first * TILES, min(w.op->matrix.row_tiles - first * TILES, stages * TILES), 0, stages, 0, 0, 0};
}

// By a filler warp, before it copies MOE_DOWN's operand of a block: all of its rows are there.
__device__ __forceinline__ void experts_await(const uint32_t *done, unsigned all)
{
    constexpr uint64_t LIMIT_NS = 60ull * 1000 * 1000 * 1000;
    const uint64_t begun = now_ns();
    if (threadIdx.x % 32 == 0)
        while (load_acquire(done) < all)
            if (now_ns() - begun > LIMIT_NS)
                __trap();
    __syncwarp();
    fence_async_global();
}

template <int FORMAT>
__device__ __forceinline__ void experts_fill(wide_memory<FORMAT, WIDE_FEW> &s)
{
    const wide_work &up = s.work, &down = s.down;
    wide_filler filler = wide_filler_of<WIDE_FEW>(up);
    wide_fill_early<FORMAT, WIDE_FEW, WIDE_SWIGLU>(up, up.op->matrix, s, filler);
    await_previous_kernel();
#pragma unroll 1
    for (int number = blockIdx.x; number < up.items; number += gridDim.x)
        wide_fill_item<FORMAT, WIDE_FEW, WIDE_SWIGLU>(up, up.op->matrix, wide_item_of<FORMAT, WIDE_FEW, WIDE_SWIGLU>(up, number), s,
                                                      filler);
    wide_say_rows<0>(s, filler);
    experts_await_share();
    int next = s.share.next;
#pragma unroll 1
    while (next < s.share.last) {
        const int block = next / down.pieces;
        const slip_cuda_slot_block &rows = down.block[block];
        wide_item item = experts_part(down, block, next, s.share.last);
        item.group = rows.group;
        item.groups = rows.groups;
        item.expert = rows.expert;
        experts_await(down.op->slots.done + item.group, up.pieces * wide_warps<WIDE_FEW>::CONSUMERS);
        wide_fill_item<FORMAT, WIDE_FEW, WIDE_DOWN, WIDE_ROWS_APART<FORMAT, WIDE_SWIGLU>>(down, down.op->matrix, item, s, filler);
        next += item.turns;
    }
}

// Finds the rows of the blocks from `block` on, a thread a row.
__device__ __forceinline__ void experts_find(const wide_work &w, int block, wide_share &share)
{
    const int mine = threadIdx.x / wide_share::ROWS, row = threadIdx.x % wide_share::ROWS;
    if (mine >= wide_share::BLOCKS || block + mine >= w.blocks)
        return;
    const slip_cuda_slot_block rows = w.block[block + mine];
    const slip_cuda_partial out = w.op->out;
    const int pick = row < rows.groups * SLIP_TOKENS ? w.op->slots.pick[rows.group * SLIP_TOKENS + row] : -1;
    share.row[mine][row] = pick < 0 ? NULL : slip_result_of(&out, pick);
    if (row == 0)
        share.groups[mine] = rows.groups;
}

// `to`: of each eight rows the one that the lane stores; NULL: nowhere.
template <int N>
__device__ __forceinline__ void experts_put(uint16_t *const (&to)[N / 8], int column, bool odd, const float (&sum)[SUMS<N>])
{
#pragma unroll
    for (int i = 0; i < N / 8; i++) {
        const wide_pair both = wide_trade(make_float2(sum[4 * i], sum[4 * i + 2]), make_float2(sum[4 * i + 1], sum[4 * i + 3]), odd);
        if (to[i]) {
            *(uint32_t *)(to[i] + column) = both.upper;
            *(uint32_t *)(to[i] + column + 8) = both.lower;
        }
    }
}

// A part of MOE_DOWN: row tiles after row tiles of a block, whose rows' results go to `rows`.
template <int FORMAT, int N>
__device__ __forceinline__ void experts_down(const wide_work &w, const wide_item &item, uint16_t *const *rows, int warpgroup,
                                             wide_memory<FORMAT, WIDE_FEW> &s, unsigned &count)
{
    const int thread = threadIdx.x, column = (item.row_tile + warpgroup) * SLIP_TILE_ROWS + thread / 32 % 4 * 16 + thread % 32 / 4;
    const int stages = w.op->matrix.column_tiles;
    const wide_lane<FORMAT, WIDE_FEW> lane(s, warpgroup);
    const bool odd = thread & 4;
    uint16_t *to[N / 8];
#pragma unroll
    for (int i = 0; i < N / 8; i++) {
        to[i] = i < SLIP_SLOT_BLOCK_OF_FEW ? rows[wide_column(thread, 2 * i + odd)] : NULL;
        if (to[i])
            to[i] += column - odd;
    }
#pragma unroll 1
    for (int tile = 0; tile < item.turns * wide_warps<WIDE_FEW>::TILES; tile += wide_warps<WIDE_FEW>::TILES) {
        const bool works = tile + warpgroup < item.tiles;
        float sum[SUMS<N>] = {};
        wide_stages<FORMAT, N>(lane, warpgroup, stages, works, s, count, sum);
        wide_undo<FORMAT, N>(sum);
        if (works)
            experts_put<N>(to, tile * SLIP_TILE_ROWS, odd, sum);
    }
}

template <int FORMAT>
__device__ __forceinline__ void experts_consume(wide_memory<FORMAT, WIDE_FEW> &s)
{
    const wide_work &up = s.work, &down = s.down;
    const int warpgroup = __shfl_sync(~0u, (int)threadIdx.x / 128, 0);
    unsigned count = 0;
    if (threadIdx.x == 0) // while the first stages are on their way
        experts_share(up, down, s.share);
    await_previous_kernel();
    wide_meet<WIDE_FEW>();
    experts_say_share();
    experts_find(down, s.share.next / down.pieces, s.share);
    wide_meet<WIDE_FEW>();
#pragma unroll 1
    for (int number = blockIdx.x; number < up.items; number += gridDim.x) {
        __syncwarp(); // the picks of the item before have been read
        wide_do<FORMAT, WIDE_FEW, WIDE_SWIGLU>(up, wide_item_of<FORMAT, WIDE_FEW, WIDE_SWIGLU>(up, number), warpgroup, s, count);
    }
    int found = s.share.next / down.pieces;
#pragma unroll 1
    for (int next = s.share.next; next < s.share.last;) {
        const int block = next / down.pieces;
        if (block == found + wide_share::BLOCKS) {
            wide_meet<WIDE_FEW>(); // nobody reads the blocks before
            experts_find(down, block, s.share);
            wide_meet<WIDE_FEW>();
            found = block;
        }
        const wide_item item = experts_part(down, block, next, s.share.last);
        uint16_t *const *const rows = s.share.row[block - found];
        if (s.share.groups[block - found] <= 1)
            experts_down<FORMAT, 8>(down, item, rows, warpgroup, s, count);
        else if (s.share.groups[block - found] == 2)
            experts_down<FORMAT, 16>(down, item, rows, warpgroup, s, count);
        else
            experts_down<FORMAT, FORMAT == SLIP_WEIGHT_MXFP4 ? 24 : 32>(down, item, rows, warpgroup, s, count);
        next += item.turns;
    }
}

// `number`: MOE_GATE_UP's; MOE_DOWN is the op behind it. A CTA an SM.
template <int FORMAT>
__global__ void __launch_bounds__(wide_warps<WIDE_FEW>::THREADS, 1)
    wide_experts_of_few(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    using warps = wide_warps<WIDE_FEW>;
    wide_memory<FORMAT, WIDE_FEW> &s = *(wide_memory<FORMAT, WIDE_FEW> *)wide_bytes;
    wide_start<FORMAT, WIDE_FEW, WIDE_ROWS_APART<FORMAT, WIDE_SWIGLU>>(s);
    const slip_cuda_op *const op = early_ops<2>(ops, number);
    const int rows = step->rows;
    if (threadIdx.x == 0) // slots are there: slots_gather() lets this kernel begin when they are
        s.work = wide_work_of<FORMAT, WIDE_FEW, WIDE_SWIGLU>(op[0], rows);
    if (threadIdx.x == 32) {
        s.down = wide_work_of<FORMAT, WIDE_FEW, WIDE_DOWN>(op[1], rows);
        s.down.pieces = (s.down.op->matrix.row_tiles + warps::TILES - 1) / warps::TILES;
        s.down.items = s.down.blocks * s.down.pieces;
    }
    __syncthreads();
    if (threadIdx.x >= warps::CONSUMER_THREADS) {
        registers_give<warps::FILLER>();
        experts_fill<FORMAT>(s);
    } else {
        registers_get<warps::CONSUMER>();
        experts_consume<FORMAT>(s);
    }
}

} // namespace slip
