/* What a unit of a narrow window's attention works on, and how its rows get to shared memory: cached keys and values, and the step's own,
 * which are added up and rotated here. attend_window.cuh has the rest. */
#pragma once

#include "kernels/cuda/ops/attend.cuh"
#include "kernels/cuda/ops/operand.cuh"
#include "kernels/cuda/ops/rope.cuh"

namespace slip {

constexpr int WINDOW_DIMS = SLIP_WINDOW_K, WINDOW_VALUES = SLIP_WINDOW_V; // of a key; of a value that a unit computes
constexpr int WINDOW_KEYS = SLIP_WINDOW_MOST - 1 + SLIP_TOKENS;           // that a run sees
constexpr int WINDOW_ANGLES = SLIP_WINDOW_TURNED / 4;                     // pairs of angles of a row
constexpr int WINDOW_TILE = 16, WINDOW_SCORERS = 9;                       // keys of a warp; warps
constexpr int WINDOW_STEPS = 10, WINDOW_VALUE_ROWS = 152;                 // of 16 keys from a multiple of 16 on; rows kept of them
constexpr int WINDOW_WEIGHT_PITCH = 168;                                  // bf16: 16-byte rows in different banks
static_assert(WINDOW_SCORERS * WINDOW_TILE >= WINDOW_KEYS && WINDOW_KEYS + 15 <= WINDOW_STEPS * WINDOW_TILE, "all keys have a place");
static_assert(WINDOW_KEYS + 15 < WINDOW_VALUE_ROWS, "the last row that is kept is nobody's: zeros");

struct window_unit {
    int row, count, position; // of the run
    int slot;                 // of the sequence's first key in the cache
    int first, base;          // the run's first key, and the multiple of 16 at or below it
    int head, kv, part;
    int own;    // slot of the run's first row, counted from `slot`
    bool leads; // the first of the heads that read this K/V head: it writes the cache
};

// The arena. Rows of 16-byte chunks; a chunk's place is turned by its row, so that the 8 rows of an ldmatrix lie in different banks.
struct window_memory {
    uint4 key[WINDOW_KEYS + 1][WINDOW_DIMS / 8];       // from the run's first key on; scorers read 8 rows beyond, and ignore them
    uint4 value[WINDOW_VALUE_ROWS][WINDOW_VALUES / 8]; // from the multiple of 16 below it on
    union {
        uint4 query[SLIP_TOKENS][WINDOW_DIMS / 8];
        uint16_t weight[SLIP_TOKENS][WINDOW_WEIGHT_PITCH]; // once all scores are there
    };
    float most[SLIP_TOKENS][12];              // of each scorer's keys
    float top[SLIP_TOKENS];                   // of all keys and the sink
    window_unit unit;                         // in hand
    float4 angle[SLIP_TOKENS][WINDOW_ANGLES]; // cosine, sine of two neighbouring dimensions
};
static_assert(sizeof(window_memory) <= SLIP_CUDA_ARENA, "it fits the arena");

// Units of a head, a power of two: those beyond V's width have nothing to do.
__device__ __forceinline__ int window_parts_log2(const slip_cuda_attend_window &op)
{
    return slip_attend_log2(op.cache.v_width - 1 | WINDOW_VALUES - 1) - slip_attend_log2(WINDOW_VALUES - 1);
}

__device__ __forceinline__ int window_units(const slip_cuda_attend_window &op, int runs)
{
    return runs * op.cache.shape.q_heads << window_parts_log2(op);
}

__device__ __forceinline__ window_unit window_open(const slip_cuda_attend_window &op, const context &c, int index)
{
    const slip_cache &shape = op.cache.shape;
    const int parts = window_parts_log2(op), each = shape.q_heads << parts, number = c.runs == 1 ? 0 : small_quotient(index, each);
    const slip_cuda_run &run = c.runs == 1 ? c.run : c.step->run[number];
    window_unit u;
    index -= number * each;
    u.row = run.row;
    u.count = run.count;
    u.position = (int)run.position;
    u.slot = run.sequence * op.cache.slots;
    u.own = small_remainder(u.position, op.cache.slots);
    u.first = attend_first(shape, u.position);
    u.base = u.first & -WINDOW_TILE;
    u.head = index >> parts;
    u.part = index - (u.head << parts);
    const int reads = small_quotient(shape.first_q + u.head, shape.group);
    u.kv = reads - shape.first_kv;
    u.leads = u.head == 0 || reads * shape.group == shape.first_q + u.head;
    return u;
}

__device__ __forceinline__ uint4 *window_key(window_memory &m, int row, int chunk)
{
    return &m.key[row][chunk ^ (row >> 1 & 7)]; // a scorer's ldmatrix takes every second row
}

__device__ __forceinline__ uint4 *window_value(window_memory &m, int row, int chunk)
{
    return &m.value[row][chunk ^ (row & 7)];
}

__device__ __forceinline__ uint4 *window_query(window_memory &m, int row, int chunk)
{
    return &m.query[row][chunk ^ (row & 7)];
}

// The cache's row of a slot of the sequence, of this unit's K/V head.
__device__ __forceinline__ int window_row(const slip_cuda_cache &cache, const window_unit &u, int slot)
{
    return (u.slot + (slot < cache.slots ? slot : slot - cache.slots)) * cache.shape.kv_heads + u.kv;
}

// Start to fetch what the cache has; values of keys that nobody sees, and dimensions that do not exist, are zeros. copy_wait_all() and
// a barrier must follow. A warp a row: lanes are the chunks of a key, then those of a value.
[[maybe_unused]] static __device__ __noinline__ void window_fetch(const slip_cuda_attend_window &op, const context &c, int index = -1)
{
    index = index < 0 ? c.sm : index;
    if (index >= window_units(op, c.runs))
        return;
    window_memory &m = *(window_memory *)c.arena;
    const slip_cuda_cache &cache = op.cache;
    const window_unit u = window_open(op, c, index);
    constexpr int KEY = WINDOW_DIMS / 8;
    static_assert(KEY + WINDOW_VALUES / 8 == 32, "a chunk a lane");
    const int lane = c.thread() % 32, warp = c.thread() / 32, ahead = u.first - u.base;
    const bool key = lane < KEY;
    const int width = key ? cache.k_width : cache.v_width, chunk = key ? lane : lane - KEY,
              dim = key ? lane * 8 : u.part * WINDOW_VALUES + chunk * 8;
    const int stride = cache.shape.kv_heads * width, rows = cache.slots;
    const bool real = dim < width;
    const uint16_t *from = (key ? cache.k : cache.v) + (int64_t)(u.slot * cache.shape.kv_heads + u.kv) * width + (real ? dim : 0);
    int slot = u.own - (u.position - u.base) + warp; // of key base + warp: the ring is longer than a window and a run
    if (c.thread() == 0)
        m.unit = u;
    uint32_t to = shared_address(key ? m.key[0] : m.value[0]), pitch = key ? sizeof m.key[0] : sizeof m.value[0];
#pragma unroll 2
    for (int row = warp; row < WINDOW_VALUE_ROWS; row += CONSUMER_WARPS, slot += CONSUMER_WARPS) {
        const int at = key ? row - ahead : row, own = row - (u.position - u.base); // place in shared memory; row of the run
        const int place = slot < 0 ? slot + rows : slot < rows ? slot : slot - rows;
        const bool seen = own < 0 && row >= ahead;
        if (key ? seen : (unsigned)own >= (unsigned)u.count)
            copy_16(to + at * pitch + (chunk ^ (key ? at >> 1 & 7 : at & 7)) * 16, from + (seen ? place * stride : 0), seen && real);
    }
    const int row = c.thread() / WINDOW_ANGLES, pair = c.thread() % WINDOW_ANGLES, pairs = op.rotary_dim / 4;
    static_assert(CONSUMERS >= SLIP_TOKENS * WINDOW_ANGLES, "an angle's copy a thread");
    if (row < u.count && pair < pairs)
        copy_16(shared_address(&m.angle[row][pair]), (const float4 *)op.angles + (u.row + row) * pairs + pair, true);
}

// ---- the step's own rows ----

// Two quads of a raw row: those that a rotation turns against each other, or any two.
struct window_job {
    bool exists, two;
    int row, what;     // of the run; 0 query, 1 key, 2 value
    int first, second; // quads of the head
    int turned;        // place in the table of angles, -1: not turned
};

__device__ __forceinline__ window_job window_job_of(const slip_cuda_attend_window &op, const window_unit &u, int thread)
{
    const int quads = op.cache.shape.head_dim / 4, turned = op.rotary_dim / 8, rest = quads - 2 * turned, half = (rest + 1) / 2;
    const int each = turned + half, values = min(WINDOW_VALUES, op.cache.shape.v_head_dim - u.part * WINDOW_VALUES) / 4;
    const int value_half = (values + 1) / 2;
    static_assert(2 * (WINDOW_DIMS / 8 + 1) + WINDOW_VALUES / 8 <= 64 && CONSUMERS == 64 * SLIP_TOKENS, "a thread a job, 64 a row");
    window_job j;
    j.row = thread / 64;
    int at = thread % 64;
    j.exists = j.row < u.count && at < 2 * each + value_half;
    j.what = at < each ? 0 : at < 2 * each ? 1 : 2;
    at -= j.what * each;
    j.turned = j.what < 2 && at < turned ? at * 4 : -1;
    j.first = j.what == 2 || at < turned ? at : turned + at;
    j.second = j.first + (j.what == 2 ? value_half : at < turned ? turned : half);
    j.two = j.second < (j.what == 2 ? values : quads);
    return j;
}

// Parts in ascending order, both quads' loads under way together.
__device__ __forceinline__ void window_sum(const float *one, const float *two, int parts, int step, float4 &x, float4 &y)
{
    constexpr int BATCH = 8; // see sum_parts
    x = y = zero();
#pragma unroll 1
    for (int i = 0; i < parts; i += BATCH, one += BATCH * step, two += BATCH * step) {
        float4 v[BATCH], w[BATCH];
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            const int at = min(i + j, parts - 1) - i;
            v[j] = __ldcg((const float4 *)(one + at * step));
            w[j] = __ldcg((const float4 *)(two + at * step));
        }
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            if (i + j < parts) {
                x = add(x, v[j]);
                y = add(y, w[j]);
            }
    }
}

