/* A wide product: every item is multiplied tile by tile, and its sums are written where ops/product.cuh would have written them. */
#pragma once

#include "kernels/cuda/wide/stage.cuh"

namespace slip {

// The warpgroup's tile of the stage times N tokens.
template <int FORMAT, int N>
__device__ __forceinline__ void wide_tile(const wide_stage<FORMAT> &stage, int warpgroup, float (&sum)[SUMS<N>])
{
    const uint32_t weights = shared_address(stage.weights[warpgroup]);
    const operand_address x = {shared_address(stage.codes), shared_address(stage.scale)};
    if constexpr (FORMAT == SLIP_WEIGHT_MXFP4) {
        if constexpr (N <= 16)
            tile_mxfp4<N>(weights, x, sum);
        else
            tile_mxfp4_in_turn<N>(weights, x, sum);
    } else if constexpr (FORMAT == SLIP_WEIGHT_F8) {
        float c[SUMS<N>], v[SUMS<N>];
        matrix_fence();
        tile_f8<N>(weights, x.codes, c);
        matrix_commit();
        matrix_wait<0>();
        pin(c);
        scale_f8<N>(weights, x.scale, c, v);
#pragma unroll
        for (int i = 0; i < SUMS<N>; i++)
            sum[i] = __fadd_rn(sum[i], v[i]);
    } else {
        float c[2 * SUMS<N>];
        matrix_fence();
        tile_bf16<N>(weights, x.codes, BF16_BYTES<SLIP_TOKENS>, c);
        matrix_commit();
        matrix_wait<0>();
        pin(c);
#pragma unroll
        for (int i = 0; i < SUMS<N>; i++) { // hi and lo of a run of groups
            constexpr int RUN = SUMS<N> < SUMS<WIDE_FORM_GROUPS * SLIP_TOKENS> ? SUMS<N> : SUMS<WIDE_FORM_GROUPS * SLIP_TOKENS>;
            const int hi = i / RUN * 2 * RUN + i % RUN;
            sum[i] = __fadd_rn(sum[i], __fadd_rn(c[hi], c[hi + RUN]));
        }
    }
}

// Row of the operand that is the thread's column number `i` of an item's N / 4.
__device__ __forceinline__ int wide_row(const wide_item &item, int i)
{
    return item.group * SLIP_TOKENS + i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2;
}

__device__ __forceinline__ bool wide_exists(const wide_item &item, int row)
{
    return row < (item.group + item.groups) * SLIP_TOKENS;
}

// What an expert's item needs to know of its tokens, loaded while tiles are multiplied.
template <int N>
struct wide_picks {
    int pick[N / 4]; // -1: empty
    float factor[N / 4];
};

template <int N>
__device__ __forceinline__ wide_picks<N> wide_load_picks(const wide_work &w, const wide_item &item)
{
    wide_picks<N> p;
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
        const int row = wide_row(item, i);
        p.pick[i] = wide_exists(item, row) ? w.op->slots.pick[row] : -1;
        p.factor[i] = w.factor && p.pick[i] >= 0 ? w.factor[row] : w.undo;
    }
    return p;
}

// Write sums of rows `column` and `column` + 8 of the matrix.
template <int N>
__device__ __forceinline__ void wide_write(const wide_work &w, const wide_item &item, const wide_picks<N> &picks, int column,
                                           const float (&sum)[SUMS<N>])
{
    const slip_cuda_partial out = w.op->out;
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
        const int row = wide_row(item, i);
        const float upper = sum[i / 2 * 4 + i % 2], lower = sum[i / 2 * 4 + 2 + i % 2];
        float *to = out.data + column;
        if (w.block) {
            if (picks.pick[i] < 0)
                continue;
            to += slip_pick_at(&out, picks.pick[i], item.chunk);
        } else if (!wide_exists(item, row)) {
            continue;
        } else {
            to += slip_partial_at(&out, row, item.chunk);
        }
        to[0] = upper;
        to[8] = lower;
    }
}

// `factors`: of LINEAR, wide_factors().
template <int N>
__device__ __forceinline__ void wide_scale(const wide_work &w, const wide_item &item, const wide_picks<N> &picks, const float *factors,
                                           float (&sum)[SUMS<N>])
{
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
        const float factor = w.block ? picks.factor[i] : factors[wide_row(item, i) - item.group * SLIP_TOKENS];
        sum[i / 2 * 4 + i % 2] = __fmul_rn(sum[i / 2 * 4 + i % 2], factor);
        sum[i / 2 * 4 + 2 + i % 2] = __fmul_rn(sum[i / 2 * 4 + 2 + i % 2], factor);
    }
}

