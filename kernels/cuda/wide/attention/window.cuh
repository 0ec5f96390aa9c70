/* ATTEND_WINDOW of a wide step whose rows a ROPE has rotated and put into the cache. A unit of work is a block of up to 4 runs of one sequence, 32
 * consecutive rows, with up to eight of the query heads that read a K/V head: the windows of such rows overlap, so the block's keys and values,
 * at most 174, are fetched to shared memory once. A warpgroup then computes a run and its heads, 64 queries, by wgmma: queries, weights and outputs stay in
 * registers.
 *
 * A row gets the bits of ops/attend_window.cuh: wgmma's sums are those of mma, with the same operands in the same order of dimensions and keys. There, too,
 * scores are products of their own, keys are multiplied by weights in steps of 16 at absolute multiples of 16, and steps alternate between two
 * accumulators. */
#pragma once

#include "kernels/cuda/ops/attend_window.cuh"
#include "kernels/cuda/arch.cuh"
#include "kernels/cuda/sync/early.cuh"

namespace slip {

constexpr int WIDE_WINDOW_WARPGROUPS = 2, WIDE_WINDOW_THREADS = WIDE_WINDOW_WARPGROUPS * 128;
constexpr int WIDE_WINDOW_RUNS = 4, WIDE_WINDOW_HEADS = 8; // of a unit
constexpr int WIDE_WINDOW_KEYS = 192;                      // from a multiple of 16 on
constexpr int WIDE_WINDOW_V = 128;                         // widest value
constexpr int WIDE_WINDOW_PLANE = WIDE_WINDOW_KEYS * 128;  // bytes of 64 dimensions, swizzled rows of 128 bytes
constexpr int WIDE_WINDOW_K_PLANES = WINDOW_DIMS / 64, WIDE_WINDOW_PLANES = WIDE_WINDOW_K_PLANES + WIDE_WINDOW_V / 64;
constexpr int WIDE_WINDOW_K_STEPS = WINDOW_DIMS / 16;
constexpr int WIDE_WINDOW_HALF = WINDOW_STEPS / 2 * WINDOW_TILE; // keys whose scores are one product
static_assert(WIDE_WINDOW_KEYS >=
                  (WINDOW_TILE - 1 + (WIDE_WINDOW_RUNS - 1) * SLIP_TOKENS) / WINDOW_TILE * WINDOW_TILE + WINDOW_STEPS * WINDOW_TILE,
              "the last run's steps have a place");
static_assert(WIDE_WINDOW_HEADS * SLIP_TOKENS == 64 && WIDE_WINDOW_HALF == 80, "as wgmma has them");

struct wide_window_memory {
    alignas(1024) unsigned char plane[WIDE_WINDOW_PLANES][WIDE_WINDOW_PLANE]; // of keys, then of values
    alignas(1024) uint32_t ones[256];                                         // bf16
    int16_t block[SLIP_MAX_RUNS + 1];                                         // first run of each block, and the end
    int blocks;
};
static_assert(sizeof(wide_window_memory) + sizeof(slip_cuda_op) <= 227 * 1024, "shared memory of an SM beside early_ops()");

static inline bool wide_window_takes(const slip_cuda_attend_window &op)
{
    return op.cache.v_width <= WIDE_WINDOW_V && (op.width == op.operand.padded || !op.operand.hi);
}

// By the first warp: where blocks begin. A run that goes on with the sequence of the run before is in its block, unless that is full.
__device__ __forceinline__ void wide_window_blocks(const slip_cuda_step *step, wide_window_memory &m)
{
    const int lane = threadIdx.x % 32, runs = step->runs;
    int count = 0;
#pragma unroll 1
    for (int first = 0; first < runs; first += 32) {
        const int i = first + lane;
        const bool begins = i < runs && (i % WIDE_WINDOW_RUNS == 0 || step->run[i].sequence != step->run[i - 1].sequence);
        const unsigned all = __ballot_sync(~0u, begins);
        if (begins)
            m.block[count + __popc(all & ((1u << lane) - 1))] = (int16_t)i;
        count += __popc(all);
    }
    if (lane == 0) {
        m.block[count] = (int16_t)runs;
        m.blocks = count;
    }
}

struct wide_window_unit {
    int run, runs;         // of the step: [run, run + runs)
    int kv, head, heads;   // local
    int first, base, last; // keys; base: the multiple of 16 at or below the first
    int start;             // of the sequence in the cache
};

__device__ __forceinline__ wide_window_unit wide_window_open(const slip_cuda_attend_window &op, const slip_cuda_step *step,
                                                             const wide_window_memory &m, int index)
{
    const slip_cache &shape = op.cache.shape;
    const int splits = (min(shape.group, shape.q_heads) + WIDE_WINDOW_HEADS - 1) / WIDE_WINDOW_HEADS;
    const int block = index % m.blocks, rest = index / m.blocks, kv = rest / splits,
              begin = (shape.first_kv + kv) * shape.group - shape.first_q;
    const int head = max(begin, 0) + (rest - kv * splits) * WIDE_WINDOW_HEADS, end = min(begin + shape.group, shape.q_heads);
    wide_window_unit u;
    u.run = m.block[block];
    u.runs = m.block[block + 1] - u.run;
    u.kv = kv;
    u.head = head;
    u.heads = min(end - head, WIDE_WINDOW_HEADS);
    const slip_cuda_run &one = step->run[u.run], &other = step->run[u.run + u.runs - 1];
    u.first = attend_first(shape, (int)one.position);
    u.base = u.first & -WINDOW_TILE;
    u.last = (int)other.position + other.count - 1;
    u.start = slip_cache_start(&op.cache, one.sequence, one.base);
    return u;
}

// Starts to fetch the unit's keys and values. Values of keys that are not there are zeros: their weights are, and zero times NaN is not.
__device__ __forceinline__ void wide_window_fetch(const slip_cuda_attend_window &op, wide_window_memory &m, const wide_window_unit &u)
{
    constexpr int ROWS = WIDE_WINDOW_THREADS / 8;
    const slip_cuda_cache &cache = op.cache;
    const int k_width = cache.k_width, v_width = cache.v_width, heads = cache.shape.kv_heads, column = threadIdx.x % 8 * 8;
    const int64_t head = slip_cache_at(&cache, u.start, 0, u.kv);
    const uint16_t *const k = cache.k + head * k_width + column, *const v = cache.v + head * v_width + column;
    int key = u.base + (int)threadIdx.x / 8, slot = small_remainder(key, cache.slots);
    uint32_t to = shared_address(m.plane[0]) + swizzled_at(threadIdx.x / 8, threadIdx.x % 8);
    static_assert(WIDE_WINDOW_KEYS % ROWS == 0 && ROWS % 8 == 0, "all rows of a thread are swizzled alike");
#pragma unroll 2
    for (int i = 0; i < WIDE_WINDOW_KEYS / ROWS; i++, key += ROWS, to += ROWS * 128) {
        const bool seen = key >= u.first && key <= u.last;
#pragma unroll
        for (int plane = 0; plane < WIDE_WINDOW_K_PLANES; plane++) {
            const bool real = seen && column + plane * 64 < k_width;
            copy_16(to + plane * WIDE_WINDOW_PLANE, real ? k + (int64_t)slot * (heads * k_width) + plane * 64 : cache.k, real);
        }
#pragma unroll
        for (int plane = 0; plane < WIDE_WINDOW_PLANES - WIDE_WINDOW_K_PLANES; plane++) {
            const bool real = seen && column + plane * 64 < v_width;
            copy_16(to + (WIDE_WINDOW_K_PLANES + plane) * WIDE_WINDOW_PLANE,
                    real ? v + (int64_t)slot * (heads * v_width) + plane * 64 : cache.v, real);
        }
        slot += ROWS;
        while (slot >= cache.slots)
            slot -= cache.slots;
    }
}

// ---- a run and its heads, by a warpgroup: query 8 h + i of head h and row i ----

// The fragments of the warp's queries: row lane / 4 of two heads. Rows and heads that do not exist repeat the last; nobody stores their results.
__device__ __forceinline__ void wide_window_queries(const slip_cuda_attend_window &op, const wide_window_unit &u, const slip_cuda_run &run,
                                                    uint32_t (&q)[WIDE_WINDOW_K_STEPS][4])
{
    const int lane = threadIdx.x % 32, row = run.row + min(lane / 4, run.count - 1), width = op.cache.k_width;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int head = u.head + min((int)threadIdx.x / 32 % 4 * 2 + r, u.heads - 1);
        const uint16_t *from = op.query + (int64_t)slip_query_head(&op.cache, row, head) * width + lane % 4 * 2;
#pragma unroll
        for (int k = 0; k < WIDE_WINDOW_K_STEPS; k++) {
            q[k][r] = k * 16 < width ? __ldcg((const unsigned *)(from + k * 16)) : 0;
            q[k][r + 2] = k * 16 < width ? __ldcg((const unsigned *)(from + k * 16 + 8)) : 0;
        }
    }
}

