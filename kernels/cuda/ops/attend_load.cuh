/* What an item of attention works on, and how queries, keys and values get to shared memory. */
#pragma once

#include "kernels/cuda/layout/attend_size.h"
#include "kernels/cuda/sync/context.cuh"
#include "kernels/cuda/arch.cuh"

namespace slip {

static_assert(CONSUMER_WARPS == SLIP_ATTEND_QUERIES, "warp w loads, softens and merges query w of the tile");
static_assert(SLIP_ATTEND_KEYS == 64 && CONSUMERS == 8 * SLIP_ATTEND_KEYS, "eight threads load a key, two keys a lane are softened");

// An item of attention, the same in all threads: every warp works it out for itself, which saves a barrier.
struct attend_job {
    int row, count, position; // the run: rows [row, row + count) of the step, the first one's position
    int start;                // of the sequence in the cache
    int last_of_run;          // last key that its last row sees
    int kv, head;             // local K/V head and the first local q head that reads it
    int query, queries;       // index of the tile's first query, how many exist: query j is row j % count, head j / count
    int first, last;          // absolute keys to walk
    int partial, across;      // the tile's split i leaves partial result `partial` + i * `across`
    int part, parts;          // which of the tile's splits this is and how many there are; 0: beyond the last item
};

// The query of a warp.
struct attend_query {
    int row, head;   // of the step, of this rank
    int first, last; // keys it sees; last -1: it does not exist
};

// At the start of the arena.
struct attend_memory {
    float rescale[SLIP_ATTEND_QUERIES]; // what each row's accumulators are multiplied by
    int last_to_arrive;
};

static_assert(sizeof(attend_memory) <= SLIP_ATTEND_FACTORS, "it lies before the scores");

// Keys of the window of a row; positions fit 32 bits.
__device__ __forceinline__ int attend_first(const slip_cache &shape, int position)
{
    return shape.window > 0 && position >= shape.window ? position - shape.window + 1 : 0;
}

__device__ __forceinline__ attend_query attend_query_of(const slip_cache &shape, const attend_job &job, int warp)
{
    const int j = job.query + warp, head = small_quotient(j, job.count), i = j - head * job.count, position = job.position + i;
    const int last = shape.whole_block ? job.last_of_run : position;
    if (warp >= job.queries)
        return {job.row, job.head, 0, -1};
    return {job.row + i, job.head + head, attend_first(shape, position), last};
}

// ---- loads: asynchronous, the caller commits ----

// This thread's part of one key of K or V: `data` is [heads of slots][width], `head` counts in it. Keys that no query sees are zeros,
// and so is the rest of a row: memory that was never written may hold NaN, and zero times NaN is not zero.
__device__ __forceinline__ void attend_load_key(const uint16_t *data, int width, int head, bool seen, uint32_t to, int pitch, int thread)
{
    const unsigned end = (unsigned)pitch - SLIP_ATTEND_PAD * 2, bytes = (unsigned)width * 2;
    const unsigned char *from = (const unsigned char *)data + (uint64_t)(unsigned)head * bytes;
    to += (unsigned)(thread / 8 * pitch);
#pragma unroll 1
    for (unsigned at = (unsigned)thread % 8 * 16; at < end; at += 128)
        copy_16(to + at, from + at, seen && at < bytes);
}

// The slot of the key 64 further on.
__device__ __forceinline__ int attend_next_slot(int slot, int slots)
{
    slot += SLIP_ATTEND_KEYS;
    while (slot >= slots)
        slot -= slots;
    return slot;
}

// The warp's query, 16 bytes a lane.
__device__ __forceinline__ void attend_load_query(const slip_cuda_attend &op, const attend_query &query, uint32_t to, int pitch, int thread)
{
    const unsigned bytes = (unsigned)op.cache.k_width * 2, at = (unsigned)thread % 32 * 16;
    const unsigned char *from = (const unsigned char *)op.query;
    from += (uint64_t)(unsigned)slip_query_head(&op.cache, query.row, query.head) * bytes + at;
    if (at < (unsigned)pitch - SLIP_ATTEND_PAD * 2)
        copy_16(to + (unsigned)(thread / 32 * pitch) + at, from, query.last >= 0 && at < bytes);
}

} // namespace slip
