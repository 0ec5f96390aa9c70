/* The ring of weights, and who works on what.
 *
 * Each consumer warpgroup has a ring of DEPTH stages of its own, filled by a producer warp of its own. Both walk the same list of
 * units, an op after the other; so the producer runs ahead across ops that have no weights and through every wait of the consumers, as
 * far as the ring goes. Besides room it waits for the stage before (stage_open), the list of experts and, before the first stage of a
 * product, for this SM to be through with the product before (produce_ops).
 */
#pragma once

#include "kernels/cuda/sync/record.cuh"
#include "kernels/cuda/sync/sync.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"

namespace slip {

constexpr int DEPTH = 2; // stages of a warpgroup's ring

struct ring {
    uint64_t full[WARPGROUPS][DEPTH];  // one arrival (the producer's) and a stage's bytes
    uint64_t empty[WARPGROUPS][DEPTH]; // one arrival a consumer warp
};

// The experts that a row group picked on this rank, ascending. Made by the consumers, read by everybody.
struct expert_list {
    int32_t count;
    int32_t expert[SLIP_LIST_MAX];                 // local ids
    uint32_t tokens[SLIP_LIST_MAX];                // bit t: token t of the group picked it
    uint8_t pick[SLIP_LIST_MAX][SLIP_TOKENS];      // as its which pick
};

// Units, or granules, [first, last) of an op.
struct unit_range {
    int first, last;
};

// A granule of an op: number `done` of `length` of the unit (chunk, tile) of expert `at` of the list. Granules lie in memory in
// the order in which a place walks through them, but that experts lie apart.
struct place {
    int at, chunk, tile, done, length;
};

// What an SM's consumers have to do in a product: found by one thread a warpgroup, while the others wait for something else.
struct product_deal {
    unit_range all, batch;  // units of the SM; those that are computed together, in hand
    unit_range window;      // of LINEAR: granules whose operands the SM needs
    place from[WARPGROUPS]; // of the batch: where a warpgroup begins ..
    int left[WARPGROUPS];   // .. and how many granules it has
};

// Operands in the arena, shared addresses: of granules from `granule` on, or of experts from place `expert` of the list on.
struct product_job {
    uint32_t address; // e4m3 codes, or bf16 hi
    uint32_t lo;      // bf16: bytes from hi to lo
    uint32_t scale;   // e4m3's scales
    int plane;        // granule j of the matrix meets the columns of granule j % plane
    int granule;
    int expert, each; // bytes from one expert's operand to the next; 0: one for all
};

// What the consumers of an SM keep from op to op. The first of them writes it, behind a barrier the others read it.
struct consumer_state {
    slip_exchange exchange;   // a copy: a barrier's acquire empties L1, and the parameters, by address, are behind it
    waiter wait;
    recorder times;
    unsigned lists;           // of experts, made so far
    unsigned barriers, steps; // passed so far
    uint64_t begun;           // when the step in hand was seen
};

// Shared memory of a CTA. The stages begin it, for alignment.
struct shared_memory {
    unsigned char stage[WARPGROUPS][DEPTH][SLIP_STAGE_BYTES];
    unsigned char arena[SLIP_CUDA_ARENA];
    slip_cuda_op op[2]; // in hand, and the next
    expert_list list;
    uint32_t bitmap[SLIP_MAX_EXPERTS / 32]; // of picked experts, while the list is made
    ring weights;
    uint64_t list_ready;    // one arrival a consumer: the list of the op in hand is there
    uint64_t list_free;     // one arrival a producer warp: it has read the list for the last time
    uint64_t product_passed; // one arrival a product: this SM's consumers are through, and have said so to the others
    uint64_t step_issued;   // one arrival a producer warp: all weights of the step are on their way
    uint64_t step_delivered; // SM 0: one arrival, its results are under way and its memory may be the next one's
    consumer_state consumers;
    context here;
    waiter producer_waits[PRODUCER_WARPS]; // not in registers: only a wait that takes long looks at them
    float factor[SLIP_TOKENS];
    product_job job;
    product_deal deal; // of the op in hand
    int32_t drafted[SLIP_MAX_ROWS]; // SM 0: the best tokens of the last step's head rows
    int stop;
};
static_assert(sizeof(shared_memory) <= 227 * 1024, "shared memory of an SM");
static_assert(SLIP_STAGE_BYTES % 128 == 0 && SLIP_CUDA_ARENA % 128 == 0, "operands want their alignment");

// The share of `index` of `all`: contiguous, and the same for every step of the same shape. An SM's share is that of its warpgroups.
__device__ __forceinline__ unit_range units_of(int units, int index, int all)
{
    return {(int)((unsigned)units * index / all), (int)((unsigned)units * (index + 1) / all)}; // lower.c sees that 32 bits are enough
}

__device__ __forceinline__ unit_range overlap(unit_range a, unit_range b)
{
    return {max(a.first, b.first), min(a.last, b.last)};
}

__device__ __forceinline__ int chunk_length(const slip_cuda_matrix &m, int chunk)
{
    return min(m.chunk, m.granules - chunk * m.chunk);
}

__device__ __forceinline__ place place_of(const slip_cuda_matrix &m, int unit)
{
    place p = {};
    p.at = unit / m.units;
    unit -= p.at * m.units;
    p.chunk = unit / m.tiles;
    p.tile = unit - p.chunk * m.tiles;
    p.length = chunk_length(m, p.chunk);
    return p;
}

// One granule on; true: to another chunk or expert.
__device__ __forceinline__ bool step(place &p, const slip_cuda_matrix &m)
{
    if (++p.done < p.length)
        return false;
    p.done = 0;
    if (++p.tile < m.tiles)
        return false;
    p.tile = 0;
    if (++p.chunk == m.chunks) {
        p.chunk = 0;
        p.at++;
    }
    p.length = chunk_length(m, p.chunk);
    return true;
}

// Granules of the op before a place that begins a unit; within its expert.
__device__ __forceinline__ int granules_before(const slip_cuda_matrix &m, const place &p)
{
    return p.chunk * m.chunk * m.tiles + p.tile * p.length;
}

// Granules of a range of units that begins at `from`. Units of experts mostly have the same length: no division then.
__device__ __forceinline__ int granules_of(const slip_cuda_matrix &m, const place &from, unit_range units)
{
    if (units.first >= units.last)
        return 0;
    if (m.chunks * m.chunk == m.granules)
        return (units.last - units.first) * m.chunk;
    place to = place_of(m, units.last);
    return (to.at - from.at) * m.granules * m.tiles + granules_before(m, to) - granules_before(m, from);
}

// ---- the producer ----

struct producer {
    ring *weights;
    unsigned char (*stage)[SLIP_STAGE_BYTES]; // of this warpgroup
    int warpgroup;
    unsigned count;                           // stages ever
    uint64_t policy;
};

// A stage for `bytes` bytes that bulk loads will bring; NULL: the kernel is being left. One is under way at a time: two of each warpgroup
// would be 18 MB on their way to all SMs, 4 us of memory's time, in which everything else that SMs load and store stands in line.
__device__ __forceinline__ unsigned char *stage_open(const waiter &w, const producer &p, int bytes)
{
    unsigned slot = p.count % DEPTH, round = p.count / DEPTH, last = p.count - 1;
    if (p.count > 0 && !mbarrier_wait(w, SLIP_WAIT_FULL, &p.weights->full[p.warpgroup][last % DEPTH], last / DEPTH))
        return NULL;
    // Round 0 finds the stages empty: waiting for the phase before the first succeeds at once.
    if (!mbarrier_wait(w, SLIP_WAIT_EMPTY, &p.weights->empty[p.warpgroup][slot], round + 1))
        return NULL;
    mbarrier_expect(&p.weights->full[p.warpgroup][slot], bytes);
    return p.stage[slot];
}

// ---- a consumer warpgroup ----

struct consumer {
    int warpgroup;
    unsigned count; // stages ever
};

__device__ __forceinline__ uint32_t stage_wait(shared_memory &s, const consumer &r)
{
    unsigned slot = r.count % DEPTH;
    mbarrier_wait(s.consumers.wait, SLIP_WAIT_FULL, &s.weights.full[r.warpgroup][slot], r.count / DEPTH);
    return shared_address(s.stage[r.warpgroup][slot]);
}

// Behind the last read of the stage by this warp.
__device__ __forceinline__ void stage_release(shared_memory &s, consumer &r)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        mbarrier_arrive(&s.weights.empty[r.warpgroup][r.count % DEPTH]);
    r.count++;
}

} // namespace slip
