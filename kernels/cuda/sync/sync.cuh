/* Every wait of the engine, and why it is correct.
 *
 * Between SMs: a grid barrier follows every op but a router's product and TOPK (below). (Within ATTEND each tile has a count of arrivals,
 * and so has each row within HISTOGRAM: the last SM to arrive merges, behind an acq_rel increment of gpu scope, and no SM waits;
 * attend_parts.cuh.) The barrier is one counter that only grows.
 * An SM arrives with red.release.gpu and waits with ld.acquire.gpu until the counter reaches (barriers so far) * (SMs), compared as
 * a difference so that it may wrap. bar.sync before the arrival orders the writes of all consumers of the SM before it, and a
 * release is cumulative: an acquire sees all of them. bar.sync behind the wait orders the other consumers of the waiting SM behind it.
 * So an op may read whatever the ops before the last barrier wrote, by ordinary loads.
 *
 * Routing goes from SM to SM in single words, each all that its reader needs. A logit is a 64-bit integer sum to which each part of the
 * product adds its value and a one (red.relaxed.gpu): the thread that reads the number of parts in it has all of them, whatever their order,
 * and clears it; a barrier lies between that and the next router's product, on either side of it. A pick is a 64-bit word of expert and
 * turn (st.relaxed.gpu by TOPK): a reader polls it by ld.relaxed.gpu until it is of its turn. The next turn's picks are written behind
 * barriers that all readers of this one's have passed. Picks' weights are read behind a barrier, as everything else.
 *
 * A step that is made by launches has no grid barriers: a kernel begins behind the end of the one before (launch.cuh). Within one, REDUCE_NORM
 * waits for other ranks, as it does in the resident kernel, or, in steps of many rows, as wide/shares.cuh says; there TOPK does, too
 * (wide/topk.cuh). All CTAs of such a kernel find room at once.
 *
 * Between ranks: sums travel as messages that carry their epoch; comm/exchange.cuh has the reasoning. Other ranks abort this one through a
 * word in its arena.
 *
 * Within an SM: ordinary instructions write operands to shared memory, each writer executes fence.proxy.async.shared::cta before the
 * barrier, and wgmma reads them behind it. Weights come by bulk copies alone, were written before the kernel began, and complete on an
 * mbarrier, whose wait acquires them.
 *
 * Between host and device: the host fills the step, then writes `post`; SM 0's first producer warp sees it (ld.acquire.sys) and reads the
 * step. When SM 0's consumers have finished the previous step (an mbarrier; other SMs do not read it after their last grid barrier), that
 * warp writes the new one to device memory and publishes `posted` (st.release.gpu behind bar.warp.sync). Results are published by `done`
 * (st.release.sys) behind bar.sync. Steps that all ranks make together are posted by rank 0's host alone; mail.h says how they travel.
 *
 * Every wait has a timeout and looks at the abort word. The first that fails writes a record for the host and sets the word. From then on
 * every wait returns at once, and the ops run on whatever is there, so that no thread is left at a barrier; expert ids, the only indices that
 * ops compute for each other, are checked against their range. The kernel leaves at the step's end. Nothing that is waited for is ever
 * reset: counters start at zero with the kernel; epochs, serials and step numbers continue when the kernel leaves and is launched again.
 */
#pragma once

#include "comm/exchange.cuh"
#include "kernels/cuda/arch.cuh"
#include "kernels/cuda/sync/context.cuh"

