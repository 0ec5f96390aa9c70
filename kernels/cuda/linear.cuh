/* The products: LINEAR, UP and DOWN differ in their operands and in where results go; the units, the weights and the arithmetic are
 * one piece of code, once in the kernel: a step goes through all ops' code in every layer, and what does not fit the instruction
 * cache is fetched anew each time (SPEED.md).
 *
 *     for each row group:  [list of experts]  for each batch:  operands to the arena  ->  units of this SM
 *
 * LINEAR and UP have one batch; DOWN has as many as its experts' operands need room.
 */
#pragma once

#include "kernels/cuda/experts.cuh"
#include "kernels/cuda/record.cuh"

namespace slip {

__device__ __forceinline__ int op_rows(const slip_cuda_op &op, int rows, int heads)
{
    return op.head_rows ? heads : rows;
}

__device__ __forceinline__ bool has_experts(const slip_cuda_op &op)
{
    return op.kind != SLIP_CUDA_LINEAR;
}

// Units of the op over all SMs.
__device__ __forceinline__ unit_range product_range(const slip_cuda_op &op, const shared_memory &s, int sm, int sms)
{
    int experts = has_experts(op) ? s.list.count : 1;
    return units_of(experts * op.matrix.units, sm, sms);
}

// ---- the producer ----

__device__ __forceinline__ void produce_product(const waiter &w, producer &p, const slip_cuda_op &op, int rows, int heads, int sm, int sms,
                                                shared_memory &s, bool first, unsigned &lists)
{
    const slip_cuda_matrix m = op.matrix;
    int bytes = slip_store_bytes(m.store);
    bool experts = has_experts(op), kept = list_kept(op, rows, first);
#pragma unroll 1
    for (int group = 0; group < groups_of(op_rows(op, rows, heads)); group++) {
        if (experts && !kept && !mbarrier_wait(w, SLIP_WAIT_LIST, &s.list_ready, lists++))
            return;
        unit_range range = product_range(op, s, sm, sms);
        unit_cursor cursor = cursor_at(m, range.first + p.warpgroup);
#pragma unroll 1
        for (int i = range.first + p.warpgroup; i < range.last; i += WARPGROUPS, cursor_next(cursor, m)) {
            unit u = unit_at(m, cursor);
            const unsigned char *expert = m.data + (experts ? s.list.expert[cursor.at] * m.expert_bytes : 0);
            produce(w, p, expert + unit_granule(m, u) * bytes, u.tiles * u.length, bytes);
        }
        if (op.kind == SLIP_CUDA_DOWN || (experts && rows > SLIP_TOKENS)) // else DOWN keeps UP's list
            mbarrier_arrive(&s.list_free);
    }
}

// ---- the consumers ----

// Start to load the operands that do not depend on the list of experts: of LINEAR the chunks that the SM's units touch, of UP whole
// rows.
__device__ __noinline__ void product_load(const slip_cuda_op &op, const context &c, shared_memory &s, int group)
{
    const slip_cuda_matrix &m = op.matrix;
    int first = 0, last = m.granules;
    consumers_sync(); // the arena and the factors are free
    if (op.kind == SLIP_CUDA_LINEAR) {
        unit_range range = product_range(op, s, c.sm, c.sms);
        first = cursor_at(m, range.first).chunk * m.chunk;
        last = range.first == range.last ? first : min((cursor_at(m, range.last - 1).chunk + 1) * m.chunk, m.granules);
    }
    activations x = load_operand(op.act, m, group, first, last - first, c);
    load_factor(op.act, op.epsilon, group, m.store == SLIP_STORE_MXFP4 ? DECODED : 1, c, s.factor);
    if (c.thread == 0)
        s.job = {x.address, x.lo, x.scale, x.plane, first, 0, 0, 0};
}

// The next batch is ready behind this: all units for LINEAR and UP, for DOWN those from expert `expert` on whose operands have room.
__device__ __noinline__ void product_ready(const slip_cuda_op &op, const context &c, shared_memory &s, int group, int expert)
{
    unit_range range = product_range(op, s, c.sm, c.sms);
    if (op.kind == SLIP_CUDA_DOWN) {
        consumers_sync(); // the last batch is done with the arena
        down_operands(op, c, s, group, expert, range.last);
    } else {
        copy_async_wait();
        if (c.thread == 0)
            s.job.last = range.last;
    }
    fence_async_shared();
    consumers_sync();
}

// Where a thread's two tokens of a unit go; NULL: nowhere.
struct unit_results {
    float *to[2];
    float factor[2];
};

__device__ __forceinline__ unit_results results_of(const slip_cuda_op &op, const shared_memory &s, int group, int at, int chunk)
{
    int lane = threadIdx.x % 32;
    int64_t row = threadIdx.x / 32 % 4 * 16 + lane / 4;
    unit_results r;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int token = lane % 4 * 2 + i;
        int64_t part = (int64_t)(group * op.out.parts + chunk) * SLIP_TOKENS + token;
        bool kept = true;
        if (has_experts(op)) {
            part = (((int64_t)group * SLIP_TOKENS + token) * op.top_k + s.list.pick[at][token]) * op.out.parts + chunk;
            kept = s.list.tokens[at] >> token & 1;
        }
        r.to[i] = kept ? op.out.data + part * op.out.stride + row : NULL;
        r.factor[i] = s.factor[token];
    }
    return r;
}

