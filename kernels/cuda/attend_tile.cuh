/* Attention of one tile of 32 queries over a range of keys: the arithmetic of op_attend.
 *
 * Keys are walked in sub-chunks of 64 at absolute multiples of 64, ascending, with an online softmax (Milakov and Gimelshein,
 * 2018) that begins anew at every multiple of `split`; finished splits are merged into a running total, ascending too.
 * A row's arithmetic depends on its own first and last key alone: where it sees nothing, its maximum stays, the factor is exactly
 * 1 and what is added is exactly 0. So it does not matter which rows share its tile, how the prompt was cut, nor whether one
 * SM walks all splits or each split has its own SM and the totals are merged behind it (attend.cuh): the merge is the same.
 *
 * Sixteen warps, three barriers a sub-chunk:
 *     scores   warp w < 8: m16 tile w % 2, keys 16 * (w / 2)              S = Q K^T: as many warps as shared memory can feed
 *     softmax  half-warp h: row h of the tile, 4 keys a lane             P, factors
 *     values   warp w: m16 tile w % 2, dimensions 8 * (w / 2 + 8 * i)     O = O * factor + P V
 * The keys of the next sub-chunk are loaded during softmax and values, its values during scores and softmax.
 *
 * With four warps a scheduler, each instruction of a phase costs four cycles: widths are template arguments where it matters. */
#pragma once

#include "kernels/cuda/attend_load.cuh"

namespace slip {

// ---- one sub-chunk ----

// S of this warp's m16n16 tile. ldmatrix: lane l points at row l % 16 and columns 8 * (l / 16) of the queries, at key
// l % 8 + 8 * (l / 16) and columns 8 * (l / 8 % 2) of the keys.
template <class widths> __device__ __forceinline__ void attend_scores(attend_memory &memory, const widths &w, int thread)
{
    const int lane = thread % 32, m = thread / 32 % 2, n = thread / 64, pitch = (w.k() + SLIP_ATTEND_PAD) * 2;
    if (n >= 4 || m * 16 >= memory.job.queries)
        return;
    const slip_attend_arena at = w.at();
    uint32_t query = shared_address(memory.byte(at.query)) + (m * 16 + lane % 16) * pitch + lane / 16 * 16;
    uint32_t key = shared_address(memory.byte(at.key)) + (n * 16 + lane % 8 + lane / 16 * 8) * pitch + lane / 8 % 2 * 16;
    float s[2][4] = {};
#pragma unroll(widths::UNROLL)
    for (int k = 0; k < w.k(); k += 16) {
        uint32_t a[4], b[4];
        load_matrix_4(query + k * 2, a);
        load_matrix_4(key + k * 2, b);
        mma_16816(s[0], a, b[0], b[1]);
        mma_16816(s[1], a, b[2], b[3]);
    }
    float *to = (float *)memory.byte(at.score) + (m * 16 + lane / 4) * SLIP_ATTEND_SCORE_STRIDE + n * 16 + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        *(float2 *)(to + i * 8) = make_float2(s[i][0], s[i][1]);
        *(float2 *)(to + i * 8 + 8 * SLIP_ATTEND_SCORE_STRIDE) = make_float2(s[i][2], s[i][3]);
    }
}

// exp(from - to) for from <= to; exactly 1 where they are equal, both -inf included: nothing is scaled by it then.
__device__ __forceinline__ float attend_factor(float from, float to)
{
    return from == to ? 1.0f : expf(from - to);
}

// Over a half-warp: a butterfly, whose result is the same in all lanes.
__device__ __forceinline__ float half_warp_max(float x)
{
#pragma unroll
    for (int away = 8; away > 0; away /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, away));
    return x;
}

__device__ __forceinline__ float half_warp_sum(float x)
{
#pragma unroll
    for (int away = 8; away > 0; away /= 2)
        x += __shfl_xor_sync(0xffffffff, x, away);
    return x;
}

// total (+)= split, for a row's maximum and sum; returns the factors of the two accumulators.
__device__ __forceinline__ float2 attend_merge(float &total_most, float &total_sum, float most, float sum)
{
    float both = fmaxf(total_most, most);
    float keep = attend_factor(total_most, both), take = attend_factor(most, both);
    total_sum = fmaf(sum, take, __fmul_rn(total_sum, keep));
    total_most = both;
    return make_float2(keep, take);
}

// P of this half-warp's row. The fast exponential's error, under 1e-6 where the weight counts, drowns in bf16. The sum is that of
// the weights as they are multiplied, rounded to bf16.
template <class widths>
__device__ __forceinline__ void attend_softmax(attend_memory &memory, const widths &w, float scale, int chunk, bool split_ends,
                                               attend_row &row, int thread)
{
    const int r = thread / 16, at = r * SLIP_ATTEND_SCORE_STRIDE + thread % 16 * 4, key = chunk + thread % 16 * 4;
    float4 four = *(const float4 *)((const float *)memory.byte(w.at().score) + at);
    float s[4] = {four.x, four.y, four.z, four.w};
    uint16_t p[4];
    bool sees[4];
    float most = -INFINITY;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        sees[i] = key + i >= row.first && key + i <= row.last;
        s[i] = sees[i] ? s[i] * scale : -INFINITY;
        most = fmaxf(most, s[i]);
    }
    most = fmaxf(row.most, half_warp_max(most));
