/* SLIP_CUDA_ANGLES: the step's cosines and sines, once a step and rope. SLIP_CUDA_ROPE: head norms, rotation, and the way into the
 * K/V cache. The reference is kernels/cpu/attention.c.
 *
 * Half of an SM's threads compute one head of one row, a dimension a thread: a step of 8 rows is then a single round for all SMs.
 * Parts are copied to shared memory, and each thread sums up what it has copied itself: 32 loads are in flight, with a loop of a few
 * instructions. The pairs of the rotation meet in shared memory, too. */
#pragma once

#include "kernels/cuda/sync/context.cuh"
#include "kernels/cuda/arch.cuh"

namespace slip {

constexpr int ROPE_DIMS = 256; // threads of a head, and the widest: slip_attend_fits() checks it on the host
constexpr int ROPE_HEADS = CONSUMERS / ROPE_DIMS;
constexpr int ROPE_WARPS = ROPE_DIMS / 32;
constexpr int ROPE_PARTS = 32; // loads of a thread that are in flight together

// Two sets, used in turn, so that one barrier a round is enough.
struct rope_memory {
    float head[2][CONSUMERS];         // dimensions before norm and rotation
    float squares[2][CONSUMER_WARPS]; // each warp's sum of squares
    float part[ROPE_PARTS][CONSUMERS];
};

static_assert(sizeof(rope_memory) <= SLIP_CUDA_ARENA, "the arena holds it");

// ---- angles ----

// op.angles: [rows][rotary_dim / 2][cosine, sine]. The angle is an f32 product as in the reference; positions reach a million,
// so the accurate sine and cosine with their full range reduction are needed. Their code is too long to run in every layer.
[[maybe_unused]] static __device__ void op_angles(const slip_cuda_angles &op, const context &c)
{
    const unsigned half = (unsigned)op.rotary_dim / 2, count = (unsigned)c.rows * half;
    float2 *table = (float2 *)op.angles;
    for (unsigned i = (unsigned)(c.thread() * c.sms + c.sm); i < count; i += (unsigned)(c.sms * CONSUMERS)) {
        const unsigned row = i / half;
        float sine, cosine;
        sincosf((float)c.step->row[row].position * op.inverse_frequency[i - row * half], &sine, &cosine);
        table[i] = make_float2(cosine, sine);
    }
}

// ---- one head ----

// Head `h` of [q heads | k heads | v heads] of row `row`.
struct rope_item {
    bool exists;
    int row, h;
    int column, dims, width; // where it begins in a row of QKV; real dimensions; as stored
    int half;                // pairs that are turned
    float scale;             // of V; 1 elsewhere
    const float *weight;     // of the norm, or NULL
};

__device__ __forceinline__ rope_item rope_open(const slip_cuda_rope &op, int rows, int index)
{
    const slip_cache &shape = op.cache.shape;
    const int turned = shape.q_heads + shape.kv_heads, heads = turned + shape.kv_heads;
    rope_item item;
    item.row = small_quotient(index, heads);
    item.h = index - item.row * heads;
    item.exists = item.row < rows;
    const bool value = item.h >= turned;
    item.column = value ? turned * shape.head_dim + (item.h - turned) * shape.v_head_dim : item.h * shape.head_dim;
    item.dims = value ? shape.v_head_dim : shape.head_dim;
    item.width = value ? op.cache.v_width : op.cache.k_width;
    item.half = value ? 0 : (int)((unsigned)op.rotary_dim / 2);
    item.scale = value ? shape.value_scale : 1.0f;
    item.weight = value ? nullptr : op.norm[item.h < shape.q_heads ? 0 : 1];
    return item;
}

// Parts in ascending order. `cells` are this thread's, a part each.
__device__ __forceinline__ float rope_sum(const slip_cuda_partial &in, int row, int column, const float *cells)
{
    const int parts = in.parts, step = slip_partial_step(&in);
    const float *from = partial_row(in, row) + column;
    float x = 0;
#pragma unroll 1
    for (int part = 0; part < parts; part += ROPE_PARTS) {
        const int count = min(parts - part, ROPE_PARTS);
        uint32_t to = shared_address(cells);
#pragma unroll 1
        for (int i = 0; i < count; i++, from += step, to += CONSUMERS * sizeof(float))
            copy_4(to, from);
        copy_commit();
        copy_wait<0>();
#pragma unroll 4
        for (int i = 0; i < count; i++)
            x += cells[i * CONSUMERS];
    }
    return x;
}

// 1 / sqrt(mean(x^2) + epsilon). The order of the sum depends on nothing but the number of dimensions.
__device__ __forceinline__ float rope_norm(const float *squares, int dims, float epsilon)
{
    float sum = 0;
#pragma unroll
    for (int w = 0; w < ROPE_WARPS; w++)
        sum += squares[w];
    return rsqrtf(__fdividef(sum, (float)dims) + epsilon);
}

// Where dimension 0 goes: the step's queries, or the row's slot of the cache.
__device__ __forceinline__ uint16_t *rope_target(const slip_cuda_rope &op, const rope_item &item, int start, int position)
{
    const slip_cuda_cache &cache = op.cache;
    const int q_heads = cache.shape.q_heads, kv_heads = cache.shape.kv_heads;
    if (item.h < q_heads)
        return op.query + (uint64_t)(unsigned)slip_query_head(&cache, item.row, item.h) * (unsigned)item.width;
    const bool value = item.h >= q_heads + kv_heads;
    const int head = slip_cache_at(&cache, start, small_remainder(position, cache.slots), item.h - q_heads - (value ? kv_heads : 0));
    return (value ? cache.v : cache.k) + (uint64_t)(unsigned)head * (unsigned)item.width;
}

// NeoX: the pair of dimension i is i + half; the first gets a c - b s, the second b c + a s.
__device__ __forceinline__ float rope_turn(float mine, float other, float2 angle, bool second)
{
    return fmaf(other, second ? angle.y : -angle.y, mine * angle.x);
}

// Dimension d, behind the barrier that publishes the head and its squares.
__device__ __forceinline__ float rope_finish(const rope_item &item, const float *head, const float *squares, float epsilon, int d,
                                             float2 angle)
{
    const bool turned = d < 2 * item.half;
    const int pair = turned ? d < item.half ? d + item.half : d - item.half : d;
    float mine = head[d], other = head[pair];
    if (item.weight != nullptr) {
        const float norm = rope_norm(squares, item.dims, epsilon);
        mine = item.weight[d] * (mine * norm);
        other = item.weight[pair] * (other * norm);
    }
    return turned ? rope_turn(mine, other, angle, d >= item.half) : mine * item.scale;
}

// ---- the op ----

// All threads pass every round's barrier, whether they have a head or not.
__device__ __forceinline__ void rope_round(const slip_cuda_rope &op, const context &c, const rope_item &item, rope_memory &memory, int set)
{
    const int d = c.thread() % ROPE_DIMS;
    const bool real = item.exists && d < item.dims;
    float2 angle = {};
    int start = 0; // of its sequence in the cache
    int position = 0;
    if (item.exists) {
        const slip_cuda_row &row = c.step->row[item.row];
        start = slip_cache_start(&op.cache, row.sequence, row.base);
        position = (int)row.position;
        if (d < 2 * item.half)
            angle = __ldcg((const float2 *)op.angles + item.row * item.half + (d < item.half ? d : d - item.half));
    }
    const float x = real ? rope_sum(op.in, item.row, item.column + d, memory.part[0] + c.thread()) : 0.0f;
    memory.head[set][c.thread()] = x;
    if (op.norm[0] != nullptr || op.norm[1] != nullptr) {
        const float squares = warp_sum(__fmul_rn(x, x));
        if (c.thread() % 32 == 0)
            memory.squares[set][c.thread() / 32] = squares;
    }
    consumers_sync();
    if (!item.exists || d >= item.width)
        return;
    const int first = c.thread() - d;
    const float y =
        d < item.dims ? rope_finish(item, memory.head[set] + first, memory.squares[set] + first / 32, op.cache.shape.norm_epsilon, d, angle)
                      : 0.0f;
    rope_target(op, item, start, position)[d] = bf16_bits(y);
}

// Heads are dealt out to SMs first, then to an SM's halves, so that a small step uses all SMs.
[[maybe_unused]] static __device__ void op_rope(const slip_cuda_rope &op, const context &shared)
{
    const context c = shared; // in registers
    // The compiler does not know these across the call. They make loads shorter and divisions shifts.
    __builtin_assume(__isShared(&op));
    __builtin_assume(__isShared(c.arena));
    __builtin_assume(__isGlobal(c.step));
    __builtin_assume(c.thread() >= 0 && c.thread() < CONSUMERS);
    rope_memory &memory = *(rope_memory *)c.arena;
    const int rows = c.rows, items = rows * (op.cache.shape.q_heads + 2 * op.cache.shape.kv_heads);
    const int mine = c.sm + c.sms * (c.thread() / ROPE_DIMS);
    int first = 0, set = 0;
#pragma unroll 1
    do { // a step has rows
        rope_round(op, c, rope_open(op, rows, first + mine), memory, set);
        first += c.sms * ROPE_HEADS;
        set ^= 1;
    } while (first < items);
}

} // namespace slip
