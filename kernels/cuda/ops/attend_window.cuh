/* SLIP_CUDA_ATTEND_WINDOW: head rotation, the way into the K/V cache and attention of a layer with a narrow window, in one phase. No splits,
 * no merge: a window and a run's own rows fit an SM's shared memory.
 *
 * A unit of work is a run (rows of one sequence in one row group), a query head and 64 of V's dimensions. Its cached keys and values do not
 * depend on the step: they are fetched while SMs still wait for each other. Then every thread adds up the parts of eight raw values,
 * rotates them, and leaves them as the unit's queries and as the newest keys and values. Sixteen warps:
 *     scores  warps 0 - 8    16 keys each   S^T = K Q^T, then the weights, rounded to bf16
 *     values  warps 12 - 15  16 dimensions each   O^T = V^T P^T, and beside it the sum of the rounded weights by a row of ones
 *
 * Why a row's result depends on the row alone. Each score is a product of its own. The maximum is over the row's keys and its sink, in any
 * order. Weights are multiplied in steps of 16 keys at absolute multiples of 16; steps alternate between two accumulators, which meet in
 * one commutative addition. A step in which the row sees nothing adds exact zeros: its weights are 0 and all values are finite.
 *
 * Where a sequence has several runs in a step (prompts), or the step has many rows, ROPE goes before and has written all rows to the cache; else
 * it is left out. The arithmetic of rotation is rope.cuh's, so that a cached key has the same bits whoever wrote it. */
#pragma once

#include "kernels/cuda/ops/attend_window_rows.cuh"

namespace slip {

// ---- scores and weights ----

// S^T of the warp's 16 keys and 8 tokens. Rows g and g + 8 of the fragment are keys 2 g and 2 g + 1 of the tile. Rows are multiples of 128
// bytes, in which 8 chunks change places: of every second step of 32 dimensions, the upper half lies where the lower half would.
__device__ __forceinline__ void window_scores(window_memory &m, int warp, int lane, float (&s)[4])
{
    const int key = warp * WINDOW_TILE + lane % 8 * 2 + lane / 8 % 2;
    const uint32_t turn = (uint32_t)(lane / 16 ^ (key >> 1 & 7)) * 16, keys = shared_address(m.key[key]);
    const uint32_t queries = shared_address(m.query[lane % 8]), query_turn = (uint32_t)(lane / 8 ^ lane % 8) * 16;
    float c[2][4] = {};
#pragma unroll
    for (int i = 0; i < WINDOW_DIMS / 32; i++) {
        const uint32_t half = i % 2 * 64, at = i / 2 * 128;
        uint32_t a[2][4], b[4];
        load_matrix_4(queries + (query_turn ^ half) + at, b);
        load_matrix_4(keys + (turn ^ half) + at, a[0]);
        load_matrix_4(keys + (turn ^ half ^ 32) + at, a[1]);
        mma_16816(c[0], a[0], b[0], b[1]);
        mma_16816(c[1], a[1], b[2], b[3]);
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        s[i] = c[0][i] + c[1][i];
}

// A warp of scores: its keys' weights. x[h * 2 + i]: key 2 (lane / 4) + h of the tile, token 2 (lane % 4) + i.
__device__ __forceinline__ void window_weights(const slip_cuda_attend_window &op, window_memory &m, const window_unit &u, int warp,
                                               int lane)
{
    const slip_cache &shape = op.cache.shape;
    const float scale = rsqrtf((float)shape.head_dim) * ATTEND_LOG2E;
    const int place = warp * WINDOW_TILE + lane / 4 * 2, token = lane % 4 * 2;
    const float sink = op.sinks ? op.sinks[u.head] * ATTEND_LOG2E : -INFINITY; // one more logit
    float x[4], most[2];
    window_scores(m, warp, lane, x);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int key = u.first + place + i / 2, mine = u.position + token + i % 2;
        x[i] = key <= mine && key > mine - shape.window ? x[i] * scale : -INFINITY;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        most[i] = fmaxf(x[i], x[i + 2]);
#pragma unroll
        for (int away = 4; away < 32; away *= 2)
            most[i] = fmaxf(most[i], __shfl_xor_sync(~0u, most[i], away));
        if (lane < 4)
            m.most[token + i][warp] = most[i];
    }
    consumers_sync_apart(); // all maxima are there; queries are read, too: weights take their place
    const int ahead = u.first - u.base;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float4 *of = (const float4 *)m.most[token + i], low = of[0], high = of[1];
        const float top = fmaxf(fmaxf(fmaxf(fmaxf(low.x, low.y), fmaxf(low.z, low.w)), fmaxf(fmaxf(high.x, high.y), fmaxf(high.z, high.w))),
                                fmaxf(of[2].x, sink));
        static_assert(WINDOW_SCORERS == 9, "two quads and one");
        if (warp == 0 && lane < 4)
            m.top[token + i] = top;
        uint16_t *to = m.weight[token + i] + ahead + place;
        to[0] = bf16_bits(attend_exp2(x[i] - top));
        to[1] = bf16_bits(attend_exp2(x[i + 2] - top));
    }
    if (warp == 0) // beside the keys of all warps
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int at = lane % 4 * 4 + i;
            m.weight[lane / 4][at < ahead ? at : WINDOW_SCORERS * WINDOW_TILE + at] = 0;
        }
    consumers_sync_apart();
}

