/* ATTEND_WINDOW of a wide step whose rows a ROPE has rotated and put into the cache. A unit of work is a block of up to 8 runs of one sequence, 64
 * consecutive rows, with up to four of the query heads that read a K/V head: the windows of such rows overlap, so the block's keys and values,
 * at most 191, are fetched to shared memory once. A warp then computes a run and a head by itself.
 *
 * A row gets the bits of ops/attend_window.cuh: the same instructions with the same operands in the same order of dimensions and keys. There,
 * too, scores are products of their own, keys are multiplied by weights in steps of 16 at absolute multiples of 16, and steps alternate between
 * two accumulators. */
#pragma once

#include "kernels/cuda/ops/attend_window.cuh"
#include "kernels/cuda/arch.cuh"
#include "kernels/cuda/sync/early.cuh"

namespace slip {

constexpr int WIDE_WINDOW_WARPS = 16, WIDE_WINDOW_THREADS = WIDE_WINDOW_WARPS * 32;
constexpr int WIDE_WINDOW_RUNS = 8, WIDE_WINDOW_HEADS = 4; // of a unit
constexpr int WIDE_WINDOW_KEYS = 208;                      // from a multiple of 16 on
constexpr int WIDE_WINDOW_V = 128;                         // widest value
constexpr int WIDE_WINDOW_K_CHUNKS = WINDOW_DIMS / 8, WIDE_WINDOW_V_CHUNKS = WIDE_WINDOW_V / 8;
static_assert(WIDE_WINDOW_KEYS >= WINDOW_TILE - 1 + SLIP_WINDOW_MOST - 1 + WIDE_WINDOW_RUNS * SLIP_TOKENS, "all keys have a place");

// Chunks of 16 bytes change places within 128 bytes, so that the 8 rows of an ldmatrix lie in different banks.
struct wide_window_memory {
    uint4 key[WIDE_WINDOW_KEYS][WIDE_WINDOW_K_CHUNKS];
    uint4 value[WIDE_WINDOW_KEYS][WIDE_WINDOW_V_CHUNKS];
    alignas(16) uint16_t weight[WIDE_WINDOW_WARPS][SLIP_TOKENS][WINDOW_WEIGHT_PITCH];
    int16_t block[SLIP_MAX_RUNS + 1]; // first run of each block, and the end
    int blocks;
};
static_assert(sizeof(wide_window_memory) <= 227 * 1024, "shared memory of an SM");

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

__device__ __forceinline__ uint4 *wide_window_key(wide_window_memory &m, int row, int chunk)
{
    return &m.key[row][chunk ^ (row >> 1 & 7)]; // an ldmatrix takes every second row
}

__device__ __forceinline__ uint4 *wide_window_value(wide_window_memory &m, int row, int chunk)
{
    return &m.value[row][chunk ^ (row & 7)];
}

// A warp a key. Values of keys that are not there are zeros: their weights are, and zero times NaN is not.
__device__ __forceinline__ void wide_window_fetch(const slip_cuda_attend_window &op, wide_window_memory &m, const wide_window_unit &u)
{
    const slip_cuda_cache &cache = op.cache;
    const int lane = threadIdx.x % 32, k_width = cache.k_width, v_width = cache.v_width;
#pragma unroll 1
    for (int row = threadIdx.x / 32; row < WIDE_WINDOW_KEYS; row += WIDE_WINDOW_WARPS) {
        const int key = u.base + row;
        const bool seen = key >= u.first && key <= u.last;
        const int64_t head = slip_cache_at(&cache, u.start, seen ? small_remainder(key, cache.slots) : 0, u.kv);
        const uint16_t *k = cache.k + head * k_width, *v = cache.v + head * v_width;
        for (int c = lane; c < WIDE_WINDOW_K_CHUNKS + WIDE_WINDOW_V_CHUNKS; c += 32) {
            const int chunk = c < WIDE_WINDOW_K_CHUNKS ? c : c - WIDE_WINDOW_K_CHUNKS;
            if (c < WIDE_WINDOW_K_CHUNKS)
                copy_16(shared_address(wide_window_key(m, row, chunk)), chunk * 8 < k_width ? k + chunk * 8 : k,
                        seen && chunk * 8 < k_width);
            else
                copy_16(shared_address(wide_window_value(m, row, chunk)), chunk * 8 < v_width ? v + chunk * 8 : v,
                        seen && chunk * 8 < v_width);
        }
    }
    copy_wait_all();
}

// ---- a run and a head, by a warp ----

constexpr int WIDE_WINDOW_K_STEPS = WINDOW_DIMS / 16;

// The fragments of 8 queries: token lane / 4. Rows that do not exist repeat the last; nobody stores their results.
__device__ __forceinline__ void wide_window_queries(const slip_cuda_attend_window &op, const slip_cuda_run &run, int head, int lane,
                                                    uint32_t (&q)[WIDE_WINDOW_K_STEPS][2])
{
    const int row = run.row + min(lane / 4, run.count - 1), width = op.cache.k_width;
    const uint16_t *from = op.query + (int64_t)slip_query_head(&op.cache, row, head) * width + lane % 4 * 2;
#pragma unroll
    for (int k = 0; k < WIDE_WINDOW_K_STEPS; k++) {
        q[k][0] = k * 16 < width ? __ldcg((const unsigned *)(from + k * 16)) : 0;
        q[k][1] = k * 16 < width ? __ldcg((const unsigned *)(from + k * 16 + 8)) : 0;
    }
}

// S^T of 16 keys from row `row` on: rows g and g + 8 of the fragment are keys 2 g and 2 g + 1.
__device__ __forceinline__ void wide_window_scores(wide_window_memory &m, int row, const uint32_t (&q)[WIDE_WINDOW_K_STEPS][2], int lane,
                                                   float (&s)[4])
{
    const int key = row + lane % 8 * 2 + lane / 8 % 2;
    float c[2][4] = {};
#pragma unroll
    for (int k = 0; k < WIDE_WINDOW_K_STEPS; k++) {
        uint32_t a[4];
        load_matrix_4(shared_address(wide_window_key(m, key, k * 2 + lane / 16)), a);
        mma_16816(c[k % 2], a, q[k][0], q[k][1]);
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        s[i] = c[0][i] + c[1][i];
}

// Leaves the run's weights in shared memory, [token][key from the run's base on], and `top` of the thread's two tokens. Returns how many
// steps of 16 keys the run sees.
__device__ __forceinline__ int wide_window_weights(const slip_cuda_attend_window &op, wide_window_memory &m, const wide_window_unit &u,
                                                   const slip_cuda_run &run, int head, int lane, float sink, float (&top)[2])
{
    const slip_cache &shape = op.cache.shape;
    const int position = (int)run.position, base = attend_first(shape, position) & -WINDOW_TILE, token = lane % 4 * 2;
    const int steps = (position + run.count - 1 - base) / WINDOW_TILE + 1;
    const float scale = rsqrtf((float)shape.head_dim) * ATTEND_LOG2E;
    uint32_t q[WIDE_WINDOW_K_STEPS][2];
    float x[WINDOW_STEPS][4], most[2] = {-INFINITY, -INFINITY};
    wide_window_queries(op, run, head, lane, q);
#pragma unroll
    for (int k = 0; k < WINDOW_STEPS; k++) {
        if (k >= steps)
            break;
        wide_window_scores(m, base - u.base + k * WINDOW_TILE, q, lane, x[k]);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int key = base + k * WINDOW_TILE + lane / 4 * 2 + i / 2, mine = position + token + i % 2;
            x[k][i] = key <= mine && key > mine - shape.window ? x[k][i] * scale : -INFINITY;
            most[i % 2] = fmaxf(most[i % 2], x[k][i]);
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int away = 4; away < 32; away *= 2)
            most[i] = fmaxf(most[i], __shfl_xor_sync(~0u, most[i], away));
        top[i] = fmaxf(most[i], sink);
    }
    uint16_t(*weight)[WINDOW_WEIGHT_PITCH] = m.weight[threadIdx.x / 32];
#pragma unroll
    for (int k = 0; k < WINDOW_STEPS; k++) {
        if (k >= steps)
            break;
#pragma unroll
        for (int i = 0; i < 2; i++)
            *(uint32_t *)&weight[token + i][k * WINDOW_TILE + lane / 4 * 2] = bf16_bits(attend_exp2(x[k][i] - top[i])) |
                                                                              (uint32_t)bf16_bits(attend_exp2(x[k][i + 2] - top[i])) << 16;
    }
    return steps;
}

// O^T of 16 dimensions from `dim` on, whose values lie from row `row` on. Weights: b[k] of 16 keys.
__device__ __forceinline__ void wide_window_values(wide_window_memory &m, int row, int dim, int steps,
                                                   const uint32_t (&b)[WINDOW_STEPS / 2][4], int lane, float (&c)[2][4])
{
#pragma unroll
    for (int k = 0; k < WINDOW_STEPS; k++) {
        if (k >= steps)
            break;
        uint32_t a[4];
        load_matrix_4_transposed(
            shared_address(wide_window_value(m, row + k * WINDOW_TILE + lane / 16 * 8 + lane % 8, dim / 8 + lane / 8 % 2)), a);
        mma_16816(c[k % 2], a, b[k / 2][k % 2 * 2], b[k / 2][k % 2 * 2 + 1]);
    }
}

__device__ __forceinline__ void wide_window_task(const slip_cuda_attend_window &op, wide_window_memory &m, const wide_window_unit &u,
                                                 const slip_cuda_run &run, int head, int lane)
{
    const float sink = op.sinks ? op.sinks[head] * ATTEND_LOG2E : -INFINITY; // one more logit
    float top[2], sum[2][4] = {};
    const int steps = wide_window_weights(op, m, u, run, head, lane, sink, top);
    const int row = (attend_first(op.cache.shape, (int)run.position) & -WINDOW_TILE) - u.base;
    const uint32_t ones[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};
    uint32_t b[WINDOW_STEPS / 2][4];
    __syncwarp(); // the weights are there
#pragma unroll
    for (int k = 0; k < WINDOW_STEPS; k += 2)
        load_matrix_4(shared_address(&m.weight[threadIdx.x / 32][lane % 8][k * WINDOW_TILE + lane / 8 * 8]), b[k / 2]);
    __syncwarp(); // and read: the next task may write its own
#pragma unroll
    for (int k = 0; k < WINDOW_STEPS; k++)
        if (k < steps)
            mma_16816(sum[k % 2], ones, b[k / 2][k % 2 * 2], b[k / 2][k % 2 * 2 + 1]);
    const float f0 = attend_reciprocal(sum[0][0] + sum[1][0] + attend_exp2(sink - top[0]));
    const float f1 = attend_reciprocal(sum[0][1] + sum[1][1] + attend_exp2(sink - top[1]));
    window_unit to = {};
    to.row = run.row;
    to.count = run.count;
    to.head = head;
    const bool odd = lane & 4; // neighbours in dimension give each other one token's value
#pragma unroll 1
    for (int dim = 0; dim < op.cache.v_width; dim += 16) {
        float c[2][4] = {};
        wide_window_values(m, row, dim, steps, b, lane, c);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float one = (c[0][h * 2] + c[1][h * 2]) * f0, two = (c[0][h * 2 + 1] + c[1][h * 2 + 1]) * f1;
            const float other = __shfl_xor_sync(~0u, odd ? one : two, 4);
            window_store(op, to, lane % 4 * 2 + odd, dim + lane / 8 * 2 + h * 8, odd ? other : one, odd ? two : other);
        }
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
    await_previous_kernel();
    __syncthreads();
    const int splits = (min(shape.group, shape.q_heads) + WIDE_WINDOW_HEADS - 1) / WIDE_WINDOW_HEADS;
    const int units = m.blocks * shape.kv_heads * splits, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll 1
    for (int index = blockIdx.x; index < units; index += gridDim.x) {
        const wide_window_unit u = wide_window_open(op, step, m, index);
        if (u.heads <= 0) // a K/V head that fewer query heads read than the widest
            continue;
        wide_window_fetch(op, m, u);
        __syncthreads();
#pragma unroll 1
        for (int task = warp; task < u.runs * u.heads; task += WIDE_WINDOW_WARPS)
            wide_window_task(op, m, u, step->run[u.run + task % u.runs], u.head + task / u.runs, lane);
        __syncthreads(); // before the next unit's keys overwrite these
    }
}

} // namespace slip