// S of 64 queries and WIDE_WINDOW_HALF keys. `keys`: the first one's row.
__device__ __forceinline__ void wide_window_scores(uint32_t keys, const uint32_t (&q)[WIDE_WINDOW_K_STEPS][4], float *x)
{
    float c[2][SUMS<WIDE_WINDOW_HALF>];
    matrix_fence();
    pin(c[0]);
    pin(c[1]);
#pragma unroll
    for (int k = 0; k < WIDE_WINDOW_K_STEPS; k++) {
        const uint64_t at = swizzled_descriptor(keys + k / 4 * WIDE_WINDOW_PLANE + k % 4 * 32, 16, 1024);
        k < 2 ? matrix_bf16_registers<WIDE_WINDOW_HALF, true>(c[k % 2], q[k], at)
              : matrix_bf16_registers<WIDE_WINDOW_HALF, false>(c[k % 2], q[k], at);
    }
    matrix_commit();
    matrix_wait<0>();
    pin(c[0]);
    pin(c[1]);
#pragma unroll
    for (int i = 0; i < SUMS<WIDE_WINDOW_HALF>; i++)
        x[i] = c[0][i] + c[1][i];
}

// Scores of keys that a row does not see. A step of a whole window's keys hides none but at its ends, whatever the run.
__device__ __forceinline__ void wide_window_hide(const slip_cache &shape, int base, int position, float (&x)[WINDOW_STEPS * 8])
{
    constexpr int FIRST = (WINDOW_TILE - 1 + SLIP_TOKENS - 1 + 7) / 8, LAST = SLIP_WINDOW_MOST / 8; // of each 8 keys: [FIRST, LAST) all see
    const int first = base + threadIdx.x % 4 * 2, mine = position + (int)threadIdx.x % 32 / 4;
    const bool whole = shape.window == SLIP_WINDOW_MOST && position >= SLIP_WINDOW_MOST - 1;
    auto hide = [&](int n) {
#pragma unroll
        for (int i = n * 4; i < n * 4 + 4; i++) {
            const int key = first + n * 8 + i % 2;
            x[i] = key <= mine && key > mine - shape.window ? x[i] : -INFINITY;
        }
    };
#pragma unroll
    for (int n = 0; n < WINDOW_STEPS * 2; n++)
        if (n < FIRST || n >= LAST)
            hide(n);
    if (whole)
        return;
#pragma unroll
    for (int n = FIRST; n < LAST; n++)
        hide(n);
}

