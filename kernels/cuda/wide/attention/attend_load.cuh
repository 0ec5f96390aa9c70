/* How queries, keys and values of a wide ATTEND get to where they are multiplied: four stages of 64 keys in shared memory, which threads that do
 * nothing else fill, and registers. */
#pragma once

#include "kernels/cuda/ops/attend.cuh"
#include "kernels/cuda/arch.cuh"

namespace slip {

constexpr int WIDE_ATTEND_WARPS = SLIP_WIDE_ATTEND_TILES, WIDE_ATTEND_FILLERS = 128; // warps that multiply, a tile each; threads that load
constexpr int WIDE_ATTEND_THREADS = WIDE_ATTEND_WARPS * 32 + WIDE_ATTEND_FILLERS;
constexpr int WIDE_ATTEND_MULTIPLIES = 240, WIDE_ATTEND_FILLS = 24; // registers of a thread
static_assert(WIDE_ATTEND_WARPS * 32 * WIDE_ATTEND_MULTIPLIES + WIDE_ATTEND_FILLERS * WIDE_ATTEND_FILLS <= 65536, "registers of an SM");
constexpr int WIDE_ATTEND_K = SLIP_WIDE_ATTEND_K, WIDE_ATTEND_V = SLIP_WIDE_ATTEND_V;
constexpr int WIDE_ATTEND_K_STEPS = WIDE_ATTEND_K / 16;   // of 16 dimensions
constexpr int WIDE_ATTEND_SEGMENTS = 64;                  // most stretches of the keys of a run
constexpr int WIDE_ATTEND_N_TILES = SLIP_ATTEND_KEYS / 8; // of 8 keys
constexpr int WIDE_ATTEND_V_TILES = WIDE_ATTEND_V / 8;    // of 8 dimensions
constexpr int WIDE_ATTEND_STAGES = 4;
constexpr int WIDE_ATTEND_PLANE = SLIP_ATTEND_KEYS * 128; // bytes of 64 dimensions of a stage's keys or values, swizzled rows of 128 bytes
constexpr int WIDE_ATTEND_K_PLANES = WIDE_ATTEND_K / 64,
              WIDE_ATTEND_PLANES = WIDE_ATTEND_K_PLANES + WIDE_ATTEND_V / 64; // keys', then values'

struct wide_attend_memory {
    alignas(1024) unsigned char stage[WIDE_ATTEND_STAGES][WIDE_ATTEND_PLANES * WIDE_ATTEND_PLANE];
    float4 total[WIDE_ATTEND_V_TILES][WIDE_ATTEND_WARPS * 32]; // outputs of the splits that are merged, where wide_attend_tile has them
    uint64_t full[WIDE_ATTEND_STAGES], empty[WIDE_ATTEND_STAGES];
    int base[SLIP_MAX_RUNS]; // partial results of the runs before
};
static_assert(sizeof(wide_attend_memory) + sizeof(slip_cuda_op) <= 227 * 1024, "shared memory of an SM beside early_ops()");

// A thread loads 16 bytes of every 16th row of each plane.
struct wide_attend_loader {
    static constexpr int ROWS = WIDE_ATTEND_FILLERS / 8, EACH = SLIP_ATTEND_KEYS / ROWS;
    const uint16_t *k, *v; // of slot 0 of the sequence
    int first, last;       // keys that the run sees
    int key, slot;         // of its first row
    uint32_t to;           // in a stage
    unsigned count;        // stages asked for: number n is at n % WIDE_ATTEND_STAGES
};

// `chunk`: the first of the next keys.
__device__ __forceinline__ void wide_attend_aim(const slip_cuda_cache &cache, const attend_run &run, int kv, int chunk,
                                                wide_attend_loader &loader)
{
    const int row = threadIdx.x % WIDE_ATTEND_FILLERS / 8, slice = threadIdx.x % 8;
    const int64_t head = slip_cache_at(&cache, run.start, 0, kv);
    loader.k = cache.k + head * cache.k_width + slice * 8;
    loader.v = cache.v + head * cache.v_width + slice * 8;
    loader.first = attend_first(cache.shape, run.position);
    loader.last = run.last;
    loader.key = chunk + row;
    loader.slot = small_remainder(loader.key, cache.slots);
    loader.to = swizzled_at(row, slice);
}

// 64 keys and their values, zeros where the run sees none.
__device__ __forceinline__ void wide_attend_load(const slip_cuda_cache &cache, wide_attend_loader &loader, uint32_t stage)
{
    const int heads = cache.shape.kv_heads, slots = cache.slots, column = threadIdx.x % 8 * 8;
    const int k_row = heads * cache.k_width, v_row = heads * cache.v_width, k_width = cache.k_width, v_width = cache.v_width;
#pragma unroll
    for (int i = 0; i < loader.EACH; i++) {
        const bool seen = loader.key >= loader.first && loader.key <= loader.last;
        const uint16_t *const k = loader.k + (int64_t)loader.slot * k_row, *const v = loader.v + (int64_t)loader.slot * v_row;
        const uint32_t to = stage + loader.to + i * (loader.ROWS * 128);
#pragma unroll
        for (int plane = 0; plane < WIDE_ATTEND_K_PLANES; plane++)
            if (column + plane * 64 < k_width)
                copy_16(to + plane * WIDE_ATTEND_PLANE, k + plane * 64, seen);
#pragma unroll
        for (int plane = 0; plane < WIDE_ATTEND_PLANES - WIDE_ATTEND_K_PLANES; plane++)
            if (column + plane * 64 < v_width)
                copy_16(to + (WIDE_ATTEND_K_PLANES + plane) * WIDE_ATTEND_PLANE, v + plane * 64, seen);
        loader.key += loader.ROWS;
        loader.slot += loader.ROWS;
        while (loader.slot >= slots)
            loader.slot -= slots;
    }
}

// By all threads, before the first loads: what narrow heads leave free is zeros.
__device__ __forceinline__ void wide_attend_start(const slip_cuda_cache &cache, wide_attend_memory &m)
{
    if (threadIdx.x < WIDE_ATTEND_STAGES) {
        mbarrier_init(&m.full[threadIdx.x], WIDE_ATTEND_FILLERS);
        mbarrier_init(&m.empty[threadIdx.x], WIDE_ATTEND_WARPS);
    }
    if (cache.k_width < WIDE_ATTEND_K || cache.v_width < WIDE_ATTEND_V) {
        for (int i = threadIdx.x; i < (int)(sizeof m.stage / sizeof(uint4)); i += WIDE_ATTEND_THREADS)
            ((uint4 *)m.stage)[i] = make_uint4(0, 0, 0, 0);
        fence_async_shared();
    }
}

// Fragments of the tile's queries: rows lane / 4 and lane / 4 + 8.
__device__ __forceinline__ void wide_attend_queries(const slip_cuda_attend &op, const attend_query (&query)[2], int lane,
                                                    uint32_t (&q)[WIDE_ATTEND_K_STEPS][4])
{
    const int width = op.cache.k_width;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const bool exists = query[r].last >= 0;
        const int head = exists ? slip_query_head(&op.cache, query[r].row, query[r].head) : 0;
        const uint16_t *from = op.query + (int64_t)head * width + lane % 4 * 2;
#pragma unroll
        for (int k = 0; k < WIDE_ATTEND_K_STEPS; k++) {
            q[k][r] = exists && k * 16 < width ? __ldcg((const unsigned *)(from + k * 16)) : 0;
            q[k][r + 2] = exists && k * 16 < width ? __ldcg((const unsigned *)(from + k * 16 + 8)) : 0;
        }
    }
}

} // namespace slip
