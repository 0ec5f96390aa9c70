/* The consumers' role: run the ops in order, with a grid barrier behind each, and send the step's results to the host. */
#pragma once

#include "kernels/cuda/ops/attend.cuh"
#include "kernels/cuda/ops/attend_window.cuh"
#include "kernels/cuda/sync/mail.cuh"
#include "kernels/cuda/engine/role.cuh"
#include "kernels/cuda/ops/resample.cuh"
#include "kernels/cuda/ops/rope.cuh"
#include "kernels/cuda/ops/rows.cuh"
#include "kernels/cuda/ops/sample.cuh"
#include "kernels/cuda/ops/topk.cuh"
#include "kernels/cuda/ops/walk.cuh"

namespace slip {

// Start to copy an op's struct to shared memory. The threads that copy wait with copy_wait_all().
__device__ __forceinline__ void fetch_op(const slip_cuda_op *from, slip_cuda_op *to, int thread)
{
    static_assert(sizeof(slip_cuda_op) % 16 == 0 && sizeof(slip_cuda_op) <= CONSUMERS * 16, "a copy a thread");
    if (thread < (int)(sizeof(slip_cuda_op) / 16))
        copy_16(shared_address(to) + thread * 16, (const uint4 *)from + thread);
}

// Each op is a function of its own, so that its registers are not another's. Products are not: ptxas serialises wgmma across a call (C7510).
#define NOINLINE_OP(KIND, arguments, function, watched, memory) \
    template <allreduce_mode MODE> \
    __device__ __noinline__ void noinline_##KIND(const slip_cuda_##arguments &op, const context &c) \
    { \
        function(op, c); \
    }
#define NO(...)
SLIP_CUDA_OP_TABLE(NOINLINE_OP, NO)
#undef NOINLINE_OP

// `first`: the op is the first of its launch or step.
template <allreduce_mode MODE>
__device__ __forceinline__ void consume(shared_memory &s, consumer &ring, const slip_cuda_op &op, bool first)
{
    switch (op.kind) {
#define CALL(KIND, arguments, function, watched, memory) \
    case SLIP_CUDA_##KIND: \
        noinline_##KIND<MODE>(op.arguments, s.here); \
        break;
#define LABEL(KIND, arguments, function, watched, memory) case SLIP_CUDA_##KIND:
        SLIP_CUDA_OP_TABLE(CALL, NO)
        SLIP_CUDA_OP_TABLE(NO, LABEL) op_product(s, ring, op, first, op.early && !first);
#undef LABEL
#undef CALL
#undef NO
    }
}

// The cache's part of a window's layer, where no ROPE writes it before.
__device__ __forceinline__ void fetch_window(shared_memory &s, const slip_cuda_attend_window &next, bool first)
{
    const bool fetches = !s.here.split_runs && !first;
    if (threadIdx.x == 0)
        s.here.fetched = fetches;
    if (fetches)
        window_fetch(next, s.here);
}

// Prepares the next op during the barrier: its jobs, and operands that the current op doesn't write.
// `first`: the next op is the first of its launch or step.
__device__ __noinline__ void prepare(shared_memory &s, const slip_cuda_op &next, bool first)
{
    if (dealt_before(next, s.here.rows, first))
        product_deal_out(s, next, -1);
    if (next.early && !first) {
        clear_list(s);
        product_load(s, next, 0);
    }
    if (next.kind == SLIP_CUDA_ATTEND_WINDOW)
        fetch_window(s, next.attend_window, first);
}

// The grid barrier behind an op, skipped where the op flows into the next. `next`: the op that follows, NULL: none.
__device__ __forceinline__ void barrier(shared_memory &s, const kernel_parameters &p, int op, const slip_cuda_op *next)
{
    const bool flows = s.op[op & 1].flows;
    copy_wait_all(); // the next op
    consumers_sync();
    if (threadIdx.x == 0) {
        if (!flows && (op != p.drop_op || blockIdx.x != 1))
            grid_arrive(s.consumers.wait);
        if (slip_cuda_is_product(s.op[op & 1].kind))
            mbarrier_arrive(&s.product_passed);
    }
    if (next)
        prepare(s, *next, false);
    if (threadIdx.x == 0 && !flows)
        grid_wait(s.consumers.wait, ++s.consumers.barriers * gridDim.x);
    if (next && next->kind == SLIP_CUDA_ATTEND_WINDOW)
        copy_wait_all(); // what it has fetched
    consumers_sync();
}

// What is worked out of the first op alone, and of nothing that another kernel writes.
__device__ __forceinline__ void begin_ops(shared_memory &s, const kernel_parameters &p, int first)
{
    fetch_op(p.ops + first, &s.op[first & 1], threadIdx.x);
    copy_wait_all();
    consumers_sync();
    prepare(s, s.op[first & 1], true);
    consumers_sync();
}

// begin_ops() comes before it.
template <allreduce_mode MODE>
__device__ __forceinline__ void consume_ops(shared_memory &s, consumer &ring, const kernel_parameters &p, op_range ops, bool meet)
{
    const bool leads = threadIdx.x == 0;
    for (int i = ops.first; i < ops.last; i++) {
        const slip_cuda_op &op = s.op[i & 1];
        bool more = i + 1 < ops.last;
        if (more) // over the op before, which nobody reads any more
            fetch_op(p.ops + i + 1, &s.op[(i + 1) & 1], threadIdx.x);
        if (leads) {
            waiter &wait = s.consumers.wait;
            wait.op = i;
            wait.kind = op.kind;
            wait.layer = op.layer;
            record_start(s.consumers.times);
        }
        consume<MODE>(s, ring, op, i == ops.first);
        if (leads)
            record(s.consumers.times, i, SLIP_EVENT_OP);
        if (!meet)
            break;
        if (leads)
            record_start(s.consumers.times);
        barrier(s, p, i, more ? &s.op[(i + 1) & 1] : NULL);
        if (leads)
            record(s.consumers.times, i, SLIP_EVENT_BARRIER);
    }
}

// `number`: of the step on this device; 0: ops are launched one by one.
__device__ __forceinline__ void context_of_step(shared_memory &s, const kernel_parameters &p, unsigned number)
{
    s.here = {p.step,         s.arena,       (int)blockIdx.x, (int)gridDim.x,          p.step->rows, p.step->logit_rows, p.step->runs,
              p.step->run[0], p.step->epoch, number,          p.step->split_runs != 0, false,        &s.consumers.wait};
}

// ---- SM 0 delivers results: to the host, or, of a step that ranks make together, to rank 0, which delivers to its host ----

template <allreduce_mode MODE>
__device__ __forceinline__ bool together(const slip_cuda_step &step)
{
    return MODE == EXCHANGED && step.serial != 0;
}

// By a warp.
template <allreduce_mode MODE>
__device__ __forceinline__ void deliver_picked(const kernel_parameters &p, const waiter &w, int slot)
{
    const slip_exchange &x = p.exchange;
    const bool leads = threadIdx.x % 32 == 0;
    unsigned picked = leads ? atomicExch(&p.words->picked, 0u) : 0;
    if (together<MODE>(*p.step)) {
        if (x.rank != 0) {
            if (leads)
                report(x, p.step->serial, 0, picked);
            return;
        }
        picked = __reduce_add_sync(~0u, (unsigned)meet_reports(w, x, p.step->serial, 0, picked));
    }
    if (leads)
        p.host->result[slot].picked = picked;
}

__device__ __forceinline__ uint64_t word_of(slip_candidate best)
{
    return (uint64_t)__float_as_uint(best.score) << 32 | (uint32_t)best.token;
}

// By a warp: the best candidate of all SMs and ranks. `drafted`: where its token goes, too.
template <allreduce_mode MODE>
__device__ __forceinline__ void deliver_candidate(const kernel_parameters &p, const waiter &w, slip_candidate best, int row, int slot,
                                                  int32_t *drafted)
{
    const slip_exchange &x = p.exchange;
    const bool leads = threadIdx.x % 32 == 0;
    if (together<MODE>(*p.step)) {
        const uint64_t word = word_of(best);
        if (x.rank != 0) {
            if (leads)
                report(x, p.step->serial, 1 + row, word);
            return;
        }
        const uint64_t met = meet_reports(w, x, p.step->serial, 1 + row, word);
        best = sample_warp_best({__uint_as_float((uint32_t)(met >> 32)), (int32_t)met});
    }
    if (leads) {
        p.candidates[slot * SLIP_MAX_LOGIT_ROWS + row] = best;
        if (drafted)
            drafted[row] = best.token;
    }
}

// Is the op the end of a draft with an in-block head?
__device__ __forceinline__ bool walks(const slip_cuda_op &last)
{
    return last.kind == SLIP_CUDA_SAMPLE && last.sample.walk.slots > 0;
}

// By all consumers: the candidates of all slices go to rank 0, which keeps the best of all ranks; false elsewhere. A function of its own, as what
// follows it: its registers are not the step's.
static __device__ __noinline__ bool meet_slices(const kernel_parameters &p, const slip_cuda_sample &op, const waiter &w)
{
    const slip_exchange &x = p.exchange;
    const int count = p.step->logit_rows * SLIP_SLICES;
    const uint32_t serial = p.step->serial;
    for (int i = threadIdx.x; x.rank != 0 && i < count; i += CONSUMERS)
        report(x, serial, 1 + i, word_of(op.candidates[i]));
    for (int i = threadIdx.x; x.rank == 0 && i < count; i += CONSUMERS) {
        const slip_candidate best = meet_candidates(w, x, serial, 1 + i, op.candidates[i]);
        op.candidates[i] = best;
        walk_fetch(op.walk, best.token);
    }
    consumers_sync();
    return x.rank == 0;
}

// By all consumers: drafts from the candidates of all slices and ranks.
template <allreduce_mode MODE>
__device__ __forceinline__ void deliver_walk(const kernel_parameters &p, const slip_cuda_sample &op, const waiter &w, int slot,
                                             int32_t *drafted, walk_memory &memory)
{
    if (!together<MODE>(*p.step) || meet_slices(p, op, w))
        walk_apart(op, *p.step, p.candidates + slot * SLIP_MAX_LOGIT_ROWS, drafted, memory);
}

// The last op of a program that has logit rows is SAMPLE, or HISTOGRAM with the same arguments behind it. Drafts that wait for a walk are not
// delivered here. By CTA `cta` of `ctas` that share it.
template <allreduce_mode MODE>
__device__ void deliver(const kernel_parameters &p, const slip_cuda_op &last, const waiter &w, int sms, int slot, int32_t *drafted, int cta,
                        int ctas)
{
    const bool samples = last.kind == SLIP_CUDA_SAMPLE || last.kind == SLIP_CUDA_HISTOGRAM;
    const bool scored = samples && p.step->want != SLIP_WANT_LOGITS && p.step->want != SLIP_WANT_LIKELIEST;
    const int logit_rows = scored && !walks(last) ? p.step->logit_rows : 0;
    const int first = (cta + 1) * CONSUMER_WARPS - 1 - (int)threadIdx.x / 32; // the last warps do not walk
    for (int line = first; line <= logit_rows; line += ctas * CONSUMER_WARPS)
        if (line == 0)
            deliver_picked<MODE>(p, w, slot);
        else
            deliver_candidate<MODE>(p, w, pick_best(last.sample.candidates, sms, logit_rows, line - 1), line - 1, slot, drafted);
}

// One step of the resident kernel; false: leave.
template <allreduce_mode MODE>
__device__ bool consume_step(shared_memory &s, consumer &ring, const kernel_parameters &p, unsigned number)
{
    consumer_state &t = s.consumers;
    if (threadIdx.x == 0) {
        s.stop = !wait_step(t.wait, number) || p.step->stop;
        context_of_step(s, p, number);
        t.wait.step = p.step->number;
        t.begun = now_ns();
    }
    consumers_sync();
    if (s.stop)
        return false;
    op_range ops = {p.step->first_op, p.step->first_op + p.step->op_count};
    begin_ops(s, p, ops.first);
    consume_ops<MODE>(s, ring, p, ops, true);
    if (threadIdx.x == 0) {
        mbarrier_wait(t.wait, SLIP_WAIT_EMPTY, &s.step_issued, t.steps++); // the next step will overwrite this one
        recorder_finish(t.times);
    }
    consumers_sync();
    if (blockIdx.x == 0) {
        const int slot = number % SLIP_CUDA_STEPS;
        deliver<MODE>(p, p.ops[ops.last - 1], t.wait, gridDim.x, slot, s.drafted, 0, 1);
        if (walks(p.ops[ops.last - 1]))
            deliver_walk<MODE>(p, p.ops[ops.last - 1].sample, t.wait, slot, s.drafted, *(walk_memory *)s.arena);
        consumers_sync();
        if (threadIdx.x == 0) {
            mbarrier_arrive(&s.step_delivered);
            p.host->result[slot].busy = (unsigned)(now_ns() - t.begun);
            if (!aborted(t.wait))
                store_release_system(&p.host->done, number);
        }
    }
    if (threadIdx.x == 0)
        s.stop = aborted(t.wait);
    consumers_sync();
    return !s.stop;
}

__device__ consumer consumer_start(shared_memory &s, const kernel_parameters &p)
{
    if (threadIdx.x == 0) {
        s.consumers = {p.exchange, waiter_of(p, SLIP_ROLE_CONSUMER), recorder_of(p, SLIP_ROLE_CONSUMER), 0, 0, 0, 0};
        if (s.consumers.wait.exchange)
            s.consumers.wait.exchange = &s.consumers.exchange;
    }
    consumers_sync();
    return {__shfl_sync(~0u, (int)threadIdx.x / 128, 0), 0}; // uniform, for the compiler too
}

template <allreduce_mode MODE>
__device__ void consumer_role(const kernel_parameters &p, shared_memory &s)
{
    consumer ring = consumer_start(s, p);
    for (unsigned number = p.made + 1; consume_step<MODE>(s, ring, p, number); number++)
        ;
}

} // namespace slip
