/* What becomes of a tile's totals: the result, or a partial result of one split and the merge of a tile's splits.
 *
 * The merge goes through the splits in ascending order with the arithmetic by which attend_tile.cuh merges them in registers. */
#pragma once

#include "kernels/cuda/attend_tile.cuh"

namespace slip {

// ---- results ----

// The sink is one more logit of the denominator. Result: what the accumulator is multiplied by.
__device__ __forceinline__ float attend_finish(const slip_cuda_op &op, int head, float most, float sum)
{
    if (op.vector[0] == nullptr)
        return 1.0f / sum;
    float sink = op.vector[0][head], both = fmaxf(most, sink), factor = attend_factor(most, both);
    return factor / __fadd_rn(__fmul_rn(sum, factor), expf(sink - both));
}

// Where a query's result goes.
struct attend_target {
    float *heads;        // its dimension 0 in the f32 rows, or NULL
    uint16_t *hi, *lo;   // its token of unit 0 of the form, or NULL
    int column, dims;    // of the form; how many dimensions are real
};

__device__ __forceinline__ attend_target attend_target_of(const slip_cuda_op &op, const attend_job &job, int i)
{
    const int j = job.query + i, row = job.row + j % job.count, dims = op.cache.shape.v_head_dim;
    const int column = (job.head + j / job.count) * dims;
    const int64_t at = ((int64_t)(row / SLIP_TOKENS) * (op.form.padded / 8) * SLIP_TOKENS + row % SLIP_TOKENS) * 8;
    return {op.heads ? op.heads + (int64_t)row * op.width + column : nullptr, op.form.hi ? op.form.hi + at : nullptr,
            op.form.lo ? op.form.lo + at : nullptr, column, dims};
}

__device__ __forceinline__ void attend_store_one(const attend_target &to, int dim, float x)
{
    const uint32_t column = (uint32_t)(to.column + dim), at = column / 8 * (SLIP_TOKENS * 8) + column % 8;
    const uint16_t high = bf16_bits(x);
    if (to.heads != nullptr)
        to.heads[dim] = x;
    if (to.hi != nullptr)
        to.hi[at] = high;
    if (to.lo != nullptr)
        to.lo[at] = bf16_bits(x - bf16_value(high));
}

// Dimensions dim and dim + 1, dim even, as far as they are real. Heads of even width begin at even columns: whole words then.
__device__ __forceinline__ void attend_store_pair(const attend_target &to, int dim, float x, float y)
{
    if (to.dims % 2 != 0) {
        if (dim < to.dims)
            attend_store_one(to, dim, x);
        if (dim + 1 < to.dims)
            attend_store_one(to, dim + 1, y);
        return;
    }
    if (dim >= to.dims)
        return;
    const uint32_t column = (uint32_t)(to.column + dim), at = column / 8 * (SLIP_TOKENS * 8) + column % 8;
    const uint16_t high_x = bf16_bits(x), high_y = bf16_bits(y);
    if (to.heads != nullptr)
        *(float2 *)(to.heads + dim) = make_float2(x, y);
    if (to.hi != nullptr)
        *(uint32_t *)(to.hi + at) = high_x | (uint32_t)high_y << 16;
    if (to.lo != nullptr)
        *(uint32_t *)(to.lo + at) = bf16_bits(x - bf16_value(high_x)) | (uint32_t)bf16_bits(y - bf16_value(high_y)) << 16;
}

// A tile of one item: from the accumulators.
template <class widths>
__device__ __forceinline__ void attend_store(const slip_cuda_op &op, attend_memory &memory, const widths &,
                                             const attend_acc<widths::UNITS> &acc, const attend_row &row, int thread)
{
    const attend_job &job = memory.job;
    const int lane = thread % 32, m = thread / 32 % 2, n = thread / 64, i = thread / 16;
    if (thread % 16 == 0 && i < job.queries)
        memory.keep[i] = attend_finish(op, job.head + (job.query + i) / job.count, row.total_most, row.total_sum);
    consumers_sync();
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int r = m * 16 + h * 8 + lane / 4;
        if (r >= job.queries)
            continue;
        const float factor = memory.keep[r];
        const attend_target to = attend_target_of(op, job, r);
#pragma unroll
        for (int u = 0; u < widths::UNITS; u++)
            attend_store_pair(to, (n + 8 * u) * 8 + lane % 4 * 2, __fmul_rn(acc.total[u][2 * h], factor),
                              __fmul_rn(acc.total[u][2 * h + 1], factor));
    }
}

// One of several items of a tile: totals as they are, [32][v_width] and [32][maximum, sum].
template <class widths>
__device__ __forceinline__ void attend_store_part(const slip_cuda_op &op, const attend_job &job, const widths &w,
                                                  const attend_acc<widths::UNITS> &acc, const attend_row &row, int thread)
{
    const int lane = thread % 32, m = thread / 32 % 2, n = thread / 64;
    float *out = op.attend_out + (int64_t)job.item * SLIP_ATTEND_QUERIES * w.v();
    float2 *sum = (float2 *)op.attend_sum + (int64_t)job.item * SLIP_ATTEND_QUERIES;
    if (thread % 16 == 0 && thread / 16 < job.queries)
        sum[thread / 16] = make_float2(row.total_most, row.total_sum);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int r = m * 16 + h * 8 + lane / 4;
#pragma unroll
        for (int u = 0; u < widths::UNITS; u++)
            if (r < job.queries && n + 8 * u < w.v() / 8)
                *(float2 *)(out + r * w.v() + (n + 8 * u) * 8 + lane % 4 * 2) = make_float2(acc.total[u][2 * h], acc.total[u][2 * h + 1]);
    }
}

