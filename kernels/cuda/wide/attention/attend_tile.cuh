/* The arithmetic of a wide ATTEND: a warpgroup has 64 queries, a tile of 16 a warp. Queries, weights and outputs stay in registers: a weight's place in
 * the sums of one product is its place in the operand of the next.
 *
 * A row gets the bits of ops/attend_tile.cuh and ops/attend_parts.cuh: wgmma's sums are those of mma (tests/gpu/wgmma.sh), dimensions are summed up in
 * the same two halves, keys in the same sub-chunks, the sum of a sub-chunk's weights by the same tree of additions, and splits are merged in the
 * same order. */
#pragma once

#include "kernels/cuda/wide/attention/attend_load.cuh"

namespace slip {

// A warp's tile: the split at hand, and what the splits before it are merged to but for its outputs.
struct wide_attend_tile {
    int first[2], last[2]; // keys that rows lane / 4 and lane / 4 + 8 see; last -1: there is no such query
    float most[2], sum[2];
    float all_most[2], all_sum[2];
    float o[WIDE_ATTEND_V_TILES * 4]; // [dimension / 8][c of the mma fragment]
};

// ---- a sub-chunk, by a warpgroup ----

// S of 64 queries and 64 keys. Halves of the dimensions as attend_scores() has them: every second step of 32.
__device__ __forceinline__ void wide_attend_scores(uint32_t stage, const uint32_t (&q)[WIDE_ATTEND_K_STEPS][4], float (&s)[32])
{
    float other[32];
    matrix_fence();
    pin(s);
    pin(other);
#pragma unroll
    for (int i = 0; i < WIDE_ATTEND_K_STEPS; i++) {
        const uint64_t keys = swizzled_descriptor(stage + i / 4 * WIDE_ATTEND_PLANE + i % 4 * 32, 16, 1024);
        if (i / 2 % 2 == 0)
            i == 0 ? matrix_bf16_registers<64, true>(s, q[i], keys) : matrix_bf16_registers<64, false>(s, q[i], keys);
        else
            i == 2 ? matrix_bf16_registers<64, true>(other, q[i], keys) : matrix_bf16_registers<64, false>(other, q[i], keys);
    }
    matrix_commit();
    matrix_wait<0>();
    pin(s);
    pin(other);
#pragma unroll
    for (int i = 0; i < 32; i++)
        s[i] += other[i];
}

// Weights of row `r` of the tile, packed: p[n][r] has keys 8 n + 2 (lane % 4) and the next. Returns what the row's outputs are multiplied by.
__device__ __forceinline__ float wide_attend_soften(wide_attend_tile &t, int r, const float (&s)[32], float scale,
                                                    uint32_t (&p)[WIDE_ATTEND_N_TILES][2])
{
    float most = -INFINITY, pair[WIDE_ATTEND_N_TILES];
#pragma unroll
    for (int n = 0; n < WIDE_ATTEND_N_TILES; n++)
        most = fmaxf(most, fmaxf(s[n * 4 + r * 2], s[n * 4 + r * 2 + 1]));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
    most = fmaxf(t.most[r], most * scale);
#pragma unroll
    for (int n = 0; n < WIDE_ATTEND_N_TILES; n++) {
        p[n][r] = bf16_pack(attend_exp2(fmaf(s[n * 4 + r * 2], scale, -most)), attend_exp2(fmaf(s[n * 4 + r * 2 + 1], scale, -most)));
        const float2 weights = bf16_values(p[n][r]);
        pair[n] = weights.x + weights.y;
    }
    // warp_sum()'s tree over 32 pairs in order, of which this thread has every fourth
    float sum = ((pair[0] + pair[4]) + (pair[2] + pair[6])) + ((pair[1] + pair[5]) + (pair[3] + pair[7]));
    sum += __shfl_xor_sync(~0u, sum, 2);
    sum += __shfl_xor_sync(~0u, sum, 1);
    const float rescale = attend_exp2(t.most[r] - most);
    t.sum[r] = fmaf(t.sum[r], rescale, sum);
    t.most[r] = most;
    return rescale;
}

// Scores of keys that a row does not see.
__device__ __forceinline__ void wide_attend_hide(const wide_attend_tile &t, float (&s)[32], int chunk)
{
#pragma unroll
    for (int i = 0; i < 32; i++) {
        const int key = chunk + i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2, r = i / 2 % 2;
        s[i] = key >= t.first[r] && key <= t.last[r] ? s[i] : -INFINITY;
    }
}

__device__ __forceinline__ void wide_attend_values(wide_attend_tile &t, uint32_t values, const float (&rescale)[2],
                                                   const uint32_t (&p)[WIDE_ATTEND_N_TILES][2], float (&sum)[64])
{
    matrix_fence();
    pin(sum);
#pragma unroll
    for (int k = 0; k < SLIP_ATTEND_KEYS / 16; k++) {
        const uint32_t weights[4] = {p[2 * k][0], p[2 * k][1], p[2 * k + 1][0], p[2 * k + 1][1]};
        const uint64_t at = swizzled_descriptor(values + k * 16 * 128, WIDE_ATTEND_PLANE, 1024);
        k == 0 ? matrix_bf16_registers<128, true>(sum, weights, at) : matrix_bf16_registers<128, false>(sum, weights, at);
    }
    matrix_commit();
    matrix_wait<0>();
    pin(sum);
#pragma unroll
    for (int i = 0; i < 64; i++)
        t.o[i] = fmaf(t.o[i], rescale[i / 2 % 2], sum[i]);
}

// ---- splits ----

__device__ __forceinline__ void wide_attend_begin(wide_attend_tile &t)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        t.most[r] = ATTEND_NOTHING;
        t.sum[r] = 0;
    }
