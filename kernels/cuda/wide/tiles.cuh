/* A consumer's way through the ring (stage.cuh): its warpgroup multiplies its weight tile of every stage. */
#pragma once

#include "kernels/cuda/wide/stage.cuh"

namespace slip {

// threadIdx.x, read anew: what is worked out from it is not kept in registers while tiles are multiplied.
__device__ __forceinline__ int wide_thread()
{
    int thread;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    return thread;
}

// Row of an item that is the thread's column number `i` of N / 4.
__device__ __forceinline__ int wide_column(int thread, int i)
{
    return i / 2 * 8 + thread % 4 * 2 + i % 2;
}

// By all consumers: what they wrote to shared memory is there.
template <int SHAPE>
__device__ __forceinline__ void wide_meet()
{
    asm volatile("bar.sync 1, %0;" ::"n"(wide_warps<SHAPE>::CONSUMER_THREADS) : "memory");
}

// Of an address that is the same in all threads of a warp: the compiler keeps what comes by a shuffle, and descriptors made of it, in uniform registers.
__device__ __forceinline__ uint32_t wide_uniform(uint32_t address)
{
    return __shfl_sync(~0u, address, 0);
}

// Where a thread finds what it needs of its warpgroup's tile of a stage: that of stage 0 is known beforehand where registers allow.
template <int FORMAT, int SHAPE>
struct wide_lane {
    __device__ __forceinline__ wide_lane(const wide_memory<FORMAT, SHAPE> &, int)
    {
    }
    __device__ __forceinline__ mxfp4_address at(const wide_memory<FORMAT, SHAPE> &s, unsigned slot, int warpgroup) const
    {
        const wide_stage<FORMAT, SHAPE> &stage = s.stage[slot];
        return mxfp4_address_of(shared_address(stage.weights[warpgroup]), {shared_address(stage.codes), shared_address(stage.scale)},
                                wide_thread());
    }
};

template <>
struct wide_lane<SLIP_WEIGHT_MXFP4, WIDE_FEW> {
    using memory = wide_memory<SLIP_WEIGHT_MXFP4, WIDE_FEW>;
    mxfp4_address first;

    __device__ __forceinline__ wide_lane(const memory &s, int warpgroup)
    {
        const wide_stage<SLIP_WEIGHT_MXFP4, WIDE_FEW> &stage = s.stage[0];
        first = mxfp4_address_of(shared_address(stage.weights[warpgroup]), {shared_address(stage.codes), shared_address(stage.scale)},
                                 threadIdx.x);
    }
    __device__ __forceinline__ mxfp4_address at(const memory &s, unsigned slot, int) const
    {
        const uint32_t step = slot * sizeof s.stage[0];
        return {first.codes + step, first.scales + step, wide_uniform(first.b + (step >> 4)), first.token + step};
    }
};

// The warpgroup's tile of a stage times N tokens.
template <int N>
__device__ __forceinline__ void wide_tile_mxfp4(const mxfp4_address &at, float (&sum)[SUMS<N>])
{
    if constexpr (N <= 16)
        tile_mxfp4<N>(at, sum);
    else
        tile_mxfp4_in_turn<N, N <= 32 ? 1 : 2>(at, sum);
}

// The same of other formats. `free`: called when the stage has been read.
template <int FORMAT, int N, int SHAPE, class Free>
__device__ __forceinline__ void wide_tile(const wide_stage<FORMAT, SHAPE> &stage, int warpgroup, float (&sum)[SUMS<N>], Free free)
{
    const uint32_t weights = wide_uniform(shared_address(stage.weights[warpgroup])), codes = wide_uniform(shared_address(stage.codes));
    if constexpr (FORMAT == SLIP_WEIGHT_F8) {
        float c[SUMS<N>], v[SUMS<N>];
        matrix_fence();
        tile_f8<N>(weights, codes, c);
        matrix_commit();
        const f8_scales<N> scales = load_f8_scales<N>(weights, shared_address(stage.scale));
        matrix_wait<0>();
        pin(c);
        free();
        scale_f8<N>(scales, c, v);
#pragma unroll
        for (int i = 0; i < SUMS<N>; i++)
            sum[i] = __fadd_rn(sum[i], v[i]);
    } else {
        float c[2 * SUMS<N>];
        matrix_fence();
        tile_bf16<N>(weights, codes, BF16_BYTES<SLIP_TOKENS>, c);
        matrix_commit();
        matrix_wait<0>();
        pin(c);
        free();
#pragma unroll
        for (int i = 0; i < SUMS<N>; i++) { // hi and lo of a run of groups
            constexpr int RUN = SUMS<N> < SUMS<WIDE_FORM_GROUPS * SLIP_TOKENS> ? SUMS<N> : SUMS<WIDE_FORM_GROUPS * SLIP_TOKENS>;
            const int hi = i / RUN * 2 * RUN + i % RUN;
            sum[i] = __fadd_rn(sum[i], __fadd_rn(c[hi], c[hi + RUN]));
        }
    }
}

// The next `stages` of the ring: their tiles of the warpgroup, where it has any.
template <int FORMAT, int N, int SHAPE>
__device__ __forceinline__ void wide_stages(const wide_lane<FORMAT, SHAPE> &lane, int warpgroup, int stages, bool works,
                                            wide_memory<FORMAT, SHAPE> &s, unsigned &count, float (&sum)[SUMS<N>])
{
#pragma unroll 1
    for (; stages > 0; stages--, count++) {
        const unsigned slot = count % wide_format<FORMAT, SHAPE>::DEPTH;
        auto wait = [&] { wide_wait(&s.full[slot], count / wide_format<FORMAT, SHAPE>::DEPTH); };
        auto free = [&] {
            __syncwarp();
            mbarrier_arrive_elected(&s.empty[slot]);
        };
        if constexpr (FORMAT == SLIP_WEIGHT_MXFP4) {
            const mxfp4_address at = lane.at(s, slot, warpgroup); // while the stage is on its way
            wait();
            if (works)
                wide_tile_mxfp4<N>(at, sum);
            free();
            continue;
        }
        wait();
        if (!works)
            free();
        else if constexpr (FORMAT != SLIP_WEIGHT_MXFP4)
            wide_tile<FORMAT, N>(s.stage[slot], warpgroup, sum, free);
    }
}

} // namespace slip
