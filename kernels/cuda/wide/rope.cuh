/* ROPE of a wide step: a warp computes a head of a row, four dimensions a lane. The arithmetic is that of ops/rope.cuh, so all bits are its bits.
 * Heads with norms are left to it. */
#pragma once

#include "kernels/cuda/ops/attend_window_rows.cuh"
#include "kernels/cuda/arch.cuh"

namespace slip {

constexpr int WIDE_ROPE_THREADS = 256;

// Does a quad of dimensions never straddle the end of a head, or of what is turned?
static inline bool wide_rope_takes(const slip_cuda_rope &op)
{
    const slip_cache &shape = op.cache.shape;
    return !op.norm[0] && !op.norm[1] && shape.head_dim % 4 == 0 && shape.v_head_dim % 4 == 0 && op.rotary_dim % 8 == 0;
}

// Dimensions d .. d + 3; `from`: the head's part 0.
__device__ __forceinline__ float4 wide_rope_quad(const slip_cuda_rope &op, const rope_item &item, const float *from, int d)
{
    const int parts = op.in.parts, step = slip_partial_step(&op.in);
    if (d >= item.dims)
        return zero();
    const float4 mine = sum_parts<4>(from + d, parts, step);
    if (d >= 2 * item.half)
        return make_float4(mine.x * item.scale, mine.y * item.scale, mine.z * item.scale, mine.w * item.scale);
    const bool second = d >= item.half;
    const int pair = second ? d - item.half : d + item.half, turn = second ? pair : d;
    const float4 other = sum_parts<4>(from + pair, parts, step);
    const float4 *angles = (const float4 *)((const float2 *)op.angles + item.row * item.half + turn), low = angles[0], high = angles[1];
    const float2 angle[4] = {{low.x, low.y}, {low.z, low.w}, {high.x, high.y}, {high.z, high.w}};
    return window_turn(mine, other, angle, second);
}

__global__ void __launch_bounds__(WIDE_ROPE_THREADS) wide_rope(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    await_previous_kernel();
    const slip_cuda_rope &op = ops[number].rope;
    const int rows = step->rows, heads = op.cache.shape.q_heads + 2 * op.cache.shape.kv_heads, lane = threadIdx.x % 32;
    const int warps = gridDim.x * (WIDE_ROPE_THREADS / 32);
    for (int index = blockIdx.x * (WIDE_ROPE_THREADS / 32) + threadIdx.x / 32; index < rows * heads; index += warps) {
        const rope_item item = rope_open(op, rows, index);
        const slip_cuda_row &row = step->row[item.row];
        const float *from = partial_row(op.in, item.row) + item.column;
        uint16_t *to = rope_target(op, item, slip_cache_start(&op.cache, row.sequence, row.base), (int)row.position);
        for (int d = lane * 4; d < item.width; d += 32 * 4)
            *(uint2 *)(to + d) = bf16_pack(wide_rope_quad(op, item, from, d));
    }
}

} // namespace slip