namespace slip {

// Words that SMs share, in device memory, a cache line each. Zero when the kernel starts.
struct sync_words {
    unsigned arrived; // at grid barriers, ever
    unsigned unused0[31];
    unsigned abort; // 1: leave
    unsigned unused1[31];
    unsigned posted; // number of the step that may run
    unsigned unused2[31];
    unsigned picked; // experts on the step's lists, for the metrics
    unsigned unused3[31];
};

// A step's result, beside its candidates.
struct host_result {
    unsigned picked; // experts on its lists, over all ranks that made it with us
    unsigned busy;   // nanoseconds from when SM 0 saw the step to its results, modulo 2^32
};

// Host memory that both sides see.
struct host_words {
    unsigned post;  // host: number of the last step posted
    unsigned abort; // host: leave
    unsigned unused0[30];
    unsigned done;    // device: number of the last step whose results are there
    unsigned left_by; // device: 1 + the rank whose failure made this one leave; 0 none
    unsigned unused1[30];
    host_result result[SLIP_CUDA_SLOTS];
    slip_cuda_record record;
};

struct waiter {
    sync_words *words;
    host_words *host;
    int64_t timeout_cycles;        // of a wait, in clock cycles
    int64_t idle_timeout_cycles;   // for the next step
    const slip_exchange *exchange; // NULL: this rank is alone
    uint64_t step;
    int sm, role;
    int op, kind, layer; // the current op, for the record
};

__device__ __forceinline__ unsigned load_acquire(const unsigned *p)
{
    unsigned v;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

__device__ __forceinline__ unsigned load_relaxed(const unsigned *p)
{
    unsigned v;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

__device__ __forceinline__ unsigned load_acquire_system(const unsigned *p)
{
    unsigned v;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

__device__ __forceinline__ void store_release(unsigned *p, unsigned v)
{
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

__device__ __forceinline__ void store_release_system(unsigned *p, unsigned v)
{
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

__device__ __forceinline__ void add_release(unsigned *p)
{
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(p) : "memory");
}

// True when this rank must leave, after a failure of its own or of another rank.
__device__ __forceinline__ bool aborted(const waiter &w)
{
    if (load_relaxed(&w.words->abort) != 0)
        return true;
    unsigned by = w.exchange ? exchange::aborted_by(*w.exchange) : 0;
    if (by == 0)
        return false;
    if (atomicCAS(&w.words->abort, 0u, 1u) == 0)
        *(volatile unsigned *)&w.host->left_by = by;
    return true;
}

// The first failure is recorded; later ones find the word set. The other ranks are aborted, too.
__device__ __forceinline__ void record_failure(const waiter &w, int wait, unsigned expected, unsigned seen, int peer)
{
    if (atomicCAS(&w.words->abort, 0u, 1u) != 0)
        return;
    if (w.exchange)
        exchange::abort_peers(*w.exchange);
    slip_cuda_record *r = &w.host->record;
    r->sm = w.sm;
    r->role = w.role;
    r->wait = wait;
    r->op = w.op;
    r->kind = w.kind;
    r->layer = w.layer;
    r->peer = peer;
    r->expected = expected;
    r->seen = seen;
    r->step = w.step;
    __threadfence_system();
    *(volatile int32_t *)&r->set = 1;
}

// The slow path of a wait: look at the clock and the abort word. `start`: the first look's time, 0 before. Returns it, or -1 to give up.
__device__ __forceinline__ int64_t wait_look(const waiter &w, int wait, unsigned expected, unsigned seen, int peer, int64_t timeout_cycles,
                                             int64_t start)
{
    if (aborted(w))
        return -1;
    int64_t now = clock64();
    if (start != 0 && now - start > timeout_cycles) {
        record_failure(w, wait, expected, seen, peer);
        return -1;
    }
    return start != 0 ? start : now;
}

// The same as a function of its own, out of the fast path's way.
static __device__ __noinline__ int64_t wait_look_apart(const waiter &w, int wait, unsigned expected, unsigned seen, int64_t timeout_cycles,
                                                       int64_t start)
{
    return wait_look(w, wait, expected, seen, -1, timeout_cycles, start);
}

constexpr unsigned WAIT_LOOK = 64; // tries between looks

// Repeat `ready` until it returns true or the timeout passes. It leaves what it saw in `seen`.
template <class Ready>
__device__ __forceinline__ bool wait_for(const waiter &w, int wait, unsigned expected, int64_t timeout_cycles, Ready ready)
{
    unsigned seen = 0, tries = 0;
    int64_t start = 0;
    while (!ready(seen))
        if (++tries % WAIT_LOOK == 0 && (start = wait_look_apart(w, wait, expected, seen, timeout_cycles, start)) < 0)
            return false;
    return true;
}

// ---- between SMs; thread 0 of the consumers calls these, the others wait at a bar.sync ----

__device__ __forceinline__ void grid_arrive(const waiter &w)
{
    add_release(&w.words->arrived);
}

__device__ __forceinline__ void grid_wait(const waiter &w, unsigned target)
{
    wait_for(w, SLIP_WAIT_GRID, target, w.timeout_cycles, [&](unsigned &seen) {
        seen = load_acquire(&w.words->arrived);
        return (int)(seen - target) >= 0;
    });
}

// ---- between ranks ----

// How comm/exchange.cuh waits. Timeouts are staggered so that the root cause reports first: a cause on this rank, then a wait for another
// rank (hop 0), then a wait for a rank that itself waits (hop 1). No calls in here: they would cost the caller registers.
struct peer_wait {
    const waiter &w;

    template <class Ready>
    __device__ __forceinline__ void operator()(int hop, uint32_t epoch, Ready ready) const
    {
        unsigned seen = 0, tries = 0;
        int64_t start = 0;
        int peer = -1;
        while (!ready(peer, seen) && start >= 0)
            if (++tries % WAIT_LOOK == 0)
                start = wait_look(w, SLIP_WAIT_PEER, epoch, seen, peer, w.timeout_cycles + (1 + hop) * (w.timeout_cycles / 4), start);
    }
};

// ---- within an SM: mbarriers ----

// Waits within an SM have a longer timeout than the grid barrier: a signal missing between SMs stops the rings, too, and the record should
// name the cause. `phase`: the completion waited for, counted from 0; mbarriers know its parity. The slow path is a function of its own.
static __device__ __noinline__ bool mbarrier_wait_long(const waiter &w, int wait, uint64_t *bar, unsigned phase)
{
    return wait_for(w, wait, phase, w.timeout_cycles + w.timeout_cycles / 2, [&](unsigned &seen) {
        seen = phase - 1;
        return mbarrier_try(bar, phase & 1);
    });
}

__device__ __forceinline__ bool mbarrier_wait(const waiter &w, int wait, uint64_t *bar, unsigned phase)
{
    return mbarrier_try(bar, phase & 1) || mbarrier_wait_long(w, wait, bar, phase);
}

} // namespace slip