__device__ __forceinline__ void write_tile(const unit_results &r, int tile, const float (&sum)[4])
{
#pragma unroll
    for (int i = 0; i < 2; i++)
        if (r.to[i]) {
            r.to[i][tile * SLIP_TILE] = sum[i] * r.factor[i];
            r.to[i][tile * SLIP_TILE + 8] = sum[i + 2] * r.factor[i];
        }
}

// This warpgroup's units of the batch, from unit `next`, at the cursor, on; returns the first that is not in it.
__device__ __forceinline__ int product_units(const waiter &w, consumer &r, const slip_cuda_op &op, const shared_memory &s, int group, int next,
                                             unit_cursor &cursor)
{
    const slip_cuda_matrix &m = op.matrix;
#pragma unroll 1
    for (; next < s.job.last; next += WARPGROUPS, cursor_next(cursor, m)) {
        int at = cursor.at, operand_at = (at - s.job.expert) * s.job.each;
        unit u = unit_at(m, cursor);
        activations x = {s.job.address + operand_at, s.job.lo, s.job.scale + operand_at, s.job.plane};
        unit_results results = results_of(op, s, group, at, u.chunk);
        multiply(w, r, m.store, u, x, u.chunk * m.chunk - s.job.granule, [&](int tile, const float (&sum)[4]) { write_tile(results, tile, sum); });
    }
    return next;
}

__device__ __forceinline__ void op_product(const waiter &w, consumer &r, const slip_cuda_op &op, const context &c, shared_memory &s, bool first,
                                           unsigned &lists, recorder &times)
{
    bool kept = list_kept(op, c.rows, first);
#pragma unroll 1
    for (int group = 0; group < groups_of(op_rows(op, c.rows, c.heads)); group++) {
        uint64_t start = stamp(times);
        if (has_experts(op) && !kept)
            build_list(w, op, c, s, group, lists++); // first: the producers wait for it
        if (op.kind != SLIP_CUDA_DOWN)
            product_load(op, c, s, group);
        unit_range range = product_range(op, s, c.sm, c.sms);
        int next = range.first + r.warpgroup, expert = range.first / op.matrix.units;
        unit_cursor cursor = cursor_at(op.matrix, next);
        do {
            product_ready(op, c, s, group, expert);
            if (c.thread == 0)
                record(times, w.op, SLIP_EVENT_OPERANDS, start);
            next = product_units(w, r, op, s, group, next, cursor);
            expert = s.job.last / op.matrix.units;
        } while (s.job.last < range.last);
    }
}

} // namespace slip
