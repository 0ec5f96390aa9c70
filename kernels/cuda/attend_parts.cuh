/* What becomes of an item: the tile's result where the cache is not split, else a partial result, and behind the last of a tile's the
 * merge of all its splits.
 *
 * out = sum of w O / (sum of w l + the sink's weight) over the splits, ascending, with w = exp2(m - the largest m): m, l and O are a
 * split's maximum, sum and outputs. One in which a row sees nothing has m far below all others, l = 0 and O = 0, so it adds exact
 * zeros: how many splits the row's neighbours touch changes no bit. Which of the two ways a row goes is the cache's matter, not the
 * step's. */
#pragma once

#include "kernels/cuda/attend_tile.cuh"

namespace slip {

// ---- results ----

__device__ __forceinline__ float attend_reciprocal(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// What the outputs of the warp's query are multiplied by. The sink is one more logit of the denominator.
__device__ __forceinline__ float attend_factor(const slip_cuda_op &op, const attend_memory &memory, float most, float sum, int thread)
{
    float factor = 1;
    if (op.vector[0] != nullptr) {
        const float sink = memory.sink[thread / 32] * ATTEND_LOG2E, both = fmaxf(most, sink);
        factor = attend_exp2(most - both);
        sum = fmaf(sum, factor, attend_exp2(sink - both));
    }
    return factor * attend_reciprocal(sum);
}

__device__ __forceinline__ int attend_form_at(const slip_cuda_op &op, unsigned row, unsigned column) // of hi and lo
{
    return (int)(row / SLIP_TOKENS * (unsigned)op.form.padded * SLIP_TOKENS + column / 8 * (SLIP_TOKENS * 8) + row % SLIP_TOKENS * 8 +
                 column % 8);
}

// Two bf16, the first one low.
__device__ __forceinline__ uint32_t attend_pack(float x, float y)
{
    const __nv_bfloat162 both = __floats2bfloat162_rn(x, y);
    return *(const uint32_t *)&both;
}

// Dimensions dim and dim + 1 of a query, both real or neither: heads are of whole pairs, and begin at whole pairs.
__device__ __forceinline__ void attend_store(const slip_cuda_op &op, const attend_query &query, int dim, float x, float y)
{
    const int dims = op.cache.shape.v_head_dim, column = query.head * dims + dim;
    if (dim >= dims)
        return;
    if (op.heads != nullptr)
        *(float2 *)(op.heads + query.row * op.width + column) = make_float2(x, y);
    if (op.form.hi == nullptr)
        return;
    const int at = attend_form_at(op, (unsigned)query.row, (unsigned)column);
    const uint32_t high = attend_pack(x, y);
    *(uint32_t *)(op.form.hi + at) = high;
    *(uint32_t *)(op.form.lo + at) = attend_pack(x - __uint_as_float(high << 16), y - __uint_as_float(high & 0xffff0000u));
}

// ---- without splits ----

// The tile's result, out of the registers in which it was accumulated: all queries of this warp's dimensions. Each warp tells the
// others its query's factor.
__device__ __forceinline__ void attend_finish(const slip_cuda_op &op, attend_memory &memory, const attend_job &job, attend_acc &acc,
                                              const attend_row &row, int thread)
{
    const int lane = thread % 32, n = thread / 32;
    if (lane == 0)
        memory.factor[n] = attend_factor(op, memory, row.most, row.sum, thread);
    consumers_sync(); // factors are there; keys, values and weights are read
#pragma unroll 1
    for (int dim = n * 8 + lane % 4 * 2; dim < op.cache.v_width; dim += CONSUMER_WARPS * 8) {
#pragma unroll 1
        for (int j = lane / 4; j < job.queries; j += 8) {
            const float factor = memory.factor[j];
            attend_store(op, attend_query_of(op.cache.shape, job, j), dim, acc.o[0][0] * factor, acc.o[0][1] * factor);
            acc.o[0][0] = acc.o[0][2];
            acc.o[0][1] = acc.o[0][3];
        }
#pragma unroll
        for (int u = 1; u < ATTEND_UNITS; u++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                acc.o[u - 1][i] = acc.o[u][i];
    }
}

// ---- partial results ----

// The split's outputs, [16][v_width] and [16][maximum, sum]. Rows without a query are written, and never read.
__device__ __forceinline__ void attend_store_part(const slip_cuda_op &op, const attend_job &job, const attend_acc &acc,
                                                  const attend_row &row, int thread)
{
    const int lane = thread % 32, n = thread / 32, width = op.cache.v_width;
    const int first = (job.partial + job.part * job.across) * SLIP_ATTEND_QUERIES;
    float *out = op.attend_out + (int64_t)(first + lane / 4) * width + n * 8 + lane % 4 * 2;
#pragma unroll
    for (int u = 0; u < ATTEND_UNITS; u++, out += CONSUMER_WARPS * 8)
        if ((n + u * CONSUMER_WARPS) * 8 < width) {
            *(float2 *)out = make_float2(acc.o[u][0], acc.o[u][1]);
            *(float2 *)(out + 8 * width) = make_float2(acc.o[u][2], acc.o[u][3]);
        }
    if (lane == 0)
        ((float2 *)op.attend_sum)[first + n] = make_float2(row.most, row.sum);
}

// Increments modulo most + 1. Releases this thread's view, which its CTA's barrier made everybody's, and acquires the others'.
__device__ __forceinline__ unsigned attend_count_in(unsigned *count, unsigned most)
{
    unsigned before;
    asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;" : "=r"(before) : "l"(count), "r"(most) : "memory");
    return before;
}

// True on the SM whose item is the tile's last to arrive. The count of a tile wraps to 0 by itself.
__device__ __forceinline__ bool attend_arrive(const slip_cuda_op &op, attend_memory &memory, const attend_job &job, int thread)
{
    const unsigned others = (unsigned)job.parts - 1;
    consumers_sync();
    if (thread == 0)
        memory.last_to_arrive = attend_count_in(op.attend_count + job.partial, others) == others;
    consumers_sync();
    return memory.last_to_arrive != 0;
}

// ---- merging the splits of a tile ----

constexpr int ATTEND_MERGE = 8; // splits whose outputs are under way together

static_assert(SLIP_ATTEND_HEAD + ATTEND_MERGE * CONSUMERS * sizeof(float4) <= SLIP_CUDA_ARENA, "they are kept in the arena");

// Four dimensions of one query.
struct attend_total {
    float sum;
    float4 o;
};

// The largest maximum of the warp's query. Its order does not matter.
__device__ __forceinline__ float attend_most(const float2 *sums, int step, int parts, int lane)
{
    float most = ATTEND_NOTHING;
#pragma unroll 1
    for (int part = lane; part < parts; part += 32)
        most = fmaxf(most, __ldcg(sums + (int64_t)part * step).x);
    return warp_most(most);
}

// total += the outputs of `count` splits, ascending: their weights by lane, the outputs in this thread's cells of shared memory.
__device__ __forceinline__ void attend_add(attend_total &total, float take, float sum, const float4 *cells, int count)
{
#pragma unroll 2
    for (int i = 0; i < count; i++, cells += CONSUMERS) {
        const float weight = __shfl_sync(0xffffffff, take, i);
        const float4 o = *cells;
        total.sum += __shfl_sync(0xffffffff, sum, i);
        total.o = make_float4(fmaf(o.x, weight, total.o.x), fmaf(o.y, weight, total.o.y), fmaf(o.z, weight, total.o.z),
                              fmaf(o.w, weight, total.o.w));
    }
}

// All splits of the warp's query; dimensions [4 quad, 4 quad + 4). Outputs are fetched to shared memory, where a thread reads what it
// has copied itself: many are under way at once, by little code and few registers. Leaves the query's maximum in `most`.
__device__ __forceinline__ attend_total attend_merge(const slip_cuda_op &op, attend_memory &memory, const attend_job &job, int quad,
                                                     float &most, int thread)
{
    const int quads = op.cache.v_width / 4, step = job.across * SLIP_ATTEND_QUERIES, lane = thread % 32;
    const int first = job.partial * SLIP_ATTEND_QUERIES + thread / 32;
    const float2 *sums = (const float2 *)op.attend_sum + first;
    float4 *cells = (float4 *)((unsigned char *)&memory + SLIP_ATTEND_HEAD) + thread;
    attend_total total = {};
#pragma unroll 1
    for (int part = 0; part < job.parts; part += ATTEND_MERGE) {
        const int count = min(job.parts - part, ATTEND_MERGE);
        const float4 *from = (const float4 *)op.attend_out + (int64_t)(first + part * step) * quads + quad;
        uint32_t to = shared_address(cells);
#pragma unroll 1
        for (int i = 0; i < count; i++, from += (int64_t)step * quads, to += CONSUMERS * sizeof(float4))
            copy_16(to, from, quad < quads);
        copy_commit();
        const float2 mine = lane < count ? __ldcg(sums + (int64_t)(part + lane) * step) : make_float2(ATTEND_NOTHING, 0);
        if (part == 0)
            most = attend_most(sums, step, job.parts, lane);
        const float take = attend_exp2(mine.x - most);
        copy_wait<0>();
        attend_add(total, take, mine.y * take, cells, count);
    }
    return total;
}

// The tile's result: a query a warp, four dimensions a lane.
__device__ __forceinline__ void attend_combine(const slip_cuda_op &op, attend_memory &memory, const attend_job &job,
                                               const attend_query &query, int thread)
{
    if (query.last < 0)
        return;
#pragma unroll 1
    for (int first = 0; first * 4 < op.cache.v_width; first += 32) {
        const int quad = first + thread % 32;
        float most;
        attend_total total = attend_merge(op, memory, job, quad, most, thread);
        const float factor = attend_factor(op, memory, most, total.sum, thread);
#pragma unroll 1
        for (int dim = quad * 4; dim < quad * 4 + 4; dim += 2) {
            attend_store(op, query, dim, total.o.x * factor, total.o.y * factor);
            total.o = make_float4(total.o.z, total.o.w, 0, 0);
        }
    }
}

} // namespace slip
