/* The operands of products: written to global memory by the ops before, and loaded into the arena. */
#pragma once

#include <cuda_fp8.h>

#include "kernels/cuda/arch.cuh"
#include "kernels/cuda/sync/ring.cuh"

namespace slip {

// A warp's work items (row, block of 128 columns), spread over all SMs before a second warp of an SM gets one.
struct warp_items {
    int next, step;
};

__device__ __forceinline__ warp_items items_of(const context &c)
{
    return {c.thread() / 32 * c.sms + c.sm, c.sms * CONSUMER_WARPS};
}

// Sum of `count` values `step` floats apart, in order. BATCH loads are in flight together, also in the last round: a loop that the compiler
// unrolls would load the remainder one by one, each with the latency of L2.
template <int BATCH>
__device__ __forceinline__ float4 sum_parts(const float *from, int count, int step)
{
    float4 sum = zero();
#pragma unroll 1
    for (int i = 0; i < count; i += BATCH, from += (int64_t)BATCH * step) {
        float4 v[BATCH];
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            v[j] = i + j < count ? *(const float4 *)(from + (int64_t)j * step) : zero();
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            sum = add(sum, v[j]);
    }
    return sum;
}

constexpr float F8_MOST = 448;

// The scale that brings a block's largest magnitude to the end of e4m3.
__device__ __forceinline__ float f8_scale(float most)
{
    return most > 0 ? most * (1 / F8_MOST) : 1;
}

__device__ __forceinline__ uint32_t f8_pack(float4 v, float scale)
{
    float inverse = 1 / scale;
    __nv_fp8x2_storage_t low = __nv_cvt_float2_to_fp8x2(make_float2(v.x * inverse, v.y * inverse), __NV_SATFINITE, __NV_E4M3);
    __nv_fp8x2_storage_t high = __nv_cvt_float2_to_fp8x2(make_float2(v.z * inverse, v.w * inverse), __NV_SATFINITE, __NV_E4M3);
    return (uint32_t)low | (uint32_t)high << 16;
}

// By a whole warp: 128 columns of a row. A lane holds columns block * 128 + 4 * lane .. + 3, zeros beyond the real ones.
__device__ __forceinline__ void write_operand(const slip_cuda_operand &f, int row, int block, float4 v)
{
    int group = slip_group_of(row), token = slip_token_of(row), lane = threadIdx.x % 32, column = block * SLIP_F8_BLOCK + lane * 4;
    if (f.q8) {
        float scale = f8_scale(warp_most(fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)))));
        *(uint32_t *)(f.q8 + slip_operand_q8_at(f.padded, group, token, column)) = f8_pack(v, scale);
        if (lane == 0)
            f.scale[slip_operand_block_at(f.padded, group, token, block)] = scale;
    }
    if (f.hi) {
        int at = slip_operand_bf16_at(f.padded, group, token, column);
        uint2 high = bf16_pack(v);
        *(uint2 *)(f.hi + at) = high;
        if (!f.single)
            *(uint2 *)(f.lo + at) = bf16_rest(high, v);
    }
}

__device__ __forceinline__ float squares_of(float4 v)
{
    return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
}

__device__ __forceinline__ void write_squares(const slip_cuda_operand &f, int row, int block, float4 v)
{
    float sum = warp_sum(squares_of(v));
    if (f.ssq && threadIdx.x % 32 == 0)
        f.ssq[slip_operand_block_at(f.padded, slip_group_of(row), slip_token_of(row), block)] = sum;
}

// ---- loading operands ----

