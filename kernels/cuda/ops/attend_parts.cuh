/* What becomes of an item: a partial result, and behind the last of a tile's the merge of all its splits.
 *
 * A split has a maximum m, a sum l and outputs O. They are merged in ascending order, each as soon as it is there (attend_weigh()): what is there has
 * M, L and T; with M' = max(M, m) it becomes L exp2(M - M') + l exp2(m - M'), and T likewise. The result is T / (L + the sink's weight). A split
 * in which a row sees nothing has m far below all others, l = 0 and O = 0, so it adds exact zeros: how many splits the row's neighbours touch
 * changes no bit. */
#pragma once

#include "kernels/cuda/ops/attend_tile.cuh"

namespace slip {

// ---- partial results ----

// The split's outputs, [16][v_width] and [16][maximum, sum]. Rows without a query are written, and never read.
__device__ __forceinline__ void attend_store_part(const slip_cuda_attend &op, const attend_job &job, const attend_acc &acc,
                                                  const attend_row &row, int thread)
{
    const int lane = thread % 32, n = thread / 32, width = op.cache.v_width;
    const int first = (job.partial + job.part * job.across) * SLIP_ATTEND_QUERIES;
    float *out = op.part_out + (int64_t)(first + lane / 4) * width + n * 8 + lane % 4 * 2;
#pragma unroll
    for (int u = 0; u < ATTEND_N_TILES; u++, out += CONSUMER_WARPS * 8)
        if ((n + u * CONSUMER_WARPS) * 8 < width) {
            *(float2 *)out = make_float2(acc.o[u][0], acc.o[u][1]);
            *(float2 *)(out + 8 * width) = make_float2(acc.o[u][2], acc.o[u][3]);
        }
    if (lane == 0)
        ((float2 *)op.part_sum)[first + n] = make_float2(row.most, row.sum);
}

// Increments modulo most + 1. Releases this thread's view, which its CTA's barrier made everybody's, and acquires the others'.
__device__ __forceinline__ unsigned attend_count_in(unsigned *count, unsigned most)
{
    unsigned before;
    asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;" : "=r"(before) : "l"(count), "r"(most) : "memory");
    return before;
}

// True on the SM whose item is the tile's last to arrive. The count of a tile wraps to 0 by itself.
__device__ __forceinline__ bool attend_arrive(const slip_cuda_attend &op, attend_memory &memory, const attend_job &job, int thread)
{
    const unsigned others = (unsigned)job.parts - 1;
    consumers_sync();
    if (thread == 0)
        memory.last_to_arrive = attend_count_in(op.count + job.partial, others) == others;
    consumers_sync();
    return memory.last_to_arrive != 0;
}

// ---- merging the splits of a tile ----

constexpr int ATTEND_MERGE = 8; // splits whose outputs are in flight together

static_assert(SLIP_ATTEND_FACTORS + ATTEND_MERGE * CONSUMERS * sizeof(float4) <= SLIP_CUDA_ARENA, "they are kept in the arena");

// What a split and those before it are multiplied by when they are merged, by their maxima.
struct attend_weights {
    float before, split;
};

__device__ __forceinline__ attend_weights attend_weigh(float before, float split)
{
    const float most = fmaxf(before, split);
    return {attend_exp2(before - most), attend_exp2(split - most)};
}

__device__ __forceinline__ float attend_add(float total, float x, const attend_weights &w)
{
    return fmaf(x, w.split, total * w.before);
}

// Four dimensions of one query.
struct attend_total {
    float most, sum;
    float4 o;
};

// The next `count` splits, ascending: their weights and sums by lane, the outputs in this thread's cells of shared memory.
__device__ __forceinline__ void attend_add(attend_total &total, const attend_weights &weights, float sum, const float4 *cells, int count)
{
#pragma unroll 2
    for (int i = 0; i < count; i++, cells += CONSUMERS) {
        const attend_weights w = {__shfl_sync(0xffffffff, weights.before, i), __shfl_sync(0xffffffff, weights.split, i)};
        const float4 o = *cells;
        total.sum = attend_add(total.sum, __shfl_sync(0xffffffff, sum, i), w);
        total.o = make_float4(attend_add(total.o.x, o.x, w), attend_add(total.o.y, o.y, w), attend_add(total.o.z, o.z, w),
                              attend_add(total.o.w, o.w, w));
    }
}

// The maximum of what a lane's split is merged to; those of ATTEND_MERGE lanes are consecutive, behind what has the maximum `total`.
__device__ __forceinline__ float attend_most_before(float total, float most, int lane)
{
    float upto = most;
#pragma unroll
    for (int away = 1; away < ATTEND_MERGE; away *= 2)
        upto = fmaxf(upto, __shfl_up_sync(0xffffffff, upto, away)); // the first lanes get their own
    const float before = __shfl_up_sync(0xffffffff, upto, 1);
    return lane == 0 ? total : fmaxf(total, before);
}

// All splits of the warp's query; dimensions [4 quad, 4 quad + 4). Outputs are copied to shared memory, and each thread reads what it has
// copied itself: many copies are in flight, with little code and few registers.
__device__ __forceinline__ attend_total attend_merge(const slip_cuda_attend &op, attend_memory &memory, const attend_job &job, int quad,
                                                     int thread)
{
    const int quads = op.cache.v_width / 4, step = job.across * SLIP_ATTEND_QUERIES, lane = thread % 32;
    const int first = job.partial * SLIP_ATTEND_QUERIES + thread / 32;
    const float2 *sums = (const float2 *)op.part_sum + first;
    float4 *cells = (float4 *)((unsigned char *)&memory + SLIP_ATTEND_FACTORS) + thread;
    attend_total total = {ATTEND_NOTHING, 0, {}};
#pragma unroll 1
    for (int part = 0; part < job.parts; part += ATTEND_MERGE) {
        const int count = min(job.parts - part, ATTEND_MERGE);
        const float4 *from = (const float4 *)op.part_out + (int64_t)(first + part * step) * quads + quad;
        uint32_t to = shared_address(cells);
#pragma unroll 1
        for (int i = 0; i < count; i++, from += (int64_t)step * quads, to += CONSUMERS * sizeof(float4))
            copy_16(to, from, quad < quads);
        copy_commit();
        const float2 mine = lane < count ? __ldcg(sums + (int64_t)(part + lane) * step) : make_float2(ATTEND_NOTHING, 0);
        const float before = attend_most_before(total.most, mine.x, lane);
        total.most = fmaxf(total.most, warp_most(mine.x));
        copy_wait<0>();
        attend_add(total, attend_weigh(before, mine.x), mine.y, cells, count);
    }
    return total;
}

// ---- results ----

__device__ __forceinline__ float attend_reciprocal(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// The sink is one more logit of the denominator. Result: what the outputs are multiplied by.
__device__ __forceinline__ float attend_finish(const float *sinks, int head, float most, float sum)
{
    float factor = 1;
    if (sinks != nullptr) {
        const float sink = sinks[head] * ATTEND_LOG2E, both = fmaxf(most, sink);
        factor = attend_exp2(most - both);
        sum = fmaf(sum, factor, attend_exp2(sink - both));
    }
    return factor * attend_reciprocal(sum);
}

template <class Op>
__device__ __forceinline__ int attend_operand_at(const Op &op, int row, int column) // of hi and lo
{
    return slip_operand_bf16_at(op.operand.padded, slip_group_of(row), slip_token_of(row), column);
}

__device__ __forceinline__ void attend_store_one(const slip_cuda_attend &op, int row, int column, float x)
{
    const int at = attend_operand_at(op, row, column);
    if (op.rows != nullptr)
        op.rows[row * op.width + column] = x;
    if (op.operand.hi == nullptr)
        return;
    const uint16_t high = bf16_bits(x);
    op.operand.hi[at] = high;
    if (!op.operand.single)
        op.operand.lo[at] = bf16_bits(x - bf16_value(high));
}

// Columns column .. column + 3, a whole quad of the row.
__device__ __forceinline__ void attend_store_quad(const slip_cuda_attend &op, int row, int column, float4 x)
{
    if (op.rows != nullptr)
        *(float4 *)(op.rows + row * op.width + column) = x;
    if (op.operand.hi == nullptr)
        return;
    const int at = attend_operand_at(op, row, column);
    const uint2 high = bf16_pack(x);
    *(uint2 *)(op.operand.hi + at) = high;
    if (!op.operand.single)
        *(uint2 *)(op.operand.lo + at) = bf16_rest(high, x);
}

// Dimensions dim .. dim + 3 of a query, as far as they are real. Heads of whole quads begin at whole quads.
__device__ __forceinline__ void attend_store(const slip_cuda_attend &op, const attend_query &query, int dim, float4 x)
{
    const int dims = op.cache.shape.v_head_dim, column = query.head * dims + dim;
    if (dim >= dims)
        return;
    if (dims % 4 == 0) {
        attend_store_quad(op, query.row, column, x);
        return;
    }
#pragma unroll 1
    for (int i = 0; i < 4 && dim + i < dims; i++) {
        attend_store_one(op, query.row, column + i, x.x);
        x = make_float4(x.y, x.z, x.w, 0);
    }
}

// The tile's result: a query a warp, four dimensions a lane.
__device__ __forceinline__ void attend_combine(const slip_cuda_attend &op, attend_memory &memory, const attend_job &job,
                                               const attend_query &query, int thread)
{
    if (query.last < 0)
        return;
#pragma unroll 1
    for (int first = 0; first * 4 < op.cache.v_width; first += 32) {
        const int quad = first + thread % 32;
        const attend_total total = attend_merge(op, memory, job, quad, thread);
        const float factor = attend_finish(op.sinks, query.head, total.most, total.sum);
        attend_store(op, query, quad * 4, make_float4(total.o.x * factor, total.o.y * factor, total.o.z * factor, total.o.w * factor));
    }
}

} // namespace slip
