/* ROPE of a wide step: a warp computes a head of a row, four dimensions a lane. The arithmetic is that of ops/rope.cuh, so all bits are its bits. */
#pragma once

#include "kernels/cuda/ops/attend_window_rows.cuh"
#include "kernels/cuda/arch.cuh"
#include "kernels/cuda/sync/early.cuh"

namespace slip {

constexpr int WIDE_ROPE_THREADS = 256;

// Does a quad of dimensions never straddle the end of a head, or of what is turned? A norm reads a head's sums once more: where they are parts
// (`whole`: they are not), the op that serves all steps is faster.
static inline bool wide_rope_takes(const slip_cuda_rope &op, bool whole)
{
    const slip_cache &shape = op.cache.shape;
    return (whole || (!op.norm[0] && !op.norm[1])) && shape.head_dim % 4 == 0 && shape.v_head_dim % 4 == 0 && op.rotary_dim % 8 == 0;
}

// Dimensions d .. d + 3 before the norm; `from`: the head's part 0.
__device__ __forceinline__ float4 wide_rope_load(const slip_cuda_rope &op, const rope_item &item, const float *from, int d)
{
    return d < item.dims ? sum_parts<4>(from + d, op.in.parts, slip_partial_step(&op.in)) : zero();
}

// By a warp: rope_norm() of the head. Squares are added up as the threads of 32 dimensions each do it there; here they are in eight lanes.
__device__ __forceinline__ float wide_rope_norm(const slip_cuda_rope &op, const rope_item &item, const float *from)
{
    constexpr int DIMS = 32, LANES = DIMS / 4;
    float squares[ROPE_WARPS] = {};
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float4 x = wide_rope_load(op, item, from, half * 128 + threadIdx.x % 32 * 4);
        float4 sum = make_float4(__fmul_rn(x.x, x.x), __fmul_rn(x.y, x.y), __fmul_rn(x.z, x.z), __fmul_rn(x.w, x.w));
#pragma unroll
        for (int d = LANES / 2; d > 0; d /= 2)
            sum = add(sum, make_float4(__shfl_xor_sync(~0u, sum.x, d), __shfl_xor_sync(~0u, sum.y, d), __shfl_xor_sync(~0u, sum.z, d),
                                       __shfl_xor_sync(~0u, sum.w, d)));
        const float all = __fadd_rn(__fadd_rn(sum.x, sum.z), __fadd_rn(sum.y, sum.w));
#pragma unroll
        for (int w = 0; w < 128 / DIMS; w++)
            squares[half * (128 / DIMS) + w] = __shfl_sync(~0u, all, w * LANES);
    }
    return rope_norm(squares, item.dims, op.cache.shape.norm_epsilon);
}

// `norm`: that of the head, if it has one.
__device__ __forceinline__ float4 wide_rope_normed(const rope_item &item, float4 x, int d, float norm)
{
    if (item.weight == nullptr)
        return x;
    const float4 weight = *(const float4 *)(item.weight + d);
    return make_float4(weight.x * (x.x * norm), weight.y * (x.y * norm), weight.z * (x.z * norm), weight.w * (x.w * norm));
}

// Dimensions d .. d + 3.
__device__ __forceinline__ float4 wide_rope_quad(const slip_cuda_rope &op, const rope_item &item, const float *from, int d, float norm)
{
    if (d >= item.dims)
        return zero();
    const float4 mine = wide_rope_normed(item, wide_rope_load(op, item, from, d), d, norm);
    if (d >= 2 * item.half)
        return make_float4(mine.x * item.scale, mine.y * item.scale, mine.z * item.scale, mine.w * item.scale);
    const bool second = d >= item.half;
    const int pair = second ? d - item.half : d + item.half, turn = second ? pair : d;
    const float4 other = wide_rope_normed(item, wide_rope_load(op, item, from, pair), pair, norm);
    const float4 *angles = (const float4 *)((const float2 *)op.angles + item.row * item.half + turn), low = angles[0], high = angles[1];
    const float2 angle[4] = {{low.x, low.y}, {low.z, low.w}, {high.x, high.y}, {high.z, high.w}};
    return window_turn(mine, other, angle, second);
}