__device__ __forceinline__ float4 window_turn(float4 mine, float4 other, const float2 (&angle)[4], bool second)
{
    return make_float4(rope_turn(mine.x, other.x, angle[0], second), rope_turn(mine.y, other.y, angle[1], second),
                       rope_turn(mine.z, other.z, angle[2], second), rope_turn(mine.w, other.w, angle[3], second));
}

// A finished quad to shared memory and, where this unit is to, to the cache.
__device__ __forceinline__ void window_put(const slip_cuda_attend_window &op, window_memory &m, const window_unit &u, const window_job &j,
                                           int quad, float4 v, bool keep)
{
    const slip_cuda_cache &cache = op.cache;
    const uint2 bits = bf16_pack(v);
    const int chunk = quad / 2, position = u.position + j.row;
    uint4 *to = j.what == 0   ? window_query(m, j.row, chunk)
                : j.what == 1 ? window_key(m, position - u.first, chunk)
                              : window_value(m, position - u.base, chunk);
    *((uint2 *)to + (quad & 1)) = bits;
    if (!keep || j.what == 0)
        return;
    const int64_t row = window_row(cache, u, u.own + j.row);
    if (j.what == 2)
        *(uint2 *)(cache.v + row * cache.v_width + u.part * WINDOW_VALUES + quad * 4) = bits;
    else if (u.part == 0)
        *(uint2 *)(cache.k + row * cache.k_width + quad * 4) = bits;
}

