/* A CUDA runtime without a GPU, for a third slipstream (tests/CMakeLists.txt): device memory is the host's, copies happen at once, and
 * kernels compute nothing, so that all tokens are token 0. What the host does about a GPU can be tested on any machine by it: loading, graphs,
 * steps, errors and ends. */
#include <cuda_runtime_api.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/arch.h"
#include "tests/gpu/tools/fake_kernel.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" // most of them mean nothing here

/* ---- the resident kernel ---- */

cudaError_t cudaLaunchCooperativeKernel(const void *kernel, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t stream)
{
    return fake_kernel_start(arguments) ? cudaSuccess : cudaErrorUnknown;
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    if (fake_kernel_has_left())
        return cudaSuccess;
    sched_yield();
    return cudaErrorNotReady;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    while (cudaStreamQuery(stream) == cudaErrorNotReady)
        ;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    return cudaStreamSynchronize(NULL);
}

/* ---- the device and its memory ---- */

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 8;
    return cudaSuccess;
}

/* The first GPUs of two hosts differ, those of two ranks of a host do not. */
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *device, int number)
{
    memset(device, 0, sizeof *device);
    snprintf(device->name, sizeof device->name, "no GPU");
    device->major = SLIP_ARCH_MAJOR;
    device->minor = SLIP_ARCH_MINOR;
    device->multiProcessorCount = SLIP_ARCH_SMS;
    device->totalGlobalMem = (size_t)1 << 30;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr of, int device)
{
    *value = 1000000;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    *available = *total = (size_t)1 << 30;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t size)
{
    *memory = malloc(size);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaHostAlloc(void **memory, size_t size, unsigned flags)
{
    return cudaMalloc(memory, size);
}

cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned flags)
{
    *device = host;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
    cudaDeviceSynchronize();
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *memory)
{
    return cudaFree(memory);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind)
{
    cudaDeviceSynchronize();
    memcpy(to, from, size);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    return cudaMemcpy(to, from, size, kind);
}

cudaError_t cudaMemset(void *memory, int value, size_t size)
{
    cudaDeviceSynchronize();
    memset(memory, value, size);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t size, cudaStream_t stream)
{
    return cudaMemset(memory, value, size);
}

/* ---- things: a byte of memory each, so that one that is not released, or twice, is found ---- */

static cudaError_t make(void **thing)
{
    return cudaMalloc(thing, 1);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    return make((void **)stream);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    return cudaFree(stream);
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return make((void **)event);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    return cudaFree(event);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    return make((void **)graph);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    return cudaFree(graph);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *made, cudaGraph_t graph, unsigned long long flags)
{
    return make((void **)made);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph)
{
    return cudaFree(graph);
}

/* ---- what does nothing ---- */

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    *ms = 1;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t error)
{
    static char text[32];
    snprintf(text, sizeof text, "CUDA error %d", (int)error);
    return text;
}

#define NOTHING(name, ...) \
    cudaError_t name(__VA_ARGS__); \
    cudaError_t name(__VA_ARGS__) \
    { \
        return cudaSuccess; \
    }
NOTHING(cudaEventRecord, cudaEvent_t event, cudaStream_t stream)
NOTHING(cudaFuncSetAttribute, const void *function, enum cudaFuncAttribute of, int value)
NOTHING(cudaGraphLaunch, cudaGraphExec_t graph, cudaStream_t stream)
NOTHING(cudaLaunchKernel, const void *kernel, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t stream)
NOTHING(cudaLaunchKernelExC, const cudaLaunchConfig_t *config, const void *kernel, void **arguments)
NOTHING(cudaSetDevice, int device)
NOTHING(cudaStreamBeginCapture, cudaStream_t stream, enum cudaStreamCaptureMode mode)

/* ---- what nvcc's code calls: declared for C++ alone ---- */

NOTHING(__cudaPopCallConfiguration, dim3 *grid, dim3 *block, size_t *shared, void *stream)
#if CUDART_VERSION >= 13000
NOTHING(__cudaGetKernel, cudaKernel_t *kernel, const void *function)
NOTHING(__cudaLaunchKernel, cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t stream)
#endif

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream);
void **__cudaRegisterFatBinary(void *binary);
void __cudaRegisterFatBinaryEnd(void **binary);
void __cudaUnregisterFatBinary(void **binary);
void __cudaRegisterFunction(void **binary, const char *host, char *device, const char *name, int threads, void *thread, void *block,
                            dim3 *block_size, dim3 *grid, int *warp);

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream)
{
    return 0;
}

void **__cudaRegisterFatBinary(void *binary)
{
    return NULL;
}

void __cudaRegisterFatBinaryEnd(void **binary)
{
}

void __cudaUnregisterFatBinary(void **binary)
{
}

void __cudaRegisterFunction(void **binary, const char *host, char *device, const char *name, int threads, void *thread, void *block,
                            dim3 *block_size, dim3 *grid, int *warp)
{
}
