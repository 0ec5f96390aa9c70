/* From MOE_GATE_UP to MOE_DOWN within a CTA (experts.cuh). */
#pragma once

#include "kernels/cuda/ops/rows.cuh"
#include "kernels/cuda/wide/tiles.cuh"

namespace slip {

// Sums of a warpgroup's weight tile `tile` of an item, -1: it has none, and those of the others become 128 columns of MOE_DOWN's operand: a warp has a
// slot or two, and says when they are there.
template <int FORMAT, int N, int SHAPE>
__device__ __forceinline__ void wide_swiglu(const wide_work &w, const wide_item &item, int tile, const float (&sum)[SUMS<N>],
                                            wide_memory<FORMAT, SHAPE> &s)
{
    const int thread = wide_thread(), slot = thread / 32, lane = thread % 32, row = slot % 4 * 16 + lane / 4;
    const slip_cuda_slots &slots = w.op->slots;
    auto &all = s.gate_up.sum;
    mbarrier_wait(&s.gate_up.read, s.gate_up.turn[slot] ^ 1); // what the item before left there
#pragma unroll
    for (int i = 0; i < N / 4 && i / 2 < SLIP_SLOT_BLOCK_OF_FEW && tile >= 0; i++) { // a product may have more columns than a block has
        float *const to = &all[tile][wide_column(thread, i)][row];
        to[0] = sum[i / 2 * 4 + i % 2];
        to[8] = sum[i / 2 * 4 + 2 + i % 2];
    }
    wide_meet<SHAPE>();
    const int slots_here = item.groups * SLIP_TOKENS;
#pragma unroll 1
    for (int mine = slot; mine < slots_here; mine += wide_warps<SHAPE>::CONSUMERS) {
        const int half = lane / 16, column = lane % 16 * 4;
        const bool real = item.row_tile * SLIP_F8_BLOCK + lane * 4 < w.op->width;
        const float4 gate = *(const float4 *)&all[half][mine][column], up = *(const float4 *)&all[2 + half][mine][column];
        if (s.picks[slot].pick[mine] >= 0)
            write_operand(slots.down, item.group * SLIP_TOKENS + mine, item.row_tile, real ? swiglu(gate, up) : zero());
    }
    fence_async_global();
    __syncwarp();
    if (lane == 0) {
        s.gate_up.turn[slot] ^= 1;
        mbarrier_arrive(&s.gate_up.read);
        add_release(slots.done + item.group);
    }
    __syncwarp();
}

// Times each row's factor.
template <int N>
__device__ __forceinline__ void wide_scale(const float *factors, float (&sum)[SUMS<N>])
{
    const float *const first = factors + wide_thread() % 4 * 2;
#pragma unroll
    for (int i = 0; i < SUMS<N>; i += 4) {
        const float2 factor = *(const float2 *)(first + i * 2);
        sum[i] = __fmul_rn(sum[i], factor.x);
        sum[i + 1] = __fmul_rn(sum[i + 1], factor.y);
        sum[i + 2] = __fmul_rn(sum[i + 2], factor.x);
        sum[i + 3] = __fmul_rn(sum[i + 3], factor.y);
    }
}

// The same of rows whose operand has none but what its format's codes want.
template <int FORMAT, int N>
__device__ __forceinline__ void wide_undo(float (&sum)[SUMS<N>])
{
#pragma unroll
    for (int i = 0; i < SUMS<N>; i++)
        sum[i] = __fmul_rn(sum[i], undo_of(FORMAT));
}

// total += sum in the order of the chunks, in shared memory. After the last chunk `sum` is the total.
template <int N>
__device__ __forceinline__ void wide_add_shared(float4 (*total)[wide_warps<WIDE_MANY>::CONSUMER_THREADS], bool first, bool last,
                                                float (&sum)[SUMS<N>])
{
    const int thread = wide_thread();
#pragma unroll
    for (int i = 0; i < SUMS<N>; i += 4) {
        float4 &mine = total[i / 4][thread];
        const float4 before = first ? make_float4(0, 0, 0, 0) : mine;
        sum[i] = __fadd_rn(before.x, sum[i]);
        sum[i + 1] = __fadd_rn(before.y, sum[i + 1]);
        sum[i + 2] = __fadd_rn(before.z, sum[i + 2]);
        sum[i + 3] = __fadd_rn(before.w, sum[i + 3]);
        if (!last)
            mine = make_float4(sum[i], sum[i + 1], sum[i + 2], sum[i + 3]);
    }
}

} // namespace slip
