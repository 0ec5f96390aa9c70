/* The consumers' role: ops one after the other, a barrier of all SMs behind each, and the step's results to the host. */
#pragma once

#include "kernels/cuda/attend.cuh"
#include "kernels/cuda/role.cuh"
#include "kernels/cuda/rope.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/sample.cuh"
#include "kernels/cuda/topk.cuh"

namespace slip {

struct consumer_state {
    waiter &wait;
    consumer ring;
    recorder times;
    unsigned lists, barriers, steps;
};

// Start to copy an op's struct to shared memory; whoever copied waits with copy_async_wait().
__device__ __forceinline__ void fetch_op(const slip_cuda_op *from, slip_cuda_op *to, int thread)
{
    static_assert(sizeof(slip_cuda_op) % 16 == 0 && sizeof(slip_cuda_op) <= CONSUMERS * 16, "a copy a thread");
    if (thread < (int)(sizeof(slip_cuda_op) / 16))
        copy_async(shared_address(to) + thread * 16, (const uint4 *)from + thread);
}

// Functions of their own, so that one op's registers are not another's. Not the products: wgmma does not cross a call (C7510).
#define SEPARATE(name, function)                                                        \
    __device__ __noinline__ void separate_##name(const slip_cuda_op &op, const context &c) \
    {                                                                                   \
        function(op, c);                                                                \
    }
SEPARATE(embed, op_embed)
SEPARATE(gather, op_gather)
SEPARATE(sum, op_sum<ALONE>)
SEPARATE(sum_exchanged, op_sum<EXCHANGED>)
SEPARATE(sum_gathered, op_sum<GATHERED>)
SEPARATE(select, op_select)
SEPARATE(form, op_form)
SEPARATE(rope, op_rope)
SEPARATE(angles, op_angles)
SEPARATE(attend, op_attend)
SEPARATE(swiglu, op_swiglu)
SEPARATE(topk, op_topk)
SEPARATE(sample, op_sample)
#undef SEPARATE

// `first`: of its launch or step.
template <meeting BY>
__device__ __forceinline__ void consume(consumer_state &t, const slip_cuda_op &op, const context &c, shared_memory &s, bool first)
{
    switch (op.kind) {
    case SLIP_CUDA_EMBED: separate_embed(op, c); break;
    case SLIP_CUDA_GATHER:
        if (BY == GATHERED)
            separate_gather(op, c);
        break;
    case SLIP_CUDA_SUM: BY == EXCHANGED ? separate_sum_exchanged(op, c) : BY == GATHERED ? separate_sum_gathered(op, c) : separate_sum(op, c); break;
    case SLIP_CUDA_SELECT: separate_select(op, c); break;
    case SLIP_CUDA_FORM:
    case SLIP_CUDA_TAPS: separate_form(op, c); break;
    case SLIP_CUDA_LINEAR:
    case SLIP_CUDA_UP:
    case SLIP_CUDA_DOWN: op_product(t.wait, t.ring, op, c, s, first, op.early && !first, t.lists, t.times); break;
    case SLIP_CUDA_ANGLES: separate_angles(op, c); break;
    case SLIP_CUDA_ROPE: separate_rope(op, c); break;
    case SLIP_CUDA_ATTEND: separate_attend(op, c); break;
    case SLIP_CUDA_SWIGLU: separate_swiglu(op, c); break;
    case SLIP_CUDA_TOPK: separate_topk(op, c); break;
    case SLIP_CUDA_SAMPLE: separate_sample(op, c); break;
    }
}

// What the next op can have ready while SMs wait for each other: who does what and, where the op in hand does not write them, operands.
// `first`: the next op is the first of its launch or step.
__device__ __noinline__ void prepare(const waiter &w, unsigned lists, const slip_cuda_op &next, const context &c, shared_memory &s, bool first)
{
    if (dealt_before(next, c.rows, first))
        product_deal_out(next, c, s, -1);
    if (next.early && !first) {
        clear_list(w, c, s, lists);
        product_load(next, c, s, 0);
    }
}

// Behind an op: all SMs are through. `next`: the op that follows, NULL: none.
__device__ __forceinline__ void barrier(consumer_state &t, const kernel_parameters &p, const context &c, shared_memory &s, int op,
                                        const slip_cuda_op *next)
{
    copy_async_wait(); // the next op
    consumers_sync();
    if (c.thread == 0 && (op != p.drop_op || c.sm != 1))
        grid_arrive(t.wait);
    if (next)
        prepare(t.wait, t.lists, *next, c, s, false);
    if (c.thread == 0)
        grid_wait(t.wait, ++t.barriers * (unsigned)c.sms);
    consumers_sync();
}

template <meeting BY>
__device__ __forceinline__ void consume_ops(consumer_state &t, const kernel_parameters &p, const context &c, shared_memory &s, op_range ops, bool meet)
{
    fetch_op(p.ops + ops.first, &s.op[ops.first & 1], c.thread);
    copy_async_wait();
    consumers_sync();
    prepare(t.wait, t.lists, s.op[ops.first & 1], c, s, true);
    consumers_sync();
    for (int i = ops.first; i < ops.last; i++) {
        const slip_cuda_op &op = s.op[i & 1];
        bool more = i + 1 < ops.last;
        uint64_t start = stamp(t.times);
        if (more) // nobody is at the op before any more, whose place it takes
            fetch_op(p.ops + i + 1, &s.op[(i + 1) & 1], c.thread);
        if (c.thread == 0) {
            t.wait.op = i;
            t.wait.kind = op.kind;
            t.wait.layer = op.layer;
        }
        consume<BY>(t, op, c, s, i == ops.first);
        if (c.thread == 0)
            record(t.times, i, SLIP_EVENT_OP, start);
        if (!meet)
            break;
        start = stamp(t.times);
        barrier(t, p, c, s, i, more ? &s.op[(i + 1) & 1] : NULL);
        if (c.thread == 0)
            record(t.times, i, SLIP_EVENT_BARRIER, start);
    }
}

// The best of all SMs to the host. The last op of a program that has head rows is SAMPLE.
__device__ void deliver(const kernel_parameters &p, const slip_cuda_op &sample, const slip_cuda_step *step, int thread, int sms)
{
    if (thread == 0)
        p.host->picked = p.words->picked;
    if (sample.kind != SLIP_CUDA_SAMPLE || step->want_logits)
        return;
    for (int head = thread / 32; head < step->heads; head += CONSUMER_WARPS) {
        slip_candidate best = pick_best(sample.candidates, sms, step->heads, head);
        if (thread % 32 == 0)
            p.candidates[head] = best;
    }
}

// One step of the resident kernel; false: leave.
template <meeting BY> __device__ bool consume_step(consumer_state &t, const kernel_parameters &p, shared_memory &s, unsigned number)
{
    int thread = threadIdx.x;
    if (thread == 0)
        s.stop = !wait_step(t.wait, number) || p.step->stop;
    consumers_sync();
    if (s.stop)
        return false;
    context c = {p.step, s.arena, thread, (int)blockIdx.x, (int)gridDim.x, p.step->rows, p.step->heads, &t.wait};
    if (thread == 0)
        t.wait.step = p.step->number;
    op_range ops = {p.step->first_op, p.step->first_op + p.step->op_count};
    consume_ops<BY>(t, p, c, s, ops, true);
    if (thread == 0) {
        mbarrier_wait(t.wait, SLIP_WAIT_EMPTY, &s.step_issued, t.steps++); // the step's memory is about to be the next one's
        recorder_finish(t.times);
    }
    consumers_sync();
    if (c.sm == 0) {
        deliver(p, p.ops[ops.last - 1], p.step, thread, c.sms);
        consumers_sync();
        if (thread == 0) {
            __threadfence_system();
            if (!aborted(t.wait))
                store_release_system(&p.host->done, number);
        }
    }
    if (thread == 0)
        s.stop = aborted(t.wait);
    consumers_sync();
    return !s.stop;
}

__device__ consumer_state consumer_start(const kernel_parameters &p, shared_memory &s)
{
    int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0); // uniform, for the compiler too
    if (threadIdx.x == 0)
        s.consumer_waits = waiter_of(p, SLIP_ROLE_CONSUMER);
    consumers_sync();
    return {s.consumer_waits, {&s.weights, s.stage[warpgroup], warpgroup, 0}, recorder_of(p, SLIP_ROLE_CONSUMER), 0, 0, 0};
}

template <meeting BY> __device__ void consumer_role(const kernel_parameters &p, shared_memory &s)
{
    consumer_state t = consumer_start(p, s);
    for (unsigned number = 1; consume_step<BY>(t, p, s, number); number++)
        ;
}

} // namespace slip