// ---- values ----

// Dimensions dim and dim + 1 of a row.
__device__ __forceinline__ void window_store(const slip_cuda_attend_window &op, const window_unit &u, int token, int dim, float x, float y)
{
    const int dims = op.cache.shape.v_head_dim, row = u.row + token, column = u.head * dims + dim;
    if (token >= u.count || dim >= dims)
        return;
    if (op.rows != nullptr)
        *(float2 *)(op.rows + row * op.width + column) = make_float2(x, y);
    if (op.operand.hi == nullptr)
        return;
    const int at = attend_operand_at(op, row, column);
    const float4 both = make_float4(x, y, 0, 0);
    const uint2 high = bf16_pack(both);
    *(uint32_t *)(op.operand.hi + at) = high.x;
    if (!op.operand.single)
        *(uint32_t *)(op.operand.lo + at) = bf16_rest(high, both).x;
}

// O^T of the warp's 16 dimensions and 8 tokens.
__device__ __forceinline__ void window_values(const slip_cuda_attend_window &op, window_memory &m, const window_unit &u, int warp, int lane)
{
    uint32_t a[WINDOW_STEPS][4], b[4];
    float c[2][4] = {}, sum[2][4] = {};
#pragma unroll
    for (int k = 0; k < WINDOW_STEPS; k++) {
        const int row = min(k * WINDOW_TILE + lane / 16 * 8 + lane % 8, WINDOW_VALUE_ROWS - 1);
        load_matrix_4_transposed(shared_address(window_value(m, row, warp * 2 + lane / 8 % 2)), a[k]);
    }
    const int token = lane % 4 * 2;
    const float sink = op.sinks ? op.sinks[u.head] * ATTEND_LOG2E : -INFINITY;
    consumers_sync_apart();
    consumers_sync_apart();                                                                             // weights are there
    const float sink0 = attend_exp2(sink - m.top[token]), sink1 = attend_exp2(sink - m.top[token + 1]); // its weights
    const uint32_t ones[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};
#pragma unroll
    for (int k = 0; k < WINDOW_STEPS; k++) {
        if (k % 2 == 0)
            load_matrix_4(shared_address(&m.weight[lane % 8][k * WINDOW_TILE + lane / 8 * 8]), b);
        mma_16816(c[k % 2], a[k], b[k % 2 * 2], b[k % 2 * 2 + 1]);
        mma_16816(sum[k % 2], ones, b[k % 2 * 2], b[k % 2 * 2 + 1]);
    }
    const float f0 = attend_reciprocal(sum[0][0] + sum[1][0] + sink0), f1 = attend_reciprocal(sum[0][1] + sum[1][1] + sink1);
    const bool odd = lane & 4; // neighbours in dimension give each other one token's value
    const int dim = u.part * WINDOW_VALUES + warp * 16 + lane / 8 * 2;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const float one = (c[0][h * 2] + c[1][h * 2]) * f0, two = (c[0][h * 2 + 1] + c[1][h * 2 + 1]) * f1;
        const float other = __shfl_xor_sync(~0u, odd ? one : two, 4);
        window_store(op, u, token + odd, dim + h * 8, odd ? other : one, odd ? two : other);
    }
}

// ---- the op ----

// c.fetched: window_fetch() of this SM's first unit is over.
__device__ __forceinline__ void op_attend_window(const slip_cuda_attend_window &op, const context &c)
{
    bool fetched = c.fetched;
    __builtin_assume(__isShared(&op));
    __builtin_assume(__isShared(c.arena));
    __builtin_assume(c.thread() >= 0 && c.thread() < CONSUMERS);
    window_memory &m = *(window_memory *)c.arena;
    const int units = window_units(op, c.runs), warp = c.thread() / 32, lane = c.thread() % 32;
    if (op.width < op.operand.padded)
        attend_pad(op, c);
#pragma unroll 1
    for (int index = c.sm; index < units; index += c.sms, fetched = false) {
        if (!fetched) {
            window_fetch(op, c, index);
            copy_wait_all();
            consumers_sync();
        }
        if (m.unit.part * WINDOW_VALUES >= op.cache.v_width) {
            consumers_sync();
            continue;
        }
        window_rows(op, c);
        consumers_sync();
        if (warp < WINDOW_SCORERS) {
            window_weights(op, m, m.unit, warp, lane);
        } else if (warp >= CONSUMER_WARPS - WINDOW_VALUES / 16) {
            window_values(op, m, m.unit, warp - (CONSUMER_WARPS - WINDOW_VALUES / 16), lane);
        } else { // the two barriers of the others
            consumers_sync_apart();
            consumers_sync_apart();
        }
        if (index + c.sms < units)
            consumers_sync(); // before the next unit's rows overwrite this one's
    }
}

} // namespace slip
