/* The producers' role: load the weights of all products of a step, as far ahead as the rings allow. The first warp of SM 0 also has the
 * control role. */
#pragma once

#include "kernels/cuda/engine/control.cuh"
#include "kernels/cuda/ops/product.cuh"
#include "kernels/cuda/engine/role.cuh"

namespace slip {

struct producer_state {
    waiter &wait;
    producer ring;
    recorder times;
    unsigned lists, products; // so far
};

// Don't prefetch before this SM has arrived at the barrier behind the last product: weight traffic delays the stores that the barrier waits
// for, and all SMs wait for the slowest. The time left until the next product is enough to fill the ring.
__device__ void produce_ops(producer_state &t, const kernel_parameters &p, shared_memory &s, op_range ops)
{
    const int rows = p.step->rows, logit_rows = p.step->logit_rows;
    for (int i = ops.first; i < ops.last; i++) {
        const slip_cuda_op &op = p.ops[i];
        if (!slip_cuda_is_product(op.kind))
            continue;
        t.wait.op = i;
        t.wait.kind = op.kind;
        t.wait.layer = op.layer;
        if (t.products++ > 0 && !mbarrier_wait(t.wait, SLIP_WAIT_PASSED, &s.product_passed, t.products - 2))
            return;
        record_start(t.times);
        produce_product(t.wait, t.ring, op, rows, logit_rows, blockIdx.x, gridDim.x, s, i == ops.first, t.lists);
        if (t.ring.warpgroup == 0)
            record(t.times, i, SLIP_EVENT_OP);
    }
}

// Bulk copies must land before the CTA exits, also when the consumers no longer read them.
__device__ void producer_drain(const producer &r)
{
    for (unsigned i = r.count < SLIP_RING_DEPTH ? 0 : r.count - SLIP_RING_DEPTH; i < r.count; i++)
        for (int tries = 0; tries < 1 << 20 && !mbarrier_try(&r.weights->full[r.warpgroup][i % SLIP_RING_DEPTH], i / SLIP_RING_DEPTH & 1);
             tries++)
            ;
}

__device__ producer_state producer_start(const kernel_parameters &p, shared_memory &s, int warpgroup)
{
    s.producer_waits[warpgroup] = waiter_of(p, SLIP_ROLE_PRODUCER); // all lanes write the same
    return {s.producer_waits[warpgroup],
            {&s.weights, s.stage[warpgroup], warpgroup, 0, read_once_policy()},
            recorder_of(p, SLIP_ROLE_PRODUCER),
            0,
            0};
}

// False: leave the kernel.
__device__ bool produce_step(producer_state &t, const kernel_parameters &p, shared_memory &s, unsigned number)
{
    if (!wait_step(t.wait, number) || p.step->stop)
        return false;
    t.wait.step = p.step->number;
    produce_ops(t, p, s, {p.step->first_op, p.step->first_op + p.step->op_count});
    if (t.ring.warpgroup == 0)
        recorder_finish(t.times);
    mbarrier_arrive(&s.step_issued);
    return !aborted(t.wait);
}

// One lane produces. The others of its warp wait for it, and take part in control.
__device__ void producer_role(const kernel_parameters &p, shared_memory &s, int warpgroup)
{
    producer_state t = producer_start(p, s, warpgroup);
    waiter link = waiter_of(p, SLIP_ROLE_CONTROL);
    uint32_t serial = p.serial;
    bool go = true;
    for (unsigned number = p.made + 1; go; number++) {
        if (blockIdx.x == 0 && warpgroup == 0)
            control(link, p, s, number, serial);
        if (threadIdx.x % 32 == 0)
            go = produce_step(t, p, s, number);
        go = __shfl_sync(~0u, go, 0);
    }
    if (threadIdx.x % 32 == 0)
        producer_drain(t.ring);
}

} // namespace slip
