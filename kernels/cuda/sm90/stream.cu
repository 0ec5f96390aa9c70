/* The engine's bulk copies alone: every SM streams its share of a buffer through rings of the same shape and ignores the data. */
#include "kernels/cuda/sm90/stream.h"

#include "kernels/cuda/sm90/copy.cuh"

namespace slip {

namespace {

constexpr int PASSES = 5;
constexpr size_t BUFFER = (size_t)4 << 30, LEAST = (size_t)256 << 20;

struct stream_memory {
    unsigned char stage[SLIP_ARCH_WARPGROUPS][SLIP_RING_DEPTH][SLIP_STAGE_BYTES];
    uint64_t full[SLIP_ARCH_WARPGROUPS][SLIP_RING_DEPTH];
};

// Each warp has a ring. A copy into a stage starts when the previous one into it has landed.
__global__ void __launch_bounds__(SLIP_ARCH_WARPGROUPS * 32, 1) stream_kernel(const unsigned char *from, int64_t stages)
{
    extern __shared__ __align__(1024) unsigned char bytes[];
    stream_memory &s = *(stream_memory *)bytes;
    int warp = threadIdx.x / 32;
    if (threadIdx.x % 32 == 0)
        for (int i = 0; i < SLIP_RING_DEPTH; i++)
            mbarrier_init(&s.full[warp][i], 1);
    fence_async_shared();
    __syncthreads();
    if (threadIdx.x % 32 != 0)
        return;
    uint64_t policy = read_once_policy();
    int64_t first = stages * blockIdx.x / gridDim.x, last = stages * (blockIdx.x + 1) / gridDim.x, count = 0;
    for (int64_t i = first + warp; i < last; i += SLIP_ARCH_WARPGROUPS, count++) {
        uint64_t *full = &s.full[warp][count % SLIP_RING_DEPTH];
        while (count >= SLIP_RING_DEPTH && !mbarrier_try(full, (unsigned)(count / SLIP_RING_DEPTH - 1) & 1))
            ;
        mbarrier_expect(full, SLIP_STAGE_BYTES);
        bulk_load(s.stage[warp][count % SLIP_RING_DEPTH], from + i * SLIP_STAGE_BYTES, SLIP_STAGE_BYTES, full, policy);
    }
    for (int64_t i = count < SLIP_RING_DEPTH ? 0 : count - SLIP_RING_DEPTH; i < count; i++)
        while (!mbarrier_try(&s.full[warp][i % SLIP_RING_DEPTH], (unsigned)(i / SLIP_RING_DEPTH) & 1))
            ;
}

// Milliseconds of the fastest pass over the buffer; 0 where a call fails.
float fastest_pass(const unsigned char *buffer, int64_t stages, int sms, cudaStream_t stream, const cudaEvent_t event[2])
{
    float best = 0;
    void *arguments[] = {&buffer, &stages};
    for (int pass = 0; pass < PASSES; pass++) {
        float ms = 0;
        if (cudaEventRecord(event[0], stream) != cudaSuccess ||
            cudaLaunchKernel((const void *)stream_kernel, dim3((unsigned)sms), dim3(SLIP_ARCH_WARPGROUPS * 32), arguments,
                             sizeof(stream_memory), stream) != cudaSuccess ||
            cudaEventRecord(event[1], stream) != cudaSuccess || cudaStreamSynchronize(stream) != cudaSuccess ||
            cudaEventElapsedTime(&ms, event[0], event[1]) != cudaSuccess)
            return 0;
        best = best > 0 && best < ms ? best : ms;
    }
    return best;
}

} // namespace

double stream_ceiling(int sms, cudaStream_t stream)
{
    size_t available = 0, total = 0;
    unsigned char *buffer = NULL;
    cudaEvent_t event[2] = {};
    float ms = 0;
    cudaMemGetInfo(&available, &total);
    const size_t bytes = available / 2 < BUFFER ? available / 2 : BUFFER;
    const int64_t stages = (int64_t)(bytes / SLIP_STAGE_BYTES);
    if (bytes >= LEAST && cudaMalloc(&buffer, bytes) == cudaSuccess && cudaMemsetAsync(buffer, 0x55, bytes, stream) == cudaSuccess &&
        cudaFuncSetAttribute(stream_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)sizeof(stream_memory)) == cudaSuccess &&
        cudaEventCreate(&event[0]) == cudaSuccess && cudaEventCreate(&event[1]) == cudaSuccess)
        ms = fastest_pass(buffer, stages, sms, stream, event);
    for (cudaEvent_t made : event)
        if (made)
            cudaEventDestroy(made);
    if (buffer)
        cudaFree(buffer);
    return ms > 0 ? (double)stages * SLIP_STAGE_BYTES / ms * 1e-6 : 0;
}

} // namespace slip
