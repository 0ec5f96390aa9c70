/* ATTEND of a wide step. A CTA works on a run (up to 8 rows of one sequence), a K/V head and up to 8 tiles of 16 queries, a tile a warp, over a
 * stretch of the keys, which its warps share in shared memory, 64 at a time. Scores, weights and outputs of a tile stay in its warp's registers:
 * a weight's place in the fragments of one product is its place in those of the next. Partial results of each split go where ops/attend.cuh
 * has them, and a second kernel merges them by its code.
 *
 * A row gets the bits of ops/attend_tile.cuh: the same instructions with the same operands, dimensions in the same four accumulators, keys in the
 * same sub-chunks, and the sum of a sub-chunk's weights by the same tree of additions. */
#pragma once

#include "kernels/cuda/ops/attend.cuh"
#include "kernels/cuda/arch.cuh"
#include "kernels/cuda/sync/early.cuh"

namespace slip {

constexpr int WIDE_ATTEND_WARPS = 8, WIDE_ATTEND_THREADS = WIDE_ATTEND_WARPS * 32;
constexpr int WIDE_ATTEND_K = 192, WIDE_ATTEND_V = 128;   // widest heads
constexpr int WIDE_ATTEND_K_STEPS = WIDE_ATTEND_K / 16;   // of 16 dimensions
constexpr int WIDE_ATTEND_SEGMENTS = 64;                  // most stretches of the keys of a run
constexpr int WIDE_ATTEND_N_TILES = SLIP_ATTEND_KEYS / 8; // of 8 keys
constexpr int WIDE_ATTEND_V_TILES = WIDE_ATTEND_V / 8;    // of 8 dimensions
constexpr int WIDE_ATTEND_STAGE = SLIP_ATTEND_KEYS * 2 * (WIDE_ATTEND_K + WIDE_ATTEND_V + 2 * SLIP_ATTEND_PAD);

struct wide_attend_memory {
    alignas(128) unsigned char stage[2][WIDE_ATTEND_STAGE]; // 64 keys, then their values
    int base[SLIP_MAX_RUNS];                                // partial results of the runs before
};
constexpr size_t WIDE_MERGE_BYTES = SLIP_ATTEND_FACTORS + ATTEND_MERGE * CONSUMERS * sizeof(float4);

static inline bool wide_attend_takes(const slip_cuda_attend &op)
{
    return op.cache.k_width <= WIDE_ATTEND_K && op.cache.v_width <= WIDE_ATTEND_V && (op.width == op.operand.padded || !op.operand.hi);
}

// What the functions of ops/attend.cuh read of a context.
__device__ __forceinline__ context wide_attend_context(const slip_cuda_step *step)
{
    context c = {};
    c.step = step;
    c.runs = step->runs;
    return c;
}

// By a whole CTA.
__device__ __forceinline__ void wide_attend_bases(const slip_cuda_attend &op, const context &c, int *base)
{
    const int lane = threadIdx.x % 32;
    for (int i = threadIdx.x; i < c.runs; i += blockDim.x)
        base[i] = attend_load_run(op, c, &c.step->run[0], i).items;
    __syncthreads();
    if (threadIdx.x < 32) {
        int before = 0;
#pragma unroll 1
        for (int first = 0; first < c.runs; first += 32) {
            const int mine = first + lane < c.runs ? base[first + lane] : 0;
            int end = mine;
#pragma unroll
            for (int away = 1; away < 32; away *= 2) {
                const int below = __shfl_up_sync(~0u, end, away);
                end += lane >= away ? below : 0;
            }
            if (first + lane < c.runs)
                base[first + lane] = before + end - mine;
            before += __shfl_sync(~0u, end, 31);
        }
    }
    __syncthreads();
}

// A warp's tile.
struct wide_attend_tile {
    int first[2], last[2]; // keys that rows lane / 4 and lane / 4 + 8 see; last -1: there is no such query
    float most[2], sum[2];
    float o[WIDE_ATTEND_V_TILES][4];
};

// ---- loads ----

// A sub-chunk's keys and values, zeros where the run sees none. A quarter of a key a thread.
__device__ __forceinline__ void wide_attend_load(const slip_cuda_attend &op, const attend_run &run, int kv, int chunk, unsigned char *stage)
{
    const slip_cuda_cache &cache = op.cache;
    const int k_pitch = slip_attend_k_pitch(cache.k_width), v_pitch = slip_attend_v_pitch(cache.v_width), part = threadIdx.x % 4;
    const int row = threadIdx.x / 4, key = chunk + row;
    const bool seen = key >= attend_first(cache.shape, run.position) && key <= run.last;
    static_assert(WIDE_ATTEND_THREADS == 4 * SLIP_ATTEND_KEYS, "four threads a key");
    const int64_t head = slip_cache_at(&cache, run.start, seen ? small_remainder(key, cache.slots) : 0, kv);
    const uint16_t *k = cache.k + head * cache.k_width, *v = cache.v + head * cache.v_width;
    const uint32_t keys = shared_address(stage) + row * k_pitch,
                   values = shared_address(stage) + SLIP_ATTEND_KEYS * k_pitch + row * v_pitch;
    for (int at = part * 8; at * 2 < k_pitch - SLIP_ATTEND_PAD * 2; at += 32)
        copy_16(keys + at * 2, at < cache.k_width ? k + at : k, seen && at < cache.k_width);
    for (int at = part * 8; at < cache.v_width; at += 32)
        copy_16(values + at * 2, v + at, seen);
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

// ---- a sub-chunk, by a warp ----

// S of 16 queries and 8 keys: halves of the dimensions as attend_scores() has them, two accumulators each.
__device__ __forceinline__ void wide_attend_scores(uint32_t key, int steps, const uint32_t (&q)[WIDE_ATTEND_K_STEPS][4], float (&s)[4])
{
    float c[4][4] = {};
#pragma unroll
    for (int i = 0; i < WIDE_ATTEND_K_STEPS / 2; i++) {
        if (i >= steps)
            break;
        uint32_t b[4];
        load_matrix_4(key + i * SLIP_ATTEND_K_STEP * 2, b);
        mma_16816(c[i % 2 * 2], q[2 * i], b[0], b[1]);
        mma_16816(c[i % 2 * 2 + 1], q[2 * i + 1], b[2], b[3]);
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
        s[j] = (c[0][j] + c[1][j]) + (c[2][j] + c[3][j]);
}

// Weights of row `r` of the tile, packed: p[n][r] has keys 8 n + 2 (lane % 4) and the next. Returns what the row's outputs are multiplied by.
__device__ __forceinline__ float wide_attend_soften(wide_attend_tile &t, int r, float (&s)[WIDE_ATTEND_N_TILES][4], float scale, int chunk,
                                                    int lane, uint32_t (&p)[WIDE_ATTEND_N_TILES][2])
{
    float most = t.most[r], pair[WIDE_ATTEND_N_TILES];
#pragma unroll
    for (int n = 0; n < WIDE_ATTEND_N_TILES; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const int key = chunk + n * 8 + lane % 4 * 2 + j;
            s[n][2 * r + j] = key >= t.first[r] && key <= t.last[r] ? s[n][2 * r + j] * scale : -INFINITY;
            most = fmaxf(most, s[n][2 * r + j]);
        }
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
#pragma unroll
    for (int n = 0; n < WIDE_ATTEND_N_TILES; n++) {
        const uint16_t one = bf16_bits(attend_exp2(s[n][2 * r] - most)), two = bf16_bits(attend_exp2(s[n][2 * r + 1] - most));
        p[n][r] = one | (uint32_t)two << 16;
        pair[n] = bf16_value(one) + bf16_value(two);
    }
    // warp_sum()'s tree over 32 pairs in order, of which this thread has every fourth
    float sum = ((pair[0] + pair[4]) + (pair[2] + pair[6])) + ((pair[1] + pair[5]) + (pair[3] + pair[7]));
    sum += __shfl_xor_sync(~0u, sum, 2);
    sum += __shfl_xor_sync(~0u, sum, 1);
    const float rescale = attend_exp2(t.most[r] - most);
    t.sum[r] = fmaf(t.sum[r], rescale, sum);
    t.most[r] = most;
    return rescale;
}

__device__ __forceinline__ void wide_attend_values(wide_attend_tile &t, uint32_t value, int pitch, int width, const float (&rescale)[2],
                                                   const uint32_t (&p)[WIDE_ATTEND_N_TILES][2])
{
#pragma unroll
    for (int d = 0; d < WIDE_ATTEND_V_TILES; d++) {
        if (d * 8 >= width)
            break;
        float sum[4] = {};
#pragma unroll
        for (int k = 0; k < 2; k++) { // 32 keys
            uint32_t b[4];
            load_matrix_4_transposed(value + k * 32 * pitch + d * 16, b);
            const uint32_t low[4] = {p[4 * k][0], p[4 * k][1], p[4 * k + 1][0], p[4 * k + 1][1]};
            const uint32_t high[4] = {p[4 * k + 2][0], p[4 * k + 2][1], p[4 * k + 3][0], p[4 * k + 3][1]};
            mma_16816(sum, low, b[0], b[1]);
            mma_16816(sum, high, b[2], b[3]);
        }
#pragma unroll
        for (int j = 0; j < 4; j++)
            t.o[d][j] = fmaf(t.o[d][j], rescale[j / 2], sum[j]);
    }
}

__device__ __forceinline__ void wide_attend_chunk(const slip_cuda_attend &op, wide_attend_tile &t, const unsigned char *stage, int chunk,
                                                  float scale, int lane, const uint32_t (&q)[WIDE_ATTEND_K_STEPS][4])
{
    const int k_pitch = slip_attend_k_pitch(op.cache.k_width), v_pitch = slip_attend_v_pitch(op.cache.v_width);
    const int steps = (k_pitch - SLIP_ATTEND_PAD * 2) / (SLIP_ATTEND_K_STEP * 2);
    const uint32_t keys = shared_address(stage) + lane % 8 * k_pitch + lane / 8 * 16;
    float s[WIDE_ATTEND_N_TILES][4];
    uint32_t p[WIDE_ATTEND_N_TILES][2];
#pragma unroll
    for (int n = 0; n < WIDE_ATTEND_N_TILES; n++)
        wide_attend_scores(keys + n * 8 * k_pitch, steps, q, s[n]);
    const float rescale[2] = {wide_attend_soften(t, 0, s, scale, chunk, lane, p), wide_attend_soften(t, 1, s, scale, chunk, lane, p)};
    wide_attend_values(t, shared_address(stage) + SLIP_ATTEND_KEYS * k_pitch + lane * v_pitch, v_pitch, op.cache.v_width, rescale, p);
}

// ---- splits ----

__device__ __forceinline__ void wide_attend_begin(wide_attend_tile &t)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        t.most[r] = ATTEND_NOTHING;
        t.sum[r] = 0;
    }
#pragma unroll
    for (int d = 0; d < WIDE_ATTEND_V_TILES; d++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            t.o[d][j] = 0;
}

// As attend_store_part(). `item`: of the tile and the split.
__device__ __forceinline__ void wide_attend_store(const slip_cuda_attend &op, const wide_attend_tile &t, int item, int lane)
{
    const int width = op.cache.v_width, row = item * SLIP_ATTEND_QUERIES + lane / 4;
    float *out = op.part_out + (int64_t)row * width + lane % 4 * 2;
#pragma unroll
    for (int d = 0; d < WIDE_ATTEND_V_TILES; d++)
        if (d * 8 < width) {
            *(float2 *)(out + d * 8) = make_float2(t.o[d][0], t.o[d][1]);
            *(float2 *)(out + 8 * width + d * 8) = make_float2(t.o[d][2], t.o[d][3]);
        }
    if (lane % 4 == 0) {
        ((float2 *)op.part_sum)[row] = make_float2(t.most[0], t.sum[0]);
        ((float2 *)op.part_sum)[row + 8] = make_float2(t.most[1], t.sum[1]);
    }
}

// The first split of stretch `segment` of `segments` that have about as many keys each.
__device__ __forceinline__ int wide_attend_split(const slip_cuda_attend &op, const attend_run &run, int segment, int segments)
{
    const int first = attend_first(op.cache.shape, run.position);
    if (segment == 0 || segment == segments)
        return segment == 0 ? run.split : run.split + run.parts;
    return slip_attend_split_of(&op.cache, first + (int)((int64_t)(run.last - first + 1) * segment / segments));
}

// Splits [from, to), by all warps: those without a tile load with the others.
__device__ __forceinline__ void wide_attend_walk(const slip_cuda_attend &op, wide_attend_memory &m, const attend_run &run, int kv, int from,
                                                 int to, int base, int tile)
{
    const slip_cuda_cache &cache = op.cache;
    const int lane = threadIdx.x % 32, tiles = slip_attend_tiles(&cache.shape, run.count), across = tiles * cache.shape.kv_heads;
    const int first = max(slip_attend_split_first(&cache, from), attend_first(cache.shape, run.position)) & -SLIP_ATTEND_KEYS;
    const int last = min(slip_attend_split_first(&cache, to) - 1, run.last);
    const float scale = rsqrtf((float)cache.shape.head_dim) * ATTEND_LOG2E;
    const attend_job job = attend_open(op, run, base, kv * tiles + min(tile, tiles - 1));
    const bool works = tile < tiles && job.queries > 0;
    wide_attend_tile t;
    uint32_t q[WIDE_ATTEND_K_STEPS][4];
    if (works) {
        const attend_query query[2] = {attend_query_of(cache.shape, job, lane / 4), attend_query_of(cache.shape, job, lane / 4 + 8)};
        for (int r = 0; r < 2; r++) {
            t.first[r] = query[r].first;
            t.last[r] = query[r].last;
        }
        wide_attend_queries(op, query, lane, q);
        wide_attend_begin(t);
    }
    wide_attend_load(op, run, kv, first, m.stage[0]);
    copy_commit();
#pragma unroll 1
    for (int chunk = first, buffer = 0; chunk <= last; chunk += SLIP_ATTEND_KEYS, buffer ^= 1) {
        const int next = chunk + SLIP_ATTEND_KEYS;
        if (next <= last)
            wide_attend_load(op, run, kv, next, m.stage[buffer ^ 1]);
        copy_commit();
        copy_wait<1>();
        __syncthreads(); // this sub-chunk is there
        if (works) {
            wide_attend_chunk(op, t, m.stage[buffer], chunk, scale, lane, q);
            const int split = slip_attend_split_of(&cache, chunk);
            if (next > last || slip_attend_split_of(&cache, next) != split) {
                wide_attend_store(op, t, job.partial + (split - run.split) * across, lane);
                wide_attend_begin(t);
            }
        }
        __syncthreads(); // it is read: the one after the next may come
    }
}

extern __shared__ __align__(1024) unsigned char wide_attend_bytes[];

__global__ void __launch_bounds__(WIDE_ATTEND_THREADS, 1) wide_attend(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    wide_attend_memory &m = *(wide_attend_memory *)wide_attend_bytes;
    const slip_cuda_attend &op = early_ops(ops, number)->attend;
    const context c = wide_attend_context(step);
    const int kv_heads = op.cache.shape.kv_heads, warp = threadIdx.x / 32;
    const int groups = (slip_attend_tiles(&op.cache.shape, SLIP_TOKENS) + WIDE_ATTEND_WARPS - 1) / WIDE_ATTEND_WARPS;
    const int each = kv_heads * groups, all = max(c.runs * each, 1);
    const int segments = min((2 * (int)gridDim.x + all - 1) / all, WIDE_ATTEND_SEGMENTS);
    wide_attend_bases(op, c, m.base);
    await_previous_kernel();
#pragma unroll 1
    for (int index = blockIdx.x; index < c.runs * each * segments; index += gridDim.x) { // long ones first
        const int number_of_run = c.runs - 1 - index / (each * segments), rest = index % (each * segments);
        const int segment = rest / each, kv = rest % each / groups, group = rest % each % groups;
        const attend_run run = attend_load_run(op, c, &step->run[0], number_of_run);
        const int from = wide_attend_split(op, run, segment, segments), to = wide_attend_split(op, run, segment + 1, segments);
        if (from < to)
            wide_attend_walk(op, m, run, kv, from, to, m.base[number_of_run], group * WIDE_ATTEND_WARPS + warp);
    }
}

// Merges the splits of all tiles: a CTA a tile.
__global__ void __launch_bounds__(CONSUMERS) wide_attend_merge(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    __shared__ int base[SLIP_MAX_RUNS];
    attend_memory &memory = *(attend_memory *)wide_attend_bytes;
    const slip_cuda_attend &op = early_ops(ops, number)->attend;
    const context c = wide_attend_context(step);
    const int each = slip_attend_tiles(&op.cache.shape, SLIP_TOKENS) * op.cache.shape.kv_heads;
    wide_attend_bases(op, c, base);
    await_previous_kernel();
#pragma unroll 1
    for (int index = blockIdx.x; index < c.runs * each; index += gridDim.x) {
        const int number_of_run = index / each, tile = index % each;
        const attend_run run = attend_load_run(op, c, &step->run[0], number_of_run);
        if (tile >= slip_attend_tiles(&op.cache.shape, run.count) * op.cache.shape.kv_heads)
            continue;
        const attend_job job = attend_open(op, run, base[number_of_run], tile);
        if (job.queries > 0)
            attend_combine(op, memory, job, attend_query_of(op.cache.shape, job, threadIdx.x / 32), threadIdx.x);
    }
}

} // namespace slip