#pragma unroll
    for (int i = 0; i < 64; i++)
        t.o[i] = 0;
}

// As attend_store_part(). `item`: of the tile and the split.
__device__ __forceinline__ void wide_attend_store(const slip_cuda_attend &op, const wide_attend_tile &t, int item)
{
    const int lane = threadIdx.x % 32, width = op.cache.v_width, row = item * SLIP_ATTEND_QUERIES + lane / 4;
    float *out = op.part_out + (int64_t)row * width + lane % 4 * 2;
#pragma unroll
    for (int d = 0; d < WIDE_ATTEND_V_TILES; d++)
        if (d * 8 < width) {
            *(float2 *)(out + d * 8) = make_float2(t.o[d * 4], t.o[d * 4 + 1]);
            *(float2 *)(out + 8 * width + d * 8) = make_float2(t.o[d * 4 + 2], t.o[d * 4 + 3]);
        }
    if (lane % 4 == 0) {
        ((float2 *)op.part_sum)[row] = make_float2(t.most[0], t.sum[0]);
        ((float2 *)op.part_sum)[row + 8] = make_float2(t.most[1], t.sum[1]);
    }
}

// As attend_merge(), of a split that has just ended. `first`: there is none before it.
__device__ __forceinline__ void wide_attend_merge_split(wide_attend_memory &m, wide_attend_tile &t, bool first)
{
    attend_weights w[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const float before = first ? ATTEND_NOTHING : t.all_most[r];
        w[r] = attend_weigh(before, t.most[r]);
        t.all_sum[r] = attend_add(first ? 0 : t.all_sum[r], t.sum[r], w[r]);
        t.all_most[r] = fmaxf(before, t.most[r]);
    }
#pragma unroll
    for (int d = 0; d < WIDE_ATTEND_V_TILES; d++) {
        float4 &total = m.total[d][threadIdx.x];
        const float4 o = first ? make_float4(0, 0, 0, 0) : total;
        total = make_float4(attend_add(o.x, t.o[d * 4], w[0]), attend_add(o.y, t.o[d * 4 + 1], w[0]), attend_add(o.z, t.o[d * 4 + 2], w[1]),
                            attend_add(o.w, t.o[d * 4 + 3], w[1]));
    }
}

// As attend_combine(), of all splits. Lanes trade pairs of dimensions for quads.
__device__ __forceinline__ void wide_attend_finish(const slip_cuda_attend &op, wide_attend_memory &m, const wide_attend_tile &t,
                                                   const attend_job &job)
{
    const int lane = threadIdx.x % 32, odd = lane % 2;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const attend_query query = attend_query_of(op.cache.shape, job, lane / 4 + r * 8);
        const float factor = query.last >= 0 ? attend_finish(op.sinks, query.head, t.all_most[r], t.all_sum[r]) : 0;
#pragma unroll 2
        for (int d = 0; d < WIDE_ATTEND_V_TILES; d += 2) {
            const float4 one = m.total[d][threadIdx.x], two = m.total[d + 1][threadIdx.x];
            const float2 low = r == 0 ? make_float2(one.x, one.y) : make_float2(one.z, one.w),
                         high = r == 0 ? make_float2(two.x, two.y) : make_float2(two.z, two.w), mine = odd ? high : low,
                         given = odd ? low : high, got = make_float2(__shfl_xor_sync(~0u, given.x, 1), __shfl_xor_sync(~0u, given.y, 1)),
                         left = odd ? got : mine, right = odd ? mine : got;
            if (query.last >= 0)
                attend_store(op, query, (d + odd) * 8 + lane % 4 / 2 * 4,
                             make_float4(left.x * factor, left.y * factor, right.x * factor, right.y * factor));
        }
    }
}

} // namespace slip
