/* A router's product of a wide step. Its sums count their parts (layout/buffer.h), so their order changes nothing: a thread adds up the chunks
 * of an item in integers and adds the result to memory once. An item has as many chunks as leave about one for each SM. Routers are bf16. */
#pragma once

#include "kernels/cuda/wide/product.cuh"

namespace slip {

// Tokens whose product is under way together: 64 with 64-bit sums want more registers than a consumer has.
constexpr int WIDE_COUNT_TOKENS = 32;

// `free`: called when what it reads of the stage has been read.
template <int TOKENS, class Free>
__device__ __forceinline__ void wide_count_tile(const wide_stage<SLIP_WEIGHT_BF16, WIDE_MANY> &stage, int warpgroup, int part,
                                                float (&sum)[SUMS<TOKENS>], Free free)
{
    constexpr int FORM = BF16_BYTES<SLIP_TOKENS>;
    const uint32_t weights = wide_uniform(shared_address(stage.weights[warpgroup])), codes = wide_uniform(shared_address(stage.codes));
    float c[2 * SUMS<TOKENS>];
    matrix_fence();
    tile_bf16<TOKENS>(weights, codes + part * 2 * TOKENS / SLIP_TOKENS * FORM, FORM, c);
    matrix_commit();
    matrix_wait<0>();
    pin(c);
    free();
#pragma unroll
    for (int i = 0; i < SUMS<TOKENS>; i++)
        sum[i] = __fadd_rn(sum[i], __fadd_rn(c[i], c[i + SUMS<TOKENS>]));
}

// Adds a chunk's sums of one part of the tokens, which are cleared. `factors`: of that part's rows.
template <int TOKENS>
__device__ __forceinline__ void wide_count_add(const float *factors, float (&sum)[SUMS<TOKENS>], uint64_t (&total)[SUMS<TOKENS>])
{
#pragma unroll
    for (int i = 0; i < SUMS<TOKENS>; i++) {
        total[i] += counted_term(__fmul_rn(sum[i], factors[i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2]));
        sum[i] = 0;
    }
}

// `group`: of the item, the first of the part. Rows from `rows` on nobody would clear.
template <int TOKENS>
__device__ __forceinline__ void wide_count_write(const wide_work &w, const wide_item &item, int group, int rows, int column,
                                                 const uint64_t (&total)[SUMS<TOKENS>])
{
    const slip_cuda_product &op = *w.op;
#pragma unroll
    for (int i = 0; i < SUMS<TOKENS>; i++) {
        const int mine = wide_group_of<WIDE_COUNTED>(w, item, group + i / 4) * SLIP_TOKENS + threadIdx.x % 4 * 2 + i % 2;
        if (mine < rows)
            count_terms(op.counted + (int64_t)mine * op.out.stride + column + i % 4 / 2 * 8, total[i]);
    }
}

// One warpgroup's row tile of an item with N tokens.
template <int N>
__device__ __forceinline__ void wide_count(const wide_work &w, const wide_item &item, int warpgroup,
                                           wide_memory<SLIP_WEIGHT_BF16, WIDE_MANY> &s, unsigned &count, int rows)
{
    constexpr int DEPTH = wide_format<SLIP_WEIGHT_BF16, WIDE_MANY>::DEPTH, TOKENS = N < WIDE_COUNT_TOKENS ? N : WIDE_COUNT_TOKENS,
                  PARTS = N / TOKENS;
    float sum[PARTS][SUMS<TOKENS>] = {};
    uint64_t total[PARTS][SUMS<TOKENS>] = {};
#pragma unroll 1
    for (int chunk = item.chunk; chunk < item.chunk + item.turns; chunk++) {
#pragma unroll 1
        for (int i = slip_chunk_length(&w.op->matrix, chunk); i > 0; i--, count++) {
            mbarrier_wait(&s.full[count % DEPTH], count / DEPTH);
            auto free = [&] {
                __syncwarp();
                if (threadIdx.x % 32 == 0)
                    mbarrier_arrive(&s.empty[count % DEPTH]);
            };
            if (warpgroup >= item.tiles)
                free();
            else
#pragma unroll
                for (int part = 0; part < PARTS; part++)
                    wide_count_tile<TOKENS>(s.stage[count % DEPTH], warpgroup, part, sum[part], [&] {
                        if (part == PARTS - 1)
                            free();
                    });
        }
#pragma unroll
        for (int part = 0; part < PARTS; part++)
            wide_count_add<TOKENS>(s.factor + part * TOKENS, sum[part], total[part]);
    }
    if (warpgroup >= item.tiles)
        return;
    const int column = (item.row_tile + warpgroup) * SLIP_TILE_ROWS + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
#pragma unroll
    for (int part = 0; part < PARTS; part++)
        wide_count_write<TOKENS>(w, item, part * (TOKENS / SLIP_TOKENS), rows, column, total[part]);
}

__device__ __forceinline__ void wide_count_items(const wide_work &w, wide_memory<SLIP_WEIGHT_BF16, WIDE_MANY> &s, int rows)
{
    const int warpgroup = __shfl_sync(~0u, (int)threadIdx.x / 128, 0);
    unsigned count = 0;
#pragma unroll 1
    for (int number = blockIdx.x; number < w.items; number += gridDim.x) {
        const wide_item item = wide_item_of<SLIP_WEIGHT_BF16, WIDE_MANY, WIDE_COUNTED>(w, number);
        wide_factors<WIDE_MANY, WIDE_COUNTED>(w, item, s.factor);
        if (item.groups <= 1)
            wide_count<8>(w, item, warpgroup, s, count, rows);
        else if (item.groups <= 2)
            wide_count<16>(w, item, warpgroup, s, count, rows);
        else if (item.groups <= 4)
            wide_count<32>(w, item, warpgroup, s, count, rows);
        else
            wide_count<64>(w, item, warpgroup, s, count, rows);
    }
}

__global__ void __launch_bounds__(wide_warps<WIDE_MANY>::THREADS, 1)
    wide_counted(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    wide_memory<SLIP_WEIGHT_BF16, WIDE_MANY> &s = *(wide_memory<SLIP_WEIGHT_BF16, WIDE_MANY> *)wide_bytes;
    wide_start<SLIP_WEIGHT_BF16, WIDE_MANY>(s);
    const slip_cuda_op &op = *early_ops(ops, number);
    const int rows = op_rows(op, step->rows, step->logit_rows);
    const slip_cuda_owned owned = op.product.owned;
    wide_work w = wide_work_of<SLIP_WEIGHT_BF16, WIDE_MANY, WIDE_COUNTED>(
        op, slip_share_groups(owned.owners, owned.owner, slip_groups_of(rows)) * SLIP_TOKENS);
    if (w.blocks == 0) {
        await_previous_kernel(); // whoever awaits this kernel awaits that one, too
        return;
    }
    const int items = w.blocks * w.pieces;
    w.splits = min(max((int)gridDim.x / items, 1), op.product.matrix.chunks);
    w.items = w.full = items * w.splits;
    if (threadIdx.x >= wide_warps<WIDE_MANY>::CONSUMER_THREADS) {
        registers_give<wide_warps<WIDE_MANY>::FILLER>();
        wide_fill<SLIP_WEIGHT_BF16, WIDE_MANY, WIDE_COUNTED, true>(w, s);
        return;
    }
    registers_get<wide_warps<WIDE_MANY>::CONSUMER>();
    await_previous_kernel();
    wide_count_items(w, s, rows);
}

} // namespace slip
