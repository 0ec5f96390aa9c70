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
        for (int i = 0; i < SUMS<N>; i++)
            sum[i] = __fadd_rn(sum[i], __fadd_rn(c[i], c[i + SUMS<N>]));
    }
}

// Where the results of row `row` of the operand go; NULL: nowhere.
__device__ __forceinline__ float *wide_target(const wide_work &w, int chunk, int rows, int row)
{
    const slip_cuda_partial &out = w.op->out;
    if (w.block) {
        const int pick = w.op->slots.pick[row];
        return pick < 0 ? NULL : out.data + slip_pick_at(&out, pick, chunk);
    }
    if (w.op->counted)
        return row < rows ? (float *)(w.op->counted + (int64_t)row * out.stride) : NULL; // nobody would clear it
    return out.data + slip_partial_at(&out, row, chunk);
}

// Write the sums of rows `column` and `column` + 8 of the matrix.
template <int N>
__device__ __forceinline__ void wide_write(const wide_work &w, const wide_item &item, int rows, int column, const float (&sum)[SUMS<N>])
{
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
        const int token = i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2, row = item.group * SLIP_TOKENS + token;
        float *to = token < item.groups * SLIP_TOKENS ? wide_target(w, item.chunk, rows, row) : NULL;
        if (!to)
            continue;
        const float factor = w.factor ? w.factor[row] : w.undo;
        const float upper = sum[i / 2 * 4 + i % 2] * factor, lower = sum[i / 2 * 4 + 2 + i % 2] * factor;
        if (w.op->counted) {
            count_two((uint64_t *)to + column, upper, lower);
        } else {
            to[column] = upper;
            to[column + 8] = lower;
        }
    }
}

// An item's tiles, in the order of their columns.
template <int FORMAT, int N>
__device__ __forceinline__ void wide_multiply(const wide_work &w, const wide_item &item, wide_filler &f, wide_memory<FORMAT> &s,
                                              unsigned &count, int rows)
{
    const int warpgroup = __shfl_sync(~0u, (int)threadIdx.x / 128, 0);
    float sum[SUMS<N>] = {};
#pragma unroll 1
    for (int i = 0; i < item.length; i++, count++) {
        const unsigned slot = count % wide_format<FORMAT>::DEPTH;
        wide_wait(&s.full[slot], count / wide_format<FORMAT>::DEPTH);
        if (warpgroup < item.tiles)
            wide_tile<FORMAT, N>(s.stage[slot], warpgroup, sum);
        __syncwarp();
        if (threadIdx.x % 32 == 0)
            mbarrier_arrive(&s.empty[slot]);
        if (threadIdx.x < 32)
            wide_fill<FORMAT>(w, f, s);
    }
    if (warpgroup < item.tiles)
        wide_write<N>(w, item, rows, (item.row_tile + warpgroup) * SLIP_TILE_ROWS + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4, sum);
}

// The factors of all rows.
__device__ __forceinline__ void wide_factors(const slip_cuda_product &op, const wide_work &w, float *factor)
{
    const slip_cuda_operand &a = op.operand;
    const int token = threadIdx.x % SLIP_TOKENS;
    for (int group = threadIdx.x / 32; group < w.groups; group += WIDE_WARPS) {
        float mine = factor_of(a, op.epsilon, a.ssq + slip_operand_block_at(a.padded, group, token, 0), w.undo);
        if (threadIdx.x % 32 < SLIP_TOKENS)
            factor[group * SLIP_TOKENS + token] = mine;
    }
}

template <int FORMAT>
__device__ __forceinline__ wide_work wide_work_of(const slip_cuda_op &op, int rows, const float *factor)
{
    const slip_cuda_product &product = op.product;
    wide_work w = {&product, &product.operand, NULL, factor, undo_of(FORMAT), slip_groups_of(rows), 0, 0, 0};
    w.blocks = (w.groups + wide_format<FORMAT>::GROUPS - 1) / wide_format<FORMAT>::GROUPS;
    w.quads = (product.matrix.row_tiles + WARPGROUPS - 1) / WARPGROUPS;
    if (op.kind != SLIP_CUDA_LINEAR) {
        w.operand = op.kind == SLIP_CUDA_MOE_GATE_UP ? &product.slots.up : &product.slots.down;
        w.factor = op.kind == SLIP_CUDA_MOE_GATE_UP ? product.slots.factor : NULL;
        w.block = product.slots.block;
        w.blocks = product.slots.count[1];
    }
    w.items = w.blocks * w.quads * product.matrix.chunks;
    return w;
}

extern __shared__ __align__(1024) unsigned char wide_bytes[];

template <int FORMAT>
__global__ void __launch_bounds__(WIDE_THREADS, 1) wide_product(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    wide_memory<FORMAT> &s = *(wide_memory<FORMAT> *)wide_bytes;
    const slip_cuda_op &op = ops[number];
    const int rows = op_rows(op, step->rows, step->logit_rows);
    const wide_work w = wide_work_of<FORMAT>(op, rows, s.factor);
    wide_filler f = wide_start<FORMAT>(w, s);
    unsigned count = 0;
    if (op.kind == SLIP_CUDA_LINEAR)
        wide_factors(op.product, w, s.factor);
    __syncthreads();
#pragma unroll 1
    for (int index = blockIdx.x; index < w.items; index += gridDim.x) {
        const wide_item item = wide_item_of<FORMAT>(w, index);
        if (item.groups <= 1)
            wide_multiply<FORMAT, 8>(w, item, f, s, count, rows);
        else if (item.groups <= 2)
            wide_multiply<FORMAT, 16>(w, item, f, s, count, rows);
        else if (item.groups <= 4 || FORMAT == SLIP_WEIGHT_MXFP4)
            wide_multiply<FORMAT, 32>(w, item, f, s, count, rows);
        else if constexpr (FORMAT != SLIP_WEIGHT_MXFP4)
            wide_multiply<FORMAT, 64>(w, item, f, s, count, rows);
    }
}

} // namespace slip
