/* The host's side of the engine: the device, its memory, the other ranks. */
#include "kernels/cuda/engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/engine/engine_state.h"
#include "kernels/cuda/layout/mail.h"
#include "kernels/cuda/wide/wide.h"

// ---- opening ----

extern "C" void slip_cuda_engine_first(char name[SLIP_GPU_NAME])
{
    cudaDeviceProp device;
    bool found = cudaGetDeviceProperties(&device, 0) == cudaSuccess;
    name[0] = '\0';
    for (size_t i = 0; found && i < sizeof device.uuid.bytes; i++)
        snprintf(name + 2 * i, 3, "%02x", (unsigned char)device.uuid.bytes[i]);
}

extern "C" double slip_cuda_engine_memory(void)
{
    cudaDeviceProp device;
    return cudaGetDeviceProperties(&device, 0) == cudaSuccess ? (double)device.totalGlobalMem : 0;
}

// `ranks` see the same GPUs as this one.
static const char *describe_device(int gpu, int ranks, int *sms, char *name, size_t size)
{
    static char why[320];
    int count = 0, runtime = 0;
    cudaDeviceProp device;
    cudaError_t error = cudaGetDeviceCount(&count);
    cudaRuntimeGetVersion(&runtime);
    if (error == cudaErrorInsufficientDriver) {
        snprintf(why, sizeof why, "there is no NVIDIA driver, or one too old for CUDA %d.%d, which this build uses", runtime / 1000,
                 runtime % 1000 / 10);
        return why;
    }
    if (error != cudaSuccess || count == 0) {
        snprintf(why, sizeof why, "no GPU was found (%s)", error == cudaSuccess ? "the driver lists none" : cudaGetErrorString(error));
        return why;
    }
    if (gpu >= count) {
        snprintf(why, sizeof why, "%d ranks on this host, and it has GPUs for %d", ranks, count);
        return why;
    }
    if ((error = cudaGetDeviceProperties(&device, gpu)) != cudaSuccess) {
        snprintf(why, sizeof why, "the GPU does not answer: %s", cudaGetErrorString(error));
        return why;
    }
    if (device.major != SLIP_ARCH_MAJOR || device.minor != SLIP_ARCH_MINOR) {
        snprintf(why, sizeof why, "%.200s has compute capability %d.%d, and the engine is written for %d.%d (" SLIP_ARCH_GPUS ")",
                 device.name, device.major, device.minor, SLIP_ARCH_MAJOR, SLIP_ARCH_MINOR);
        return why;
    }
    *sms = device.multiProcessorCount;
    snprintf(name, size, "%s", device.name);
    return NULL;
}

extern "C" const char *slip_cuda_engine_why_not(int here)
{
    int sms;
    char name[256];
    const char *why = NULL;
    for (int gpu = 0; gpu < here && !why; gpu++)
        why = describe_device(gpu, here, &sms, name, sizeof name);
    return why;
}

// A machine without a driver, or whose driver lists no GPU, is meant to compute on its CPUs.
extern "C" bool slip_cuda_engine_expected(void)
{
    int count = 0, driver = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorInsufficientDriver)
        return cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
    return error == cudaSuccess ? count > 0 : error != cudaErrorNoDevice;
}

static slip_status prepare_kernels(void)
{
    int bytes = (int)slip::kernel_shared_bytes();
    const void *kernels[] = {slip::persistent_kernel_of(false), slip::persistent_kernel_of(true), slip::launch_kernel_of(false, false),
                             slip::launch_kernel_of(false, true), slip::launch_kernel_of(true, false)};
    for (const void *kernel : kernels)
        SLIP_TRY_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "shared memory of the kernel");
    SLIP_TRY_CUDA(slip::wide_prepare(), "shared memory of the wide products");
    SLIP_TRY_CUDA(slip::wide_attention_prepare(), "shared memory of wide attention");
    return SLIP_OK;
}

