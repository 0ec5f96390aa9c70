/* The ops that treat every row alike and have no weights but vectors: embedding, sums with residual, taps and norm, quantisation, swiglu. A
 * warp works on one row and one block of 128 columns, four columns a lane.
 */
#pragma once

#include "kernels/cuda/ops/product.cuh"

namespace slip {

__device__ __forceinline__ int blocks_of(int columns)
{
    return (columns + SLIP_F8_BLOCK - 1) / SLIP_F8_BLOCK;
}

// The terms of a row's sum: `count` of them, `step` columns apart. Experts' terms are bf16, and weighted; those of other ranks' experts weigh 0.
struct row_terms {
    const void *from;
    int count, step;
    const int32_t *expert; // NULL: parts of one product, f32
    const float *weight;
};

__device__ __forceinline__ row_terms terms_of(const slip_cuda_terms &op, int row)
{
    const slip_cuda_partial &in = op.in;
    if (!op.experts_in)
        return {partial_row(in, row), in.parts, slip_partial_step(&in), NULL, NULL};
    int pick = slip_pick_of(row, op.top_k, 0);
    return {slip_result_of(&in, pick), op.top_k, in.stride, op.picks.expert + pick, op.picks.weight + pick};
}

// The terms of a gathered sum: the ranks' own sums. Adding them to zero first changes no bit of comm/exchange.cuh's result: each of them began
// with a zero (sum_terms), so none is -0.
__device__ __forceinline__ row_terms terms_of_ranks(const slip_cuda_terms &op, const context &c, int row)
{
    return {op.in.data + (int64_t)row * op.in.stride, op.in.parts, slip_gathered_rows(c.rows) * op.in.stride, NULL, NULL};
}

// The weight of an expert's term `i`: 0 beyond the last, and for an expert that another rank has.
__device__ __forceinline__ float weight_of(const slip_cuda_terms &op, const row_terms &t, int i)
{
    if (i >= t.count)
        return 0;
    float weight = t.weight[i]; // loaded in any case, so that both loads are in flight together
    return (unsigned)(t.expert[i] - op.first_expert) < (unsigned)op.experts ? weight : 0;
}

__device__ __forceinline__ float4 term_of(uint2 packed)
{
    const float2 low = bf16_values(packed.x), high = bf16_values(packed.y);
    return make_float4(low.x, low.y, high.x, high.y);
}

constexpr int TERMS_IN_FLIGHT = 8; // see sum_parts

// Sum of experts' terms, ascending. By a whole warp; each lane loads a weight.
__device__ __forceinline__ float4 sum_experts(const slip_cuda_terms &op, const row_terms &t, int column)
{
    const uint16_t *from = (const uint16_t *)t.from + column;
    float4 sum = zero();
    float weights = 0;
#pragma unroll 1
    for (int i = 0; i < t.count; i += TERMS_IN_FLIGHT) {
        uint2 v[TERMS_IN_FLIGHT];
        if (i % 32 == 0)
            weights = weight_of(op, t, i + (int)threadIdx.x % 32);
#pragma unroll
        for (int j = 0; j < TERMS_IN_FLIGHT; j++, from += t.step)
            v[j] = i + j < t.count ? *(const uint2 *)from : make_uint2(0, 0);
#pragma unroll
        for (int j = 0; j < TERMS_IN_FLIGHT; j++) {
            float weight = __shfl_sync(~0u, weights, (i + j) % 32);
            if (weight != 0) // memory of other ranks' experts may hold anything
                sum = add(sum, scaled(term_of(v[j]), weight));
        }
    }
    return sum;
}

// Sum of the terms in order: parts, or experts.
__device__ __forceinline__ float4 sum_terms(const slip_cuda_terms &op, const row_terms &t, int column)
{
    if (t.expert)
        return sum_experts(op, t, column);
    const float *from = (const float *)t.from + column;
    float4 sum = zero();
#pragma unroll 1
    for (int i = 0; i < t.count; i += TERMS_IN_FLIGHT) {
        float4 v[TERMS_IN_FLIGHT];
#pragma unroll
        for (int j = 0; j < TERMS_IN_FLIGHT; j++, from += t.step)
            v[j] = i + j < t.count ? *(const float4 *)from : zero();
#pragma unroll
        for (int j = 0; j < TERMS_IN_FLIGHT; j++)
            if (i + j < t.count)
                sum = add(sum, v[j]);
    }
    return sum;
}

// Emulates absent ranks: a copy out and a copy in for each, as an exchange would cost this rank, and their share of the sum. Where there are
// many rows sums travel in two hops: of those that this rank does not add up, one copy goes out and one comes back.
__device__ __forceinline__ float4 exchange_emulated(const slip_cuda_reduce_norm &op, int row, int column, float4 v, bool adds)
{
    int64_t at = (int64_t)row * op.hidden + column, step = (int64_t)SLIP_MAX_ROWS * op.hidden;
    if (!adds) {
        __stcg((float4 *)(op.peer_slots + at), v);
        v = __ldcv((const float4 *)(op.peer_slots + at));
        return scaled(v, 1.0f + (float)op.peers);
    }
#pragma unroll 1
    for (int p = 0; p < op.peers; p++)
        __stcg((float4 *)(op.peer_slots + p * step + at), v);
    constexpr int BATCH = 8; // see sum_parts
    float4 sum = v;
#pragma unroll 1
    for (int p = 0; p < op.peers; p += BATCH) {
        float4 w[BATCH];
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            w[j] = p + j < op.peers ? __ldcv((const float4 *)(op.peer_slots + (p + j) * step + at)) : zero();
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            sum = add(sum, w[j]);
    }
    return sum;
}

__device__ __forceinline__ void keep_tap(const slip_cuda_reduce_norm &op, const slip_cuda_row &row, int column, float4 v)
{
    *(float4 *)(op.taps.data + slip_taps_at(&op.taps, row.sequence, row.base, row.position) + op.tap + column) = v;
}

__device__ __forceinline__ float4 load_columns(const float *from, int column, int columns)
{
    return column < columns ? *(const float4 *)(from + column) : zero();
}

// How sums go over ranks: not at all, inside of REDUCE_NORM through windows, or by the host between GATHER and REDUCE_NORM. One kernel
// instance per mode: none pays for another's registers.
enum allreduce_mode { ALONE, EXCHANGED, GATHERED };

// What REDUCE_NORM prefetches, each thread for itself; in shared memory, to save registers.
struct sum_memory {
    float4 x[CONSUMERS], norm[CONSUMERS];
};
static_assert(sizeof(sum_memory) <= SLIP_CUDA_ARENA, "the arena holds it");

// hidden is a multiple of 4 (lower_check.c): a lane's columns are all real or all beyond the end.
template <allreduce_mode MODE>
__device__ __forceinline__ void op_reduce_norm(const slip_cuda_reduce_norm &op, const context &c)
{
    sum_memory &early = *(sum_memory *)c.arena;
    int blocks = blocks_of(op.hidden), count = c.rows * blocks;
    for (warp_items item = items_of(c); item.next < count; item.next += item.step) {
        int row = item.next / blocks, block = item.next - row * blocks, column = block * SLIP_F8_BLOCK + c.thread() % 32 * 4;
        const bool real = column < op.hidden;
        float4 v, norm = zero();
        if (real) {
            if (op.add)
                copy_16(shared_address(&early.x[c.thread()]), op.x + (int64_t)row * op.hidden + column);
            if (op.norm)
                copy_16(shared_address(&early.norm[c.thread()]), op.norm + column);
        }
        v = sum_terms(op.terms, MODE == GATHERED && op.gathered ? terms_of_ranks(op.terms, c, row) : terms_of(op.terms, row),
                      real ? column : 0);
        if (!real)
            v = zero();
        else if (op.peers)
            v = exchange_emulated(op, row, column, v, c.rows <= SLIP_TOKENS || item.next % (op.peers + 1) == 0);
        if (MODE == EXCHANGED && op.exchange) // by the whole warp
            v = exchange::all_reduce(*c.wait->exchange, slip_exchange_epoch_after(c.epoch, op.exchange), c.rows, item.next, v,
                                     peer_wait{*c.wait});
        if (real) {
            copy_wait_all();
            if (op.add)
                v = add(early.x[c.thread()], v);
            if (op.norm)
                norm = early.norm[c.thread()];
            if (op.x)
                *(float4 *)(op.x + (int64_t)row * op.hidden + column) = v;
            if (op.tap >= 0)
                keep_tap(op, c.step->row[row], column, v);
        }
        if (op.norm == NULL)
            continue;
        write_squares(op.operand, row, block, v);
        write_operand(op.operand, row, block, multiplied(v, norm));
    }
}

// This rank's own sums, for the host to gather.
template <allreduce_mode MODE>
__device__ __forceinline__ void op_gather(const slip_cuda_gather &op, const context &c)
{
    if (MODE != GATHERED)
        return;
    int hidden = op.out.columns, blocks = blocks_of(hidden), count = c.rows * blocks;
    for (warp_items item = items_of(c); item.next < count; item.next += item.step) {
        int row = item.next / blocks, column = (item.next - row * blocks) * SLIP_F8_BLOCK + c.thread() % 32 * 4;
        float4 v = sum_terms(op.terms, terms_of(op.terms, row), column < hidden ? column : 0);
        if (column < hidden)
            *(float4 *)(op.out.data + (int64_t)row * op.out.stride + column) = v;
    }
}

__device__ __forceinline__ void op_select(const slip_cuda_select &op, const context &c)
{
    int blocks = blocks_of(op.hidden), count = c.logit_rows * blocks;
    for (warp_items item = items_of(c); item.next < count; item.next += item.step) {
        int row = item.next / blocks, block = item.next - row * blocks, column = block * SLIP_F8_BLOCK + c.thread() % 32 * 4;
        float4 v = load_columns(op.x + (int64_t)c.step->logit_row[row].row * op.hidden, column, op.hidden);
        write_squares(op.operand, row, block, v);
        write_operand(op.operand, row, block, multiplied(v, load_columns(op.norm, column, op.hidden)));
    }
}

__device__ __forceinline__ const float *quantised_row(const slip_cuda_quantise &op, const slip_cuda_step &step, int row)
{
    const slip_cuda_row &r = step.row[row];
    return op.rows ? op.rows + (int64_t)row * op.stride : op.taps.data + slip_taps_at(&op.taps, r.sequence, r.base, r.position);
}

// Quantises rows, f32 or of the tap ring, to the forms that a product wants.
__device__ __forceinline__ void op_quantise(const slip_cuda_quantise &op, const context &c)
{
    int columns = op.operand.columns, blocks = blocks_of(columns), count = c.rows * blocks;
    for (warp_items item = items_of(c); item.next < count; item.next += item.step) {
        int row = item.next / blocks, block = item.next - row * blocks, column = block * SLIP_F8_BLOCK + c.thread() % 32 * 4;
        write_operand(op.operand, row, block, load_columns(quantised_row(op, *c.step, row), column, columns));
    }
}

__device__ __forceinline__ void op_swiglu(const slip_cuda_swiglu &op, const context &c)
{
    int blocks = blocks_of(op.width), count = c.rows * blocks;
    for (warp_items item = items_of(c); item.next < count; item.next += item.step) {
        int row = item.next / blocks, block = item.next - row * blocks, column = block * SLIP_F8_BLOCK + c.thread() % 32 * 4;
        write_operand(op.operand, row, block, swiglu_at(partial_row(op.in, row), op.in.parts, slip_partial_step(&op.in), op.width, column));
    }
}

__device__ __forceinline__ float4 embedding(const slip_cuda_embed &op, int64_t local, int column)
{
    int64_t at = local * op.hidden + column;
    if (op.table_f32)
        return *(const float4 *)((const float *)op.table + at);
    uint2 v = *(const uint2 *)((const uint16_t *)op.table + at);
    return make_float4(bf16_value((uint16_t)v.x), bf16_value((uint16_t)(v.x >> 16)), bf16_value((uint16_t)v.y),
                       bf16_value((uint16_t)(v.y >> 16)));
}

// A token that this rank does not have contributes zero, so the sum over ranks is exact.
__device__ __forceinline__ void op_embed(const slip_cuda_embed &op, const context &c)
{
    int blocks = blocks_of(op.hidden), count = c.rows * blocks;
    for (warp_items item = items_of(c); item.next < count; item.next += item.step) {
        int row = item.next / blocks, column = (item.next - row * blocks) * SLIP_F8_BLOCK + c.thread() % 32 * 4;
        int token = c.step->row[row].token;
        int64_t local = token - op.vocabulary_first;
        if (column >= op.hidden)
            continue;
        float4 v = zero();
        if (token == op.mask_token && op.mask)
            v = *(const float4 *)(op.mask + column);
        else if (local >= 0 && local < op.vocabulary_count)
            v = embedding(op, local, column);
        *(float4 *)(op.out.data + (int64_t)row * op.out.stride + column) = v; // one part: [group][8][stride]
    }
}

} // namespace slip
