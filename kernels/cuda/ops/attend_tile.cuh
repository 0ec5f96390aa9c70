/* Attention of one tile of 16 queries over one split of the keys: the arithmetic of op_attend.
 *
 * Keys are walked in sub-chunks of 64 at absolute multiples of 64, ascending, with an online softmax (Milakov and Gimelshein, 2018).
 * A row's arithmetic depends on its own first and last key alone: where it sees nothing, its maximum stays, the factor is exactly 1
 * and what is added is exactly 0. So it does not matter which rows share its tile, nor how the prompt was cut.
 *
 * Sixteen warps, three barriers a sub-chunk:
 *     scores   warp w: keys 8 * (w % 8), every second step of 32 dimensions   S = Q K^T, in two halves
 *     softmax  warp w: row w of the tile, 2 keys a lane                       P, factors
 *     values   warp w: dimensions 8 * w and 8 * (w + 16)                      O = O * factor + P V
 * The first sub-chunk's keys and values are all requested at once: a decode step has one or two sub-chunks an item, and its time is
 * that of one trip to memory. Further on, keys arrive during softmax and values, values during scores and softmax.
 *
 * Loops stay loops: the kernel's code is gone through once a layer and does not fit the SM's instruction cache, so that every
 * instruction that is not repeated costs a trip to L2 of its own. */
#pragma once

#include "kernels/cuda/ops/attend_load.cuh"