// Weights, packed: p[n][r] has keys 8 n + 2 (lane % 4) and the next of head r of the two. Sets `top` of both.
__device__ __forceinline__ void wide_window_weights(const slip_cache &shape, const float (&sink)[2], float (&x)[WINDOW_STEPS * 8],
                                                    float (&top)[2], uint32_t (&p)[WINDOW_STEPS * 2][2])
{
    const float scale = rsqrtf((float)shape.head_dim) * ATTEND_LOG2E;
    float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int i = 0; i < WINDOW_STEPS * 8; i++) {
        x[i] *= scale;
        most[i / 2 % 2] = fmaxf(most[i / 2 % 2], x[i]);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        most[r] = fmaxf(most[r], __shfl_xor_sync(~0u, most[r], 1));
        top[r] = fmaxf(fmaxf(most[r], __shfl_xor_sync(~0u, most[r], 2)), sink[r]);
    }
#pragma unroll
    for (int n = 0; n < WINDOW_STEPS * 2; n++)
#pragma unroll
        for (int r = 0; r < 2; r++)
            p[n][r] = bf16_pack(attend_exp2(x[n * 4 + r * 2] - top[r]), attend_exp2(x[n * 4 + r * 2 + 1] - top[r]));
}

// Stores outputs of a head and of the lane's row, of dimensions 8 d + 2 (lane % 4) and the next.
__device__ __forceinline__ void wide_window_store(const slip_cuda_attend_window &op, const slip_cuda_run &run, int head, int r, float f,
                                                  const float (&c)[2][64])
{
    const int row = threadIdx.x % 32 / 4, dim = threadIdx.x % 4 * 2, dims = op.cache.shape.v_head_dim;
    auto value = [&](int d, int i) { return (c[0][d * 4 + r * 2 + i] + c[1][d * 4 + r * 2 + i]) * f; };
    if (dims == WIDE_WINDOW_V && op.operand.hi && op.operand.single && !op.rows) { // the usual case, in few instructions
        uint16_t *const to = op.operand.hi + attend_operand_at(op, run.row + row, head * dims + dim);
        constexpr int STEP = 8 * SLIP_TOKENS; // from 8 columns to the next
        if (row < run.count)
#pragma unroll
            for (int d = 0; d < WIDE_WINDOW_V / 8; d++)
                *(uint32_t *)(to + d * STEP) = bf16_pack(value(d, 0), value(d, 1));
        return;
    }
    window_unit to = {};
    to.row = run.row;
    to.count = run.count;
    to.head = head;
#pragma unroll
    for (int d = 0; d < WIDE_WINDOW_V / 8; d++)
        window_store(op, to, row, d * 8 + dim, value(d, 0), value(d, 1));
}

