/* Every wait of the engine, and why it is right.
 *
 * Between SMs there is the grid barrier behind every op (and, within ATTEND, a count of arrivals at each tile: whoever comes last
 * merges, behind an acq_rel increment of gpu scope, and nobody waits; attend_parts.cuh). The barrier is one counter that only grows.
 * An SM arrives with red.release.gpu and waits with ld.acquire.gpu until the counter reaches (barriers so far) * (SMs), compared as
 * a difference so that it may wrap. bar.sync before the arrival orders the writes of all consumers of the SM before it, and a
 * release is cumulative: whoever acquires sees them. bar.sync behind the wait hands that on to the other consumers of the waiting
 * SM. So an op may read whatever earlier ops wrote, by ordinary loads.
 *
 * Between ranks, sums travel as messages that carry their epoch (comm/exchange.cuh, with its reasoning); what a rank's abort word is to
 * its SMs, the word in its arena is to the other ranks.
 *
 * Activations never travel by the async proxy: they are loaded and stored to shared memory by ordinary instructions, each writer
 * executes fence.proxy.async.shared::cta before the barrier, and wgmma reads them behind it. Weights come by bulk copies alone,
 * were written before the kernel began, and complete on an mbarrier: its wait acquires them.
 *
 * Between host and device: the host fills the step, then writes `post`; SM 0's first producer warp sees it (ld.acquire.sys) and reads the
 * step. When SM 0's consumers are through with the step before (an mbarrier; other SMs do not look at it after their last grid
 * barrier), it writes it to device memory and publishes `posted` (st.release.gpu behind bar.warp.sync). Results go the other way: `done`
 * (st.release.sys) behind bar.sync. Of steps that all ranks make together only rank 0's host posts; mail.h says how they travel.
 *
 * Every wait has a deadline and looks at the abort word. The first that fails writes a record for the host and sets the word.
 * From then on every wait returns at once and the ops run through on whatever is there (expert ids, the only
 * indices that ops compute for each other, are checked against their range), so that no thread is left at a barrier; the kernel leaves
 * at the step's end. Nothing that is waited for is ever reset: counters start at zero with the kernel; epochs, serials and the numbers of
 * steps go on through kernels that leave and come back.
 */
#pragma once

#include "comm/exchange.cuh"
#include "kernels/cuda/sm90/copy.cuh"
#include "kernels/cuda/sync/context.cuh"

namespace slip {

// Words that SMs share, in device memory, a cache line each. Zero when the kernel starts.
struct sync_words {
    unsigned arrived; // at grid barriers, ever
    unsigned unused0[31];
    unsigned abort;   // 1: leave
    unsigned unused1[31];
    unsigned posted;  // number of the step that may run
    unsigned unused2[31];
    unsigned picked;  // experts on the step's lists, for the figures
    unsigned unused3[31];
};

// Of a step, beside its candidates.
struct host_result {
    unsigned picked; // experts on its lists, over all ranks that made it with us
    unsigned busy;   // nanoseconds from when SM 0 saw the step to its results; of four seconds and more the rest
};

// Host memory that both sides see.
struct host_words {
    unsigned post;    // host: the steps up to number .. are there
    unsigned abort;   // host: leave
    unsigned unused0[30];
    unsigned done;    // device: the results of the steps up to number .. are there
    unsigned left_by; // device: 1 + the rank whose failure made this one leave; 0 none
    unsigned unused1[30];
    host_result result[SLIP_CUDA_STEPS];
    slip_cuda_record record;
};

struct waiter {
    sync_words *words;
    host_words *host;
    int64_t timeout_cycles;      // clock cycles
    int64_t idle_timeout_cycles; // for the next step
    const slip_exchange *exchange; // NULL: this rank is alone
    uint64_t step;
    int sm, role;
    int op, kind, layer;   // in hand, for the record
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

// This rank is to leave: by a failure of its own, or by that of another.
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

// The first failure wins; the others find the word set. It takes the other ranks along.
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

// A look at the clock and the abort word in a wait that takes long; `start`: when it was first looked at, 0 for not yet. Returns that, or
// -1: give up.
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

// The same, apart: not in the way of the code that runs.
static __device__ __noinline__ int64_t wait_look_apart(const waiter &w, int wait, unsigned expected, unsigned seen, int64_t timeout_cycles,
                                                       int64_t start)
{
    return wait_look(w, wait, expected, seen, -1, timeout_cycles, start);
}

constexpr unsigned WAIT_LOOK = 64; // tries between looks

// Repeat `ready` (true when the wait is over; it leaves what it saw in `seen`) until the deadline.
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

// How comm/exchange.cuh waits. What has a cause on this rank speaks first, then who waits for a rank directly (hop 0). No call in here: it
// would cost the registers of all that calls it.
struct peer_wait {
    const waiter &w;

    template <class Ready> __device__ __forceinline__ void operator()(int hop, uint32_t epoch, Ready ready) const
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

// Waits within an SM are given longer than the grid barrier: a missing signal between SMs stops the rings, too, and the record should
// name the cause. `phase`: how many times the barrier must have completed before, counted from 0; its parity is what mbarriers know.
// The slow path is apart: it is not in the way of the code that runs.
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