namespace slip {

// Instead of minus infinity, so that no difference is NaN: below every real logit, and exp2(it - any real one) is 0.
constexpr float ATTEND_NOTHING = -1e30f;
constexpr float ATTEND_LOG2E = 1.4426950408889634f;

// Online softmax of the warp's row, the same in all lanes. Logits are in units of log 2.
struct attend_row {
    float most, sum;
};

// The base-2 exponential of the hardware: 2 ulp, exactly 1 at 0 and 0 from far below. Its error drowns in the bf16 of the weights.
__device__ __forceinline__ float attend_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// ---- one sub-chunk ----

// S of this warp's 16 queries x 8 keys over its half of the dimensions. ldmatrix: lane l points at row l % 16 and columns 8 * (l / 16)
// of the queries, at key l % 8 and columns 8 * (l / 8) of the keys.
__device__ __forceinline__ void attend_scores(uint32_t query, uint32_t key, int pitch, float *score, int thread)
{
    const int lane = thread % 32, n = thread / 32 % 8, half = thread / 256;
    query += (uint32_t)(lane % 16 * pitch + lane / 16 * 16);
    key += (uint32_t)((n * 8 + lane % 8) * pitch + lane / 8 * 16);
    float s[4] = {};
#pragma unroll 1
    for (int at = half * SLIP_ATTEND_K_STEP * 2; at < pitch - SLIP_ATTEND_PAD * 2; at += 2 * SLIP_ATTEND_K_STEP * 2) {
        uint32_t a[2][4], b[4];
        load_matrix_4(query + at, a[0]);
        load_matrix_4(key + at, b);
        load_matrix_4(query + at + 32, a[1]);
        mma_16816(s, a[0], b[0], b[1]);
        mma_16816(s, a[1], b[2], b[3]);
    }
    float *to = score + (half * SLIP_ATTEND_QUERIES + lane / 4) * SLIP_ATTEND_SCORE_STRIDE + n * 8 + lane % 4 * 2;
    *(float2 *)to = make_float2(s[0], s[1]);
    *(float2 *)(to + 8 * SLIP_ATTEND_SCORE_STRIDE) = make_float2(s[2], s[3]);
}

// P of this warp's row. The sum is that of the weights as they are multiplied, rounded to bf16.
__device__ __forceinline__ void attend_softmax(attend_memory &memory, const float *score, uint16_t *weight, float scale, int chunk,
                                               const attend_query &query, attend_row &row, int thread)
{
    const int r = thread / 32, lane = thread % 32, at = r * SLIP_ATTEND_SCORE_STRIDE + lane * 2, key = chunk + lane * 2;
    const float2 one = *(const float2 *)(score + at);
    const float2 two = *(const float2 *)(score + SLIP_ATTEND_QUERIES * SLIP_ATTEND_SCORE_STRIDE + at);
    const float x = key >= query.first && key <= query.last ? one.x + two.x : -INFINITY;
    const float y = key + 1 >= query.first && key + 1 <= query.last ? one.y + two.y : -INFINITY;
    const float most = fmaxf(row.most, warp_most(fmaxf(x, y)) * scale);
    const uint32_t p = bf16_pack(attend_exp2(fmaf(x, scale, -most)), attend_exp2(fmaf(y, scale, -most)));
    const float rescale = attend_exp2(row.most - most);
    const float2 weights = bf16_values(p);
    *(uint32_t *)(weight + at) = p;
    if (lane == 0)
        memory.rescale[r] = rescale;
    row.sum = fmaf(row.sum, rescale, warp_sum(weights.x + weights.y));
    row.most = most;
}

constexpr int ATTEND_N_TILES = SLIP_ATTEND_V_WIDTH / (8 * CONSUMER_WARPS); // n8 tiles of O that a warp holds

// What a thread accumulates: [unit][c of the mma fragment].
struct attend_acc {
    float o[ATTEND_N_TILES][4];
};

// P V of this warp's n8 tiles: 64 keys in ascending order, summed up from zero so that rows that see none of them get an exact 0.
__device__ __forceinline__ void attend_values(const attend_memory &memory, uint32_t weight, uint32_t value, int pitch, int width,
                                              attend_acc &acc, int thread)
{
    const int lane = thread % 32, n = thread / 32;
    const float rescale[2] = {memory.rescale[lane / 4], memory.rescale[lane / 4 + 8]};
    weight += (uint32_t)(lane % 16 * SLIP_ATTEND_SCORE_STRIDE * 2 + lane / 16 * 16);
    value += (uint32_t)(lane * pitch + n * 16);
    float sum[ATTEND_N_TILES][4] = {};
#pragma unroll 1
    for (int k = 0; k < 2; k++, weight += 64, value += (uint32_t)(32 * pitch)) { // 32 keys: lane l points at key l
        uint32_t p[2][4];
        load_matrix_4(weight, p[0]);
        load_matrix_4(weight + 32, p[1]);
#pragma unroll
        for (int u = 0; u < ATTEND_N_TILES; u++) {
            if ((n + u * CONSUMER_WARPS) * 8 >= width)
                break;
            uint32_t b[4];
            load_matrix_4_transposed(value + u * CONSUMER_WARPS * 16, b);
            mma_16816(sum[u], p[0], b[0], b[1]);
            mma_16816(sum[u], p[1], b[2], b[3]);
        }
    }
#pragma unroll
    for (int u = 0; u < ATTEND_N_TILES; u++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            acc.o[u][j] = fmaf(acc.o[u][j], rescale[j / 2], sum[u][j]);
}

// ---- all sub-chunks of an item ----

// Leaves the split's outputs, relative to the row's maximum, in acc.
__device__ __forceinline__ attend_row attend_walk(const slip_cuda_attend &op, attend_memory &memory, const attend_job &job,
                                                  const attend_query &query, attend_acc &acc, int thread)
{
    const slip_cuda_cache &cache = op.cache;
    const int k_width = cache.k_width, v_width = cache.v_width, k_pitch = slip_attend_k_pitch(k_width), slots = cache.slots;
    const int v_pitch = slip_attend_v_pitch(v_width), heads = cache.shape.kv_heads, head = slip_cache_at(&cache, job.start, 0, job.kv);
    const uint32_t base = shared_address(&memory), keys = base + SLIP_ATTEND_KEY, values = keys + SLIP_ATTEND_KEYS * k_pitch;
    float *score = (float *)((unsigned char *)&memory + SLIP_ATTEND_SCORE);
    uint16_t *weight = (uint16_t *)((unsigned char *)&memory + SLIP_ATTEND_WEIGHT);
    int key = (job.first & -SLIP_ATTEND_KEYS) + thread / 8; // that this thread loads
    int slot = small_remainder(key, slots);
    bool seen = key >= job.first && key <= job.last, begun = false;
    attend_load_key(cache.k, k_width, head + slot * heads, seen, keys, k_pitch, thread);
    attend_load_query(op, query, base + SLIP_ATTEND_QUERY, k_pitch, thread);
    copy_commit();
    attend_load_key(cache.v, v_width, head + slot * heads, seen, values, v_pitch, thread);
    copy_commit();
    const float scale = rsqrtf((float)cache.shape.head_dim) * ATTEND_LOG2E;
    attend_row row = {ATTEND_NOTHING, 0};
    copy_wait<1>();
#pragma unroll 1
    for (int chunk = key - thread / 8; chunk <= job.last; chunk += SLIP_ATTEND_KEYS) {
        consumers_sync(); // keys are there; values, weights and factors are read
        if (begun)
            attend_load_key(cache.v, v_width, head + slot * heads, seen, values, v_pitch, thread);
        copy_commit();
        attend_scores(base + SLIP_ATTEND_QUERY, keys, k_pitch, score, thread);
        consumers_sync(); // scores are there, keys are read
        key += SLIP_ATTEND_KEYS;
        seen = key <= job.last;
        begun = true;
        if (chunk + SLIP_ATTEND_KEYS <= job.last) {
            slot = attend_next_slot(slot, slots);
            attend_load_key(cache.k, k_width, head + slot * heads, seen, keys, k_pitch, thread);
        }
        copy_commit();
        attend_softmax(memory, score, weight, scale, chunk, query, row, thread);
        copy_wait<1>();
        consumers_sync(); // weights, factors and values are there
        attend_values(memory, base + SLIP_ATTEND_WEIGHT, values, v_pitch, v_width, acc, thread);
        copy_wait<0>();
    }
    return row;
}

} // namespace slip
