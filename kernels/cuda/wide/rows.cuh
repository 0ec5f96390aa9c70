/* What REDUCE_NORM, GATHER, QUANTISE and SWIGLU of a wide step (rows.cu) are made of: a warp computes four rows of a row group in one block of 128 columns, four
 * columns a lane, so that the loads of four rows are in flight together. Lanes then trade what they hold for whole slices of 16 bytes of the operand.
 * Neighbouring rows' slices are neighbours in memory: sectors are written whole.
 *
 * A row gets the bits of ops/rows.cuh: terms in the same order, squares and maxima by the same butterflies. Sums over ranks: shares.cuh. */
#pragma once

#include "kernels/cuda/ops/rows.cuh"
#include "kernels/cuda/arch.cuh"
#include "kernels/cuda/sync/record.cuh"
#include "kernels/cuda/sync/early.cuh"

namespace slip {

constexpr int WIDE_ROWS = 4;                               // of a warp; a row group has two such quads
constexpr int WIDE_ROWS_THREADS = 128, WIDE_ROWS_CTAS = 5; // CTAs of an SM
static_assert(SLIP_TOKENS % WIDE_ROWS == 0, "a quad's rows are of one row group");

// Four rows of a block. Rows from `rows` on, and columns that are not there, are zeros.
struct wide_quad {
    int row, rows, block, column;
    bool real; // the lane's columns are there
};

using wide_sums = float4[WIDE_ROWS];

// ---- sums ----

// One term of each row at a time. `row_step`: floats from a row to the next.
__device__ __forceinline__ void wide_sum_parts(const row_terms &t, int row_step, const wide_quad &q, wide_sums &sum)
{
    constexpr int BATCH = 2; // of each row in flight
#pragma unroll 1
    for (int i = 0; i < t.count; i += BATCH) {
        float4 v[BATCH][WIDE_ROWS];
#pragma unroll
        for (int j = 0; j < BATCH; j++)
#pragma unroll
            for (int r = 0; r < WIDE_ROWS; r++)
                v[j][r] = q.real && r < q.rows && i + j < t.count
                              ? *(const float4 *)((const float *)t.from + (int64_t)(i + j) * t.step + r * row_step + q.column)
                              : zero();
#pragma unroll
        for (int j = 0; j < BATCH; j++)
#pragma unroll
            for (int r = 0; r < WIDE_ROWS; r++)
                sum[r] = add(sum[r], v[j][r]);
    }
}

// Picks of this rank's experts alone are loaded: most are of other ranks. Two of each row at a time.
__device__ __forceinline__ void wide_sum_picks(const slip_cuda_terms &op, const row_terms &t, const wide_quad &q, wide_sums &sum)
{
    constexpr int BATCH = 2; // of each row in flight
    const int lane = threadIdx.x % 32;
#pragma unroll 1
    for (int first = 0; first < t.count; first += 32) {
        const uint16_t *from = (const uint16_t *)t.from + (int64_t)first * t.step + q.column;
        float weight[WIDE_ROWS]; // of pick first + lane
        unsigned left[WIDE_ROWS];
#pragma unroll
        for (int r = 0; r < WIDE_ROWS; r++) {
            const row_terms mine = {NULL, t.count, t.step, t.expert + r * t.count, t.weight + r * t.count};
            weight[r] = r < q.rows ? weight_of(op, mine, first + lane) : 0;
        }
#pragma unroll
        for (int r = 0; r < WIDE_ROWS; r++)
            left[r] = __ballot_sync(~0u, weight[r] != 0);
#pragma unroll 1
        while (left[0] | left[1] | left[2] | left[3]) {
            uint2 v[BATCH][WIDE_ROWS];
            unsigned ahead[WIDE_ROWS] = {left[0], left[1], left[2], left[3]};
#pragma unroll
            for (int j = 0; j < BATCH; j++)
#pragma unroll
                for (int r = 0; r < WIDE_ROWS; r++) {
                    const int pick = r * t.count + __ffs((int)ahead[r]) - 1;
                    v[j][r] = ahead[r] && q.real ? *(const uint2 *)(from + (int64_t)pick * t.step) : make_uint2(0, 0);
                    ahead[r] &= ahead[r] - 1;
                }
#pragma unroll
            for (int j = 0; j < BATCH; j++)
#pragma unroll
                for (int r = 0; r < WIDE_ROWS; r++) {
                    const float w = __shfl_sync(~0u, weight[r], (__ffs((int)left[r]) - 1) & 31);
                    if (left[r])
                        sum[r] = add(sum[r], scaled(term_of(v[j][r]), w));
                    left[r] &= left[r] - 1;
                }
        }
    }
}

// The sums of each row, as sum_terms(). `rows`: of the step.
__device__ __forceinline__ void wide_sum(const slip_cuda_terms &op, bool gathered, int rows, const wide_quad &q, wide_sums &sum)
{
    context c = {};
    c.rows = rows;
    const row_terms t = gathered ? terms_of_ranks(op, c, q.row) : terms_of(op, q.row);
#pragma unroll
    for (int r = 0; r < WIDE_ROWS; r++)
        sum[r] = zero();
    if (t.expert)
        wide_sum_picks(op, t, q, sum);
    else
        wide_sum_parts(t, op.in.stride, q, sum);
}

// ---- operands ----

// Lanes 2 i and 2 i + 1 have words[r] of row r each; afterwards lane 2 i + b has both of row b.
__device__ __forceinline__ uint4 wide_trade_two(const uint2 (&words)[2], bool odd)
{
    const uint2 keep = odd ? words[1] : words[0], give = odd ? words[0] : words[1];
    const uint2 got = make_uint2(__shfl_xor_sync(~0u, give.x, 1), __shfl_xor_sync(~0u, give.y, 1));
    return odd ? make_uint4(got.x, got.y, keep.x, keep.y) : make_uint4(keep.x, keep.y, got.x, got.y);
}

// Lanes 4 i .. 4 i + 3 have a word of each of four rows; afterwards lane 4 i + r has all four of row r. The same of lanes that are APART.
template <int APART = 1>
__device__ __forceinline__ uint4 wide_trade_four(const uint32_t (&words)[WIDE_ROWS], int lane)
{
    const bool odd = lane & APART, upper = lane & 2 * APART;
    uint2 two[2]; // of rows odd and 2 + odd, from this lane and its neighbour
#pragma unroll
    for (int p = 0; p < 2; p++) {
        const uint32_t keep = odd ? words[2 * p + 1] : words[2 * p], give = odd ? words[2 * p] : words[2 * p + 1];
        const uint32_t got = __shfl_xor_sync(~0u, give, APART);
        two[p] = odd ? make_uint2(got, keep) : make_uint2(keep, got);
    }
    const uint2 keep = upper ? two[1] : two[0], give = upper ? two[0] : two[1];
    const uint2 got = make_uint2(__shfl_xor_sync(~0u, give.x, 2 * APART), __shfl_xor_sync(~0u, give.y, 2 * APART));
    return upper ? make_uint4(got.x, got.y, keep.x, keep.y) : make_uint4(keep.x, keep.y, got.x, got.y);
}

__device__ __forceinline__ float wide_of_row(const float (&v)[WIDE_ROWS], int r)
{
    return r < 2 ? (r == 0 ? v[0] : v[1]) : (r == 2 ? v[2] : v[3]);
}

// A quad's operand in e4m3: a lane has 16 columns of row lane % 4, and the first four lanes a row's scale each.
struct wide_codes {
    uint4 slice;
    float scale;
};

__device__ __forceinline__ wide_codes wide_codes_of(int lane, const wide_sums &v)
{
    uint32_t words[WIDE_ROWS];
    float scale[WIDE_ROWS];
#pragma unroll
    for (int r = 0; r < WIDE_ROWS; r++) {
        scale[r] = f8_scale(warp_most(fmaxf(fmaxf(fabsf(v[r].x), fabsf(v[r].y)), fmaxf(fabsf(v[r].z), fabsf(v[r].w)))));
        words[r] = f8_pack(v[r], scale[r]);
    }
    return {wide_trade_four(words, lane), wide_of_row(scale, lane % WIDE_ROWS)};
}

__device__ __forceinline__ void wide_put_codes(const slip_cuda_operand &f, bool by_row, const wide_quad &q, int lane,
                                               const wide_codes &codes)
{
    const int group = slip_group_of(q.row), token = slip_token_of(q.row) + lane % WIDE_ROWS,
              column = q.block * SLIP_F8_BLOCK + lane / WIDE_ROWS * 16;
    if (lane % WIDE_ROWS >= q.rows)
        return;
    *(uint4 *)(f.q8 + (by_row ? slip_operand_row_at(f.padded, q.row + lane % WIDE_ROWS, column)
                              : slip_operand_q8_at(f.padded, group, token, column))) = codes.slice;
    if (lane < WIDE_ROWS)
        f.scale[slip_operand_block_at(f.padded, group, token, q.block)] = codes.scale;
}

__device__ __forceinline__ void wide_write_halves(const slip_cuda_operand &f, const wide_quad &q, int lane, const wide_sums &v)
{
    const int group = slip_group_of(q.row), token = slip_token_of(q.row), mine = lane % 2; // its rows are r + mine
#pragma unroll
    for (int r = 0; r < WIDE_ROWS; r += 2) {
        const uint2 high[2] = {bf16_pack(v[r]), bf16_pack(v[r + 1])};
        const int at = slip_operand_bf16_at(f.padded, group, token + r + mine, q.block * SLIP_F8_BLOCK + lane / 2 * 8);
        const uint4 hi = wide_trade_two(high, mine);
        if (r + mine < q.rows)
            *(uint4 *)(f.hi + at) = hi;
        if (f.single)
            continue;
        const uint2 low[2] = {bf16_rest(high[0], v[r]), bf16_rest(high[1], v[r + 1])};
        const uint4 lo = wide_trade_two(low, mine);
        if (r + mine < q.rows)
            *(uint4 *)(f.lo + at) = lo;
    }
}

// As write_operand() of each row, or codes by row.
__device__ __forceinline__ void wide_write_rows(const slip_cuda_operand &f, bool by_row, const wide_quad &q, const wide_sums &v)
{
    const int lane = threadIdx.x % 32;
    if (f.q8)
        wide_put_codes(f, by_row, q, lane, wide_codes_of(lane, v));
    if (f.hi)
        wide_write_halves(f, q, lane, v);
}

// The squares of row `lane`, in the first four lanes.
__device__ __forceinline__ float wide_squares_of(int lane, const wide_sums &x)
{
    float square[WIDE_ROWS];
#pragma unroll
    for (int r = 0; r < WIDE_ROWS; r++)
        square[r] = warp_sum(squares_of(x[r]));
    return wide_of_row(square, lane % WIDE_ROWS);
}

__device__ __forceinline__ void wide_put_squares(const slip_cuda_operand &f, const wide_quad &q, int lane, float square)
{
    if (f.ssq && lane < q.rows)
        f.ssq[slip_operand_block_at(f.padded, slip_group_of(q.row), slip_token_of(q.row) + lane, q.block)] = square;
}

__device__ __forceinline__ void wide_normed(const slip_cuda_reduce_norm &op, const wide_quad &q, const wide_sums &x, wide_sums &v)
{
    const float4 norm = q.real ? *(const float4 *)(op.norm + q.column) : zero();
#pragma unroll
    for (int r = 0; r < WIDE_ROWS; r++)
        v[r] = multiplied(x[r], norm);
}

// ---- all quads, and what is kept of one ----

// All warps of the grid share the quads of `groups` row groups, of which group_of(i) is number i. Rows end at `rows`.
template <class Group, class Work>
__device__ __forceinline__ void wide_for_each_quad(int groups, Group group_of, int rows, int hidden, Work work)
{
    constexpr int QUADS = SLIP_TOKENS / WIDE_ROWS; // of a group
    const int blocks = blocks_of(hidden), count = groups * QUADS * blocks, warps = gridDim.x * (WIDE_ROWS_THREADS / 32);
#pragma unroll 1
    for (int index = blockIdx.x * (WIDE_ROWS_THREADS / 32) + threadIdx.x / 32; index < count; index += warps) {
        const int quad = index / blocks, block = index - quad * blocks, column = block * SLIP_F8_BLOCK + threadIdx.x % 32 * 4;
        const int row = group_of(quad / QUADS) * SLIP_TOKENS + quad % QUADS * WIDE_ROWS;
        if (row < rows)
            work(wide_quad{row, min(rows - row, WIDE_ROWS), block, column, column < hidden});
    }
}

template <class Work>
__device__ __forceinline__ void wide_for_each_quad(int rows, int hidden, Work work)
{
    wide_for_each_quad(
        slip_groups_of(rows), [](int group) { return group; }, rows, hidden, work);
}

// The residual before a sum is added to it.
__device__ __forceinline__ void wide_load_residual(const slip_cuda_reduce_norm &op, const wide_quad &q, wide_sums &x)
{
#pragma unroll
    for (int r = 0; r < WIDE_ROWS; r++)
        x[r] = op.add && q.real && r < q.rows ? *(const float4 *)(op.x + (int64_t)(q.row + r) * op.hidden + q.column) : zero();
}

__device__ __forceinline__ void wide_add_residual(const slip_cuda_reduce_norm &op, const wide_sums &x, wide_sums &sum)
{
#pragma unroll
    for (int r = 0; r < WIDE_ROWS; r++)
        if (op.add)
            sum[r] = add(x[r], sum[r]);
}

// Keeps the residual and its taps.
__device__ __forceinline__ void wide_keep(const slip_cuda_reduce_norm &op, const slip_cuda_step *step, const wide_quad &q,
                                          const wide_sums &x)
{
#pragma unroll
    for (int r = 0; r < WIDE_ROWS; r++) {
        if (!q.real || r >= q.rows)
            continue;
        if (op.x)
            *(float4 *)(op.x + (int64_t)(q.row + r) * op.hidden + q.column) = x[r];
        if (op.tap >= 0)
            keep_tap(op, step->row[q.row + r], q.column, x[r]);
    }
}

__device__ __forceinline__ void wide_write_normed(const slip_cuda_reduce_norm &op, const wide_quad &q, const wide_sums &x)
{
    const int lane = threadIdx.x % 32;
    wide_sums v;
    if (!op.norm)
        return;
    wide_put_squares(op.operand, q, lane, wide_squares_of(lane, x));
    wide_normed(op, q, x, v);
    wide_write_rows(op.operand, op.by_row, q, v);
}

} // namespace slip
