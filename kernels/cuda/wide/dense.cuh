/* LINEAR of a step whose sums are whole, of e4m3 or of operands of one bf16: two warpgroups, each with a row tile of weights, times up to 128 tokens. What
 * an SM gets of L2 binds bf16: here 16 KB of weights and as many of the operand are multiplied 128 x 128 times. The instructions that scale and add up
 * bind e4m3: docs/speed-cuda.md says what was tried against them.
 *
 * A row gets the bits of the other products: a tile's sums, added up in the order of the columns, chunk by chunk with its factor.
 *
 * Sums that go over ranks are sent by the warps that have them (send.cuh): the link is at work while the next items are multiplied. */
#pragma once

#include "kernels/cuda/wide/product.cuh"
#include "kernels/cuda/wide/send.cuh"

namespace slip {

// A tile of e4m3 times N tokens, added to `sum`. `free`: called when the stage has been read.
template <int N, class Free>
__device__ __forceinline__ void wide_dense_tile(const wide_stage<SLIP_WEIGHT_F8, WIDE_DENSE> &stage, int warpgroup, float (&sum)[SUMS<N>],
                                                Free free)
{
    const uint32_t weights = wide_uniform(shared_address(stage.weights[warpgroup])), codes = wide_uniform(shared_address(stage.codes));
    const uint32_t scale = shared_address(stage.scale),
                   rows = weights + slip_tile_f8_scale_at(wide_thread() / 32 % 4 * 16 + wide_thread() % 32 / 4);
    float c[SUMS<N>];
    matrix_fence();
    tile_f8<N>(weights, codes, c);
    matrix_commit();
    const float upper = shared_float(rows), lower = shared_float(rows + 8 * sizeof(float));
    matrix_wait<0>();
    pin(c);
#pragma unroll
    for (int b = 0; b < N / 8; b++) { // as scale_f8()
        const float2 token = token_scales<1>(scale, 0, b);
#pragma unroll
        for (int i = 4 * b; i < 4 * b + 4; i++)
            sum[i] = __fadd_rn(sum[i], __fmul_rn(c[i], __fmul_rn(i % 4 < 2 ? upper : lower, i % 2 ? token.y : token.x)));
    }
    free();
}

// The same of bf16: hi alone, whose row groups lie as tile_bf16() wants hi and lo.
template <int N, class Free>
__device__ __forceinline__ void wide_dense_tile(const wide_stage<SLIP_WEIGHT_BF16, WIDE_DENSE> &stage, int warpgroup, float (&sum)[SUMS<N>],
                                                Free free)
{
    const uint32_t weights = wide_uniform(shared_address(stage.weights[warpgroup])), codes = wide_uniform(shared_address(stage.codes));
    float c[SUMS<N>];
    matrix_fence();
    tile_bf16<N / 2>(weights, codes, BF16_BYTES<SLIP_TOKENS>, c);
    matrix_commit();
    matrix_wait<0>();
    pin(c);
    free();
#pragma unroll
    for (int i = 0; i < SUMS<N>; i++)
        sum[i] = __fadd_rn(sum[i], c[i]);
}

// One warpgroup's row tile of an item.
template <int FORMAT, int N>
__device__ __forceinline__ void wide_dense_item(const wide_work &w, const slip_exchange &x, const wide_sender &to, const wide_item &item,
                                                int warpgroup, wide_memory<FORMAT, WIDE_DENSE> &s, unsigned &count)
{
    constexpr int DEPTH = wide_format<FORMAT, WIDE_DENSE>::DEPTH;
    const bool works = warpgroup < item.tiles;
    float total[SUMS<N>] = {};
#pragma unroll 1
    for (int chunk = 0; chunk < item.turns; chunk++) {
        float sum[SUMS<N>] = {};
#pragma unroll 1
        for (int i = slip_chunk_length(&w.op->matrix, chunk); i > 0; i--, count++) {
            const unsigned slot = count % DEPTH;
            auto free = [&] {
                __syncwarp();
                if (wide_thread() % 32 == 0)
                    mbarrier_arrive(&s.empty[slot]);
            };
            mbarrier_wait(&s.full[slot], count / DEPTH);
            if (works)
                wide_dense_tile<N>(s.stage[slot], warpgroup, sum, free);
            else
                free();
        }
        wide_scale<N>(s.factor, sum);
#pragma unroll
        for (int i = 0; i < SUMS<N>; i++)
            total[i] = __fadd_rn(total[i], sum[i]);
    }
    const int thread = wide_thread(), column = (item.row_tile + warpgroup) * SLIP_TILE_ROWS + thread / 32 % 4 * 16;
    if (works && to.sends)
        wide_send<N>(x, to, item.group, item.groups, column, total);
    else if (works)
        wide_write_part<N>(w.op->out, item, column + thread % 32 / 4, 0, total);
}

template <int FORMAT>
__device__ __forceinline__ void wide_dense_items(const wide_work &w, const slip_exchange &x, const wide_sender &to,
                                                 wide_memory<FORMAT, WIDE_DENSE> &s)
{
    const int warpgroup = __shfl_sync(~0u, (int)threadIdx.x / 128, 0);
    unsigned count = 0;
#pragma unroll 1
    for (int number = blockIdx.x; number < w.items; number += gridDim.x) {
        const wide_item item = wide_item_of<FORMAT, WIDE_DENSE, WIDE_SUMMED>(w, number);
        wide_factors<WIDE_DENSE, WIDE_SUMMED>(w, item, s.factor);
        if (item.groups <= 4)
            wide_dense_item<FORMAT, 32>(w, x, to, item, warpgroup, s, count);
        else if (item.groups <= 8)
            wide_dense_item<FORMAT, 64>(w, x, to, item, warpgroup, s, count);
        else
            wide_dense_item<FORMAT, 128>(w, x, to, item, warpgroup, s, count);
        if (to.absent && number == 0 && threadIdx.x == 0)
            wide_begin_sending(x, min(w.items, (int)gridDim.x), w.items);
    }
}

// `may_send`: the REDUCE_NORM behind it finds what it sends.
template <int FORMAT>
__global__ void __launch_bounds__(wide_warps<WIDE_DENSE>::THREADS, 1)
    wide_dense(const slip_cuda_op *ops, const slip_cuda_step *step, int number, const __grid_constant__ wide_ranks ranks, int may_send)
{
    using warps = wide_warps<WIDE_DENSE>;
    wide_memory<FORMAT, WIDE_DENSE> &s = *(wide_memory<FORMAT, WIDE_DENSE> *)wide_bytes;
    wide_start<FORMAT, WIDE_DENSE>(s);
    const slip_cuda_op &op = *early_ops(ops, number);
    if (threadIdx.x == 0)
        s.work = wide_work_of<FORMAT, WIDE_DENSE, WIDE_SUMMED>(op, op_rows(op, step->rows, step->logit_rows));
    __syncthreads();
    if (threadIdx.x >= warps::CONSUMER_THREADS) {
        registers_give<warps::FILLER>();
        wide_fill<FORMAT, WIDE_DENSE, WIDE_SUMMED, true>(s.work, s);
        return;
    }
    registers_get<warps::CONSUMER>();
    await_previous_kernel();
    wide_dense_items<FORMAT>(s.work, ranks.exchange, wide_sender_of(ops, step, number, may_send), s);
}

} // namespace slip
