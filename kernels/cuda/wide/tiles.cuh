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

// Tokens that are multiplied together: of WIDE_PARTS, whose warpgroups are four, more would not fit the registers beside the sums.
template <int N, int SHAPE>
struct wide_at_once {
    static constexpr int TOKENS = SHAPE == WIDE_PARTS && N > WIDE_FORM_TOKENS ? WIDE_FORM_TOKENS : N;
};

// The same of e4m3. `free`: called when the stage has been read.
template <int N, int SHAPE, class Free>
__device__ __forceinline__ void wide_tile(const wide_stage<SLIP_WEIGHT_F8, SHAPE> &stage, int warpgroup, float (&sum)[SUMS<N>], Free free)
{
    constexpr int ONCE = wide_at_once<N, SHAPE>::TOKENS, COUNT = SUMS<ONCE>;
    const uint32_t weights = wide_uniform(shared_address(stage.weights[warpgroup])), codes = wide_uniform(shared_address(stage.codes));
#pragma unroll
    for (int from = 0; from < N; from += ONCE) {
        float c[COUNT], v[COUNT];
        matrix_fence();
        tile_f8<ONCE>(weights, codes + F8_BYTES<1> * from, c);
        matrix_commit();
        const f8_scales<ONCE> scales = load_f8_scales<ONCE>(weights, shared_address(stage.scale + from));
        matrix_wait<0>();
        pin(c);
        if (from + ONCE == N)
            free();
        scale_f8<ONCE>(scales, c, v);
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            sum[from / 2 + i] = __fadd_rn(sum[from / 2 + i], v[i]);
    }
}

// And of bf16.
template <int N, int SHAPE, class Free>
__device__ __forceinline__ void wide_tile(const wide_stage<SLIP_WEIGHT_BF16, SHAPE> &stage, int warpgroup, float (&sum)[SUMS<N>], Free free)
{
    constexpr int ONCE = wide_at_once<N, SHAPE>::TOKENS, RUN = SUMS<(ONCE < WIDE_FORM_TOKENS ? ONCE : WIDE_FORM_TOKENS)>;
    const uint32_t weights = wide_uniform(shared_address(stage.weights[warpgroup])), codes = wide_uniform(shared_address(stage.codes));
#pragma unroll
    for (int from = 0; from < N; from += ONCE) {
        float c[2 * SUMS<ONCE>];
        matrix_fence();
        tile_bf16<ONCE>(weights, codes + 2 * BF16_BYTES<1> * from, BF16_BYTES<SLIP_TOKENS>, c);
        matrix_commit();
        matrix_wait<0>();
        pin(c);
        if (from + ONCE == N)
            free();
#pragma unroll
        for (int i = 0; i < SUMS<ONCE>; i++) { // hi and lo of a run of groups
            const int hi = i / RUN * 2 * RUN + i % RUN, at = from / 2 + i;
            sum[at] = __fadd_rn(sum[at], __fadd_rn(c[hi], c[hi + RUN]));
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
        auto wait = [&] { mbarrier_wait(&s.full[slot], count / wide_format<FORMAT, SHAPE>::DEPTH); };
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
            wide_tile<N>(s.stage[slot], warpgroup, sum, free);
    }
}

} // namespace slip