#pragma unroll
    for (int i = 0; i < 4; i++)
        p[i] = sees[i] ? bf16_bits(__expf(s[i] - most)) : 0;
    float sum = half_warp_sum((bf16_value(p[0]) + bf16_value(p[1])) + (bf16_value(p[2]) + bf16_value(p[3])));
    float rescale = attend_factor(row.most, most);
    row.sum = fmaf(row.sum, rescale, sum);
    row.most = most;
    *(uint2 *)((uint16_t *)memory.byte(w.at().weight) + at) = make_uint2(p[0] | (uint32_t)p[1] << 16, p[2] | (uint32_t)p[3] << 16);
    if (thread % 16 == 0)
        memory.rescale[r] = rescale;
    if (!split_ends)
        return;
    float2 factors = attend_merge(row.total_most, row.total_sum, row.most, row.sum);
    row.most = -INFINITY;
    row.sum = 0;
    if (thread % 16 == 0) {
        memory.keep[r] = factors.x;
        memory.take[r] = factors.y;
    }
}

// One n8 tile of P V: 64 keys in ascending order. Summed up from zero, so that rows that see none of them get an exact 0.
__device__ __forceinline__ void attend_product(uint32_t value, int pitch, const uint32_t (&p)[4][4], float (&sum)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        sum[i] = 0;
#pragma unroll
    for (int k = 0; k < 2; k++) { // 32 keys: lane l points at key l
        uint32_t b[4];
        load_matrix_4_transposed(value + k * 32 * pitch, b);
        mma_16816(sum, p[2 * k], b[0], b[1]);
        mma_16816(sum, p[2 * k + 1], b[2], b[3]);
    }
}

// total = total * keep + split * take, and the split begins anew.
__device__ __forceinline__ void attend_merge_unit(const float (&keep)[2], const float (&take)[2], float (&split)[4], float (&total)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        total[i] = fmaf(split[i], take[i / 2], __fmul_rn(total[i], keep[i / 2]));
        split[i] = 0;
    }
}

template <class widths>
__device__ __forceinline__ void attend_values(attend_memory &memory, const widths &w, bool split_ends, attend_acc<widths::UNITS> &acc,
                                              int thread)
{
    const int lane = thread % 32, m = thread / 32 % 2, n = thread / 64, pitch = (w.v() + SLIP_ATTEND_PAD) * 2, r = m * 16 + lane / 4;
    if (m * 16 >= memory.job.queries)
        return;
    const slip_attend_arena at = w.at();
    uint32_t weight = shared_address(memory.byte(at.weight)) + (m * 16 + lane % 16) * SLIP_ATTEND_SCORE_STRIDE * 2 + lane / 16 * 16;
    uint32_t value = shared_address(memory.byte(at.value)) + lane * pitch + n * 16, p[4][4];
#pragma unroll
    for (int k = 0; k < 4; k++)
        load_matrix_4(weight + k * 32, p[k]);
    const float rescale[2] = {memory.rescale[r], memory.rescale[r + 8]};
#pragma unroll
    for (int i = 0; i < widths::UNITS; i++) {
        if (n + 8 * i >= w.v() / 8)
            break;
        float sum[4];
        attend_product(value + i * 128, pitch, p, sum);
#pragma unroll
        for (int j = 0; j < 4; j++)
            acc.split[i][j] = fmaf(acc.split[i][j], rescale[j / 2], sum[j]);
    }
    if (!split_ends)
        return;
    const float keep[2] = {memory.keep[r], memory.keep[r + 8]}, take[2] = {memory.take[r], memory.take[r + 8]};
#pragma unroll
    for (int i = 0; i < widths::UNITS; i++)
        attend_merge_unit(keep, take, acc.split[i], acc.total[i]);
}

// ---- all sub-chunks of an item ----

// Leaves the merged splits in acc.total, row.total_most and row.total_sum.
template <class widths>
__device__ __forceinline__ attend_row attend_walk(const slip_cuda_op &op, const slip_cuda_step &step, attend_memory &memory,
                                                  const widths &w, attend_acc<widths::UNITS> &acc, int thread)
{
    const attend_job &job = memory.job;
    const slip_attend_arena at = w.at();
    const uint32_t query = shared_address(memory.byte(at.query)), key = shared_address(memory.byte(at.key)),
                   value = shared_address(memory.byte(at.value));
    const slip_cuda_cache &cache = op.cache;
    int chunk = job.first / SLIP_ATTEND_KEYS * SLIP_ATTEND_KEYS, slot = (chunk + thread / 8) % cache.slots;
    attend_load_queries<widths::UNROLL>(op, job, w.k(), query, thread);
    attend_load_keys<widths::UNROLL>(cache, job, cache.k, w.k(), chunk, slot, key, thread);
    copy_commit();
    attend_load_keys<widths::UNROLL>(cache, job, cache.v, w.v(), chunk, slot, value, thread);
    copy_commit();
    attend_row row = attend_open_row(op.cache.shape, job, step, thread);
    const float scale = 1.0f / sqrtf((float)op.cache.shape.head_dim);
    copy_wait<1>();
    consumers_sync();
    for (; chunk <= job.last; chunk += SLIP_ATTEND_KEYS) {
        const int next = chunk + SLIP_ATTEND_KEYS;
        const bool more = next <= job.last, split_ends = !more || next % op.cache.split == 0;
        attend_scores(memory, w, thread);
        consumers_sync(); // scores are there, keys are read
        slot = attend_next_slot(slot, cache.slots);
        if (more)
            attend_load_keys<widths::UNROLL>(cache, job, cache.k, w.k(), next, slot, key, thread);
        copy_commit();
        attend_softmax(memory, w, scale, chunk, split_ends, row, thread);
        copy_wait<1>();
        consumers_sync(); // weights, factors and values are there
        attend_values(memory, w, split_ends, acc, thread);
        copy_wait<0>();
        consumers_sync(); // the next keys are there; values, weights and factors are read
        if (more)
            attend_load_keys<widths::UNROLL>(cache, job, cache.v, w.v(), next, slot, value, thread);
        copy_commit();
    }
    return row;
}

} // namespace slip