__global__ void __launch_bounds__(WIDE_ROPE_THREADS) wide_rope(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    const slip_cuda_rope &op = early_ops(ops, number)->rope;
    const int rows = step->rows, heads = op.cache.shape.q_heads + 2 * op.cache.shape.kv_heads, lane = threadIdx.x % 32;
    const int warps = gridDim.x * (WIDE_ROPE_THREADS / 32);
    await_previous_kernel();
    for (int index = blockIdx.x * (WIDE_ROPE_THREADS / 32) + threadIdx.x / 32; index < rows * heads; index += warps) {
        const rope_item item = rope_open(op, rows, index);
        const slip_cuda_row &row = step->row[item.row];
        const float *from = partial_row(op.in, item.row) + item.column;
        uint16_t *to = rope_target(op, item, slip_cache_start(&op.cache, row.sequence, row.base), (int)row.position);
        const float norm = item.weight ? wide_rope_norm(op, item, from) : 1;
        for (int d = lane * 4; d < item.width; d += 32 * 4)
            *(uint2 *)(to + d) = bf16_pack(wide_rope_quad(op, item, from, d, norm));
    }
}

// ---- whole sums of heads without norms, whose pairs are neighbours by a butterfly: each is read once ----

static inline bool wide_rope_is_plain(const slip_cuda_rope &op, bool whole)
{
    const int lanes = op.rotary_dim / 8; // from a dimension to the other one of its pair
    return whole && !op.norm[0] && !op.norm[1] && op.rotary_dim <= 128 && (lanes & (lanes - 1)) == 0;
}

__global__ void __launch_bounds__(WIDE_ROPE_THREADS) wide_rope_plain(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    const slip_cuda_rope &op = early_ops(ops, number)->rope;
    const int rows = step->rows, heads = op.cache.shape.q_heads + 2 * op.cache.shape.kv_heads, lane = threadIdx.x % 32, d = lane * 4;
    const int warps = gridDim.x * (WIDE_ROPE_THREADS / 32);
    await_previous_kernel();
#pragma unroll 1
    for (int index = blockIdx.x * (WIDE_ROPE_THREADS / 32) + threadIdx.x / 32; index < rows * heads; index += warps) {
        const rope_item item = rope_open(op, rows, index);
        const slip_cuda_row &row = step->row[item.row];
        const float *const from = partial_row(op.in, item.row) + item.column + d;
        float4 x[2]; // of dimensions d and 128 + d on
#pragma unroll
        for (int i = 0; i < 2; i++) // with a zero, as sum_parts() begins
            x[i] = add(zero(), i * 128 + d < item.dims ? *(const float4 *)(from + i * 128) : zero());
        if (item.half > 0) {
            const int away = item.half / 4, turn = (lane & (away - 1)) * 4;
            const float4 other = make_float4(__shfl_xor_sync(~0u, x[0].x, away), __shfl_xor_sync(~0u, x[0].y, away),
                                             __shfl_xor_sync(~0u, x[0].z, away), __shfl_xor_sync(~0u, x[0].w, away));
            if (d < 2 * item.half) {
                const float4 *const angles = (const float4 *)((const float2 *)op.angles + item.row * item.half + turn), low = angles[0],
                                    high = angles[1];
                const float2 angle[4] = {{low.x, low.y}, {low.z, low.w}, {high.x, high.y}, {high.z, high.w}};
                x[0] = window_turn(x[0], other, angle, d >= item.half);
            }
        } else {
            x[0] = scaled(x[0], item.scale);
            x[1] = scaled(x[1], item.scale);
        }
        uint16_t *const to = rope_target(op, item, slip_cache_start(&op.cache, row.sequence, row.base), (int)row.position) + d;
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (i * 128 + d < item.width)
                *(uint2 *)(to + i * 128) = bf16_pack(x[i]);
    }
}

} // namespace slip
