/* Every call of CUDA's runtime that the program makes. CMakeLists.txt takes the names from here, and each.sh sees that none is missing. */
#include <cuda_runtime_api.h>
#include <stdbool.h>

#include "fail_cuda.h"

static cudaError_t injected(fail_way way, cudaError_t error)
{
    return way == FAIL_LATE ? cudaSuccess : way == FAIL_STICKY ? cudaErrorIllegalAddress : error;
}

#define DEFINE(name, parameters) \
    extern cudaError_t __real_##name parameters; \
    extern cudaError_t __wrap_##name parameters; \
    cudaError_t __wrap_##name parameters

/* A call that fails does nothing. */
#define CUDA(name, parameters, ...) \
    DEFINE(name, parameters) \
    { \
        const fail_way way = fail_cuda(#name); \
        return way ? injected(way, cudaErrorUnknown) : __real_##name(__VA_ARGS__); \
    }

/* What it makes is held from then on. */
#define MAKES(what, error, name, parameters, ...) \
    DEFINE(name, parameters) \
    { \
        const fail_way way = fail_cuda(#name); \
        const cudaError_t result = way ? injected(way, error) : __real_##name(__VA_ARGS__); \
        fail_cuda_hold(what, result == cudaSuccess); \
        return result; \
    }

/* A call that releases something and fails has released it, unless all calls fail. */
#define FREES(what, of, name, parameters, ...) \
    DEFINE(name, parameters) \
    { \
        const fail_way way = fail_cuda(#name); \
        const cudaError_t result = way == FAIL_STICKY ? cudaSuccess : __real_##name(__VA_ARGS__); \
        if (of) \
            fail_cuda_hold(what, -1); \
        return way ? injected(way, cudaErrorUnknown) : result; \
    }

/* clang-format off */
CUDA(cudaDeviceGetAttribute, (int *value, enum cudaDeviceAttr of, int device), value, of, device)
CUDA(cudaDeviceSynchronize, (void))
CUDA(cudaDriverGetVersion, (int *version), version)
CUDA(cudaEventElapsedTime, (float *ms, cudaEvent_t from, cudaEvent_t to), ms, from, to)
CUDA(cudaEventRecord, (cudaEvent_t event, cudaStream_t stream), event, stream)
CUDA(cudaFuncSetAttribute, (const void *function, enum cudaFuncAttribute of, int value), function, of, value)
CUDA(cudaGetDeviceCount, (int *count), count)
CUDA(cudaGraphLaunch, (cudaGraphExec_t graph, cudaStream_t stream), graph, stream)
CUDA(cudaHostGetDevicePointer, (void **device, void *host, unsigned flags), device, host, flags)
CUDA(cudaLaunchCooperativeKernel, (const void *kernel, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t stream), kernel, grid, block, arguments, shared, stream)
CUDA(cudaLaunchKernel, (const void *kernel, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t stream), kernel, grid, block, arguments, shared, stream)
CUDA(cudaLaunchKernelExC, (const cudaLaunchConfig_t *config, const void *kernel, void **arguments), config, kernel, arguments)
CUDA(cudaMemcpy, (void *to, const void *from, size_t size, enum cudaMemcpyKind kind), to, from, size, kind)
CUDA(cudaMemcpyAsync, (void *to, const void *from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream), to, from, size, kind, stream)
CUDA(cudaMemGetInfo, (size_t *available, size_t *total), available, total)
CUDA(cudaMemset, (void *memory, int value, size_t size), memory, value, size)
CUDA(cudaMemsetAsync, (void *memory, int value, size_t size, cudaStream_t stream), memory, value, size, stream)
CUDA(cudaRuntimeGetVersion, (int *version), version)
CUDA(cudaSetDevice, (int device), device)
CUDA(cudaStreamBeginCapture, (cudaStream_t stream, enum cudaStreamCaptureMode mode), stream, mode)
CUDA(cudaStreamQuery, (cudaStream_t stream), stream)
CUDA(cudaStreamSynchronize, (cudaStream_t stream), stream)
MAKES("cudaMalloc", cudaErrorMemoryAllocation, cudaMalloc, (void **memory, size_t size), memory, size)
MAKES("cudaHostAlloc", cudaErrorMemoryAllocation, cudaHostAlloc, (void **memory, size_t size, unsigned flags), memory, size, flags)
MAKES("cudaEventCreate", cudaErrorUnknown, cudaEventCreate, (cudaEvent_t *event), event)
MAKES("cudaStreamCreateWithFlags", cudaErrorUnknown, cudaStreamCreateWithFlags, (cudaStream_t *stream, unsigned flags), stream, flags)
MAKES("cudaGraphInstantiate", cudaErrorUnknown, cudaGraphInstantiate, (cudaGraphExec_t *made, cudaGraph_t graph, unsigned long long flags), made, graph, flags)
FREES("cudaMalloc", memory, cudaFree, (void *memory), memory)
FREES("cudaHostAlloc", memory, cudaFreeHost, (void *memory), memory)
FREES("cudaEventCreate", true, cudaEventDestroy, (cudaEvent_t event), event)
FREES("cudaStreamCreateWithFlags", true, cudaStreamDestroy, (cudaStream_t stream), stream)
FREES("cudaStreamEndCapture", graph, cudaGraphDestroy, (cudaGraph_t graph), graph)
FREES("cudaGraphInstantiate", true, cudaGraphExecDestroy, (cudaGraphExec_t graph), graph)
#if CUDART_VERSION >= 13000
CUDA(cudaGetDeviceProperties, (struct cudaDeviceProp *properties, int device), properties, device)
CUDA(__cudaLaunchKernel, (cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t stream), kernel, grid, block, arguments, shared, stream)
#else
CUDA(cudaGetDeviceProperties_v2, (struct cudaDeviceProp *properties, int device), properties, device)
#endif
/* clang-format on */

/* A capture that fails has ended, too, and leaves no graph. */
DEFINE(cudaStreamEndCapture, (cudaStream_t stream, cudaGraph_t *graph))
{
    const fail_way way = fail_cuda("cudaStreamEndCapture");
    cudaError_t result = way == FAIL_STICKY ? cudaErrorIllegalAddress : __real_cudaStreamEndCapture(stream, graph);
    if (way == FAIL_ERROR && result == cudaSuccess) {
        __real_cudaGraphDestroy(*graph);
        *graph = NULL;
    }
    result = way ? injected(way, cudaErrorStreamCaptureInvalidated) : result;
    fail_cuda_hold("cudaStreamEndCapture", result == cudaSuccess);
    return result;
}
