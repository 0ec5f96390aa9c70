/* Activations on their way into products: forms written to global memory, and operands loaded into the arena. */
#pragma once

#include <cuda_fp8.h>

#include "kernels/cuda/product.cuh"

namespace slip {

// Work items of a warp: (row, block of 128 columns), spread so that all SMs take part before a second warp of one does.
struct warp_items {
    int next, step;
};

__device__ __forceinline__ warp_items items_of(const context &c)
{
    return {c.thread / 32 * c.sms + c.sm, c.sms * CONSUMER_WARPS};
}

__device__ __forceinline__ float warp_sum(float v)
{
#pragma unroll
    for (int d = 16; d > 0; d /= 2)
        v += __shfl_xor_sync(~0u, v, d);
    return v;
}

__device__ __forceinline__ float warp_most(float v)
{
#pragma unroll
    for (int d = 16; d > 0; d /= 2)
        v = fmaxf(v, __shfl_xor_sync(~0u, v, d));
    return v;
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

__device__ __forceinline__ uint2 bf16_pack(float4 v)
{
    return make_uint2((uint32_t)bf16_bits(v.x) | (uint32_t)bf16_bits(v.y) << 16, (uint32_t)bf16_bits(v.z) | (uint32_t)bf16_bits(v.w) << 16);
}

// What bf16 leaves over.
__device__ __forceinline__ float4 bf16_rest(float4 v)
{
    return make_float4(v.x - bf16_value(bf16_bits(v.x)), v.y - bf16_value(bf16_bits(v.y)), v.z - bf16_value(bf16_bits(v.z)),
                       v.w - bf16_value(bf16_bits(v.w)));
}

// A whole warp: 128 columns of a row, lane holds columns block * 128 + 4 * lane .. + 3, zeros beyond the real ones.
__device__ __forceinline__ void write_form(const slip_cuda_act &f, int row, int block, float4 v)
{
    int group = row / SLIP_TOKENS, token = row % SLIP_TOKENS, lane = threadIdx.x % 32, column = block * SLIP_FORM_BLOCK + lane * 4;
    if (f.q8) {
        float scale = f8_scale(warp_most(fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)))));
        int64_t unit = (int64_t)group * (f.padded / 16) + column / 16;
        *(uint32_t *)(f.q8 + (unit * SLIP_TOKENS + token) * 16 + column % 16) = f8_pack(v, scale);
        if (lane == 0)
            f.scale[((int64_t)group * (f.padded / SLIP_FORM_BLOCK) + block) * SLIP_TOKENS + token] = scale;
    }
    if (f.hi) {
        int64_t at = (((int64_t)group * (f.padded / 8) + column / 8) * SLIP_TOKENS + token) * 8 + column % 8;
        *(uint2 *)(f.hi + at) = bf16_pack(v);
        *(uint2 *)(f.lo + at) = bf16_pack(bf16_rest(v));
    }
}

__device__ __forceinline__ void write_squares(const slip_cuda_act &f, int row, int block, float4 v)
{
    float sum = warp_sum(v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w);
    if (f.ssq && threadIdx.x % 32 == 0)
        f.ssq[((int64_t)(row / SLIP_TOKENS) * (f.padded / SLIP_FORM_BLOCK) + block) * SLIP_TOKENS + row % SLIP_TOKENS] = sum;
}

// ---- loading operands ----

// rsqrt(mean of squares + epsilon) of the group's tokens, 1 without a norm, to factor[8]. By the last consumer warp.
__device__ __forceinline__ void load_factor(const slip_cuda_act &a, float epsilon, int group, const context &c, float *factor)
{
    if (c.thread / 32 != CONSUMER_WARPS - 1)
        return;
    int lane = c.thread % 32, token = lane % SLIP_TOKENS, blocks = a.padded / SLIP_FORM_BLOCK;
    float sum = 0;
    if (a.ssq)
        for (int b = lane / SLIP_TOKENS; b * SLIP_FORM_BLOCK < a.columns; b += 32 / SLIP_TOKENS)
            sum += a.ssq[((int64_t)group * blocks + b) * SLIP_TOKENS + token];
    sum += __shfl_xor_sync(~0u, sum, 8);
    sum += __shfl_xor_sync(~0u, sum, 16);
    if (lane < SLIP_TOKENS)
        factor[lane] = a.ssq ? rsqrtf(sum / (float)a.columns + epsilon) : 1.0f;
}

__device__ __forceinline__ int act_bytes(int store) // of a granule's columns, one form
{
    return store == SLIP_STORE_BF16 ? BF16_BYTES : store == SLIP_STORE_F8 ? F8_BYTES : MXFP4_BYTES;
}

// 16-byte pieces of granules [first, first + count) of a form, planes folded: granule j of the matrix meets columns j % plane.
__device__ __forceinline__ void load_granules(const unsigned char *from, const slip_cuda_matrix &m, int first, int count, const context &c,
                                              unsigned char *to)
{
    int bytes = act_bytes(m.store), pieces = bytes / 16;
    for (int i = c.thread; i < count * pieces; i += CONSUMERS) {
        int j = i / pieces, granule = first + j < m.plane ? first + j : first + j - m.plane;
        ((uint4 *)to)[i] = *(const uint4 *)(from + (int64_t)granule * bytes + (i - j * pieces) * 16);
    }
}

// Operands of the granules [first, first + count) for row group `group`, from the start of the arena on. All consumers call it; a
// fence and a barrier must follow.
__device__ __forceinline__ activations load_operand(const slip_cuda_act &a, const slip_cuda_matrix &m, int group, int first, int count,
                                                    const context &c)
{
    activations x = {shared_address(c.arena), 0, NULL, m.granules};
    int bytes = act_bytes(m.store) * count;
    if (m.store == SLIP_STORE_BF16) {
        int64_t base = (int64_t)group * a.padded * SLIP_TOKENS;
        load_granules((const unsigned char *)(a.hi + base), m, first, count, c, c.arena);
        load_granules((const unsigned char *)(a.lo + base), m, first, count, c, c.arena + bytes);
        x.lo = (uint32_t)bytes;
        return x;
    }
    load_granules(a.q8 + (int64_t)group * a.padded * SLIP_TOKENS, m, first, count, c, c.arena);
    float *scale = (float *)(c.arena + bytes), undo = m.store == SLIP_STORE_MXFP4 ? DECODED : 1;
    int blocks = slip_store_columns(m.store) / SLIP_FORM_BLOCK * SLIP_TOKENS; // floats a granule
    const float *from = a.scale + ((int64_t)group * (a.padded / SLIP_FORM_BLOCK)) * SLIP_TOKENS + first * blocks;
    for (int i = c.thread; i < count * blocks; i += CONSUMERS)
        scale[i] = from[i] * undo;
    x.scale = scale;
    return x;
}

} // namespace slip
