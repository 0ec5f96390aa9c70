/* SLIP_CUDA_ATTEND: attention of a step over the cache, in splits at fixed absolute positions.
 *
 * The step's runs (rows of one sequence in one row group) times K/V heads times tiles of 32 queries are tiles of work. A tile is
 * either walked by one item, or by one item a split of the keys that its run sees; attend_tile.cuh says why that is the same to the
 * bit. Items are numbered run by run, (K/V head, tile, split) with the split fastest; item i is computed by SM i % sms.
 *
 * Where a tile has several items, each writes its totals as partial result i and counts itself in at attend_count[i of the tile's
 * first split]; whoever comes last merges them, ascending. The count wraps to 0 by itself. */
#pragma once

#include "kernels/cuda/attend_parts.cuh"

namespace slip {

// A run as the items see it.
struct attend_run {
    int row, count, sequence;
    int first, last;      // keys that any of its rows sees: both bounds grow with the row
    int tiles, splits;    // tiles of one K/V head
};

__device__ __forceinline__ attend_run attend_load_run(const slip_cuda_op &op, const slip_cuda_step &step, int index)
{
    const slip_cuda_run &from = step.run[index];
    attend_run run = {from.row, from.count, from.sequence, 0, 0, 0, 0};
    run.first = attend_first(op.cache.shape, step.row[run.row]);
    run.last = (int)step.row[run.row + run.count - 1].last;
    run.tiles = slip_attend_tiles(&op.cache.shape, run.count);
    run.splits = run.last / op.cache.split - run.first / op.cache.split + 1;
    return run;
}

// Items of a step, and how it is cut.
struct attend_plan {
    bool spread;   // one item a split
    int items;
};

// One item a split, if that makes use of idle SMs and the partial results have room. For a whole warp.
__device__ __forceinline__ attend_plan attend_make_plan(const slip_cuda_op &op, const context &c)
{
    attend_plan plan = {};
    const int lane = c.thread % 32, runs = c.step->runs, kv_heads = op.cache.shape.kv_heads;
    int tiles = 0;
    float parts = 0; // exact to 2^24, and far from the limit beyond
    for (int i = lane; i < runs; i += 32) {
        attend_run run = attend_load_run(op, *c.step, i);
        tiles += run.tiles * kv_heads;
        parts += (float)(run.tiles * kv_heads) * (float)run.splits;
    }
#pragma unroll
    for (int away = 16; away > 0; away /= 2) {
        tiles += __shfl_xor_sync(0xffffffff, tiles, away);
        parts += __shfl_xor_sync(0xffffffff, parts, away);
    }
    plan.spread = tiles < c.sms && parts <= SLIP_ATTEND_ITEMS;
    plan.items = plan.spread ? (int)parts : tiles;
    return plan;
}

// Item `offset` of a run.
__device__ __forceinline__ attend_job attend_open(const slip_cuda_op &op, const attend_run &run, int item, int offset, bool spread)
{
    const slip_cache &shape = op.cache.shape;
    const int parts = spread ? run.splits : 1, part = offset % parts, tile = offset / parts % run.tiles, kv = offset / parts / run.tiles;
    const int begin = (shape.first_kv + kv) * shape.group - shape.first_q, end = begin + shape.group;
    const int head = begin > 0 ? begin : 0, heads = (end < shape.q_heads ? end : shape.q_heads) - head;
    const int query = tile * SLIP_ATTEND_QUERIES, left = heads * run.count - query;
    attend_job job = {run.row, run.count, run.sequence * op.cache.slots, kv, head, query,
                      left < SLIP_ATTEND_QUERIES ? left : SLIP_ATTEND_QUERIES, run.first, run.last, item, part, parts};
    if (spread) {
        int split_first = (run.first / op.cache.split + part) * op.cache.split, split_last = split_first + op.cache.split - 1;
        job.first = split_first > run.first ? split_first : run.first;
        job.last = split_last < run.last ? split_last : run.last;
    }
    return job;
}

__device__ __forceinline__ int attend_run_items(const slip_cuda_op &op, const attend_run &run, bool spread)
{
    return run.tiles * op.cache.shape.kv_heads * (spread ? run.splits : 1);
}

// Finds an item's run, 32 runs at a time. For a whole warp.
__device__ __forceinline__ attend_job attend_find(const slip_cuda_op &op, const context &c, const attend_plan &plan, int item)
{
    const int lane = c.thread % 32, runs = c.step->runs;
    int base = 0;
    for (int first = 0;; first += 32) {
        const int mine = first + lane < runs ? attend_run_items(op, attend_load_run(op, *c.step, first + lane), plan.spread) : 0;
        int end = mine; // becomes the sum up to this lane
#pragma unroll
        for (int away = 1; away < 32; away *= 2) {
            int below = __shfl_up_sync(0xffffffff, end, away);
            end += lane >= away ? below : 0;
        }
        const unsigned beyond = __ballot_sync(0xffffffff, base + end > item);
        if (beyond != 0 || first + 32 >= runs) {
            int at = beyond != 0 ? __ffs((int)beyond) - 1 : 0, begin = base + __shfl_sync(0xffffffff, end - mine, at);
            return attend_open(op, attend_load_run(op, *c.step, first + at), item, item - begin, plan.spread);
        }
        base += __shfl_sync(0xffffffff, end, 31);
    }
}

// ---- the op ----

template <class widths>
__device__ __forceinline__ void attend_item(const slip_cuda_op &op, const context &c, attend_memory &memory, const widths &w)
{
    attend_acc<widths::UNITS> acc = {};
    attend_row row = attend_walk(op, *c.step, memory, w, acc, c.thread);
    if (memory.job.parts == 1) {
        attend_store(op, memory, w, acc, row, c.thread);
        return;
    }
    attend_store_part(op, memory.job, w, acc, row, c.thread);
    if (attend_arrive(op, memory, c.thread))
        attend_combine(op, memory, w, c.thread);
}

// Columns of the form that do not exist are zeros.
__device__ __forceinline__ void attend_pad(const slip_cuda_op &op, const context &c)
{
    const int missing = op.form.hi != nullptr ? op.form.padded - op.width : 0;
    for (int64_t i = (int64_t)c.sm * CONSUMERS + c.thread; i < (int64_t)c.step->rows * missing; i += (int64_t)c.sms * CONSUMERS) {
        const int row = (int)(i / missing), column = op.width + (int)(i % missing);
        const int64_t unit = (int64_t)(row / SLIP_TOKENS) * (op.form.padded / 8) + column / 8;
        const int64_t at = (unit * SLIP_TOKENS + row % SLIP_TOKENS) * 8 + column % 8;
        op.form.hi[at] = 0;
        if (op.form.lo != nullptr)
            op.form.lo[at] = 0;
    }
}

template <class widths> __device__ __forceinline__ void attend_items(const slip_cuda_op &op, const context &c, const widths &w)
{
    attend_memory &memory = *(attend_memory *)c.arena;
    attend_plan plan = {};
    if (c.thread < 32)
        plan = attend_make_plan(op, c);
    for (int item = c.sm;; item += c.sms) {
        if (c.thread < 32) {
            attend_job found = {};
            if (item < plan.items)
                found = attend_find(op, c, plan, item);
            if (c.thread == 0)
                memory.job = found;
        }
        consumers_sync();
        if (memory.job.parts == 0) // beyond the last item
            break;
        if (memory.job.queries > 0) // else a K/V head that fewer query heads read than the widest
            attend_item(op, c, memory, w);
        consumers_sync(); // before the next item overwrites this one's memory
    }
}

// Any widths. Apart, because its four units a warp would cost the others registers.
__device__ __noinline__ void attend_any(const slip_cuda_op &op, context c)
{
    attend_items(op, c, attend_widths<0, 0>{op.cache.k_width, op.cache.v_width});
}

__device__ void op_attend(const slip_cuda_op &op, const context &c)
{
    const int k = op.cache.k_width, v = op.cache.v_width;
    attend_pad(op, c);
    if (k == 192 && v == 128) // MiMo-V2's layers
        attend_items(op, c, attend_widths<192, 128>{k, v});
    else if (k == 128 && v == 128) // DFlash's
        attend_items(op, c, attend_widths<128, 128>{k, v});
    else
        attend_any(op, c);
}

} // namespace slip