__device__ __forceinline__ void wide_window_task(const slip_cuda_attend_window &op, wide_window_memory &m, const wide_window_unit &u,
                                                 const slip_cuda_run &run, const uint32_t (&q)[WIDE_WINDOW_K_STEPS][4])
{
    const int position = (int)run.position, base = attend_first(op.cache.shape, position) & -WINDOW_TILE;
    const uint32_t keys = shared_address(m.plane[0]) + (base - u.base) * 128, values = keys + WIDE_WINDOW_K_PLANES * WIDE_WINDOW_PLANE;
    const uint64_t ones = swizzled_descriptor(shared_address(m.ones), 16, 1024);
    float x[WINDOW_STEPS * 8], top[2], sink[2];
    uint32_t p[WINDOW_STEPS * 2][2];
    wide_window_scores(keys, q, x);
    wide_window_scores(keys + WIDE_WINDOW_HALF * 128, q, x + WINDOW_STEPS * 4);
#pragma unroll
    for (int r = 0; r < 2; r++) // one more logit
        sink[r] = op.sinks ? op.sinks[u.head + min((int)threadIdx.x / 32 % 4 * 2 + r, u.heads - 1)] * ATTEND_LOG2E : -INFINITY;
    wide_window_hide(op.cache.shape, base, position, x);
    wide_window_weights(op.cache.shape, sink, x, top, p);
    float c[2][64], sum[2][4];
    matrix_fence();
#pragma unroll
    for (int i = 0; i < 2; i++) {
        pin(c[i]);
        pin(sum[i]);
    }
#pragma unroll
    for (int k = 0; k < WINDOW_STEPS; k++) {
        const uint32_t weights[4] = {p[2 * k][0], p[2 * k][1], p[2 * k + 1][0], p[2 * k + 1][1]};
        const uint64_t at = swizzled_descriptor(values + k * WINDOW_TILE * 128, WIDE_WINDOW_PLANE, 1024);
        if (k < 2) {
            matrix_bf16_registers<128, true>(c[k % 2], weights, at);
            matrix_bf16_registers<8, true>(sum[k % 2], weights, ones);
        } else {
            matrix_bf16_registers<128, false>(c[k % 2], weights, at);
            matrix_bf16_registers<8, false>(sum[k % 2], weights, ones);
        }
    }
    matrix_commit();
    matrix_wait<0>();
#pragma unroll
    for (int i = 0; i < 2; i++) {
        pin(c[i]);
        pin(sum[i]);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int head = (int)threadIdx.x / 32 % 4 * 2 + r;
        const float f = attend_reciprocal(sum[0][r * 2] + sum[1][r * 2] + attend_exp2(sink[r] - top[r]));
        if (head < u.heads)
            wide_window_store(op, run, u.head + head, r, f, c);
    }
}

extern __shared__ __align__(1024) unsigned char wide_window_bytes[];

__global__ void __launch_bounds__(WIDE_WINDOW_THREADS, 1) wide_window(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    wide_window_memory &m = *(wide_window_memory *)wide_window_bytes;
    const slip_cuda_attend_window &op = early_ops(ops, number)->attend_window;
    const slip_cache &shape = op.cache.shape;
    if (threadIdx.x < 32)
        wide_window_blocks(step, m);
    m.ones[threadIdx.x] = 0x3f803f80;
    static_assert(sizeof m.ones / sizeof *m.ones == WIDE_WINDOW_THREADS, "one a thread");
    await_previous_kernel();
    __syncthreads();
    const int splits = (min(shape.group, shape.q_heads) + WIDE_WINDOW_HEADS - 1) / WIDE_WINDOW_HEADS;
    const int units = m.blocks * shape.kv_heads * splits, warpgroup = __shfl_sync(~0u, (int)threadIdx.x / 128, 0);
#pragma unroll 1
    for (int index = blockIdx.x; index < units; index += gridDim.x) {
        const wide_window_unit u = wide_window_open(op, step, m, index);
        if (u.heads <= 0) // a K/V head that fewer query heads read than the widest
            continue;
        uint32_t q[WIDE_WINDOW_K_STEPS][4];
        wide_window_fetch(op, m, u);
        wide_window_queries(op, u, step->run[u.run + min(warpgroup, u.runs - 1)], q);
        copy_wait_all();
        fence_async_shared();
        __syncthreads();
#pragma unroll 1
        for (int task = warpgroup; task < u.runs; task += WIDE_WINDOW_WARPGROUPS) {
            wide_window_task(op, m, u, step->run[u.run + task], q);
            if (task + WIDE_WINDOW_WARPGROUPS < u.runs)
                wide_window_queries(op, u, step->run[u.run + task + WIDE_WINDOW_WARPGROUPS], q);
        }
        __syncthreads(); // before the next unit's keys overwrite these
    }
}

} // namespace slip
