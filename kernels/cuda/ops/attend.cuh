/* SLIP_CUDA_ATTEND: attention of a step over the cache, in splits at fixed absolute positions.
 *
 * The step's runs (rows of one sequence in one row group) times K/V heads times tiles of 16 queries times the splits that the run
 * sees are items; item i is computed by SM i % sms. Within a run the splits go first, the latest and longest at the front, then
 * K/V heads, then tiles. Each item leaves a partial result and counts itself in at its tile's count; whoever comes last merges the
 * tile. attend_tile.cuh and attend_parts.cuh say why a row's result depends on nothing but the row. */
#pragma once

#include "kernels/cuda/ops/attend_parts.cuh"

namespace slip {

// A run as the items see it.
struct attend_run {
    int row, count, position;
    int start;        // of its sequence in the cache
    int last;         // key that its last row sees
    int split, parts; // the first split that it sees and how many
    int items;
};

// The fields are loaded together with the number of runs, which says whether they are valid. `only`: the step's first run.
__device__ __forceinline__ attend_run attend_load_run(const slip_cuda_attend &op, const context &c, const slip_cuda_run *only, int index)
{
    const slip_cuda_run &from = c.runs == 1 ? *only : c.step->run[min(index, SLIP_MAX_RUNS - 1)];
    attend_run run = {from.row, from.count, (int)from.position, slip_cache_start(&op.cache, from.sequence, from.base), 0, 0, 0, 0};
    if (index >= c.runs)
        return run;
    run.last = op.cache.shape.whole_block ? c.step->row[run.row + run.count - 1].last : run.position + run.count - 1;
    run.split = slip_attend_split_of(&op.cache, attend_first(op.cache.shape, run.position)); // both bounds grow with the row
    run.parts = slip_attend_split_of(&op.cache, run.last) - run.split + 1;
    run.items = slip_attend_tiles(&op.cache.shape, run.count) * op.cache.shape.kv_heads * run.parts;
    return run;
}

// Item `offset` of a run whose partial results begin at `partial`.
__device__ __forceinline__ attend_job attend_open(const slip_cuda_attend &op, const attend_run &run, int partial, int offset)
{
    const slip_cache &shape = op.cache.shape;
    const int tiles = slip_attend_tiles(&shape, run.count), across = tiles * shape.kv_heads, back = small_quotient(offset, across);
    const int part = run.parts - 1 - back, tile = offset - back * across, kv = small_quotient(tile, tiles);
    const int begin = (shape.first_kv + kv) * shape.group - shape.first_q, head = max(begin, 0);
    const int heads = min(begin + shape.group, shape.q_heads) - head, query = (tile - kv * tiles) * SLIP_ATTEND_QUERIES;
    attend_job job = {run.row,   run.count, run.position,
                      run.start, run.last,  kv,
                      head,      query,     min(heads * run.count - query, (int)SLIP_ATTEND_QUERIES),
                      0,         0,         partial + tile,
                      across,    part,      run.parts};
    job.first = max(slip_attend_split_first(&op.cache, run.split + part), attend_first(shape, run.position));
    job.last = min(slip_attend_split_first(&op.cache, run.split + part + 1) - 1, run.last);
    return job;
}

// 32 runs, one a lane; the first one's items begin at `base`. Finds the run that has `item`, for all lanes, and sets `base` to where its items
// begin. False: none has it, and `base` is where the items of the next 32 runs begin.
__device__ __forceinline__ bool attend_choose(attend_run &run, int item, int &base, int lane)
{
    int end = base + run.items; // becomes base + the sum up to this lane
#pragma unroll 1
    for (int away = 1; away < 32; away *= 2) {
        const int below = __shfl_up_sync(0xffffffff, end - base, away);
        end += lane >= away ? below : 0;
    }
    const unsigned beyond = __ballot_sync(0xffffffff, end > item);
    if (beyond == 0) {
        base = __shfl_sync(0xffffffff, end, 31);
        return false;
    }
    const int at = __ffs((int)beyond) - 1;
    base = __shfl_sync(0xffffffff, end - run.items, at);
    run = {__shfl_sync(0xffffffff, run.row, at),      __shfl_sync(0xffffffff, run.count, at),
           __shfl_sync(0xffffffff, run.position, at), __shfl_sync(0xffffffff, run.start, at),
           __shfl_sync(0xffffffff, run.last, at),     __shfl_sync(0xffffffff, run.split, at),
           __shfl_sync(0xffffffff, run.parts, at),    0};
    return true;
}

// Finds an item's run, 32 runs at a time, and where its items begin; false: there is no such item. By a whole warp. A decode step of one
// sequence has one run, which all lanes read.
__device__ __forceinline__ bool attend_find(const slip_cuda_attend &op, const context &c, const slip_cuda_run *only, int item,
                                            attend_run &run, int &base)
{
    const int lane = c.thread() % 32;
    bool found = false;
    base = 0;
#pragma unroll 1
    for (int first = 0; first < c.runs && !found; first += 32) {
        run = attend_load_run(op, c, only, c.runs == 1 ? 0 : first + lane);
        found = c.runs == 1 ? item < run.items : attend_choose(run, item, base, lane);
    }
    return found;
}

// ---- the op ----

// Padding columns of the operand are zeros. CTA `cta` of `ctas` makes every `ctas`th row's, by `threads` threads.
template <class Op>
__device__ __forceinline__ void attend_pad(const Op &op, int rows, int cta, int ctas, int thread, int threads)
{
    if (op.operand.hi == nullptr)
        return;
#pragma unroll 1
    for (int row = cta; row < rows; row += ctas)
#pragma unroll 1
        for (int column = op.width + thread; column < op.operand.padded; column += threads) {
            const int at = attend_operand_at(op, row, column);
            op.operand.hi[at] = 0;
            if (!op.operand.single)
                op.operand.lo[at] = 0;
        }
}

template <class Op>
__device__ __forceinline__ void attend_pad(const Op &op, const context &c)
{
    attend_pad(op, c.rows, c.sm, c.sms, c.thread(), CONSUMERS);
}

// All threads agree on whether an item exists and is the tile's last, so all pass the same barriers.
[[maybe_unused]] static __device__ void op_attend(const slip_cuda_attend &op, const context &shared)
{
    const context c = shared; // in registers
    // The compiler does not know these across the call. They make loads shorter and divisions shifts.
    __builtin_assume(__isShared(&op));
    __builtin_assume(__isShared(c.arena));
    __builtin_assume(__isGlobal(c.step));
    __builtin_assume(c.thread() >= 0 && c.thread() < CONSUMERS);
    attend_memory &memory = *(attend_memory *)c.arena;
    attend_run run;
    int base;
    if (op.width < op.operand.padded)
        attend_pad(op, c);
#pragma unroll 1
    for (int item = c.sm; attend_find(op, c, &shared.run, item, run, base); item += c.sms) {
        int thread = c.thread();
        asm volatile("" : "+r"(thread)); // recompute what depends on it for each item rather than keep it in registers
        __builtin_assume(thread >= 0 && thread < CONSUMERS);
        const attend_job job = attend_open(op, run, base, item - base);
        if (job.queries <= 0) // a K/V head that fewer query heads read than the widest
            continue;
        const attend_query query = attend_query_of(op.cache.shape, job, thread / 32);
        attend_acc acc = {};
        const attend_row row = attend_walk(op, memory, job, query, acc, thread);
        attend_store_part(op, job, acc, row, thread);
        if (attend_arrive(op, memory, job, thread)) {
            attend_combine(op, memory, job, query, thread);
            consumers_sync(); // before the next item's keys overwrite what is being merged
        }
    }
}

} // namespace slip