// By a warp, for 8 tokens: `undo` times rsqrt(mean of squares + epsilon) of token lane % 8, or `undo` without a norm. `squares`: of its block 0.
__device__ __forceinline__ float factor_of(const slip_cuda_operand &a, float epsilon, const float *squares, float undo)
{
    constexpr int BATCH = 12, LANES = 32 / SLIP_TOKENS; // lanes of a token
    int blocks = a.padded / SLIP_F8_BLOCK;
    float sum = 0;
    if (a.ssq) {
#pragma unroll 1
        for (int b = threadIdx.x % 32 / SLIP_TOKENS; b < blocks; b += BATCH * LANES) { // blocks beyond the columns hold zeros
            float v[BATCH];
#pragma unroll
            for (int j = 0; j < BATCH; j++)
                v[j] = b + j * LANES < blocks ? squares[(b + j * LANES) * SLIP_TOKENS] : 0;
#pragma unroll
            for (int j = 0; j < BATCH; j++)
                sum += v[j];
        }
    }
    sum += __shfl_xor_sync(~0u, sum, 8);
    sum += __shfl_xor_sync(~0u, sum, 16);
    return a.ssq ? undo * rsqrtf(sum / (float)a.columns + epsilon) : undo;
}

// Loads factor[8] of the row group, by the last consumer warp.
__device__ __forceinline__ void load_factor(const slip_cuda_operand &a, float epsilon, int group, float undo, const context &c,
                                            float *factor)
{
    const int token = c.thread() % SLIP_TOKENS;
    if (c.thread() / 32 != CONSUMER_WARPS - 1)
        return;
    float mine = factor_of(a, epsilon, a.ssq + slip_operand_block_at(a.padded, group, token, 0), undo);
    if (c.thread() % 32 < SLIP_TOKENS)
        factor[token] = mine;
}

template <int N>
__device__ __forceinline__ int operand_bytes(int format) // of a tile's columns, one format
{
    return format == SLIP_WEIGHT_BF16 ? BF16_BYTES<N> : format == SLIP_WEIGHT_F8 ? F8_BYTES<N> : MXFP4_BYTES<N>;
}

template <int N>
__device__ __forceinline__ int scale_bytes(int format) // of a tile's columns: bf16 has none
{
    return (format == SLIP_WEIGHT_F8 ? 1 : 2) * BLOCK_SCALES<N>;
}

// Start to copy `bytes` bytes from `offset` on of a ring of `size` bytes.
static __device__ __noinline__ void copy_ring(const unsigned char *from, int offset, int size, int bytes, int thread, uint32_t to)
{
#pragma unroll 1
    for (int i = thread * 16; i < bytes; i += CONSUMERS * 16) {
        int at = offset + i;
        copy_16(to + i, from + (at < size ? at : at - size));
    }
}

// Start to load row group `group`'s operand of the column tiles in `window` to the start of the arena. Column tile j of the matrix multiplies
// the operand's columns of tile j % plane_tiles. copy_wait_all(), a fence and a barrier must follow.
__device__ __forceinline__ product_job load_operand(const slip_cuda_operand &a, const slip_cuda_matrix &m, int group, unit_range window,
                                                    const context &c)
{
    product_job job = {shared_address(c.arena), 0, 0, m.column_tiles, window.first, 0, 0};
    int each = operand_bytes<SLIP_TOKENS>(m.format), bytes = each * (window.last - window.first), size = each * m.plane_tiles;
    int base = slip_operand_q8_at(a.padded, group, 0, 0); // the same in hi and lo
    int first = window.first < m.plane_tiles ? window.first : window.first - m.plane_tiles;
    if (m.format == SLIP_WEIGHT_BF16) {
        copy_ring((const unsigned char *)(a.hi + base), first * each, size, bytes, c.thread(), job.address);
        copy_ring((const unsigned char *)(a.lo + base), first * each, size, bytes, c.thread(), job.address + bytes);
        job.lo = (uint32_t)bytes;
        return job;
    }
    copy_ring(a.q8 + base, first * each, size, bytes, c.thread(), job.address);
    job.scale = job.address + bytes;
    int scales = scale_bytes<SLIP_TOKENS>(m.format);
    copy_ring((const unsigned char *)(a.scale + slip_operand_block_at(a.padded, group, 0, 0)), first * scales, scales * m.plane_tiles,
              bytes / each * scales, c.thread(), job.scale);
    return job;
}

} // namespace slip
