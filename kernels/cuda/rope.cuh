/* SLIP_CUDA_ROPE: head norms, rotation, and the way into the K/V cache.
 *
 * A warp computes one head of one row. Its dimensions lie in registers, lane + 32 * j, while the parts are summed and normed, then
 * in the warp's own slice of the arena, where each pair of the rotation meets. The reference is kernels/cpu/attention.c. */
#pragma once

#include "kernels/cuda/context.cuh"

namespace slip {

constexpr int ROPE_DIMS = 256;                 // widest head: slip_attend_fits() checks it on the host
constexpr int ROPE_LANE_DIMS = ROPE_DIMS / 32;

static_assert(CONSUMER_WARPS * ROPE_DIMS * sizeof(float) <= SLIP_CUDA_ARENA, "every warp needs room for one head");

// Parts in ascending order: columns [column, column + dims) of a row of QKV.
__device__ __forceinline__ void rope_sum(const slip_cuda_partial &in, int row, int column, int dims, int lane,
                                         float (&x)[ROPE_LANE_DIMS])
{
    const int parts = in.parts;
    const int64_t step = (int64_t)SLIP_TOKENS * in.stride;
    const float *from = in.data + ((int64_t)(row / SLIP_TOKENS) * parts * SLIP_TOKENS + row % SLIP_TOKENS) * in.stride + column;
#pragma unroll
    for (int j = 0; j < ROPE_LANE_DIMS; j++)
        x[j] = 0;
#pragma unroll 2
    for (int p = 0; p < parts; p++, from += step)
#pragma unroll
        for (int j = 0; j < ROPE_LANE_DIMS; j++)
            if (lane + 32 * j < dims)
                x[j] += from[lane + 32 * j];
}

// x *= weight / sqrt(mean(x^2) + epsilon). The order of the sum depends on nothing but `dims`.
__device__ __forceinline__ void rope_norm(const float *weight, int dims, float epsilon, int lane, float (&x)[ROPE_LANE_DIMS])
{
    float squares = 0;
#pragma unroll
    for (int j = 0; j < ROPE_LANE_DIMS; j++)
        squares = fmaf(x[j], x[j], squares); // dimensions that do not exist are zeros
#pragma unroll
    for (int away = 16; away > 0; away /= 2)
        squares += __shfl_xor_sync(0xffffffff, squares, away);
    float scale = 1.0f / sqrtf(squares / (float)dims + epsilon);
#pragma unroll
    for (int j = 0; j < ROPE_LANE_DIMS; j++)
        if (lane + 32 * j < dims)
            x[j] = weight[lane + 32 * j] * (x[j] * scale);
}

// NeoX: the pair of dimension i is i + half. The angle is an f32 product as in the reference; positions reach a million, so the
// accurate sine and cosine with their full range reduction are needed.
__device__ __forceinline__ void rope_rotate(const float *inverse_frequency, int half, int64_t position, int lane, float *head)
{
    for (int i = lane; i < half; i += 32) {
        float sine, cosine, a = head[i], b = head[i + half];
        sincosf((float)position * inverse_frequency[i], &sine, &cosine);
        head[i] = a * cosine - b * sine;
        head[i + half] = b * cosine + a * sine;
    }
}

// [width] bf16, zeros beyond `dims`. Widths are multiples of 16.
__device__ __forceinline__ void rope_store(const float *head, int dims, int width, int lane, uint16_t *to)
{
    for (int d = 2 * lane; d < width; d += 64) {
        uint32_t low = d < dims ? bf16_bits(head[d]) : 0, high = d + 1 < dims ? bf16_bits(head[d + 1]) : 0;
        *(uint32_t *)(to + d) = low | high << 16;
    }
}

// Q or K: head `h` of [q heads | k heads].
__device__ __forceinline__ void rope_turn(const slip_cuda_op &op, const slip_cuda_row &row, int r, int h, int lane, float *head)
{
    const slip_cache &shape = op.cache.shape;
    const float *weight = op.vector[h < shape.q_heads ? 0 : 1];
    float x[ROPE_LANE_DIMS];
    rope_sum(op.in, r, h * shape.head_dim, shape.head_dim, lane, x);
    if (weight != nullptr)
        rope_norm(weight, shape.head_dim, shape.norm_epsilon, lane, x);
#pragma unroll
    for (int j = 0; j < ROPE_LANE_DIMS; j++)
        head[lane + 32 * j] = x[j];
    __syncwarp();
    rope_rotate(op.inverse_frequency, op.rotary_dim / 2, row.position, lane, head);
    __syncwarp();
}

// V: head `h` of the V heads, scaled.
__device__ __forceinline__ void rope_value(const slip_cuda_op &op, int r, int h, int lane, float *head)
{
    const slip_cache &shape = op.cache.shape;
    float x[ROPE_LANE_DIMS];
    int column = (shape.q_heads + shape.kv_heads) * shape.head_dim + h * shape.v_head_dim;
    rope_sum(op.in, r, column, shape.v_head_dim, lane, x);
#pragma unroll
    for (int j = 0; j < ROPE_LANE_DIMS; j++)
        head[lane + 32 * j] = x[j] * shape.value_scale;
    __syncwarp();
}

// Index of a (row, K/V head) pair in the cache, in heads.
__device__ __forceinline__ int64_t rope_slot(const slip_cuda_cache &cache, const slip_cuda_row &row, int h)
{
    int64_t slot = (int64_t)row.sequence * cache.slots + row.position % cache.slots;
    return slot * cache.shape.kv_heads + h;
}

// One item: head `h` of [q heads | k heads | v heads] of row `r`.
__device__ __forceinline__ void rope_head(const slip_cuda_op &op, const slip_cuda_row &row, int r, int h, int lane, float *head)
{
    const slip_cuda_cache &cache = op.cache;
    const int q_heads = cache.shape.q_heads, kv_heads = cache.shape.kv_heads;
    if (h < q_heads + kv_heads)
        rope_turn(op, row, r, h, lane, head);
    else
        rope_value(op, r, h - q_heads - kv_heads, lane, head);
    if (h < q_heads)
        rope_store(head, cache.shape.head_dim, cache.k_width, lane, op.query + ((int64_t)r * q_heads + h) * cache.k_width);
    else if (h < q_heads + kv_heads)
        rope_store(head, cache.shape.head_dim, cache.k_width, lane, cache.k + rope_slot(cache, row, h - q_heads) * cache.k_width);
    else
        rope_store(head, cache.shape.v_head_dim, cache.v_width, lane,
                   cache.v + rope_slot(cache, row, h - q_heads - kv_heads) * cache.v_width);
}

// Items go to the SMs first, then to their warps: a small step still meets all SMs.
__device__ void op_rope(const slip_cuda_op &op, const context &c)
{
    const int warp = c.thread / 32, lane = c.thread % 32;
    const int heads = op.cache.shape.q_heads + 2 * op.cache.shape.kv_heads;
    const int64_t items = (int64_t)c.step->rows * heads;
    float *head = (float *)c.arena + warp * ROPE_DIMS;
    for (int64_t i = c.sm + (int64_t)c.sms * warp; i < items; i += (int64_t)c.sms * CONSUMER_WARPS) {
        int r = (int)i / heads, h = (int)i % heads;
        rope_head(op, c.step->row[r], r, h, lane, head);
        __syncwarp(); // before the next head overwrites this one
    }
}

} // namespace slip