static slip_status alloc_words(slip_cuda_engine *e)
{
    slip::kernel_parameters *p = &e->parameters;
    void *device, *host;
    slip_status status = slip_cuda_engine_alloc_host(e, SLIP_CUDA_SLOTS * sizeof *e->steps, &host, &device);
    if (status != SLIP_OK)
        return status;
    e->steps = (slip_cuda_step *)host;
    p->posted = (const slip_cuda_step *)device;
    if ((status = slip_cuda_engine_alloc_host(e, SLIP_CUDA_SLOTS * SLIP_MAX_LOGIT_ROWS * sizeof(slip_candidate), &host, &device)) !=
        SLIP_OK)
        return status;
    e->candidates = (slip_candidate *)host;
    p->candidates = (slip_candidate *)device;
    if ((status = slip_cuda_engine_alloc_host(e, sizeof(slip::host_words), &host, &device)) != SLIP_OK)
        return status;
    e->words = (slip::host_words *)host;
    p->host = (slip::host_words *)device;
    if ((status = slip_cuda_engine_alloc(e, sizeof(slip::sync_words), &device)) != SLIP_OK)
        return status;
    p->words = (slip::sync_words *)device;
    if ((status = slip_cuda_engine_alloc(e, sizeof *p->step, &device)) == SLIP_OK)
        p->step = (slip_cuda_step *)device;
    return status;
}

static slip_status alloc_events(slip_cuda_engine *e)
{
    void *device, *host;
    if (!e->options.profile)
        return SLIP_OK;
    slip_status status =
        slip_cuda_engine_alloc_host(e, (size_t)e->sms * SLIP_ROLES * SLIP_PROFILE_EVENTS * sizeof *e->events, &host, &device);
    if (status != SLIP_OK)
        return status;
    e->events = (slip_cuda_event *)host;
    e->parameters.events = (slip_cuda_event *)device;
    if ((status = slip_cuda_engine_alloc_host(e, (size_t)e->sms * SLIP_ROLES * sizeof *e->event_counts, &host, &device)) != SLIP_OK)
        return status;
    e->event_counts = (int32_t *)host;
    e->parameters.event_counts = (int32_t *)device;
    return SLIP_OK;
}

static slip_status open_device(slip_cuda_engine *e)
{
    int khz = 0;
    SLIP_TRY_CUDA(cudaSetDevice(e->options.gpu), "selecting the device");
    SLIP_TRY_CUDA(cudaStreamCreateWithFlags(&e->stream, cudaStreamNonBlocking), "creating a stream");
    SLIP_TRY_CUDA(cudaDeviceGetAttribute(&khz, cudaDevAttrClockRate, e->options.gpu), "reading the clock rate");
    e->parameters.timeout_cycles = (int64_t)(slip_cuda_engine_deadline(e) * 1e3 * khz);
    e->parameters.idle_timeout_cycles = (int64_t)(IDLE_DEADLINE * 1e3 * khz);
    e->parameters.drop_op = e->options.drop_op;
    slip_status status = prepare_kernels();
    if (status == SLIP_OK)
        status = alloc_words(e);
    return status == SLIP_OK ? alloc_events(e) : status;
}

extern "C" slip_status slip_cuda_engine_open(const slip_cuda_engine_options *options, slip_cuda_engine **out)
{
    slip_cuda_engine *e = (slip_cuda_engine *)calloc(1, sizeof *e);
    if (!e)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    e->options = *options;
    e->owners = 1;
    const char *why = describe_device(e->options.gpu, e->options.gpu + 1, &e->sms, e->name, sizeof e->name);
    slip_status status = why ? slip_fail(SLIP_ERR_INPUT, "--device cuda: %s", why) : open_device(e);
    if (status != SLIP_OK) {
        slip_cuda_engine_release(e);
        return status;
    }
    *out = e;
    return SLIP_OK;
}

extern "C" void slip_cuda_engine_hold(slip_cuda_engine *e)
{
    e->owners++;
}

extern "C" const char *slip_cuda_engine_name(const slip_cuda_engine *e)
{
    return e->name;
}

extern "C" int slip_cuda_engine_sms(const slip_cuda_engine *e)
{
    return e->sms;
}

extern "C" void slip_cuda_engine_release(slip_cuda_engine *e)
{
    if (--e->owners > 0)
        return;
    slip_cuda_engine_stop(e);
    slip_cuda_engine_forget_graphs(e); // before the communicator, whose closing waits for graphs that hold its calls
    slip_nccl_close(e->nccl, e->failed);
    slip_windows_close(e->windows);
    for (int i = 0; i < e->block_count; i++)
        cudaFree(e->blocks[i]);
    for (int i = 0; i < e->host_block_count; i++)
        cudaFreeHost(e->host_blocks[i]);
    if (e->stream)
        cudaStreamDestroy(e->stream);
    free(e->ops);
    free(e);
}

// ---- other ranks ----