// Rows of queries, keys and values that a head's real dimensions leave over are zeros: the product runs over all of WINDOW_DIMS.
__device__ __forceinline__ void window_clear_rest(const slip_cuda_attend_window &op, window_memory &m, const window_unit &u, int thread)
{
    const int real = op.cache.shape.head_dim, row = thread / 64, chunk = thread % 64;
    static_assert(WINDOW_DIMS / 8 + WINDOW_VALUES / 8 <= 64 && CONSUMERS == 64 * SLIP_TOKENS, "a chunk a thread");
    const uint4 none = make_uint4(0, 0, 0, 0);
    if (chunk < WINDOW_DIMS / 8) {
        if (row >= u.count)
            *window_query(m, row, chunk) = none;
        else if (chunk * 8 >= real)
            *window_query(m, row, chunk) = *window_key(m, u.position - u.first + row, chunk) = none;
        else if (chunk * 8 + 4 >= real)
            ((uint2 *)window_query(m, row, chunk))[1] = ((uint2 *)window_key(m, u.position - u.first + row, chunk))[1] = make_uint2(0, 0);
    } else if (chunk - WINDOW_DIMS / 8 < WINDOW_VALUES / 8 && row < u.count) {
        const int at = u.part * WINDOW_VALUES + (chunk - WINDOW_DIMS / 8) * 8;
        uint4 *value = window_value(m, u.position - u.base + row, chunk - WINDOW_DIMS / 8);
        if (at >= op.cache.shape.v_head_dim)
            *value = none;
        else if (at + 4 >= op.cache.shape.v_head_dim)
            ((uint2 *)value)[1] = make_uint2(0, 0);
    }
}