// True on the SM whose item is the tile's last to arrive; the others' partial results are visible to all its threads then: the
// CTA's barrier orders its stores before the one thread's fence, which is cumulative, and that fence before the count; likewise
// behind the count.
__device__ __forceinline__ bool attend_arrive(const slip_cuda_op &op, attend_memory &memory, int thread)
{
    const attend_job &job = memory.job;
    consumers_sync();
    if (thread == 0) {
        const unsigned others = (unsigned)job.parts - 1;
        __threadfence();
        memory.last_to_arrive = atomicInc(&op.attend_count[job.item - job.part], others) == others;
        __threadfence();
    }
    consumers_sync();
    return memory.last_to_arrive != 0;
}

// ---- merging the splits of a tile ----

static_assert(SLIP_ATTEND_HEAD + SLIP_ATTEND_BATCH * SLIP_ATTEND_QUERIES * sizeof(float2) <= SLIP_CUDA_ARENA, "a batch's factors fit");

// Factors (keep, take) of splits [first, first + count) by split and row, over the sums in shared memory. One thread a row.
__device__ __forceinline__ void attend_combine_factors(float2 *sums, int count, int row, float &most, float &sum)
{
#pragma unroll 4
    for (int s = 0; s < count; s++) {
        float2 split = sums[s * SLIP_ATTEND_QUERIES + row];
        sums[s * SLIP_ATTEND_QUERIES + row] = attend_merge(most, sum, split.x, split.y);
    }
}

// A thread has up to UNITS quads of the tile's [32][v_width]: quad thread + CONSUMERS * u. Partial results are read past L1, two
// splits at a time: four would spill.
template <class widths>
__device__ __forceinline__ void attend_combine_outputs(const slip_cuda_op &op, const attend_job &job, const widths &w,
                                                       const float2 *factors, int first, int count, float4 (&total)[widths::UNITS],
                                                       int thread)
{
    const int quads = w.v() / 4, step = SLIP_ATTEND_QUERIES * quads;
    const float4 *out = (const float4 *)op.attend_out + (int64_t)(job.item - job.part + first) * step + thread;
    int row[widths::UNITS];
#pragma unroll
    for (int u = 0; u < widths::UNITS; u++)
        row[u] = (thread + CONSUMERS * u) / quads;
#pragma unroll 2
    for (int s = 0; s < count; s++, out += step)
#pragma unroll
        for (int u = 0; u < widths::UNITS; u++)
            if (row[u] < job.queries) {
                float4 x = __ldcg(out + CONSUMERS * u);
                float2 factor = factors[s * SLIP_ATTEND_QUERIES + row[u]];
                total[u].x = fmaf(x.x, factor.y, __fmul_rn(total[u].x, factor.x));
                total[u].y = fmaf(x.y, factor.y, __fmul_rn(total[u].y, factor.x));
                total[u].z = fmaf(x.z, factor.y, __fmul_rn(total[u].z, factor.x));
                total[u].w = fmaf(x.w, factor.y, __fmul_rn(total[u].w, factor.x));
            }
}

template <class widths>
__device__ __forceinline__ void attend_combine_store(const slip_cuda_op &op, attend_memory &memory, const widths &w,
                                                     const float4 (&total)[widths::UNITS], int thread)
{
    const attend_job &job = memory.job;
    const int quads = w.v() / 4;
#pragma unroll
    for (int u = 0; u < widths::UNITS; u++) {
        int quad = thread + CONSUMERS * u, row = quad / quads, dim = quad % quads * 4;
        if (row >= job.queries)
            continue;
        const float factor = memory.keep[row];
        const attend_target to = attend_target_of(op, job, row);
        attend_store_pair(to, dim, __fmul_rn(total[u].x, factor), __fmul_rn(total[u].y, factor));
        attend_store_pair(to, dim + 2, __fmul_rn(total[u].z, factor), __fmul_rn(total[u].w, factor));
    }
}

// All splits of the tile, ascending, a batch at a time; their factors lie where queries and keys were.
template <class widths>
__device__ __forceinline__ void attend_combine(const slip_cuda_op &op, attend_memory &memory, const widths &w, int thread)
{
    const attend_job &job = memory.job;
    float2 *sums = (float2 *)memory.byte(SLIP_ATTEND_HEAD); // [batch][32]
    const float2 *from = (const float2 *)op.attend_sum + (int64_t)(job.item - job.part) * SLIP_ATTEND_QUERIES;
    float4 total[widths::UNITS];
    float most = -INFINITY, sum = 0;
#pragma unroll
    for (int u = 0; u < widths::UNITS; u++)
        total[u] = make_float4(0, 0, 0, 0);
    for (int first = 0; first < job.parts; first += SLIP_ATTEND_BATCH) {
        int count = job.parts - first < SLIP_ATTEND_BATCH ? job.parts - first : SLIP_ATTEND_BATCH;
        for (int i = thread; i < count * SLIP_ATTEND_QUERIES; i += CONSUMERS)
            sums[i] = __ldcg(from + first * SLIP_ATTEND_QUERIES + i);
        consumers_sync();
        if (thread < job.queries)
            attend_combine_factors(sums, count, thread, most, sum);
        consumers_sync();
        attend_combine_outputs(op, job, w, sums, first, count, total, thread);
        consumers_sync(); // before the next batch overwrites the factors
    }
    if (thread < job.queries)
        memory.keep[thread] = attend_finish(op, job.head + (job.query + thread) / job.count, most, sum);
    consumers_sync();
    attend_combine_store(op, memory, w, total, thread);
}

} // namespace slip
