/* What an item of attention works on, where it lies in shared memory, and how queries, keys and values get there. */
#pragma once

#include "kernels/cuda/attend_size.h"
#include "kernels/cuda/context.cuh"
#include "kernels/cuda/mma.cuh"

namespace slip {

static_assert(CONSUMER_WARPS == 16, "half the warps have an m16n16 tile of the scores, a half-warp has one row of the softmax");
static_assert(SLIP_ATTEND_QUERIES == 32 && SLIP_ATTEND_KEYS == 64, "likewise");

// Head dims as stored; 0: known at run time alone.
template <int K, int V> struct attend_widths {
    static_assert(K % 64 == 0 && V % 64 == 0, "eight threads load a key; eight warps share an m16 tile");
    static constexpr int UNITS = V > 0 ? V / 64 : SLIP_ATTEND_V_WIDTH / 64; // n8 tiles of O that a warp holds
    static constexpr int UNROLL = K > 0 ? 6 : 1; // of loops over the width of a head
    int k_at_run_time, v_at_run_time;
    __device__ __forceinline__ int k() const { return K > 0 ? K : k_at_run_time; }
    __device__ __forceinline__ int v() const { return V > 0 ? V : v_at_run_time; }
    __device__ __forceinline__ slip_attend_arena at() const { return slip_attend_layout(k(), v()); }
};

// What an item attends with.
struct attend_job {
    int row, count;             // the run: rows [row, row + count) of the step
    int first_slot;             // of its sequence in the cache
    int kv, head;               // local K/V head and the first local q head that reads it
    int query, queries;         // index of the tile's first query, how many exist: query j is row j % count, head j / count
    int first, last;            // absolute keys to walk
    int item, part, parts;      // partial result number; which of the tile's splits this is and how many there are
};

// Online softmax of one row, the same in all lanes of its half-warp.
struct attend_row {
    int first, last;            // keys it sees; last -1: a query that does not exist
    float most, sum;            // of the split
    float total_most, total_sum; // of the splits before it
};

// What a thread accumulates: [unit][c of the mma fragment].
template <int UNITS> struct attend_acc {
    float split[UNITS][4], total[UNITS][4];
};

// The start of the arena. What is uniform over the SM lies here: registers are what this op has least of.
struct attend_memory {
    // factors by row of the tile: of the split's accumulators; of the total and of the split when they are merged
    float rescale[SLIP_ATTEND_QUERIES], keep[SLIP_ATTEND_QUERIES], take[SLIP_ATTEND_QUERIES];
    attend_job job;
    int last_to_arrive;

    __device__ unsigned char *byte(int offset) { return (unsigned char *)this + offset; }
};

static_assert(sizeof(attend_memory) <= SLIP_ATTEND_HEAD, "it lies before the queries");

__device__ __forceinline__ int attend_first(const slip_cache &shape, const slip_cuda_row &row)
{
    int position = (int)row.position;
    return shape.window > 0 && position >= shape.window ? position - shape.window + 1 : 0;
}

// ---- loads: asynchronous, the caller commits ----

// One sub-chunk of K or of V: eight threads load a key, `slot` is this thread's. Keys that nobody here sees are zeros: they may
// never have been written, and zero times NaN is not zero. Addresses are computed each time: registers are dearer.
template <int UNROLL>
__device__ __forceinline__ void attend_load_keys(const slip_cuda_cache &cache, const attend_job &job, const uint16_t *data, int width,
                                                 int chunk, int slot, uint32_t to, int thread)
{
    const int key = chunk + thread / 8;
    const bool seen = key >= job.first && key <= job.last;
    const int64_t head = (int64_t)(job.first_slot + slot) * cache.shape.kv_heads + job.kv;
    const uint16_t *from = data + head * width + thread % 8 * 8;
    to += (uint32_t)(thread / 8 * (width + SLIP_ATTEND_PAD) * 2 + thread % 8 * 16);
#pragma unroll(UNROLL)
    for (int unit = 0; unit < width / 8; unit += 8)
        if (thread % 8 + unit < width / 8)
            copy_16(to + unit * 16, from + unit * 8, seen);
}

// The slot of the key 64 further on.
__device__ __forceinline__ int attend_next_slot(int slot, int slots)
{
    slot += SLIP_ATTEND_KEYS;
    return slot < slots ? slot : slots > SLIP_ATTEND_KEYS ? slot - slots : slot % slots;
}

// The tile's queries: 16 threads a query.
template <int UNROLL>
__device__ __forceinline__ void attend_load_queries(const slip_cuda_op &op, const attend_job &job, int width, uint32_t to, int thread)
{
    const int i = thread / 16, j = job.query + i, count = job.count;
    const bool exists = i < job.queries;
    const int row = job.row + (exists ? j % count : 0), head = job.head + (exists ? j / count : 0);
    const uint16_t *from = op.query + ((int64_t)row * op.cache.shape.q_heads + head) * width + thread % 16 * 8;
    to += (uint32_t)(i * (width + SLIP_ATTEND_PAD) * 2 + thread % 16 * 16);
#pragma unroll(UNROLL)
    for (int unit = 0; unit < width / 8; unit += 16)
        if (thread % 16 + unit < width / 8)
            copy_16(to + unit * 16, from + unit * 8, exists);
}

// Which keys this half-warp's query sees.
__device__ __forceinline__ attend_row attend_open_row(const slip_cache &shape, const attend_job &job, const slip_cuda_step &step, int thread)
{
    attend_row row = {0, -1, -INFINITY, 0, -INFINITY, 0};
    if (thread / 16 < job.queries) {
        const slip_cuda_row &of = step.row[job.row + (job.query + thread / 16) % job.count];
        row.first = attend_first(shape, of);
        row.last = (int)of.last;
    }
    return row;
}

} // namespace slip