// Where a job's raw values begin.
__device__ __forceinline__ const float *window_from(const slip_cuda_attend_window &op, const window_unit &u, const window_job &j)
{
    const slip_cache &shape = op.cache.shape;
    const int turned = shape.q_heads + shape.kv_heads;
    const int column = j.what == 0   ? u.head * shape.head_dim
                       : j.what == 1 ? (shape.q_heads + u.kv) * shape.head_dim
                                     : turned * shape.head_dim + u.kv * shape.v_head_dim + u.part * WINDOW_VALUES;
    return partial_row(op.in, u.row + j.row) + column;
}

// Rotation, or V's scale.
__device__ __forceinline__ void window_finish(const slip_cuda_attend_window &op, const window_memory &m, const window_job &j, float4 &x,
                                              float4 &y)
{
    const float s = j.what == 2 ? op.cache.shape.value_scale : 1;
    if (j.turned < 0) {
        x = make_float4(x.x * s, x.y * s, x.z * s, x.w * s);
        y = make_float4(y.x * s, y.y * s, y.z * s, y.w * s);
        return;
    }
    const float4 low = m.angle[j.row][j.turned / 2], high = m.angle[j.row][j.turned / 2 + 1], was = x;
    const float2 angle[4] = {{low.x, low.y}, {low.z, low.w}, {high.x, high.y}, {high.z, high.w}};
    x = window_turn(was, y, angle, false);
    y = window_turn(y, was, angle, true);
}

// All rows of the unit. Padding of the cache is zero since it was allocated.
[[maybe_unused]] static __device__ __noinline__ void window_rows(const slip_cuda_attend_window &op, const context &c)
{
    window_memory &m = *(window_memory *)c.arena;
    int thread = c.thread();
    float4 x = zero(), y = zero();
    {
        const window_job j = window_job_of(op, m.unit, thread);
        if (j.exists) {
            const float *from = window_from(op, m.unit, j);
            window_sum(from + j.first * 4, from + (j.two ? j.second : j.first) * 4, op.in.parts, slip_partial_step(&op.in), x, y);
        }
    }
    asm volatile("" : "+r"(thread)::"memory"); // what depends on it is computed again: loads in flight want the registers
    const window_unit &u = m.unit;
    const window_job j = window_job_of(op, u, thread);
    if (op.cache.shape.head_dim < WINDOW_DIMS || u.count < SLIP_TOKENS || op.cache.shape.v_head_dim % WINDOW_VALUES != 0)
        window_clear_rest(op, m, u, thread);
    if (!j.exists)
        return;
    const bool keep = u.leads && !c.split_runs; // the cache does not have these rows yet
    window_finish(op, m, j, x, y);
    window_put(op, m, u, j, j.first, x, keep);
    if (j.two)
        window_put(op, m, u, j, j.second, y, keep);
}

} // namespace slip
