/* ATTEND of a wide step. A CTA works on a run (up to 8 rows of one sequence), a K/V head and up to 8 tiles of 16 queries, a tile a warp, over a
 * stretch of the keys, 64 at a time. Two warpgroups multiply; while one softens its scores, the tensor cores work for the other.
 *
 * Where there are enough runs, a CTA walks over all keys that its run sees, and merges splits as they end; else partial results go where
 * ops/attend.cuh has them, and a second kernel merges them by its code. */
#pragma once

#include "kernels/cuda/wide/attention/attend_tile.cuh"
#include "kernels/cuda/sync/early.cuh"

namespace slip {

constexpr size_t WIDE_MERGE_BYTES = SLIP_ATTEND_FACTORS + ATTEND_MERGE * CONSUMERS * sizeof(float4);

// What the functions of ops/attend.cuh read of a context.
__device__ __forceinline__ context wide_attend_context(const slip_cuda_step *step)
{
    context c = {};
    c.step = step;
    c.runs = step->runs;
    return c;
}

// By a whole CTA.
__device__ __forceinline__ void wide_attend_bases(const slip_cuda_attend &op, const context &c, int *base)
{
    const int lane = threadIdx.x % 32;
    for (int i = threadIdx.x; i < c.runs; i += blockDim.x)
        base[i] = attend_load_run(op, c, &c.step->run[0], i).items;
    __syncthreads();
    if (threadIdx.x < 32) {
        int before = 0;
#pragma unroll 1
        for (int first = 0; first < c.runs; first += 32) {
            const int mine = first + lane < c.runs ? base[first + lane] : 0;
            int end = mine;
#pragma unroll
            for (int away = 1; away < 32; away *= 2) {
                const int below = __shfl_up_sync(~0u, end, away);
                end += lane >= away ? below : 0;
            }
            if (first + lane < c.runs)
                base[first + lane] = before + end - mine;
            before += __shfl_sync(~0u, end, 31);
        }
    }
    __syncthreads();
}

// ---- who works on what ----

// The first split of stretch `segment` of `segments` that have about as many keys each.
__device__ __forceinline__ int wide_attend_split(const slip_cuda_attend &op, const attend_run &run, int segment, int segments)
{
    const int first = attend_first(op.cache.shape, run.position);
    if (segment == 0 || segment == segments)
        return segment == 0 ? run.split : run.split + run.parts;
    return slip_attend_split_of(&op.cache, first + (int)((int64_t)(run.last - first + 1) * segment / segments));
}

// How many stretches a run's keys are cut into, so that all CTAs have something to do.
__device__ __forceinline__ int wide_attend_segments(const slip_cache &shape, int runs)
{
    const int ctas = gridDim.x, shares = max(slip_attend_shares(&shape, runs), 1);
    return slip_attend_merges(&shape, runs) ? 1 : min((2 * ctas + shares - 1) / shares, WIDE_ATTEND_SEGMENTS);
}

// What a CTA works on: keys [first, last] of a run, for one group of tiles of a K/V head.
struct wide_attend_item {
    attend_run run;
    int number, kv, group;
    int first, last, stages; // keys, in whole sub-chunks
    bool all;                // of the run's splits
};

// Calls work(item) of all items of this CTA.
template <class Work>
__device__ __forceinline__ void wide_attend_each(const slip_cuda_attend &op, const context &c, Work work)
{
    const slip_cuda_cache &cache = op.cache;
    const int each = slip_attend_shares(&cache.shape, 1), groups = each / cache.shape.kv_heads;
    const int segments = wide_attend_segments(cache.shape, c.runs);
#pragma unroll 1
    for (int index = blockIdx.x; index < c.runs * each * segments; index += gridDim.x) { // long ones first
        const int number = c.runs - 1 - index / (each * segments), rest = index % (each * segments), segment = rest / each;
        const attend_run run = attend_load_run(op, c, &c.step->run[0], number);
        const int from = wide_attend_split(op, run, segment, segments), to = wide_attend_split(op, run, segment + 1, segments);
        const int first = max(slip_attend_split_first(&cache, from), attend_first(cache.shape, run.position)) & -SLIP_ATTEND_KEYS;
        const int last = min(slip_attend_split_first(&cache, to) - 1, run.last);
        if (from < to)
            work(wide_attend_item{run, number, rest % each / groups, rest % each % groups, first, last,
                                  (last - first) / SLIP_ATTEND_KEYS + 1, slip_attend_merges(&cache.shape, c.runs)});
    }
}

// By the threads that load. A stage is said to be there when two more have been asked for.
__device__ __forceinline__ void wide_attend_fill(const slip_cuda_attend &op, const context &c, wide_attend_memory &m)
{
    constexpr int BEHIND = 2;
    wide_attend_loader loader;
    loader.count = 0;
    auto there = [&](unsigned number) {
        fence_async_shared();
        mbarrier_arrive(&m.full[number % WIDE_ATTEND_STAGES]);
    };
    wide_attend_each(op, c, [&](const wide_attend_item &item) {
        wide_attend_aim(op.cache, item.run, item.kv, item.first, loader);
#pragma unroll 1
        for (int i = 0; i < item.stages; i++) {
            const unsigned at = loader.count % WIDE_ATTEND_STAGES;
            if (loader.count >= WIDE_ATTEND_STAGES)
                mbarrier_wait(&m.empty[at], loader.count / WIDE_ATTEND_STAGES - 1);
            wide_attend_load(op.cache, loader, shared_address(m.stage[at]));
            copy_commit();
            copy_wait<BEHIND>();
            if (loader.count >= BEHIND)
                there(loader.count - BEHIND);
            loader.count++;
        }
    });
    copy_wait<0>();
    for (unsigned i = loader.count > BEHIND ? loader.count - BEHIND : 0; i < loader.count; i++)
        there(i);
}

// By the warps that multiply: those without a tile with the others of their warpgroup. `count`: stages before.
__device__ __forceinline__ void wide_attend_walk(const slip_cuda_attend &op, wide_attend_memory &m, const wide_attend_item &item,
                                                 unsigned &count)
{
    const slip_cuda_cache &cache = op.cache;
    const attend_run &run = item.run;
    const int lane = threadIdx.x % 32, tiles = slip_attend_tiles(&cache.shape, run.count), across = tiles * cache.shape.kv_heads;
    const int tile = item.group * WIDE_ATTEND_WARPS + (int)threadIdx.x / 32;
    const int seen_by_all = cache.shape.whole_block ? run.last : run.position; // the last key
    const int seen_from = attend_first(cache.shape, run.position + run.count - 1);
    const float scale = rsqrtf((float)cache.shape.head_dim) * ATTEND_LOG2E;
    const attend_job job = attend_open(op, run, m.base[item.number], item.kv * tiles + min(tile, tiles - 1));
    const bool works = tile < tiles && job.queries > 0;
    wide_attend_tile t;
    uint32_t q[WIDE_ATTEND_K_STEPS][4];
    const attend_query none = {0, 0, 0, -1};
    const attend_query query[2] = {works ? attend_query_of(cache.shape, job, lane / 4) : none,
                                   works ? attend_query_of(cache.shape, job, lane / 4 + 8) : none};
#pragma unroll
    for (int r = 0; r < 2; r++) {
        t.first[r] = query[r].first;
        t.last[r] = query[r].last;
    }
    wide_attend_queries(op, query, lane, q);
    wide_attend_begin(t);
    bool begun = false; // something is merged
#pragma unroll 1
    for (int i = 0; i < item.stages; i++, count++) {
        const int chunk = item.first + i * SLIP_ATTEND_KEYS, at = count % WIDE_ATTEND_STAGES;
        const uint32_t stage = shared_address(m.stage[at]);
        float s[32], sum[64];
        uint32_t p[WIDE_ATTEND_N_TILES][2];
        mbarrier_wait(&m.full[at], count / WIDE_ATTEND_STAGES);
        wide_attend_scores(stage, q, s);
        if (chunk < seen_from || chunk + SLIP_ATTEND_KEYS - 1 > seen_by_all)
            wide_attend_hide(t, s, chunk);
        const float rescale[2] = {wide_attend_soften(t, 0, s, scale, p), wide_attend_soften(t, 1, s, scale, p)};
        wide_attend_values(t, stage + WIDE_ATTEND_K_PLANES * WIDE_ATTEND_PLANE, rescale, p, sum);
        mbarrier_arrive_elected(&m.empty[at]);
        const int split = slip_attend_split_of(&cache, chunk);
        if (i + 1 < item.stages && slip_attend_split_of(&cache, chunk + SLIP_ATTEND_KEYS) == split)
            continue;
        if (item.all)
            wide_attend_merge_split(m, t, !begun);
        else if (works)
            wide_attend_store(op, t, job.partial + (split - run.split) * across);
        begun = true;
        wide_attend_begin(t);
    }
    if (item.all && works)
        wide_attend_finish(op, m, t, job);
}

extern __shared__ __align__(1024) unsigned char wide_attend_bytes[];

__global__ void __launch_bounds__(WIDE_ATTEND_THREADS, 1) wide_attend(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    wide_attend_memory &m = *(wide_attend_memory *)wide_attend_bytes;
    const slip_cuda_attend &op = early_ops(ops, number)->attend;
    const context c = wide_attend_context(step);
    wide_attend_start(op.cache, m);
    wide_attend_bases(op, c, m.base);
    await_previous_kernel();
    if (op.width < op.operand.padded)
        attend_pad(op, step->rows, blockIdx.x, gridDim.x, threadIdx.x, WIDE_ATTEND_THREADS);
    if (threadIdx.x >= WIDE_ATTEND_WARPS * 32) {
        registers_give<WIDE_ATTEND_FILLS>();
        wide_attend_fill(op, c, m);
        return;
    }
    registers_get<WIDE_ATTEND_MULTIPLIES>();
    unsigned count = 0;
    wide_attend_each(op, c, [&](const wide_attend_item &item) { wide_attend_walk(op, m, item, count); });
}

// Merges the splits of all tiles, a CTA a tile, where wide_attend() has not.
__global__ void __launch_bounds__(CONSUMERS) wide_attend_merge(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    __shared__ int base[SLIP_MAX_RUNS];
    attend_memory &memory = *(attend_memory *)wide_attend_bytes;
    const slip_cuda_attend &op = early_ops(ops, number)->attend;
    const context c = wide_attend_context(step);
    const int each = slip_attend_tiles(&op.cache.shape, SLIP_TOKENS) * op.cache.shape.kv_heads;
    const bool merged = slip_attend_merges(&op.cache.shape, c.runs);
    if (!merged)
        wide_attend_bases(op, c, base);
    await_previous_kernel();
    if (merged)
        return;
#pragma unroll 1
    for (int index = blockIdx.x; index < c.runs * each; index += gridDim.x) {
        const int number_of_run = index / each, tile = index % each;
        const attend_run run = attend_load_run(op, c, &step->run[0], number_of_run);
        if (tile >= slip_attend_tiles(&op.cache.shape, run.count) * op.cache.shape.kv_heads)
            continue;
        const attend_job job = attend_open(op, run, base[number_of_run], tile);
        if (job.queries > 0)
            attend_combine(op, memory, job, attend_query_of(op.cache.shape, job, threadIdx.x / 32), threadIdx.x);
    }
}

} // namespace slip