// One warpgroup's row tile of an item. Chunks are added up as the readers of parts add them: in order, each with its factor.
template <int FORMAT, int N, bool WHOLE>
__device__ __forceinline__ void wide_multiply(const wide_work &w, const wide_item &shared_item, int warpgroup, wide_memory<FORMAT> &s,
                                              unsigned &count)
{
    constexpr bool EXPERTS = N <= SLIP_SLOT_BLOCK * SLIP_TOKENS;
    wide_item item = shared_item;
    wide_picks<N> picks;
    float total[WHOLE ? SUMS<N> : 4] = {};
    if (EXPERTS && w.block)
        picks = wide_load_picks<N>(w, item);
#pragma unroll 1
    for (int chunk = item.chunk; chunk < shared_item.chunk + item.chunks; chunk++) {
        float sum[SUMS<N>] = {};
#pragma unroll 1
        for (int i = slip_chunk_length(&w.op->matrix, chunk); i > 0; i--, count++) {
            const unsigned slot = count % wide_format<FORMAT>::DEPTH;
            wide_wait(&s.full[slot], count / wide_format<FORMAT>::DEPTH);
            if (warpgroup < item.tiles)
                wide_tile<FORMAT, N>(s.stage[slot], warpgroup, sum);
            __syncwarp();
            if (threadIdx.x % 32 == 0)
                mbarrier_arrive(&s.empty[slot]);
        }
        asm volatile("" : "+r"(item.group), "+r"(item.chunk)); // addresses are worked out here, not kept in registers
        wide_scale<N>(w, item, picks, s.factor, sum);
        if constexpr (WHOLE) {
#pragma unroll
            for (int i = 0; i < SUMS<N>; i++)
                total[i] = __fadd_rn(total[i], sum[i]);
        } else if (warpgroup < item.tiles) {
            wide_write<N>(w, item, picks, (item.row_tile + warpgroup) * SLIP_TILE_ROWS + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4,
                          sum);
        }
    }
    if constexpr (WHOLE)
        if (warpgroup < item.tiles)
            wide_write<N>(w, item, picks, (item.row_tile + warpgroup) * SLIP_TILE_ROWS + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4,
                          total);
}

// The factors of an item's rows, a warp a row group, when nobody reads those of the item before any more.
__device__ __forceinline__ void wide_factors(const wide_work &w, const wide_item &item, float *factors)
{
    const slip_cuda_operand &a = *w.operand;
    const int token = threadIdx.x % SLIP_TOKENS, group = threadIdx.x / 32;
    asm volatile("bar.sync 1, %0;" ::"n"(WIDE_CONSUMERS) : "memory");
    if (group < item.groups) {
        const float mine = factor_of(a, w.op->epsilon, a.ssq + slip_operand_block_at(a.padded, item.group + group, token, 0), w.undo);
        if (threadIdx.x % 32 < SLIP_TOKENS)
            factors[group * SLIP_TOKENS + token] = mine;
    }
    asm volatile("bar.sync 1, %0;" ::"n"(WIDE_CONSUMERS) : "memory");
}

template <int FORMAT, bool WHOLE>
__device__ __forceinline__ wide_work wide_work_of(const slip_cuda_op &op, int rows)
{
    const slip_cuda_product &product = op.product;
    wide_work w = {&product, &product.operand, NULL, NULL, undo_of(FORMAT), slip_groups_of(rows), 0, 0, 0, 0};
    w.blocks = (w.groups + wide_format<FORMAT>::GROUPS - 1) / wide_format<FORMAT>::GROUPS;
    w.trios = (product.matrix.row_tiles + WIDE_TILES - 1) / WIDE_TILES;
    w.splits = WHOLE ? 1 : product.matrix.chunks;
    if (op.kind != SLIP_CUDA_LINEAR) {
        w.operand = op.kind == SLIP_CUDA_MOE_GATE_UP ? &product.slots.up : &product.slots.down;
        w.factor = op.kind == SLIP_CUDA_MOE_GATE_UP ? product.slots.factor : NULL;
        w.block = product.slots.block;
        w.blocks = product.slots.count[1];
    }
    w.items = w.blocks * w.trios * w.splits;
    return w;
}

template <int FORMAT, bool WHOLE>
__device__ __forceinline__ void wide_consume(const wide_work &w, wide_memory<FORMAT> &s)
{
    const int warpgroup = __shfl_sync(~0u, (int)threadIdx.x / 128, 0);
    unsigned count = 0;
#pragma unroll 1
    for (int number = blockIdx.x; number < w.items; number += gridDim.x) {
        const wide_item item = wide_item_of<FORMAT>(w, number);
        if (!w.block)
            wide_factors(w, item, s.factor);
        if (item.groups <= 1)
            wide_multiply<FORMAT, 8, WHOLE>(w, item, warpgroup, s, count);
        else if (item.groups <= 2)
            wide_multiply<FORMAT, 16, WHOLE>(w, item, warpgroup, s, count);
        else if (item.groups <= 4 || FORMAT == SLIP_WEIGHT_MXFP4)
            wide_multiply<FORMAT, 32, WHOLE>(w, item, warpgroup, s, count);
        else if constexpr (FORMAT != SLIP_WEIGHT_MXFP4)
            wide_multiply<FORMAT, 64, WHOLE>(w, item, warpgroup, s, count);
    }
}

extern __shared__ __align__(1024) unsigned char wide_bytes[];

// WHOLE: one part is written, the sum of all.
template <int FORMAT, bool WHOLE>
__global__ void __launch_bounds__(WIDE_THREADS, 1) wide_product(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    wide_memory<FORMAT> &s = *(wide_memory<FORMAT> *)wide_bytes;
    wide_start<FORMAT>(s);
    await_previous_kernel();
    const slip_cuda_op &op = ops[number];
    const wide_work w = wide_work_of<FORMAT, WHOLE>(op, op_rows(op, step->rows, step->logit_rows));
    if (threadIdx.x >= WIDE_CONSUMERS) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(WIDE_FILLER_REGISTERS));
        wide_fill<FORMAT>(w, s);
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(WIDE_CONSUMER_REGISTERS));
    wide_consume<FORMAT, WHOLE>(w, s);
}

} // namespace slip
