/* The ring of weights, and who works on what.
 *
 * Each consumer warpgroup has a ring of DEPTH stages of its own, filled by a producer warp of its own. Both walk the same list of
 * units, an op after the other, without a word to each other but the ring's mbarriers; so the producer runs ahead across ops
 * and through every wait of the consumers, as far as the ring goes. It waits for one thing besides room: the list of experts.
 */
#pragma once

#include "kernels/cuda/sync.cuh"
#include "kernels/cuda/wgmma.cuh"

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

// A product in the hands of this SM's consumers: units [.., last) of the op, with operands in the arena.
struct product_job {
    uint32_t address, lo, scale; // operands: of the granule `granule`, or of the expert `expert` of the list
    int plane;
    int granule, expert, each;   // bytes from one expert's operand to the next; 0: one for all
    int last;                    // unit behind the batch
};

// Shared memory of a CTA. The stages begin it, for alignment.
struct shared_memory {
    unsigned char stage[WARPGROUPS][DEPTH][SLIP_STAGE_BYTES];
    unsigned char arena[SLIP_CUDA_ARENA];
    slip_cuda_op op[2]; // in hand, and the next
    step_view step;
    expert_list list;
    uint32_t bitmap[SLIP_MAX_EXPERTS / 32]; // of picked experts, while the list is made
    ring weights;
    uint64_t list_ready;    // one arrival: the list of the op in hand is there
    uint64_t list_free;     // one arrival a producer warp: it has read the list for the last time
    uint64_t step_issued;   // one arrival a producer warp: all weights of the step are on their way
    waiter consumer_waits, producer_waits[PRODUCER_WARPS]; // here, not in registers: only a wait that takes long looks at them
    float factor[SLIP_TOKENS];
    product_job job;
    int stop;
};
static_assert(sizeof(shared_memory) <= 227 * 1024, "shared memory of an SM");
static_assert(SLIP_STAGE_BYTES % 128 == 0 && SLIP_CUDA_ARENA % 128 == 0, "operands want their alignment");

// A range of units of this SM: contiguous, and the same for every step of the same shape.
struct unit_range {
    int first, last;
};

__device__ __forceinline__ unit_range units_of(int units, int sm, int sms)
{
    return {(int)((unsigned)units * sm / sms), (int)((unsigned)units * (sm + 1) / sms)}; // lower.c sees that 32 bits are enough
}

// Where a warpgroup is in the op's units: unit `row` of chunk `chunk` of expert `at` of the list. It goes on in steps of WARPGROUPS,
// without the divisions that finding a unit by its number takes.
struct unit_cursor {
    int at, chunk, row;
    int rows; // units of a chunk
};

__device__ __forceinline__ unit_cursor cursor_at(const slip_cuda_matrix &m, int index)
{
    unit_cursor u;
    u.rows = (m.tiles + m.unit_tiles - 1) / m.unit_tiles;
    u.at = index / m.units;
    index -= u.at * m.units;
    u.chunk = index / u.rows;
    u.row = index - u.chunk * u.rows;
    return u;
}

__device__ __forceinline__ void cursor_next(unit_cursor &u, const slip_cuda_matrix &m)
{
    for (u.row += WARPGROUPS; u.row >= u.rows; u.row -= u.rows)
        if (++u.chunk == m.chunks) {
            u.chunk = 0;
            u.at++;
        }
}

// One unit of a matrix: `tiles` tiles from `tile` on, `length` granules of the chunk each.
struct unit {
    int chunk, tile, tiles, length;
};

__device__ __forceinline__ unit unit_at(const slip_cuda_matrix &m, const unit_cursor &u)
{
    int tile = u.row * m.unit_tiles;
    return {u.chunk, tile, min(m.unit_tiles, m.tiles - tile), min(m.chunk, m.granules - u.chunk * m.chunk)};
}

__device__ __forceinline__ int64_t unit_granule(const slip_cuda_matrix &m, const unit &u)
{
    return (int64_t)u.chunk * m.chunk * m.tiles + (int64_t)u.tile * u.length;
}

// ---- the producer ----

struct producer {
    ring *weights;
    unsigned char (*stage)[SLIP_STAGE_BYTES]; // of this warpgroup
    int warpgroup;
    unsigned count;                           // stages ever
    uint64_t policy;
};

// One contiguous run of granules, stage by stage.
__device__ __forceinline__ void produce(const waiter &w, producer &p, const unsigned char *from, int granules, int granule_bytes)
{
    for (int left = granules; left > 0; left -= SLIP_STAGE_GRANULES) {
        unsigned slot = p.count % DEPTH, round = p.count / DEPTH;
        int bytes = min(left, (int)SLIP_STAGE_GRANULES) * granule_bytes;
        uint64_t *full = &p.weights->full[p.warpgroup][slot];
        // Round 0 finds the stages empty: waiting for the phase before the first succeeds at once.
        if (!mbarrier_wait(w, SLIP_WAIT_EMPTY, &p.weights->empty[p.warpgroup][slot], round + 1))
            return;
        mbarrier_expect(full, bytes);
        bulk_load(p.stage[slot], from, bytes, full, p.policy);
        from += bytes;
        p.count++;
    }
}

// ---- a consumer warpgroup ----

struct consumer {
    ring *weights;
    unsigned char (*stage)[SLIP_STAGE_BYTES];
    int warpgroup;
    unsigned count;
};

__device__ __forceinline__ uint32_t stage_wait(const waiter &w, const consumer &r)
{
    unsigned slot = r.count % DEPTH;
    mbarrier_wait(w, SLIP_WAIT_FULL, &r.weights->full[r.warpgroup][slot], r.count / DEPTH);
    return shared_address(r.stage[slot]);
}

// Behind the last read of the stage by this warp.
__device__ __forceinline__ void stage_release(consumer &r)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        mbarrier_arrive(&r.weights->empty[r.warpgroup][r.count % DEPTH]);
    r.count++;
}

} // namespace slip