static slip_status open_windows(slip_cuda_engine *e, slip_comm *comm, int32_t rows, int32_t hidden)
{
    int ranks = slip_comm_ranks(comm);
    slip_exchange x = {};
    x.at = slip_cuda_exchange_plan(ranks, rows, hidden);
    x.rank = slip_comm_rank(comm);
    slip_status status = slip_windows_open(comm, e->options.gpu, x.at.bytes, &e->windows);
    if (status != SLIP_OK)
        return status;
    for (int rank = 0; rank < ranks; rank++)
        x.peer[rank] = (unsigned char *)slip_windows_peers(e->windows)[rank];
    e->parameters.exchange = x;
    e->epoch = e->serial = SLIP_EXCHANGE_FIRST_EPOCH - 1;
    return SLIP_OK;
}

extern "C" slip_status slip_cuda_engine_join(slip_cuda_engine *e, slip_comm *comm, int32_t rows, int32_t hidden)
{
    return e->options.launch ? slip_nccl_open(comm, e->options.gpu, &e->nccl) : open_windows(e, comm, rows, hidden);
}

extern "C" uint32_t slip_cuda_engine_epoch(slip_cuda_engine *e, int32_t exchanges)
{
    uint32_t before = e->epoch;
    e->epoch = slip_exchange_epoch_after(before, (uint32_t)exchanges);
    return before;
}

// ---- memory ----

extern "C" slip_status slip_cuda_engine_alloc(slip_cuda_engine *e, size_t bytes, void **device)
{
    size_t available = 0, total = 0;
    slip_cuda_engine_stop(e);
    bytes = bytes ? bytes : 1;
    if (e->block_count == MAX_BLOCKS)
        return slip_fail(SLIP_ERR_FAILED, "GPU: more than %d buffers in its memory", MAX_BLOCKS);
    cudaError_t error = cudaMalloc(device, bytes);
    if (error == cudaErrorMemoryAllocation) {
        cudaMemGetInfo(&available, &total);
        return slip_fail(SLIP_ERR_FAILED, "GPU: out of memory: %.1f MB more wanted, %.1f of %.1f MB free", (double)bytes * 1e-6,
                         (double)available * 1e-6, (double)total * 1e-6);
    }
    SLIP_TRY_CUDA(error, "allocating memory");
    e->blocks[e->block_count++] = *device;
    SLIP_TRY_CUDA(cudaMemsetAsync(*device, 0, bytes, e->stream), "clearing memory");
    SLIP_TRY_CUDA(cudaStreamSynchronize(e->stream), "clearing memory");
    return SLIP_OK;
}

extern "C" slip_status slip_cuda_engine_alloc_host(slip_cuda_engine *e, size_t bytes, void **host, void **device)
{
    if (e->host_block_count == MAX_HOST_BLOCKS)
        return slip_fail(SLIP_ERR_FAILED, "GPU: more than %d buffers in host memory", MAX_HOST_BLOCKS);
    slip_cuda_engine_stop(e);
    SLIP_TRY_CUDA(cudaHostAlloc(host, bytes ? bytes : 1, cudaHostAllocMapped), "allocating host memory");
    e->host_blocks[e->host_block_count++] = *host;
    memset(*host, 0, bytes);
    SLIP_TRY_CUDA(cudaHostGetDevicePointer(device, *host, 0), "mapping host memory");
    return SLIP_OK;
}

extern "C" slip_status slip_cuda_engine_alloc_pinned(slip_cuda_engine *e, size_t bytes, unsigned char **host)
{
    void *memory;
    slip_cuda_engine_stop(e);
    SLIP_TRY_CUDA(cudaHostAlloc(&memory, bytes ? bytes : 1, cudaHostAllocDefault), "allocating pinned memory");
    *host = (unsigned char *)memory;
    return SLIP_OK;
}

extern "C" void slip_cuda_engine_free_pinned(slip_cuda_engine *e, unsigned char *host)
{
    slip_cuda_engine_stop(e);
    if (host)
        cudaFreeHost(host);
}

extern "C" slip_status slip_cuda_engine_upload(slip_cuda_engine *e, void *device, const void *host, size_t bytes)
{
    SLIP_TRY_CUDA(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, e->stream), "copying to the GPU");
    SLIP_TRY_CUDA(cudaStreamSynchronize(e->stream), "copying to the GPU");
    return SLIP_OK;
}

extern "C" slip_status slip_cuda_engine_download(slip_cuda_engine *e, void *host, const void *device, size_t bytes)
{
    SLIP_TRY_CUDA(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, e->stream), "copying from the GPU");
    SLIP_TRY_CUDA(cudaStreamSynchronize(e->stream), "copying from the GPU");
    return SLIP_OK;
}
